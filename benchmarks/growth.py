"""Growth: what an event costs in a log of 100, 1,000, 10,000 and 20,000 events, and what a worker holds for it.

Counted are the calls of functions, Python's and those of C, on the worker's thread: they do not depend on what else
the machine does. Each shape runs warm, from its start to its end, and is replayed: a run that has done the same and
rests is woken after its worker has forgotten it. Memory is what Python has allocated (`tracemalloc`) for the run at
rest, on `local`, where the world itself keeps nothing in the process.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report, shortened
from benchmarks.stage import finish, make_world, run_to_end, serving
from benchmarks.workflows import SHAPES, then_rest
from wdk_cloud import start

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan
    from wdk_cloud import Run
    from wdk_cloud.worker import Worker
    from wdk_cloud.world.ports import World

GROWTH = 1.3
EVENTS_OF_A_STEP = 3


def run(plan: Plan, folder: Folder) -> Report:
    figures: list[Figure] = []
    details: Json = {}
    _, middle, *larger = plan.events
    for shape in SHAPES:
        found = {events: asyncio.run(_measured(shape, events // EVENTS_OF_A_STEP, folder)) for events in plan.events}
        details[shape] = {
            str(events): {name: shortened(cost) for name, cost in found[events].items()} for events in found
        }
        for name, world in (("calls", "memory"), ("calls of a replay", "memory"), ("bytes", "local")):
            for large in larger:
                growth = found[large][name] / found[middle][name]
                title = f"{shape}: {name} per event at {large:,} ÷ at {middle:,}"
                figures.append(Figure(title, world, growth, "×", most=GROWTH))
        folder.clear()
    return Report(figures, details)


async def _measured(shape: str, steps: int, folder: Folder) -> dict[str, float]:
    events = steps * EVENTS_OF_A_STEP
    warm, replayed = await calls_of(shape, steps, folder.new_database())
    held = await _held(shape, steps, folder)
    return {"calls": warm / events, "calls of a replay": replayed / events, "bytes": held / events}


async def calls_of(shape: str, steps: int, path: Path) -> tuple[int, int]:
    """Of a run of so many steps, and of its replay."""
    result = sum(range(steps))
    world = make_world("memory", path)
    async with serving(world) as workers:
        await _once(world, workers, shape)
        with Counted() as warm:
            await run_to_end(SHAPES[shape], steps, result=result)
            await finish(workers)
        resting = await start(then_rest, shape, steps)
        await _rest(world, workers, resting)
        workers[0].engine.forget_warm()
        with Counted() as replayed:
            await resting.wake_up()
            if await resting.return_value(timeout=300) != result:
                raise AssertionError("the replay led to another result")
            await finish(workers)
    return warm.calls, replayed.calls


async def _held(shape: str, steps: int, folder: Folder) -> int:
    world = make_world("local", folder.new_database())
    async with serving(world) as workers:
        await _once(world, workers, shape)
        gc.collect()
        tracemalloc.start()
        try:
            await _rest(world, workers, await start(then_rest, shape, steps))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()


async def _once(world: World, workers: list[Worker], shape: str) -> None:
    """A first run, which loads modules and fills caches."""
    await _rest(world, workers, await start(then_rest, shape, 1))
    workers[0].engine.forget_warm()


async def _rest(world: World, workers: list[Worker], run: Run[int]) -> None:
    while True:
        head = await world.runs.head(run.run_id)
        if head is not None and head.length > 1 and head.holder is None and all(one.idle for one in workers):
            return await finish(workers)
        await asyncio.sleep(0.001)


class Counted:
    """`with Counted() as counted: …`, then `counted.calls`: those of this thread."""

    def __enter__(self) -> Counted:
        self.calls = 0
        sys.setprofile(self._count)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _count(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event in ("call", "c_call"):
            self.calls += 1
