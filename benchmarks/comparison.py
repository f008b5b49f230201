"""One workload on `local`, on the floors of its writes, and on `memory`, by turns in one process.

A measurement begins with `start` on a fresh world whose worker is idle, and ends when the last message is acknowledged.
The metered passes come first; they also warm the process up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from benchmarks.floor import repeat
from benchmarks.measuring import Cost, Folder, Series, in_turns
from benchmarks.meter import Writes, per_step
from benchmarks.stage import count, measure

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from benchmarks.figures import Json
    from benchmarks.stage import Work


@dataclass(frozen=True)
class Compared:
    """What came out of it; each cost is that of one whole pass."""

    steps: int
    local: Series
    memory: Series
    floor: Series
    grouped: Series
    calls: dict[str, Counter[str]]
    writes: Writes

    @property
    def multiple(self) -> Cost:
        """`local` as a multiple of its floor, which commits each write by itself."""
        return self.local.multiple_of(self.floor)

    @property
    def multiple_of_grouped(self) -> Cost:
        """`local` as a multiple of the floor that groups its writes just as `local` did."""
        return self.local.multiple_of(self.grouped)

    def median(self, world: str) -> Cost:
        return (self.local if world == "local" else self.memory).median

    def to_json(self) -> Json:
        return {
            "steps": self.steps,
            "local": {
                "in_all": self.local.median.to_json(),
                "per_step": self.local.median.each(self.steps).to_json(),
                "floor_per_step": self.floor.median.each(self.steps).to_json(),
                "grouped_floor_per_step": self.grouped.median.each(self.steps).to_json(),
                "multiple_of_floor": _rounded(self.multiple),
                "multiple_of_grouped_floor": _rounded(self.multiple_of_grouped),
                **per_step(self.calls["local"], self.steps),
                "writes": self.writes.to_json(self.steps),
            },
            "memory": {
                "in_all": self.memory.median.to_json(),
                "per_step": self.memory.median.each(self.steps).to_json(),
                **per_step(self.calls["memory"], self.steps),
            },
        }


def compare(work: Work, *, steps: int, rounds: int, folder: Folder, repeats: int = 1) -> Compared:
    """`steps`: how many the work has in all. `repeats`: passes in one measurement, whose mean counts."""
    calls: dict[str, Counter[str]] = {}
    calls["local"], writes = count("local", folder, work)
    calls["memory"], _ = count("memory", folder, work)
    local, floor, grouped, memory = in_turns(
        rounds,
        lambda: _mean(lambda: measure("local", folder, work), repeats),
        lambda: _mean(lambda: repeat(writes, folder.new_database()), repeats),
        lambda: _mean(lambda: repeat(writes, folder.new_database(), grouped=True), repeats),
        lambda: _mean(lambda: measure("memory", folder, work), repeats),
    )
    folder.clear()
    return Compared(steps, local, memory, floor, grouped, calls, writes)


def _rounded(multiple: Cost) -> Json:
    return {"wall": round(multiple.wall, 2), "cpu": round(multiple.cpu, 2)}


def _mean(measured: Callable[[], Cost], repeats: int) -> Cost:
    costs = [measured() for _ in range(repeats)]
    total = reduce(lambda a, b: Cost(a.wall + b.wall, a.cpu + b.cpu), costs)
    return total.each(repeats)
