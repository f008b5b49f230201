"""`time.time`, `datetime.now` and `id` outside a slice, before and after the first run of a fresh process.

The guard replaces clocks for the time of a slice and installs an audit hook with the first one; code outside must not
notice, but for the hook's cost on `id`, which CPython audits. Least nanoseconds of one call in several measurements.
"""

from __future__ import annotations

import asyncio
import datetime
import sys
import time
import timeit
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report
from benchmarks.fresh import answer, ask
from benchmarks.stage import make_world, run_to_end, serving
from benchmarks.workflows import in_a_row

if TYPE_CHECKING:
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

UNCHANGED = 1.15
"""After ÷ before: two measurements of the very same call differ by as much on a shared machine."""

TIMES = 7

CALLS = {"time.time": "time()", "datetime.now": "now()", "id": "id(0)"}


def run(plan: Plan, folder: Folder) -> Report:
    said = ask("clocks", str(folder.new_database()), str(plan.calls))
    folder.clear()
    figures: list[Figure] = []
    for name in CALLS:
        before, after = said["before"][name], said["after"][name]
        most = None if name == "id" else UNCHANGED
        figures.append(Figure(f"{name} after the first run ÷ before", None, after / before, "×", most=most))
        figures.append(Figure(f"{name} before", None, before, "ns"))
        figures.append(Figure(f"{name} after", None, after, "ns"))
    return Report(figures, said)


def _measure(calls: int) -> Json:
    found: Json = {}
    for name, statement in CALLS.items():
        scope = {"time": time.time, "datetime": datetime.datetime}
        timer = timeit.Timer(statement.replace("now()", "datetime.now()"), globals=scope)
        found[name] = round(min(timer.repeat(TIMES, calls)) / calls * 1e9, 1)
    return found


async def _run(path: Path) -> None:
    async with serving(make_world("local", path)):
        await run_to_end(in_a_row, 3, result=3)


def main(words: list[str]) -> None:
    path, calls = Path(words[0]), int(words[1])
    before = _measure(calls)
    asyncio.run(_run(path))
    answer({"before": before, "after": _measure(calls)})


if __name__ == "__main__":
    main(sys.argv[1:])
