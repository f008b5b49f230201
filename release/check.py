"""Whether all that names a version names the same one: `python release/check.py [TAG]`.

With a tag, whether a release may be made of it: then the changelog has a heading for the version, with a date.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = ("pyproject.toml", "adapters/aws/pyproject.toml", "adapters/gcp/pyproject.toml")
TEMPLATES = ("infra/aws/sam/template.yaml", "infra/aws/terraform/main.tf")

VERSION = re.compile(r"\d+\.\d+\.\d+")
REQUIRED = re.compile(r"^wdk-cloud(?:-\w+)?(?:\[[\w,]+\])?(.*)$")
TEMPLATE = re.compile(r"^ +(?:WDK_AWS_TEMPLATE:|template +=) +\"([^\"]*)\"", re.MULTILINE)
HEADING = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", re.MULTILINE)

UNRELEASED = "Unreleased"


def complaints(root: Path = ROOT, tag: str | None = None) -> list[str]:
    """What does not agree with the version in pyproject.toml, each with its file; empty if all does."""
    version = str(tomllib.loads((root / PROJECTS[0]).read_text())["project"]["version"])
    if not VERSION.fullmatch(version):
        return [f"{PROJECTS[0]}: version {version}, which is not three numbers"]
    found = [f"{file}: {said}, not {version}" for file, said, at in named(root) if at != version]
    found += history(root, version)
    if tag is not None:
        found += released(root, version, tag)
    return found


def named(root: Path) -> Iterator[tuple[str, str, str]]:
    """Every place that names it: the file, what stands there, the version."""
    for file in PROJECTS:
        project = tomllib.loads((root / file).read_text())["project"]
        yield file, f"version {project['version']}", project["version"]
        extras = project.get("optional-dependencies", {}).values()
        for wanted in [*project["dependencies"], *(one for extra in extras for one in extra)]:
            bound = REQUIRED.match(wanted)
            if bound is not None and not wanted.startswith(f"{project['name']}["):  # an extra may be made of others
                yield file, wanted, bound[1].removeprefix("==")
    for file in TEMPLATES:
        stated = TEMPLATE.findall((root / file).read_text())
        for at in stated or ["none"]:
            yield file, f"template {at}", at


def history(root: Path, version: str) -> list[str]:
    """What the changelog has against it: the newest heading is this version, or what will be."""
    headings: list[tuple[str, str]] = HEADING.findall((root / "CHANGELOG.md").read_text())
    newest, _ = headings[0] if headings else ("nothing", "")
    past = [name for name, _ in headings if name != UNRELEASED]
    if newest not in (UNRELEASED, version):
        return [f"CHANGELOG.md: the newest heading is {newest}, not {version} or {UNRELEASED}"]
    if newest == UNRELEASED and any(numbers(name) >= numbers(version) for name in past):
        return [f"CHANGELOG.md: {past[0]} is released; the next version has to be above it, and is {version}"]
    return []


def released(root: Path, version: str, tag: str) -> list[str]:
    """What stands against making a release of the tag."""
    found = [] if tag == f"v{version}" else [f"the tag is {tag}, not v{version}"]
    newest = HEADING.search((root / "CHANGELOG.md").read_text())
    if newest is None or newest[1] != version or newest[2] is None:
        found.append(f"CHANGELOG.md: the newest heading is not `## [{version}] - DATE`")
    return found


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


if __name__ == "__main__":
    sys.exit("\n".join(complaints(tag=sys.argv[1] if len(sys.argv) > 1 else None)) or None)
