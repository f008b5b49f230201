"""The tools that a deployment calls: whether they are here, and what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from wdk_cloud.cli.console import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

INSTALLING = {
    "terraform": "https://developer.hashicorp.com/terraform/install",
    "gcloud": "https://cloud.google.com/sdk/docs/install",
    "docker": "https://docs.docker.com/engine/install; or let Google build the image: --builder cloud",
}

LAST_LINES = 12
"""Of what a tool said before it gave up."""

QUIET = {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}
"""They ask nobody, neither the user nor their makers."""


def refuse_missing(names: Sequence[str]) -> None:
    """Raises UsageError that says of each tool which is not here where it comes from."""
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        lines = [f"{name} is not in the PATH: {INSTALLING[name]}" for name in missing]
        raise UsageError("nothing was deployed or changed:\n" + "\n".join(lines))


def tried(words: Sequence[str]) -> bool:
    """Whether it went well; for questions whose answer may be no."""
    return _run(words, captured=True).returncode == 0


def asked(words: Sequence[str], what: str) -> str:
    """What it said. Raises CommandError with its own words; `what` was to be done."""
    done = _run(words, captured=True)
    if done.returncode:
        said = "\n".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-LAST_LINES:])
        raise CommandError(f"{what}: {words[0]} says\n{said}")
    return done.stdout


def shown(words: Sequence[str], what: str) -> None:
    """What it says is the user's to see, as it comes. Raises CommandError."""
    done = _run(words, captured=False)
    if done.returncode:
        raise CommandError(f"{what}: {words[0]} ended with {done.returncode}; it says why above")


def _run(words: Sequence[str], *, captured: bool) -> subprocess.CompletedProcess[str]:
    program = shutil.which(words[0]) or words[0]
    return subprocess.run(  # noqa: S603 -- one of INSTALLING, with words of ours and names that were checked
        [program, *words[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=captured,
        text=True,
        check=False,
        env={**os.environ, **QUIET},
    )


def in_folder(folder: Path, *words: str) -> list[str]:
    """A call of terraform for what lies there."""
    return ["terraform", f"-chdir={folder}", *words]
