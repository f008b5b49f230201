"""The user's project: the files of its app, and what it depends on."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging.imports import Modules, every

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NOT_CODE = frozenset(("__pycache__", "node_modules", "test", "tests", "venv"))
"""Folders that nothing which is deployed needs; those whose name begins with a dot are others."""

MADE = frozenset(("build", "dist"))
"""What builds write, unless it is a package of that name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Project:
    """`spec` is what WDK_APP says; `include` names more files and folders, for what no import leads to."""

    folder: Path
    spec: str
    include: Sequence[str] = ()
    requirements: Path | None = None
    """A file to read in place of the project's own."""

    @cached_property
    def modules(self) -> list[str]:
        """Those that the spec names."""
        names = [part.strip().partition(":")[0] for part in self.spec.split(",") if part.strip()]
        if not names or not all(_NAME.fullmatch(name) for name in names):
            raise WorldConfigurationError("which app? Set WDK_APP=module:app, or pass --app module:app")
        return names

    @cached_property
    def files(self) -> dict[str, Path]:
        """By their names in the zip: each package that the app's modules lie in or import from, whole; each module."""
        found: dict[str, Path] = {}
        for base in (self.folder, self.folder / "src"):
            below = _below(base)
            walked = Modules(below, lambda name, below=below: below[name].read_bytes())
            roots = [name for name in self.modules if walked.has(name)]
            tops = {name.partition("/")[0] for name in walked.walk(roots, every).files}
            found |= {name: path for name, path in below.items() if name.partition("/")[0] in tops}
        for given in self.include:
            found |= self._included(given)
        return found

    def _included(self, given: str) -> dict[str, Path]:
        path = (self.folder / given).resolve()
        if not path.exists() or not path.is_relative_to(self.folder.resolve()):
            raise WorldConfigurationError(
                f"{given} of --include is nothing that lies in the project's folder {self.folder}; name what does"
            )
        inside = path.relative_to(self.folder.resolve())
        if path.is_file():
            return {inside.as_posix(): path}
        return {(inside / inner).as_posix(): file for inner, file in _below(path).items()}

    @cached_property
    def depends_on(self) -> list[str]:
        """The lines of the requirements file, or else the dependencies that pyproject.toml declares."""
        beside = self.folder / "requirements.txt"
        file = self.requirements or (beside if beside.exists() else None)
        if file is not None:
            return list(_lines(file))
        declared = self.folder / "pyproject.toml"
        return _declared(declared) if declared.exists() else []


def _below(folder: Path) -> dict[str, Path]:
    """The files of a folder that may be code or data of it, by their paths in it.

    Links are followed, but for one that leads nowhere, and one back to a folder that it lies in: that has no end.
    """
    found: dict[str, Path] = {}
    waiting = [(folder, frozenset((folder.resolve(),)))] if folder.is_dir() else []
    while waiting:
        inside, above = waiting.pop()
        for path in _listed(inside):
            if path.name.startswith(".") or path.suffix == ".pyc":
                continue
            if path.is_file():
                found[_name_of(path.relative_to(folder))] = path
            elif path.is_dir() and _may_be_code(path) and (real := path.resolve()) not in above:
                waiting.append((path, above | {real}))
    return found


def _name_of(path: Path) -> str:
    name = path.as_posix()
    try:
        name.encode()
    except UnicodeEncodeError:
        raise WorldConfigurationError(
            f"the name of the file {name!r} is not written in UTF-8; give it one that is"
        ) from None
    return name


def _may_be_code(folder: Path) -> bool:
    if folder.name in NOT_CODE or (folder / "pyvenv.cfg").exists():
        return False
    return folder.name not in MADE or (folder / "__init__.py").exists()


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise WorldConfigurationError(
            f"the folder {folder} cannot be read: {error.strerror}; move it out of the project, whose files are packed"
        ) from None


def _declared(file: Path) -> list[str]:
    """What a pyproject.toml says that the project depends on."""
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorldConfigurationError(
            f"{file} is not valid TOML: {error}; write it so that pip, too, can read it"
        ) from None
    project: object = document.get("project", {})
    said: object = cast("dict[str, Any]", project).get("dependencies", []) if isinstance(project, dict) else None
    if not isinstance(said, list):
        raise WorldConfigurationError(
            f"{file} has no list `dependencies` in a table `[project]`; write it so that pip, too, can read it"
        )
    return [str(line) for line in cast("list[object]", said)]


def _lines(file: Path, above: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Of a requirements file, with those of the files that it names, without comments and hashes. `above` are the files
    by which it was named: pip, too, reads each once."""
    real = file.resolve()
    if real in above:
        return
    try:
        text = file.read_text("utf-8")
    except OSError as error:
        raise WorldConfigurationError(
            f"the requirements file {file} cannot be read: {error.strerror}; name one that can, with --requirements"
        ) from None
    except UnicodeDecodeError:
        raise WorldConfigurationError(
            f"the requirements file {file} is not written in UTF-8, as PowerShell writes what `>` is given; save it as "
            "UTF-8, or name another one with --requirements"
        ) from None
    for raw in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"(^|\s)#.*$", "", raw).strip()
        line = re.sub(r"\s--hash=\S+", "", line).strip()
        other = re.fullmatch(r"(?:-r|--requirement)[ =](.+)", line)
        if other is not None:
            yield from _lines(file.parent / other[1].strip(), above | {real})
        elif line.startswith(("-e", "--editable", ".", "/", "file:")) or re.search(r"\s@\s*file:", line):
            raise WorldConfigurationError(
                f"{file}: {line!r} is a folder of this machine, and what is built is for another one; let the app "
                "import it from the project's own folder, or, for AWS, build a wheel of it and name its folder with "
                "--find-links"
            )
        elif line:
            yield line


def name_of(requirement: str) -> str:
    """The normalized name of a requirement; "" of a line that is an option."""
    found = _NAME.match(requirement)
    return normalized(found[0]) if found is not None else ""


def extras_of(requirement: str) -> set[str]:
    found = re.match(r"[A-Za-z0-9._-]+\s*\[([^\]]*)\]", requirement)
    return {extra.strip() for extra in found[1].split(",")} if found is not None else set()


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
