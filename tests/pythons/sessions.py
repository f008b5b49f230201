"""Test sessions of other Pythons: which tests they run, and what became of each."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

CACHE = ROOT / ".pythons"
"""What other Pythons need, and what they have compiled."""

UNIT = [f"tests/unit/test_{name}.py" for name in ("guard", "loop", "replay", "closing", "slices")]
"""What leans on CPython's internals."""

E2E = [f"tests/e2e/test_{name}.py" for name in ("sandbox", "idioms")]
"""What bodies may and may not do, on a whole engine."""

CHOSEN = [*UNIT, *E2E, "-k", "not elsewhere and not cloudrun"]
"""Not in a second process besides, nor on Cloud Run, which needs Google's clients: the Python that runs the tests does
that."""

PATIENCE = 240
"""Seconds that a session may take: twenty times what it takes on a machine that has nothing else to do."""


def run(
    command: Sequence[str], file: Path | str, arguments: Iterable[str], written: Path | None = None
) -> dict[str, str]:
    """What became of each test in a session with these arguments: "passed", "failed", or why it was skipped.

    `command` ends where pytest's arguments begin; `file`, which it knows by that name, is `written` here.
    """
    written = written or Path(file)
    written.unlink(missing_ok=True)
    options = ["-p", "tests.pythons.outcomes", f"--outcomes={file}", "-p", "no:cacheprovider", "--tb=short", "--quiet"]
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(CACHE / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [*command, *options, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    assert written.exists(), f"the session did not come to its end:\n{output}"
    assert done.returncode == 0, output
    outcomes: dict[str, str] = json.loads(written.read_text())
    return outcomes


def unproven(outcomes: dict[str, str], chosen: Iterable[str], minor: int) -> dict[str, str]:
    """Of the chosen tests those that did not pass, but for what came with a later Python than 3.`minor`."""
    became = {test: outcomes.get(test, "not there") for test in chosen}
    return {test: outcome for test, outcome in became.items() if outcome != "passed" and not _later(outcome, minor)}


def _later(reason: str, minor: int) -> bool:
    versions = re.findall(r"\b3\.(\d+)\b", reason)
    return bool(versions) and min(map(int, versions)) > minor
