"""Clocks, medians, rounds, and the folder that the databases lie in."""

from __future__ import annotations

import gc
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Json, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

SHARED_MEMORY = Path("/dev/shm")  # the memory-backed file system of Linux; other systems get a temporary folder

ROOM = 256 * 1024 * 1024
"""Bytes that have to be free there: the databases of one benchmark take less than half of it."""


@dataclass(frozen=True)
class Cost:
    """Seconds of one measurement: on the wall, and of this process on its processors, all its threads together."""

    wall: float
    cpu: float

    def each(self, count: int) -> Cost:
        return Cost(self.wall / count, self.cpu / count)

    def to_json(self) -> Json:
        return {"wall_ms": shortened(self.wall * 1000), "cpu_ms": shortened(self.cpu * 1000)}


class Stopwatch:
    """`with Stopwatch() as watch: …`, then `watch.cost`. What was left to collect is collected before it starts."""

    def __enter__(self) -> Stopwatch:
        gc.collect()
        self._cpu = time.process_time()
        self._wall = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cost = Cost(time.perf_counter() - self._wall, time.process_time() - self._cpu)


@dataclass(frozen=True)
class Series:
    """The same measurement in several rounds."""

    costs: Sequence[Cost]

    @property
    def median(self) -> Cost:
        return Cost(statistics.median(c.wall for c in self.costs), statistics.median(c.cpu for c in self.costs))

    def multiple_of(self, floor: Series) -> Cost:
        """The median of the rounds' ratios: what disturbed a round disturbed both of its halves."""
        pairs = list(zip(self.costs, floor.costs, strict=True))
        return Cost(
            statistics.median(ours.wall / theirs.wall for ours, theirs in pairs),
            statistics.median(ours.cpu / theirs.cpu for ours, theirs in pairs),
        )


def in_turns(rounds: int, *measured: Callable[[], Cost]) -> list[Series]:
    """Measure each in turn, again and again; every second round goes backwards, so that none is always the first."""
    costs: list[list[Cost]] = [[] for _ in measured]
    for number in range(rounds):
        order = list(enumerate(measured))
        for place, measure in reversed(order) if number % 2 else order:
            costs[place].append(measure())
    return [Series(series) for series in costs]


# --- where the data lie ---------------------------------------------------------------------------------------------


@dataclass
class Folder:
    """Where the databases of this benchmark lie; each measurement gets a file of its own."""

    path: Path
    in_memory: bool
    _made: int = 0

    def new_database(self) -> Path:
        self._made += 1
        return self.path / f"{os.getpid()}-{self._made}.db"

    def clear(self) -> None:
        """Remove the files of measurements that are over: memory is not endless."""
        for file in self.path.iterdir():
            file.unlink()

    def to_json(self) -> Json:
        return {"folder": str(self.path.parent), "memory_backed": self.in_memory}


@contextmanager
def data_folder(on_disk: Path | None = None) -> Generator[Folder]:
    in_memory = on_disk is None and _has_room(SHARED_MEMORY)
    with tempfile.TemporaryDirectory(prefix="wdk-bench-", dir=SHARED_MEMORY if in_memory else on_disk) as path:
        yield Folder(Path(path), in_memory)


def _has_room(path: Path) -> bool:
    if not path.is_dir() or not os.access(path, os.W_OK):
        return False
    there = os.statvfs(path)
    return there.f_bavail * there.f_frsize >= ROOM


def machine() -> Json:
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "system": platform.system(),
        "architecture": platform.machine(),
        "cores": os.cpu_count() or 0,
        "sqlite": sqlite3.sqlite_version,
    }
