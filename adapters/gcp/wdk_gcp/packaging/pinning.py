"""Other people's packages: which versions the image installs, with the hashes of their wheels."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.packaging import requirements
from wdk_gcp.packaging.wheels import OURS

MACHINE = "x86_64"
"""Cloud Run has no other."""

GLIBC = 28
"""Of 2.x: that of the image is newer (2.36 on Debian 12), and wheels are made for no newer one yet."""

LAST_LINES = 12
"""Of what a tool said before it gave up; there it names the package."""

OF_FOLDERS = ("--find-links", "-f ")
"""How a line of requirements begins that names a folder of wheels."""

OF_THE_COMMAND_LINE: frozenset[str] = frozenset()
"""Nothing of what our distributions ask for is left out: `wdk` works in the image, too."""


def all_requirements(of_project: list[str], extras: list[str]) -> list[str]:
    return requirements.all_requirements(tuple(OURS), OF_THE_COMMAND_LINE, of_project, extras)


def pinned(lines: list[str], python: str) -> str:
    """The content of the image's requirements.txt.

    Raises WorldUnavailableError with what the tool said, WorldConfigurationError when there is no tool, or for wheels
    that the image would not get.
    """
    for line in lines:
        if line.startswith(OF_FOLDERS):
            raise WorldConfigurationError(
                f"{line!r} names wheels of this machine, and the image is made where they are not; let the app import "
                "what is in them from the project's own folder"
            )
    with tempfile.TemporaryDirectory(prefix="wdk-build-") as folder:
        wanted, known = Path(folder, "requirements.in"), Path(folder, "constraints.txt")
        wanted.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        known.write_text("".join(f"{line}\n" for line in requirements.versions_here(tuple(OURS), lines)), "utf-8")
        command, read = _tool(python, folder)
        done = subprocess.run(  # noqa: S603 -- a tool of this machine, with words of ours
            [*command, "--constraint", str(known), *read, str(wanted)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-LAST_LINES:])
        raise WorldUnavailableError(
            f"there are no wheels of all requirements for Python {python} on {MACHINE}. The versions are those of this "
            f"environment, unless the project's requirements say other ones with ==. The installer:\n{said}"
        )
    return _lines_of(json.loads(done.stdout)) if command[0] == sys.executable else _tidy(done.stdout)


def _tool(python: str, folder: str) -> tuple[list[str], list[str]]:
    """The command, and what comes before the file. `folder` is a place for nothing: without one pip looks for no other
    machine's wheels."""
    beside = Path(sys.executable).with_name("uv")
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv is not None:
        platform = ["--python-platform", f"{MACHINE}-manylinux_2_{GLIBC}", "--python-version", python]
        said = ["--generate-hashes", "--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links"]
        return [uv, "pip", "compile", "--quiet", "--only-binary", ":all:", *platform, *said], []
    if importlib.util.find_spec("pip") is None:
        raise WorldConfigurationError("neither uv nor pip is installed here, and one of them finds the wheels")
    tags = [f"manylinux_2_{minor}_{MACHINE}" for minor in range(GLIBC, 16, -1)] + [f"manylinux2014_{MACHINE}"]
    platform = [word for tag in tags for word in ("--platform", tag)]
    target = ["--implementation", "cp", "--python-version", python, "--abi", f"cp{python.replace('.', '')}"]
    asked = [
        "--quiet",
        "--dry-run",
        "--ignore-installed",
        "--only-binary",
        ":all:",
        "--report",
        "-",
        "--target",
        folder,
    ]
    abis = ["--abi", "abi3", "--abi", "none"]
    return [sys.executable, "-m", "pip", "install", *asked, *platform, *target, *abis], ["--requirement"]


def _tidy(text: str) -> str:
    """Without options that are this machine's."""
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip() and not line.startswith("--"))


def _lines_of(report: dict[str, Any]) -> str:
    """Of pip's installation report (https://pip.pypa.io/en/stable/reference/installation-report/)."""
    found: dict[str, str] = {}
    for one in report["install"]:
        digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
        found[one["metadata"]["name"].lower()] = f"=={one['metadata']['version']} --hash=sha256:{digest}"
    return "".join(f"{name}{found[name]}\n" for name in sorted(found))
