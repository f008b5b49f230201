"""Writing a batch: at the next free position, cut where it is too large for one item."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run
from wdk_cloud import Workflows
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.appending import LARGEST
from wdk_cloud.engine.service import Engine
from wdk_cloud.world.ports import Batch

if TYPE_CHECKING:
    from wdk_cloud.client import Run

app = Workflows()
STEPS = 400
ran: list[int] = []


@app.step
async def measure(n: int, text: str) -> int:
    ran.append(n)
    return len(text)


@app.workflow
async def wide() -> int:
    """Asks for more than a megabyte at once, which does not compress to nothing and lies in the log, not in blobs."""
    return sum(await asyncio.gather(*(measure(n, _noise(n)) for n in range(STEPS))))


def _noise(n: int) -> str:
    return hashlib.shake_128(n.to_bytes(2, "big")).hexdigest(1500)


class Appends(Plan):
    """Notes each batch that is written; `rival` writes at the position of the one with this number, just before."""

    def __init__(self, bench: Bench, rival: int = 0) -> None:
        self.seen: list[Batch] = []
        self._bench = bench
        self._rival = rival

    def before(self, call: Call, life: Life) -> None:
        if call.method == "append":
            self.seen.append(call.args[2])
            if len(self.seen) == self._rival:
                self._put_rival(call)

    def _put_rival(self, call: Call) -> None:
        run_id, birth, mine = call.args
        data = ev.encode_batch(
            [ev.AttributesSet(time=self._bench.clock.now(), key="rival", changes={"a": "b"})], "1.test"
        )
        theirs = Batch(at=mine.at, count=1, fence=mine.fence - 1, nonce="rival", data=data)
        with pytest.raises(StopIteration) as answered:  # the memory world answers at once
            self._bench.world.runs.append(run_id, birth, theirs).send(None)
        assert answered.value.value is None


async def played(rival: int = 0) -> tuple[Bench, Run[int], Appends]:
    ran.clear()
    bench = Bench(app)
    plan = Appends(bench, rival)
    world: Any = FaultyWorld(bench.world, Life(plan))
    started = await bench.start(wide)
    head = await bench.head(started)
    await bench.world.runs.acquire(  # a worker that writes only when its lease is over
        head.run_id, head.birth, identity="zombie", provider_id="z", now=bench.clock.now(), until=bench.clock.now() + 1
    )
    bench.clock.advance_to(bench.clock.now() + 1)
    await bench.work_all(Engine(world, [app], bench.settings))
    return bench, started, plan


def test_a_batch_that_is_too_large_is_halved_at_event_boundaries_until_each_part_fits() -> None:
    async def test() -> None:
        bench, started, plan = await played()
        assert await bench.result(started) == STEPS * 3000
        # Created and started, 400 calls, 10 attempts: 412 events in halves of halves.
        first = [(batch.at, batch.count) for batch in plan.seen if batch.at <= 412]
        assert first == [(1, 103), (104, 103), (207, 103), (310, 103)]
        assert all(len(batch.data) <= LARGEST for batch in plan.seen)
        assert len({batch.nonce for batch in plan.seen}) == len(plan.seen)

    run(test)


def test_nothing_of_a_cut_batch_is_begun_before_all_its_parts_are_written() -> None:
    async def test() -> None:
        bench = Bench(app)
        begun: list[int] = []

        class Watch(Appends):
            def before(self, call: Call, life: Life) -> None:
                if call.method == "append":
                    begun.append(len(ran))
                super().before(call, life)

        ran.clear()
        world: Any = FaultyWorld(bench.world, Life(Watch(bench)))
        await bench.start(wide)
        await bench.work_all(Engine(world, [app], bench.settings))
        assert begun[:5] == [0, 0, 0, 0, 10]

    run(test)


def test_where_a_later_part_loses_its_position_the_written_ones_stand_and_the_turn_reads_again() -> None:
    async def test() -> None:
        bench, started, plan = await played(rival=3)
        assert [batch.at for batch in plan.seen[:4]] == [1, 104, 207, 208]
        assert await bench.result(started) == STEPS * 3000
        assert sorted(ran) == list(range(STEPS))
        types = await bench.types(started)
        assert (types[206], types.count("step_created"), types.count("step_completed")) == (
            "attributes_set",
            STEPS,
            STEPS,
        )

    run(test)
