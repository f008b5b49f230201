"""Each write of the store, with the answer of each of its requests lost in turn: boto3 sends it again, and what comes of
it is what came of it without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.aws.stores import Bench
from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    RUN,
    UNTIL,
    a_head,
    claim,
    release,
    take,
    taken,
)
from tests.contract.writes import HELD, WRITES, state
from wdk_aws.testing.faults import Fault, without_pauses
from wdk_cloud.world.ports import Lease


@pytest.fixture
def bench(dynoxide: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", dynoxide)
    bench = Bench()
    with without_pauses():
        yield bench
    bench.close()


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_was_lost_comes_to_the_same(bench: Bench, write: str) -> None:
    before, call = WRITES[write]

    async def story() -> None:
        calm = bench.open(bench.session, "calm")
        for earlier in before:
            await earlier(calm)
        bench.meter.clear()
        answer = await call(calm)
        calls = len(bench.requests())
        left = await state(calm)
        assert calls > 0
        for number in range(1, calls + 1):
            lossy = bench.open(bench.session, f"lost-{number}")
            for earlier in before:
                await earlier(lossy)
            bench.faults.at(number, Fault.ANSWER_LOST)
            assert await call(lossy) == answer
            bench.faults.clear()
            assert await state(lossy) == left
        assert [met.fault for met in bench.faults.met] == [Fault.ANSWER_LOST] * calls

    asyncio.run(story())


def between_two_attempts(bench: Bench, operation: str, meanwhile: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Let the answer of the next such call be lost, and something happen before boto3 sends it again."""
    sent = 0

    def sending(**_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == 2:
            asyncio.run(meanwhile())

    bench.faults.on(f"dynamodb.{operation}", Fault.ANSWER_LOST)
    bench.dynamodb.meta.events.register(f"request-created.dynamodb.{operation}", sending)


def test_a_release_knows_itself_when_another_has_the_lease_by_then(bench: Bench) -> None:
    other = bench.open()

    async def story() -> None:
        await bench.store.create(a_head())
        await taken(bench.store)
        between_two_attempts(bench, "UpdateItem", lambda: taken(other, "message-2", provider_id="provider-2"))
        assert await release(bench.store)
        head = await other.head(RUN)
        assert head is not None
        assert (head.holder, head.fence, head.last) == ("message-2", 2, "message-1")

    asyncio.run(story())


def test_a_lease_that_was_marked_between_two_attempts_is_ours_and_dirty(bench: Bench) -> None:
    other = bench.open()

    async def story() -> None:
        await bench.store.create(a_head(armed=60.5))
        between_two_attempts(
            bench, "UpdateItem", lambda: other.mark_dirty(RUN, BIRTH, holder="message-1", fence=1, due=60.5)
        )
        lease = await taken(bench.store)
        assert (lease.head.dirty, lease.head.armed, lease.unclean) == (True, None, False)

    asyncio.run(story())


def test_a_lease_that_was_lost_between_two_attempts_is_not_ours(bench: Bench) -> None:
    other = bench.open()

    async def story() -> None:
        await bench.store.create(a_head())
        between_two_attempts(
            bench, "UpdateItem", lambda: taken(other, provider_id="provider-2", now=LATER, until=LATER + 30)
        )
        head = await take(bench.store)
        assert not isinstance(head, Lease)
        assert head is not None
        assert (head.holder, head.fence) == ("message-1", 2)

    asyncio.run(story())


def test_of_one_message_in_two_hands_at_one_moment_one_gets_the_lease_and_the_claim(bench: Bench) -> None:
    other = bench.open()

    async def story() -> None:
        await bench.store.create(a_head())
        leases = await asyncio.gather(*(take(runs, now=NOW, until=UNTIL) for runs in (bench.store, other) * 4))
        assert sum(isinstance(lease, Lease) for lease in leases) == 1
        claims = await asyncio.gather(*(claim(runs) for runs in (bench.store, other) * 4))
        assert [claimed for claimed, _ in claims].count(True) == 1
        assert {item.attempt for _, item in claims} == {1}

    asyncio.run(story())


def test_of_one_message_in_two_hands_one_takes_over_what_ran_out(bench: Bench) -> None:
    other = bench.open()

    async def story() -> None:
        await bench.store.create(a_head(**HELD))
        await claim(bench.store)
        again: dict[str, Any] = {"now": LATER, "until": LATER + 30}
        leases = await asyncio.gather(*(take(runs, **again) for runs in (bench.store, other) * 4))
        (lease,) = [lease for lease in leases if isinstance(lease, Lease)]
        assert (lease.head.fence, lease.head.stalls, lease.unclean) == (5, 1, True)
        claims = await asyncio.gather(*(claim(runs, **again) for runs in (bench.store, other) * 4))
        assert [claimed for claimed, _ in claims].count(True) == 1
        assert {(item.attempt, item.interrupted) for _, item in claims} == {(2, 1)}

    asyncio.run(story())
