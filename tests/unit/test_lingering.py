"""A turn with steps elsewhere stays a little: it looks whether ends have come, each time twice as long after the last."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from tests.faults import Call, FaultyWorld, Life
from tests.unit.engine_bench import Bench, run, until
from wdk_cloud import Workflows
from wdk_cloud.engine import waiting
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.service import Engine
from wdk_cloud.engine.waiting import LINGER
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Delivery

app = Workflows()


@app.step(dispatch="queue")
async def elsewhere(number: int) -> int:
    return number


@app.workflow
async def spreads(count: int) -> list[int]:
    return await asyncio.gather(*(elsewhere(number) for number in range(count)))


class Moving(VirtualClock):
    """Moved by the test, though whoever looks at it takes it for one that moves by itself."""

    still = False


def counting(bench: Bench, calls: Counter[str]) -> Engine:
    """A process whose calls on the world are counted."""

    def count(call: Call, _: Any) -> None:
        calls[call.method] += 1

    return Engine(FaultyWorld(bench.world, Life(watch=count)), [bench.app], bench.settings)


class Place(Bench):
    """A holder and a worker of steps in processes of their own, and what the holder asks of the world."""

    def __init__(self) -> None:
        super().__init__(app)
        self.clock = Moving()
        self.world = MemoryWorld(self.clock)
        self.calls: Counter[str] = Counter()
        self.holder = counting(self, self.calls)
        self.elsewhere = self.new_engine()

    async def held(self, delivery: Delivery) -> asyncio.Task[bool]:
        """The flow message in the holder's hands, up to where it lingers."""
        turn = asyncio.create_task(self.work(delivery, self.holder))
        await until(lambda: self.clock.next_due() is not None and self.visible())
        return turn

    async def step_ends(self) -> None:
        delivery = await self.receive()
        assert delivery.message.kind == "step"
        await self.work(delivery, self.elsewhere)

    async def pass_by(self, seconds: float, looks: int) -> None:
        """Time passes, and the holder has looked so often in all."""
        self.clock.advance_to(self.clock.now() + seconds)
        await until(lambda: self.calls["head"] == looks)


def test_ends_that_keep_coming_make_one_turn_which_looks_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_GAP", 0.0)  # of real time, before it lingers

    async def test() -> None:
        place = Place()
        started = await place.start(spreads, 5)
        turn = await place.held(await place.receive())
        for look, pause in enumerate((0.1, 0.2, 0.4, 0.8, 1.0), 1):
            await place.step_ends()
            assert place.calls["head"] == look - 1
            await asyncio.sleep(0)
            place.clock.advance_to(place.clock.now() + pause - 0.01)
            for _ in range(100):
                await asyncio.sleep(0)
            assert place.calls["head"] == look - 1
            await place.pass_by(0.01, look)
            if look < 5:
                await until(lambda look=look: place.calls["append"] == look + 1 and place.clock.next_due() is not None)
        assert await turn
        assert await place.result(started) == [0, 1, 2, 3, 4]
        head = await place.head(started)
        assert head.fence == 1
        assert await place.messages() == []  # nobody was sent a wake
        assert place.calls["change"] == 6  # `dirty` is cleared for each end, and the head is ended: no release refused

    run(test)


def test_a_turn_to_which_nothing_comes_looks_once_and_releases() -> None:
    async def test() -> None:
        place = Place()
        started = await place.start(spreads, 2)
        turn = await place.held(await place.receive())
        await place.pass_by(LINGER, 1)
        assert await turn
        assert (await place.head(started)).holder is None
        assert place.calls["head"] == 1
        await place.step_ends()
        assert [message.kind for message in await place.messages()] == ["step", "wake"]

    run(test)


def test_a_delivery_that_is_almost_over_waits_for_no_end() -> None:
    async def test() -> None:
        place = Place()
        started = await place.start(spreads, 2)
        delivery = await place.receive()
        ending = msgspec.structs.replace(delivery, deadline=place.clock.monotonic() + 29.0, limit=300.0)
        assert await deliver(place.holder, ending)
        assert (await place.head(started)).holder is None
        assert place.calls["head"] == 0

    run(test)


# -- what a step's message proves -----------------------------------------------------------------------------------------


async def looks(later: float, sent: float | None, *, copied: float = 0.0) -> int:
    """How often a step's worker reads the head, when it gets the message so many seconds after it was made, which the
    provider says was sent so long ago; of a copy, sent so much later than the original was made."""
    bench, calls = Bench(app), Counter[str]()
    await bench.start(spreads, 1)
    await bench.work(await bench.receive())
    delivery = await bench.receive()
    bench.clock.advance_to(bench.clock.now() + copied + later)
    if sent is not None:
        delivery = msgspec.structs.replace(delivery, sent_at=bench.clock.now() - sent)
    assert await deliver(counting(bench, calls), delivery)
    assert calls["claim_step"] == 1
    return calls["head"]


def test_a_message_that_was_just_sent_proves_that_its_run_lives() -> None:
    async def test() -> None:
        telling_the_holder = 1
        assert await looks(0.1, 0.1) == telling_the_holder
        assert await looks(1.9, 1.9) == telling_the_holder
        assert await looks(2.1, 2.1) == 1 + telling_the_holder
        assert await looks(0.1, None) == 1 + telling_the_holder  # a provider that does not say when
        assert await looks(0.1, 0.1, copied=5.0) == 1 + telling_the_holder
        assert await looks(0.1, 200.0) == 1 + telling_the_holder  # clocks that do not agree
        assert await looks(0.1, -200.0) == 1 + telling_the_holder

    run(test)
