"""The name of a project: of its folder, its package and, in a cloud, of what it deploys."""

from __future__ import annotations

import keyword
import re
import sys
from dataclasses import dataclass
from importlib.metadata import packages_distributions

from wdk_cloud.cli.console import UsageError

LONGEST = 40
"""Characters. Clouds put it before names of their own, and the strictest takes 64: a schedule group of EventBridge."""

TAKEN = frozenset(("build", "dist", "histories", "tests", "wdk_aws", "wdk_cloud", "wdk_gcp"))
"""Other folders of a project, and our own packages, also where an editable installation hides them."""

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Name:
    """`project` has hyphens, as clouds and package indexes like it; `package` has underscores."""

    project: str
    package: str


def name_of(folder: str) -> Name:
    """Raises UsageError for a name that cannot be imported, or would hide what is imported under it."""
    if not _NAME.fullmatch(folder) or len(folder) > LONGEST:
        raise UsageError(
            f"{folder!r} is the name of the folder, and cannot be that of a Python package, too; it takes small "
            f"letters and digits, in words joined by - or _, a letter first, {LONGEST} characters at most: "
            f"{_like(folder)}"
        )
    package = folder.replace("-", "_")
    if keyword.iskeyword(package):
        raise UsageError(f"{package} is a word of Python, and no package can have it as its name: {_like(folder)}")
    if package in TAKEN or package in sys.stdlib_module_names or package in packages_distributions():
        raise UsageError(
            f"a package {package} would hide the one of that name which is there already; take another name: "
            f"{_like(folder)}"
        )
    return Name(package.replace("_", "-"), package)


def _like(folder: str) -> str:
    """A name that would do, near to the one that does not."""
    words = re.findall(r"[a-z0-9]+", folder.lower())
    near = "-".join(words).lstrip("0123456789-")
    if near and near != folder and len(near) <= LONGEST and not keyword.iskeyword(near):
        return f"wdk init {near}"
    return f"wdk init my-{near}" if near and len(near) < LONGEST - 3 else "wdk init my-app"
