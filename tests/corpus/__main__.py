"""`make corpus`: record what the code of today writes."""

from __future__ import annotations

import asyncio
import logging
from importlib.metadata import version

from tests.canonical import CANONICALS, Canonical, journal
from tests.corpus import workflows, write
from tests.faults import Life
from tests.histories import Play, fixed_draws, read_log
from tests.storm.execution import execute
from tests.storm.faults import Weather
from tests.storm.programs import generate
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Batch

STORMS = range(7_000, 7_020)
"""Programs enough that every kind of event is among theirs."""

LEFT_OUT = ("large_values",)
"""Its log names blobs, which lie beside it and not in it."""


async def _play(canonical: Canonical) -> list[Batch]:
    world = MemoryWorld(VirtualClock())
    await world.open()
    journal.clear()
    with fixed_draws():
        play = Play(canonical, world)
        await play.begin()
        await play.serve(Life())
        _, batches = await read_log(world, play.run.run_id)
    await world.close()
    return batches


async def _woken() -> list[Batch]:
    with fixed_draws():
        async with workflow_env("memory", workflows.app) as env:
            run = await env.start(workflows.woken.with_options(run_id="woken"))
            await env.run_until_blocked()
            await run.wake_up()
            assert await env.run_to_end(run) == "always"
            return (await read_log(env.world, run.run_id))[1]


async def _contended() -> list[Batch]:
    with fixed_draws():
        async with workflow_env("memory", workflows.app) as env:
            run = await env.start(workflows.contended.with_options(run_id="contended"))
            assert await env.run_to_end(run) == "contended"
            return (await read_log(env.world, run.run_id))[1]


def main() -> None:
    logging.disable(logging.CRITICAL)
    now = version("wdk-cloud")
    for canonical in CANONICALS:
        if canonical.name not in LEFT_OUT:
            print(write(canonical.name, now, asyncio.run(_play(canonical))).name)
    print(write("woken", now, asyncio.run(_woken())).name)
    print(write("contended", now, asyncio.run(_contended())).name)
    for seed in STORMS:
        execution = asyncio.run(execute(generate(seed), Weather.rough(seed), workers=2))
        print(write(f"storm-{seed}", now, execution.logs["run"]).name)


if __name__ == "__main__":
    main()
