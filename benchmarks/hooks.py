"""1,000 open hooks, resumed all at once: each run gets its payload, each payload comes once.

Of 1,000 runs with one hook each, and of one run with all of them. Taken: from before the first `resume_hook()` until
whoever started the runs has their results.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Report
from benchmarks.stage import WORLDS, make_world, serving
from benchmarks.workflows import many_payloads, one_payload
from wdk_cloud import resume_hook, start

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan
    from wdk_cloud import Run
    from wdk_cloud.world.ports import World

SECONDS = 1.0

PREFIX = "hook-"


def run(plan: Plan, folder: Folder) -> Report:
    count = plan.hooks
    figures: list[Figure] = []
    for world in WORLDS:
        most = SECONDS if world == "local" else None
        for name, work in (("runs", _in_runs), ("hooks of one run", _in_one_run)):
            seconds = [asyncio.run(work(world, folder.new_database(), count)) for _ in range(plan.rounds)]
            figures.append(Figure(f"{count:,} {name} resumed", world, statistics.median(seconds), "s", most=most))
            folder.clear()
    return Report(figures)


async def _in_runs(name: str, path: Path, count: int) -> float:
    world = make_world(name, path)
    async with serving(world):
        runs = await asyncio.gather(*(start(one_payload, f"{PREFIX}{number}") for number in range(count)))
        await _open(world, runs)
        began = time.perf_counter()
        sending = asyncio.create_task(_resume_all(count))
        results = await asyncio.gather(*(run.return_value(timeout=60) for run in runs))
        await sending
        seconds = time.perf_counter() - began
    _check(results, count)
    return seconds


async def _in_one_run(name: str, path: Path, count: int) -> float:
    world = make_world(name, path)
    async with serving(world):
        run = await start(many_payloads, PREFIX, count)
        await _open(world, [run])
        began = time.perf_counter()
        _, results = await asyncio.gather(_resume_all(count), run.return_value(timeout=60))
        seconds = time.perf_counter() - began
    _check(results, count)
    return seconds


async def _resume_all(count: int) -> None:
    await asyncio.gather(*(resume_hook(f"{PREFIX}{number}", number) for number in range(count)))


async def _open(world: World, runs: list[Run[int]] | list[Run[list[int]]]) -> None:
    """Until nobody works on any of the runs: all that they wait for are payloads."""
    for run in runs:
        while not (head := await world.runs.head(run.run_id)) or not head.length or head.holder is not None:
            await asyncio.sleep(0.001)


def _check(results: list[int], count: int) -> None:
    if results != list(range(count)):
        raise AssertionError(f"{count} payloads were sent, and {sorted(results)} came")
