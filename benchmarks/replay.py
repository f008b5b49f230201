"""Replay: a run that has recorded 1,000 or 5,000 steps in a row and rests is woken in a fresh process.

The process that records makes a local database and ends. Each replay is a process of its own that has nothing of the
run; it first brings one run of no steps to its end, so that modules are loaded and SQLite has read its schema, and then
measures from `wake_up` to the result: lease, reading and decoding the log, running the body through all of it, the end.
For `memory` the process copies the records out of the database through the ports before it measures. `first` in the
details is the same without the run before it: with everything that a process does once.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report
from benchmarks.fresh import answer, ask
from benchmarks.measuring import Cost, Folder, Series, Stopwatch
from benchmarks.stage import WORLDS, finish, make_world, serving
from benchmarks.workflows import app, resting
from wdk_cloud import Run, start

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.plan import Plan
    from wdk_cloud.world.ports import World

CPU_MS = (20.0, 110.0)
"""For the shorter and for the longer log."""


def run(plan: Plan, folder: Folder) -> Report:
    figures: list[Figure] = []
    details: Json = {}
    for steps, most in zip(plan.replayed, CPU_MS, strict=True):
        source = folder.new_database()
        run_id = str(ask("replay", "record", str(source), str(steps))["run_id"])
        found: Json = {"steps": steps}
        series = {
            (world, how): Series([_replayed(world, how, source, run_id, steps, folder) for _ in range(processes)])
            for world in WORLDS
            for how, processes in (("warm", plan.replays), ("first", 1))
        }
        for world in WORLDS:
            median = series[world, "warm"].median
            figures.append(Figure(f"replay of {steps:,} steps, CPU", world, median.cpu * 1000, "ms", most=most))
            figures.append(Figure(f"replay of {steps:,} steps, wall", world, median.wall * 1000, "ms"))
            found[world] = {
                "in_all": median.to_json(),
                "per_step": median.each(steps).to_json(),
                "first": series[world, "first"].median.to_json(),
            }
        details[str(steps)] = found
        folder.clear()
    return Report(figures, details)


def _replayed(world: str, how: str, source: Path, run_id: str, steps: int, folder: Folder) -> Cost:
    copy = folder.new_database()
    shutil.copy(source, copy)
    said = ask("replay", world, str(copy), run_id, str(steps), how)
    return Cost(said["wall"], said["cpu"])


# --- in the fresh processes -------------------------------------------------------------------------------------------


async def _record(path: Path, steps: int) -> Json:
    """A run that has done its steps and sleeps, in a database that is closed and complete."""
    world = make_world("local", path)
    async with serving(world) as workers:
        resting_run = await start(resting, steps)
        async for head_position in _lengths(world, resting_run):
            if head_position > steps:
                break
        await finish(workers)
    return {"run_id": resting_run.run_id}


async def _lengths(world: World, run: Run[int]) -> AsyncIterator[int]:
    """The log's length as the last release knew it: above 0 when the run rests."""
    while True:
        await asyncio.sleep(0.001)
        head = await world.runs.head(run.run_id)
        yield 0 if head is None else head.length


async def _replay(name: str, path: Path, run_id: str, steps: int, how: str) -> Json:
    source = make_world("local", path)
    world = source
    if name == "memory":
        world = make_world("memory", path)
        await source.open()
        await _copy(source, world, run_id)
        await source.close()
    async with serving(world) as workers:
        if how == "warm":
            await _wake(await start(resting, 0), 0)
            await finish(workers)
        recorded = Run(run_id, resting)
        with Stopwatch() as watch:
            await _wake(recorded, sum(range(steps)))
    return {"wall": watch.cost.wall, "cpu": watch.cost.cpu}


async def _wake(run: Run[int], result: int) -> None:
    await run.wake_up()
    if await run.return_value(timeout=60) != result:
        raise AssertionError("the replay led to another result")


async def _copy(source: World, target: World, run_id: str) -> None:
    """The run's head and log. Its timer stays behind: the run is woken by hand."""
    head = await source.runs.head(run_id)
    assert head is not None
    await target.runs.create(head)
    for batch in await source.runs.read(run_id, head.birth, 0):
        await target.runs.append(run_id, head.birth, batch)


def main(words: list[str]) -> None:
    assert app.workflows  # this process serves them
    if words[0] == "record":
        answer(asyncio.run(_record(Path(words[1]), int(words[2]))))
    else:
        name, path, run_id, steps, how = words
        answer(asyncio.run(_replay(name, Path(path), run_id, int(steps), how)))


if __name__ == "__main__":
    main(sys.argv[1:])
