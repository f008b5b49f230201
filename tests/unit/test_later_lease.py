"""A worker whose clock is ahead takes a run over while its holder reads the log: what it has begun was not interrupted."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

from tests.unit.engine_bench import Bench, run, until
from wdk_cloud import Workflows
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.service import Engine
from wdk_cloud.world.ports import Message

AHEAD = 60.0
"""Seconds: two leases."""

app = Workflows()
gate = asyncio.Event()
begun: list[int] = []


@app.step
async def hold(number: int) -> int:
    begun.append(number)
    await gate.wait()
    return number


@app.workflow
async def three() -> list[int]:
    return list(await asyncio.gather(*map(hold, range(3))))


class Ahead:
    """A clock that others do not have."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clock, name)

    def now(self) -> float:
        return self._clock.now() + AHEAD


class Meanwhile:
    """A store where something happens before its first read of a log."""

    def __init__(self, runs: Any, something: Any) -> None:
        self._runs = runs
        self._something = something

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runs, name)

    async def read(self, *args: Any) -> Any:
        something, self._something = self._something, None
        if something is not None:
            await something()
        return await self._runs.read(*args)


def test_who_reads_what_a_later_lease_has_written_stops() -> None:
    async def test() -> None:
        gate.clear()
        begun.clear()
        bench = Bench(app)
        started = await bench.start(three)
        head = await bench.head(started)
        first = await bench.receive()
        again = Message(kind="wake", run_id=head.run_id, birth=head.birth, identity="another")
        await bench.world.queue.send([(again, 0.0)])
        second = await bench.receive()
        ahead, slow = copy.copy(bench.world), copy.copy(bench.world)
        ahead.clock = Ahead(bench.clock)
        other = Engine(ahead, [app], bench.settings)
        taking: list[asyncio.Task[bool]] = []

        async def take_over() -> None:
            taking.append(asyncio.create_task(deliver(other, first)))
            await until(lambda: len(begun) == 3)

        slow.runs = Meanwhile(bench.world.runs, take_over)
        assert not await deliver(Engine(slow, [app], bench.settings), second)
        assert (await bench.head(started)).fence == 2
        gate.set()
        assert await taking[0]
        types = await bench.types(started)
        assert sorted(begun) == [0, 1, 2]
        assert (types.count("step_started"), types.count("step_interrupted")) == (3, 0)
        assert await bench.result(started) == [0, 1, 2]

    run(test)
