"""One world with one worker, client and worker on the same event loop, for as long as a measurement takes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Cost, Folder, Stopwatch
from benchmarks.meter import MeteredWorld, Writes, metered_sqlite
from benchmarks.workflows import app
from wdk_cloud import start, use_world
from wdk_cloud.engine.settings import Settings
from wdk_cloud.worker import Worker, worker
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from wdk_cloud import Workflow
    from wdk_cloud.world.ports import World

    Work = Callable[[], Awaitable[None]]

SETTINGS = Settings(code_version="benchmark")
"""The defaults; with a version by name, since hashing the sources is a matter of deployment."""

WORLDS = ("local", "memory")


def make_world(name: str, path: Path) -> World:
    """`local` in its default mode, whatever the environment says."""
    return LocalWorld(path, sync="normal") if name == "local" else MemoryWorld()


@asynccontextmanager
async def serving(world: World, settings: Settings = SETTINGS) -> AsyncGenerator[list[Worker]]:
    await world.open()
    try:
        with use_world(world):
            async with worker(app, world=world, settings=settings) as workers:
                yield workers
    finally:
        await world.close()


async def finish(workers: list[Worker]) -> None:
    """Wait until the worker has acknowledged everything: what follows a result belongs to its cost."""
    while not all(one.idle and not one.receiver.busy() for one in workers):
        await asyncio.sleep(0)


async def run_to_end(workflow: Workflow[..., Any], *args: object, result: object) -> None:
    """Start a run and wait for its result, which has to be the right one."""
    run = await start(workflow, *args)
    found = await run.return_value(timeout=300)
    if found != result:
        raise AssertionError(f"{workflow.id}{args} gave {found!r} instead of {result!r}")


def measure(name: str, folder: Folder, work: Work) -> Cost:
    """The cost of `work`, which uses the open world, on a fresh world with an idle worker."""

    async def main() -> Cost:
        async with serving(make_world(name, folder.new_database())) as workers:
            await asyncio.sleep(0)  # the worker listens
            with Stopwatch() as watch:
                await work()
                await finish(workers)
        return watch.cost

    return asyncio.run(main())


def count(name: str, folder: Folder, work: Work) -> tuple[Counter[str], Writes]:
    """What `work` asks of its world. Untimed."""

    async def main(writes: Writes) -> Counter[str]:
        world = MeteredWorld(make_world(name, folder.new_database()))
        async with serving(world) as workers:
            await asyncio.sleep(0)
            world.calls.clear()
            writes.begin()
            await work()
            await finish(workers)
            writes.end()
            return world.calls.copy()

    with metered_sqlite() as writes:
        calls = asyncio.run(main(writes))
    return calls, writes
