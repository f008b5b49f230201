"""The engines that are compared, each with its program, and the environments that the peers' programs run in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

PATIENCE = 180
"""Seconds for one environment; the slower one takes some twenty."""


class LeftOutError(Exception):
    """An engine that cannot be measured here, with the reason for the reader."""


@dataclass(frozen=True)
class Engine:
    name: str
    program: Path
    requirements: Path | None
    """Exact versions of all it needs; None for what runs in this environment."""

    @property
    def version(self) -> str | None:
        """The pinned version."""
        if self.requirements is None:
            return None
        lines = self.requirements.read_text().splitlines()
        return next(line.partition("==")[2] for line in lines if line.startswith(f"{self.name}=="))


OURS = Engine("wdk-cloud", HERE / "programs" / "with_wdk.py", None)
PEERS = (
    Engine("dbos", HERE / "programs" / "with_dbos.py", HERE / "requirements-dbos.txt"),
    Engine("vercel-workflow", HERE / "programs" / "with_vercel.py", HERE / "requirements-vercel.txt"),
)


def python_of(engine: Engine, folder: Path) -> str:
    """An interpreter that has what the engine needs, in an environment made under `folder`."""
    if engine.requirements is None:
        return sys.executable
    place = folder / engine.name
    python = place / ("Scripts" if sys.platform == "win32" else "bin") / "python"
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
        raise LeftOutError(f"{engine.name} {engine.version} could not be installed: {last}")
