"""What an app and our own distributions need of others, and at which versions."""

from __future__ import annotations

import re
from importlib import metadata
from typing import TYPE_CHECKING

from wdk_cloud.packaging.project import extras_of, name_of, normalized

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


def own_requirements(ours: Collection[str], needless: Collection[str], extras: Iterable[str]) -> list[str]:
    """What these distributions of ours ask for, with these extras of theirs, of others. `needless` are those of it that
    what is built never imports."""
    wanted = {"http", *extras}
    found: list[str] = []
    for distribution in ours:
        for line in metadata.requires(distribution) or ():
            requirement, _, marker = line.partition(";")
            extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
            if name_of(requirement) in {*ours, *needless} or (extra and extra[1] not in wanted):
                continue
            found.append(requirement.strip() if extra else line)
    return found


def all_requirements(
    ours: Collection[str], needless: Collection[str], of_project: Iterable[str], extras: Iterable[str] = ()
) -> list[str]:
    """Ours and the project's; extras that the project asks of our distributions are asked for."""
    of_project = list(of_project)
    asked = {extra for line in of_project if name_of(line) in ours for extra in extras_of(line)}
    others = [line for line in of_project if name_of(line) not in ours]
    return [*own_requirements(ours, needless, {*extras, *asked}), *others]


def versions_here(ours: Collection[str], besides: Iterable[str]) -> list[str]:
    """The versions of this environment, as constraints: what was tested is what runs. What the project pins by itself
    is left to it, and so is a version that no registry has."""
    pinned = {name_of(line) for line in besides if "==" in line}
    found = {normalized(one.name): one.version for one in metadata.distributions() if one.name}
    left_out = pinned.union(ours)
    return sorted(f"{name}=={v}" for name, v in found.items() if name not in left_out and "+" not in v)
