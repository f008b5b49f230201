"""The engines that are compared, what a commit of each survives, and the environments that the peers run in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

PATIENCE = 180
"""Seconds for one environment; the slower one takes some twenty."""

PROCESS, POWER = "the death of the process", "a power cut"


class LeftOutError(Exception):
    """An engine that cannot be measured here, with the reason for the reader."""


@dataclass(frozen=True)
class Engine:
    """An engine with one setting of what its commits wait for; the setting is a word that its program understands."""

    name: str
    package: str
    setting: str
    survives: str
    commits: str
    """How it writes, for the reader of the figures."""

    @property
    def is_ours(self) -> bool:
        return self.package == "wdk-cloud"

    @property
    def program(self) -> Path:
        return HERE / "programs" / f"with_{_short(self.package)}.py"

    @property
    def requirements(self) -> Path | None:
        """Exact versions of all it needs; None for what runs in this environment."""
        return None if self.is_ours else HERE / f"requirements-{_short(self.package)}.txt"

    @property
    def version(self) -> str | None:
        """The pinned version."""
        if self.requirements is None:
            return None
        lines = self.requirements.read_text().splitlines()
        return next(line.partition("==")[2] for line in lines if line.startswith(f"{self.package}=="))


def _short(package: str) -> str:
    return package.partition("-")[0]


OURS = (
    Engine("wdk-cloud", "wdk-cloud", "normal", PROCESS, "SQLite, write-ahead log, synchronous=NORMAL (its default)"),
    Engine("wdk-cloud-full", "wdk-cloud", "full", POWER, "SQLite, write-ahead log, synchronous=FULL"),
)
PEERS = (
    Engine("dbos", "dbos", "default", POWER, "SQLite, rollback journal, synchronous=FULL (its default, and SQLite's)"),
    Engine("dbos-normal", "dbos", "normal", PROCESS, "SQLite, write-ahead log, synchronous=NORMAL (set by us)"),
    Engine(
        "vercel-workflow", "vercel-workflow", "default", PROCESS, "a new file for each record, no fsync (its only way)"
    ),
)


def beside(peer: Engine) -> Engine:
    """Ours whose commits survive the same."""
    return next(engine for engine in OURS if engine.survives == peer.survives)


def python_of(engine: Engine, folder: Path) -> str:
    """An interpreter that has what the engine needs, in an environment made under `folder` by the first who asks."""
    if engine.requirements is None:
        return sys.executable
    place = folder / engine.package
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not place.exists():
        _do(engine, sys.executable, "-m", "venv", str(place))
        _do(engine, str(python), "-m", "pip", "install", "--quiet", "--requirement", str(engine.requirements))
    return str(python)


def _do(engine: Engine, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise LeftOutError(f"its environment was not ready after {PATIENCE} s") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LeftOutError(f"{engine.package} {engine.version} could not be installed: {last}")
