"""Which files go into the zip."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_aws.packaging.binaries import HEADER, fault, is_compiled
from wdk_aws.packaging.installing import OURS
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging.imports import Modules, every, top_of
from wdk_cloud.packaging.project import normalized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from wdk_aws.packaging.target import Target
    from wdk_cloud.packaging.imports import Import, Reach
    from wdk_cloud.packaging.project import Project

HANDLER = "wdk_aws.handler"

PACKAGES = ("wdk_cloud", "wdk_aws")

OWN_LEFT_OUT = (
    *("wdk_aws/checkup/", "wdk_aws/commands.py", "wdk_aws/iam.py", "wdk_aws/mapping.py", "wdk_aws/polling.py"),
    *("wdk_aws/deploying/", "wdk_aws/packaging/", "wdk_aws/testing/"),
    *("wdk_cloud/cli/", "wdk_cloud/packaging/", "wdk_cloud/testing/", "wdk_cloud/web/"),
)
"""What serves the command line and tests."""

NEVER_LOADED = (".c", ".cpp", ".h", ".hpp", ".pxd", ".pyc", ".pyi", ".pyx")
"""What compiled modules were made from, what type checkers read, and caches of another Python."""

KEPT_METADATA = frozenset(("METADATA", "entry_points.txt"))
"""Of a `.dist-info` folder: what `importlib.metadata` is asked for at run time."""

SERVICES = frozenset(("dynamodb", "kms", "s3", "scheduler", "sqs", "sts"))
"""Whose descriptions the AWS world reads: botocore has those of 400, which make three quarters of a function."""

SDK = frozenset(("boto3", "botocore", "s3transfer", "wdk_aws"))
"""Who imports boto3 without wanting another service than those."""

POWERTOOLS = "aws_lambda_powertools"
"""Of which we use what needs no service, and others may use more."""

OF_EXTRAS = frozenset(("cryptography", "opentelemetry", "pydantic"))
"""What our functions import when an extra is used; they say by themselves when it is not installed."""

MOST_FAULTS = 20
"""Lines of one error: more of them say nothing new."""

Contents = dict[str, "Path | bytes"]


@dataclass(frozen=True, slots=True)
class Rooms:
    """Where files come from: `project`'s, `installed` by the installer, and ours."""

    project: Mapping[str, Path]
    installed: Mapping[str, Path]
    own: Mapping[str, Path | bytes]


def own_files() -> Contents:
    """Our two packages as they lie here, in a checkout or installed, with what is asked of their metadata."""
    found: Contents = {}
    for package in PACKAGES:
        folder = Path(sys.modules[package].__path__[0])  # this module lies in one of them, and imports both
        for path in folder.rglob("*"):
            name = f"{package}/{path.relative_to(folder).as_posix()}"
            if path.is_file() and not name.startswith(OWN_LEFT_OUT) and not _is_noise(name):
                found[name] = path
    for name in OURS:
        distribution = metadata.distribution(name)
        folder_name = f"{normalized(name).replace('-', '_')}-{distribution.version}.dist-info"
        for kept in sorted(KEPT_METADATA):
            if text := distribution.read_text(kept):
                found[f"{folder_name}/{kept}"] = text.encode()
    return found


def installed_files(folder: Path) -> dict[str, Path]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path for name, path in found.items() if not _is_noise(name)}


def choose(rooms: Rooms, roots: Iterable[str], requirements: Iterable[str]) -> Contents:
    """Everything but tests that nothing imports, and the descriptions of services that nothing can ask for."""
    everything: Contents = {**rooms.installed, **rooms.own, **rooms.project}
    reach = Modules(everything, _reader(everything)).walk([HANDLER, *roots], every)
    all_services = _wants_services(reach) or any(name in SDK for name in requirements)

    def wanted(name: str) -> bool:
        parts = name.split("/")
        if name in rooms.project or name in reach.files:
            return True
        if {"test", "tests"} & set(parts[1:-1]):
            return any(file.startswith("/".join(parts[:-1])) for file in reach.files)
        is_description = parts[:2] == ["botocore", "data"] and len(parts) > 3
        return all_services or not is_description or parts[2] in SERVICES

    return {name: content for name, content in everything.items() if wanted(name)}


def check(contents: Mapping[str, Path | bytes], project: Project, target: Target) -> None:
    """Raises WorldConfigurationError that names each import that leads nowhere and each module for another machine."""
    faults = missing(contents, project, target)
    for name in sorted(contents):
        if is_compiled(name):
            content = contents[name]
            start = content[:HEADER] if isinstance(content, bytes) else _start_of(content)
            if (wrong := fault(name, start, target)) is not None:
                faults.append(wrong)
    if faults:
        more = f"\n… and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise WorldConfigurationError(
            "the function would not start:\n" + "\n".join(faults[:MOST_FAULTS]) + more + "\nName what is missing in "
            "the project's requirements, or with --include"
        )


def _wants_services(reach: Reach) -> bool:
    """Whether anybody may ask boto3 for a service of his own: by himself, or with Powertools."""
    by_itself = {name for sdk in ("boto3", "botocore") for name in reach.importers.get(sdk, ())} - SDK - {POWERTOOLS}
    return bool(by_itself or reach.importers.get(POWERTOOLS, set[str]()) - {POWERTOOLS, "wdk_aws"})


def missing(contents: Mapping[str, Path | bytes], project: Project, target: Target) -> list[str]:
    """A line for each import that the handler or the app needs and that leads nowhere.

    Functions count where the code is ours or the project's; in those of other packages they look for their extras.
    """
    ours = {*PACKAGES, *map(top_of, project.files)}

    def follow(file: str, found: Import) -> bool:
        importer, top = top_of(file), top_of(found.name)
        return not (found.optional or (found.lazy and (importer not in ours or top in OF_EXTRAS)))

    standard = target.standard_library(sys.stdlib_module_names)
    return Modules(contents, _reader(contents)).walk([HANDLER, *project.modules], follow, standard).missing


def _reader(contents: Mapping[str, Path | bytes]) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        content = contents[name]
        return content if isinstance(content, bytes) else content.read_bytes()

    return read


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEADER)


def _is_noise(name: str) -> bool:
    parts = name.split("/")
    if "__pycache__" in parts or parts[0] == "bin" or parts[-1].startswith(".") or name.endswith(NEVER_LOADED):
        return True
    return parts[0].endswith(".dist-info") and (len(parts) > 2 or parts[-1] not in KEPT_METADATA)
