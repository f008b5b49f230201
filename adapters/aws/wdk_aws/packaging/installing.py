"""Other people's packages: wheels for the target's machine, as uv or pip choose and fetch them."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_aws.packaging.project import extras_of, name_of, normalized
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_aws.packaging.target import Target

OURS = ("wdk-cloud", "wdk-cloud-aws")

NOT_IN_A_FUNCTION = frozenset(("rich", "typer", "uvicorn"))
"""What our own distributions ask for and a function never imports: the command line's, and a server's."""

LAST_LINES = 12
"""Of what a tool said before it gave up; there it names the package."""


def own_requirements(extras: Iterable[str]) -> list[str]:
    """What our distributions ask for, with these extras of theirs, of others."""
    wanted = {"http", *extras}
    found: list[str] = []
    for distribution in OURS:
        for line in metadata.requires(distribution) or ():
            requirement, _, marker = line.partition(";")
            extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", marker)
            if name_of(requirement) in {*OURS, *NOT_IN_A_FUNCTION} or (extra and extra[1] not in wanted):
                continue
            found.append(requirement.strip() if extra else line)
    return found


def all_requirements(of_project: Iterable[str], extras: Iterable[str] = ()) -> list[str]:
    """Ours and the project's; extras that the project asks of our distributions are asked for."""
    of_project = list(of_project)
    asked = {extra for line in of_project if name_of(line) in OURS for extra in extras_of(line)}
    others = [line for line in of_project if name_of(line) not in OURS]
    return [*own_requirements({*extras, *asked}), *others]


def versions_here(besides: Iterable[str]) -> list[str]:
    """The versions of this environment, as constraints: what was tested is what runs. What the project pins by itself
    is left to it, and so is a version that no registry has."""
    pinned = {name_of(line) for line in besides if "==" in line}
    found = {normalized(one.name): one.version for one in metadata.distributions() if one.name}
    left_out = pinned.union(OURS)
    return sorted(f"{name}=={v}" for name, v in found.items() if name not in left_out and "+" not in v)


def install(requirements: list[str], target: Target, into: Path) -> None:
    """Raises WorldUnavailableError with what the tool said, WorldConfigurationError when there is no tool."""
    with tempfile.TemporaryDirectory(prefix="wdk-build-") as folder:
        wanted, known = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        wanted.write_text("".join(f"{line}\n" for line in requirements), "utf-8")
        known.write_text("".join(f"{line}\n" for line in versions_here(requirements)), "utf-8")
        files = ["--requirement", str(wanted), "--constraint", str(known), "--target", str(into)]
        done = subprocess.run(  # noqa: S603 -- a tool of this machine, with words of ours
            [*_tool(target), "--only-binary", ":all:", *files], capture_output=True, text=True, check=False
        )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:])
        raise WorldUnavailableError(
            f"there are no wheels of all requirements for {target.runtime} on {target.architecture}. The versions are "
            f"those of this environment, unless the project's requirements say other ones with ==. The installer:\n"
            f"{said}"
        )


def uv() -> str | None:
    """Where it is, on the path or beside this Python."""
    beside = Path(sys.executable).with_name("uv")
    return shutil.which("uv") or (str(beside) if beside.exists() else None)


def _tool(target: Target) -> list[str]:
    tool = uv()
    if tool is not None:
        platform = ["--python-platform", target.uv_platform, "--python-version", target.python]
        return [tool, "pip", "install", "--quiet", "--no-compile-bytecode", "--python", sys.executable, *platform]
    if importlib.util.find_spec("pip") is None:
        raise WorldConfigurationError("neither uv nor pip is installed here, and one of them fetches the wheels")
    tags = [word for tag in target.pip_platforms for word in ("--platform", tag)]
    abis = ["--abi", target.abi.replace("cpython-", "cp"), "--abi", "abi3", "--abi", "none"]
    python = ["--implementation", "cp", "--python-version", target.python]
    return [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", *python, *tags, *abis]
