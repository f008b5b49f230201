"""Fresh processes: a module of this package run as a program, which prints one JSON value."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks.figures import Json

PATIENCE = 120.0
"""Seconds after which something must have gone wrong."""

ENVIRONMENT = {**os.environ, "PYTHONHASHSEED": "0"}


def ask(module: str, *words: str) -> dict[str, Any]:
    """What `python -m benchmarks.<module> <words>` prints."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, env=ENVIRONMENT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
    return json.loads(done.stdout)


def answer(value: Json) -> None:
    print(json.dumps(value))
