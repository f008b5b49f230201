"""Memory: what a worker holds for a run that it keeps between two deliveries, and for each recorded step of it.

A fresh process per measurement, on `local`, where the world itself keeps nothing in the process. Kept runs have done
three steps and sleep. Counted are the bytes that Python has allocated (`tracemalloc`); the resident set is for the
reader.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report
from benchmarks.fresh import answer, ask
from benchmarks.stage import finish, make_world, serving
from benchmarks.workflows import app, resting
from wdk_cloud import start

if TYPE_CHECKING:
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan
    from wdk_cloud.world.ports import World

STEPS = 3

STATUS = Path("/proc/self/statm")
PAGE = 4096


def run(plan: Plan, folder: Folder) -> Report:
    many = ask("footprint", str(folder.new_database()), str(plan.retained), str(STEPS))
    long = ask("footprint", str(folder.new_database()), "1", str(plan.long))
    short = ask("footprint", str(folder.new_database()), "1", "0")
    folder.clear()
    each_run = many["allocated"] / plan.retained
    each_step = (long["allocated"] - short["allocated"]) / plan.long
    figures = [
        Figure(f"a retained run of {STEPS} steps", "local", each_run / 1024, "KiB"),
        Figure("a step of a retained run", "local", each_step / 1024, "KiB"),
    ]
    details: Json = {
        "runs": plan.retained,
        "bytes_per_run": round(each_run),
        "resident_bytes_per_run": round(many["resident"] / plan.retained),
        "steps": plan.long,
        "bytes_per_step": round(each_step),
    }
    return Report(figures, details)


async def _retain(path: Path, runs: int, steps: int) -> Json:
    world = make_world("local", path)
    async with serving(world) as workers:
        await _start_and_rest(world, 1, steps)  # loads the modules, fills the caches
        await finish(workers)
        workers[0].engine.forget_warm()
        gc.collect()
        tracemalloc.start()
        resident = _resident()
        await _start_and_rest(world, runs, steps)
        await finish(workers)
        gc.collect()
        allocated, _ = tracemalloc.get_traced_memory()
        return {"allocated": allocated, "resident": _resident() - resident}


async def _start_and_rest(world: World, runs: int, steps: int) -> None:
    for started in await asyncio.gather(*(start(resting, steps) for _ in range(runs))):
        while True:
            head = await world.runs.head(started.run_id)
            if head is not None and head.length > steps and head.holder is None:
                break
            await asyncio.sleep(0.001)


def _resident() -> int:
    """Bytes; 0 where the system does not say so in this way."""
    return int(STATUS.read_text().split()[1]) * PAGE if STATUS.exists() else 0


def main(words: list[str]) -> None:
    assert app.workflows  # this process serves them
    path, runs, steps = words
    answer(asyncio.run(_retain(Path(path), int(runs), int(steps))))


if __name__ == "__main__":
    main(sys.argv[1:])
