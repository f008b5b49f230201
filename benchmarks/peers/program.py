"""One engine's program as a process that is asked for one measurement after the other."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.peers.engines import LeftOutError

if TYPE_CHECKING:
    from pathlib import Path

LOADED = 60.0
"""Seconds until a program serves; the slowest takes two."""


@dataclass(frozen=True)
class Sample:
    """Of one run, in seconds: to the body of its last step, to its result, and of the process's processor time."""

    last_step: float
    result: float
    cpu: float


class Program:
    """Started when it is entered. What does not answer in time is killed, and raises LeftOutError ever after."""

    def __init__(self, python: str, program: Path, data: Path, setting: str = "default") -> None:
        self._command = [python, str(program), str(data), setting]
        self._data = data
        self._dead: str | None = None

    def __enter__(self) -> Program:
        self._data.mkdir()
        self._complaints = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would stop it when full
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        try:
            self._line(LOADED)
        except LeftOutError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.close()  # the end of its input ends it
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._complaints.close()

    def run(self, workload: str, steps: int, limit: float) -> Sample:
        if self._dead is None:
            assert self._process.stdin is not None
            self._process.stdin.write(f"{workload} {steps}\n")
            self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._line(limit))
        return Sample(**said)

    def _line(self, limit: float) -> str:
        if self._dead is not None:
            raise LeftOutError(self._dead)
        assert self._process.stdout is not None
        timer = threading.Timer(limit, self._expire, [limit])
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            return line
        self._process.wait()
        if self._dead is None:
            self._complaints.seek(0)
            last = (self._complaints.read().strip().splitlines() or ["no message"])[-1]
            self._dead = f"its program ended: {last}"
        raise LeftOutError(self._dead)

    def _expire(self, limit: float) -> None:
        self._dead = f"not done after {limit:g} s"
        self._process.kill()
