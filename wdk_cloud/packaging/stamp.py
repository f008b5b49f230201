"""The version of the code that is built: a time and a hash, as `wdk_cloud.engine.version` reads them.

The time says which of two versions is newer. A fresh clone gives its files the time of the clone, so that the same
code would have another version on each machine: hence the time of the last commit, where all is committed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def code_version(files: Mapping[str, Path], folder: Path) -> str:
    """Of the app's files, by their names in what is built; WDK_CODE_VERSION, if it is set, has the last word."""
    given = os.environ.get("WDK_CODE_VERSION", "").strip()
    if given:
        return given
    digest = hashlib.sha256()
    for name in sorted(files):
        data = files[name].read_bytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return f"{_time(files, folder):010d}.{digest.hexdigest()[:12]}"


def _time(files: Mapping[str, Path], folder: Path) -> int:
    """Of SOURCE_DATE_EPOCH (reproducible-builds.org), of the last commit, or of the newest file."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdigit():
        return int(given)
    paths = [str(path) for path in files.values()]
    if paths and _git(folder, "status", "--porcelain", "--ignored", "--", *paths) == "":
        committed = _git(folder, "log", "-1", "--format=%ct", "--", *paths) or ""
        if committed.isdigit():
            return int(committed)
    return max((int(path.stat().st_mtime) for path in files.values()), default=0)


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None where it or a repository is missing."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- git, words of ours
    return done.stdout.strip() if done.returncode == 0 else None
