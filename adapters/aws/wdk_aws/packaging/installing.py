"""Other people's packages: wheels for the target's machine, as uv or pip choose and fetch them."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.packaging import requirements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_aws.packaging.target import Target

OURS = ("wdk-cloud", "wdk-cloud-aws")

NOT_IN_A_FUNCTION = frozenset(("pyyaml", "rich", "typer", "uvicorn"))
"""What our own distributions ask for and a function never imports: the command line's, and a server's."""

LAST_LINES = 12
"""Of what a tool said before it gave up; there it names the package."""


def all_requirements(of_project: Iterable[str], extras: Iterable[str] = ()) -> list[str]:
    """What the function needs of others."""
    return requirements.all_requirements(OURS, NOT_IN_A_FUNCTION, of_project, extras)


def install(lines: list[str], target: Target, into: Path) -> None:
    """Raises WorldUnavailableError with what the tool said, WorldConfigurationError when there is no tool."""
    with tempfile.TemporaryDirectory(prefix="wdk-build-") as folder:
        wanted, known = Path(folder, "requirements.txt"), Path(folder, "constraints.txt")
        wanted.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        known.write_text("".join(f"{line}\n" for line in requirements.versions_here(OURS, lines)), "utf-8")
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
