"""Wheels and sdists of the three distributions: `python release/build.py FOLDER`. The same commit gives the same files.

Each sdist is made from the checkout and its wheel from the sdist: what is published is enough to make it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import uv

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = (".", "adapters/aws", "adapters/gcp")
EPOCH = "SOURCE_DATE_EPOCH"


def build(folder: Path, root: Path = ROOT) -> list[Path]:
    """The files, by name. Raises FileExistsError for a folder in which there is something: a release is all of it."""
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: remove it, or name another folder")
    environ = {**dated(root), **os.environ}
    for project in PROJECTS:
        # Without isolation it is the builder of requirements/dev.txt, at one version, and not the newest there is.
        options = ["--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", str(folder)]
        command = [uv.find_uv_bin(), "build", *options, project]
        subprocess.run(command, cwd=root, env=environ, check=True)  # noqa: S603 -- nothing from outside is in it
    return sorted([*folder.glob("*.whl"), *folder.glob("*.tar.gz")])


def dated(root: Path) -> dict[str, str]:
    """The time of the commit, for the entries of the archives; without git the builder has a date of its own."""
    command = ["git", "log", "-1", "--format=%ct"]
    try:
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)  # noqa: S603 -- as above
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {EPOCH: said.stdout.strip()}


def main(folder: Path) -> str | None:
    """What is wrong, or None."""
    try:
        built = build(folder)
    except FileExistsError as error:
        return f"error: {error}"
    except subprocess.CalledProcessError as error:
        return f"error: {error.cmd[-1]} cannot be built; the builder's words are above"
    print(*built, sep="\n")  # noqa: T201 -- what was asked for
    return None


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
