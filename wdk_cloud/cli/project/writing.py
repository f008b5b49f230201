"""The files of a project, all of them or none."""

from __future__ import annotations

import re
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_cloud.cli.console import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

    from wdk_cloud.cli.project.naming import Name
    from wdk_cloud.cli.project.parts import Part

SUFFIX = ".template"
"""Of each of ours, so that no tool takes them for what they become."""

_PLACEHOLDER = re.compile(r"@([a-z]+)@")


def place_for(folder: Path) -> Path:
    """Where the project is going to be. Raises UsageError where there is something, or nothing to make it in."""
    place = folder.resolve()
    if place == Path.cwd():
        raise UsageError(
            "the project is moved into its place as a whole, which the current folder cannot be: name a folder to be "
            "made, as in `wdk init my-app`"
        )
    if place.is_dir():
        if any(place.iterdir()):
            raise UsageError(f"{folder} is not empty; nothing was written. Name a folder that is, or is not there yet")
    elif place.exists():
        raise UsageError(f"{folder} is a file; name a folder that is not there yet")
    elif not place.parent.is_dir():
        raise UsageError(f"there is no folder {place.parent} to make {place.name} in")
    return place


def texts(name: Name, part: Part, version: str) -> dict[str, str]:
    """Every file of the project, by its path in it."""
    known = {"name": name.project, "package": name.package, "version": version, "extra": part.extra}
    ending = {"rules": _filled(part.rules, known), "reading": _filled(part.reading, known)}
    ours = _below(files("wdk_cloud.cli.project") / "files")
    return {_filled(path, known): _filled(text, known | ending) for path, text in {**ours, **part.files}.items()}


def write(place: Path, contents: Mapping[str, str]) -> None:
    """Written beside its place and moved there in one step: who dies before leaves no half of a project."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as beside:
            made = Path(beside, place.name)
            for path, text in contents.items():
                file = made / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
            # An empty folder gives way; one that somebody has filled in the meantime does not, and neither does a file.
            made.rename(place)
    except OSError as error:
        raise CommandError(f"the project cannot be written to {place}: {error.strerror or error}") from None


def _filled(text: str, known: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: known.get(found[1], found[0]), text)


def _below(folder: Traversable, path: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for child in folder.iterdir():
        name = f"{path}{child.name}"
        if child.is_dir():
            found |= _below(child, f"{name}/")
        elif name.endswith(SUFFIX):
            found[name.removesuffix(SUFFIX)] = child.read_text("utf-8")
    return dict(sorted(found.items()))
