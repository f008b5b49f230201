"""The clouds that a project can be for: those whose adapters are installed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.resources import files
from typing import TYPE_CHECKING

from wdk_cloud.cli.console import CommandError, UsageError
from wdk_cloud.cli.project.writing import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoint

    from wdk_cloud.cli.project.naming import Name

GROUP = "wdk_cloud.projects"

NONE = "none"
"""What `--cloud` says for a project that runs on machines of one's own."""

INSTALL = 'an adapter brings its own: pip install "wdk-cloud[aws]" or "wdk-cloud[gcp]"'


@dataclass(frozen=True, slots=True)
class Part:
    """What a cloud adds to a new project. All texts may have placeholders."""

    extra: str
    """The extra of wdk-cloud that the project requires."""
    files: Mapping[str, str]
    """By their paths in the project."""
    rules: str = ""
    """The end of the Makefile."""
    reading: str = ""
    """The end of the README."""
    names: Mapping[str, str] = field(default_factory=dict[str, str])
    """Patterns of the names that the cloud takes, where it takes fewer than `wdk init` does, and what it says of
    others; the name stands before that."""

    def check(self, name: Name) -> None:
        """Raises UsageError for a name that the cloud would refuse when it is deployed."""
        for pattern, refusal in self.names.items():
            if not re.search(pattern, name.project):
                raise UsageError(f"nothing was written: {name.project!r} {refusal}")


HERE = Part("http", {})


def text_of(package: str, name: str) -> str:
    """One of the texts that an adapter keeps in the folder `starter` of this package."""
    return (files(package) / "starter" / f"{name}{SUFFIX}").read_text("utf-8")


def chosen(cloud: str | None, iac: str | None) -> Part:
    """The part of `--cloud` and `--iac`. Raises UsageError that says what there is, when it is not that.

    Unless named, the cloud is the one whose adapter is installed, and the way to describe it the first of that cloud.
    """
    known = _known()
    if cloud is None:
        cloud = _only(known)
    if cloud == NONE:
        if iac is not None:
            raise UsageError(f"--iac {iac} is for a cloud, and this project has none; name one with --cloud")
        return HERE
    if cloud not in known:
        raise UsageError(f"there is no --cloud {cloud} here; there are: {_listed([*known, NONE])}; {INSTALL}")
    ways = known[cloud]
    if iac is not None and iac not in ways:
        raise UsageError(f"there is no --iac {iac} for {cloud}; there is: {_listed(ways)}")
    return _loaded(ways[iac or min(ways)])


def _known() -> dict[str, dict[str, EntryPoint]]:
    found: dict[str, dict[str, EntryPoint]] = {}
    for point in sorted(entry_points(group=GROUP)):
        cloud, _, iac = point.name.partition(".")
        found.setdefault(cloud, {})[iac] = point
    return found


def _only(known: Mapping[str, object]) -> str:
    match list(known):
        case []:
            return NONE
        case [cloud]:
            return cloud
        case several:
            raise UsageError(f"which cloud is it for? Name it with --cloud: {_listed([*several, NONE])}")


def _loaded(point: EntryPoint) -> Part:
    try:
        make: Callable[[], Part] = point.load()
        return make()
    except Exception as error:
        raise CommandError(f"{point.value} ({GROUP}) cannot be loaded: {type(error).__name__}: {error}") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
