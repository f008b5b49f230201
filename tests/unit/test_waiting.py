"""How a turn waits in process: what it may not leave behind when it releases."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import Workflows, sleep
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.settings import Settings

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head

app = Workflows()
begun: list[str] = []
gates: dict[str, asyncio.Event] = {}

PAUSE = 5.0
DEADLINE = 45.0
"""Of the step that was interrupted: past the lease, and before it is no longer suspected."""


@app.step(dispatch="inline")
async def left(name: str) -> str:
    begun.append(name)
    await gates[name].wait()
    return name


@app.step(dispatch="inline", cancellable=True)
async def told(name: str) -> str:
    begun.append(name)
    try:
        await gates[name].wait()
    finally:
        await gates["after the cancel"].wait()
    return name


@app.step(dispatch="inline")
async def following(name: str) -> str:
    begun.append(name)
    return name


@app.workflow
async def leaves_one_behind() -> str:
    """Loses interest in a plain step, and asks for another that finds no room beside it."""
    task = asyncio.ensure_future(left("left"))
    await asyncio.wait([task], timeout=PAUSE)
    task.cancel()
    return await following("following")


@app.workflow
async def cancels_a_suspect() -> str:
    try:
        async with asyncio.timeout(DEADLINE):
            await told("suspect")
    except TimeoutError:
        pass
    return await following("following")


@app.workflow
async def only_sleeps() -> None:
    await sleep(PAUSE)


@pytest.fixture(autouse=True)
def _clean() -> None:
    begun.clear()
    gates.clear()
    for name in ("left", "suspect", "after the cancel"):
        gates[name] = asyncio.Event()


async def settled() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def held(bench: Bench, run_id: str) -> Head:
    head = await bench.world.runs.head(run_id)
    assert head is not None
    return head


def test_a_turn_keeps_its_lease_while_a_step_waits_for_the_room_of_one_that_was_left() -> None:
    async def test() -> None:
        bench = Bench(app, Settings(code_version="1.test", inline_limit=1))
        handle = await bench.start(leaves_one_behind)
        delivery = asyncio.create_task(deliver(bench.engine, await bench.receive()))
        await settled()
        bench.clock.advance_to(bench.clock.now() + PAUSE)
        await settled()
        assert begun == ["left"]
        assert (await bench.types(handle))[-2:] == ["wait_completed", "step_created"]
        assert (await held(bench, handle.run_id)).holder is not None
        gates["left"].set()
        assert await delivery is True
        assert begun == ["left", "following"]
        assert await bench.result(handle) == "following"
        assert (await held(bench, handle.run_id)).fence == 1

    run(test)


def test_a_turn_keeps_its_lease_while_a_step_waits_behind_a_suspect_that_was_cancelled() -> None:
    async def test() -> None:
        bench = Bench(app)
        start = bench.clock.now()
        handle = await bench.start(cancels_a_suspect)
        first = asyncio.create_task(deliver(bench.engine, await bench.receive()))
        await settled()
        first.cancel()  # the process dies in the step
        gates["after the cancel"].set()
        await asyncio.gather(first, return_exceptions=True)
        gates["after the cancel"].clear()
        assert begun == ["suspect"]
        begun.clear()
        engine = bench.new_engine()
        await bench.work(await bench.receive_when_due(), engine)  # a message that comes again is exchanged
        second = asyncio.create_task(bench.work(await bench.receive_when_due(), engine))
        await settled()
        assert begun == ["suspect"]
        bench.clock.advance_to(start + DEADLINE)
        await settled()
        assert (await bench.types(handle))[-3:] == ["wait_completed", "step_cancelled", "step_created"]
        assert (await held(bench, handle.run_id)).holder is not None
        assert begun == ["suspect"]
        gates["after the cancel"].set()
        assert await second is True
        assert begun == ["suspect", "following"]
        assert await bench.result(handle) == "following"

    run(test)


def test_a_turn_that_only_sleeps_lets_go_of_its_lease() -> None:
    async def test() -> None:
        bench = Bench(app)
        handle = await bench.start(only_sleeps)
        assert await bench.work(await bench.receive()) is True
        assert (await held(bench, handle.run_id)).holder is None

    run(test)
