"""`wdk build gcp`, without the command line: from a project to the folder that an image is built from."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_cloud import bundle
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.packaging import seals
from wdk_cloud.packaging.imports import Modules, imports_of, top_of
from wdk_cloud.packaging.project import normalized
from wdk_cloud.packaging.stamp import code_version
from wdk_gcp.packaging import dockerfile, pinning
from wdk_gcp.packaging.wheels import OURS, wheels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from wdk_cloud.packaging.project import Project

    Progress = Callable[[str, int | None], AbstractContextManager[Callable[[], None]]]

APP = "app"
"""The folder of the app in the context; in the image it is /app."""

MOST_FAULTS = 20
"""Lines of one error: more of them say nothing new."""

PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:==| @ )", re.MULTILINE)
"""A package of the image's requirements.txt, by its version or its URL."""

Contents = dict[str, "Path | bytes"]


@dataclass(frozen=True, slots=True)
class Context:
    folder: Path
    sha256: str
    files: int
    size: int
    packages: int
    code_version: str


def build(
    project: Project,
    python: str,
    folder: Path,
    progress: Progress,
    extras: Sequence[str] = (),
    namespaces: Sequence[str] = (),
    seal: Path | None = None,
) -> Context:
    """Write the folder. `progress` shows how far the parts are that take their time; `namespaces` are the apps'; `seal`
    is one of what is written over.

    Raises WorldConfigurationError or WorldUnavailableError that says what is missing; then the folder is as it was.
    """
    refuse_foreign(folder)
    lines = pinning.all_requirements(list(project.depends_on), list(extras))
    with progress(f"finding {len(lines)} packages and what they need", None):
        pinned = pinning.pinned(lines, python)
    names = {normalized(found) for found in PINNED.findall(pinned)}
    check_imports(project, names)
    version = code_version(project.files, project.folder)
    contents: Contents = {
        "Dockerfile": dockerfile.for_python(python).encode(),
        "requirements.txt": pinned.encode(),
        **{f"wheels/{name}": data for name, data in wheels().items()},
        **{f"{APP}/{name}": path for name, path in project.files.items()},
        f"{APP}/{bundle.FILE}": _document(project, python, version, namespaces),
    }
    if seal is not None:
        seals.unseal(seal)
    with progress("writing the folder", len(contents)) as done:
        sha256, size = _write(folder, contents, done)
    return Context(folder, sha256, len(contents), size, len(names), version)


def read(folder: Path) -> Context:
    """What an earlier build has made. Raises WorldConfigurationError."""
    try:
        version = json.loads((folder / APP / bundle.FILE).read_bytes())["code_version"]
        contents: Contents = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        packages = len(PINNED.findall((folder / "requirements.txt").read_text("utf-8")))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WorldConfigurationError(f"{folder} is nothing that `wdk build gcp` has made: {error}") from None
    sha256, size = _digest(contents)
    return Context(folder, sha256, len(contents), size, packages, version)


def refuse_foreign(folder: Path) -> None:
    """What lies there is replaced: so it has to be a folder of ours."""
    if folder.exists() and not (folder / APP / bundle.FILE).exists() and (folder.is_file() or any(folder.iterdir())):
        raise WorldConfigurationError(
            f"{folder} is not a folder that a build has made, and would be replaced; name another one with --output"
        )


def check_imports(project: Project, packages: set[str]) -> None:
    """Raises WorldConfigurationError that names each import of the app that the image would not have.

    The app was imported here, so that this environment knows which distribution a module comes from."""
    known = metadata.packages_distributions()
    present, own = {*sys.stdlib_module_names, *OURS.values()}, set(map(top_of, project.files))
    modules = Modules(project.files, lambda name: project.files[name].read_bytes())
    faults: list[str] = []
    for name, path in sorted(project.files.items()):
        for found in imports_of(path.read_bytes(), name) if name.endswith(".py") else ():
            top = found.name.partition(".")[0]
            if found.optional or top in present or packages & {normalized(one) for one in known.get(top, ())}:
                continue
            if top in own:
                if not modules.has(found.name):
                    faults.append(f"{name}:{found.line} imports {found.name}, which is not there")
            elif top in known or not found.lazy:
                faults.append(f"{name}:{found.line} imports {found.name}, which no requirement brings")
    if faults:
        more = f"\n… and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise WorldConfigurationError(
            "the service would not start:\n" + "\n".join(faults[:MOST_FAULTS]) + more + "\nName what is missing in the "
            "project's requirements, or with --include"
        )


def _document(project: Project, python: str, version: str, namespaces: Sequence[str]) -> bytes:
    """What `wdk_cloud.bundle` reads."""
    said = {
        "app": project.spec,
        "code_version": version,
        "namespaces": list(namespaces),
        "python": python,
        "wdk_cloud": metadata.version("wdk-cloud"),
    }
    return (json.dumps(said, indent=1, sort_keys=True) + "\n").encode()


def _write(folder: Path, contents: Mapping[str, Path | bytes], done: Callable[[], None]) -> tuple[str, int]:
    """Beside the folder first, so that there is never half of one; somebody may build at the same time. Its hash and
    size."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        unfinished = Path(beside, folder.name)
        for name in sorted(contents):
            content = contents[name]
            path = unfinished / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            done()
        hashed = _digest({name: unfinished / name for name in contents})
        shutil.rmtree(folder, ignore_errors=True)
        try:
            unfinished.rename(folder)
        except OSError as error:
            raise WorldUnavailableError(
                f"{folder} cannot be replaced ({error.strerror}): perhaps another build was quicker; do it again"
            ) from None
    return hashed


def _digest(contents: Mapping[str, Path | bytes]) -> tuple[str, int]:
    """The hash is of names and content; and the bytes in all."""
    digest, size = hashlib.sha256(), 0
    for name in sorted(contents):
        content = contents[name]
        data = content if isinstance(content, bytes) else content.read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
        size += len(data)
    return digest.hexdigest(), size
