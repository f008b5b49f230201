"""Each write of the store, with the answer of each of its requests lost in turn: Google's client sends it again, and what
comes of it is what came of it without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

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
from tests.gcp.stores import REQUESTS, Bench
from wdk_cloud.world.ports import Lease


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_was_lost_comes_to_the_same(bench: Bench, write: str) -> None:
    before, call = WRITES[write]

    async def story() -> None:
        calm = bench.fresh()
        for earlier in before:
            await earlier(calm)
        asked = bench.requests()
        answer = await call(calm)
        asked = bench.requests() - asked
        left = await state(calm)
        assert asked["Commit"] > 0
        for kind in REQUESTS:
            for number in range(asked[kind]):
                lossy = bench.fresh()
                for earlier in before:
                    await earlier(lossy)
                bench.mischief.plan(kind, *[None] * number, "lost")
                assert await call(lossy) == answer
                assert bench.mischief.left() == {}
                assert await state(lossy) == left

    asyncio.run(story())
    bench.close()


@pytest.mark.parametrize("fault", ["throttled", "unavailable", "aborted"])
def test_a_request_that_is_refused_for_now_is_sent_again(bench: Bench, fault: Any) -> None:
    async def story() -> None:
        runs = bench.fresh()
        bench.mischief.plan("Commit", fault)
        assert await runs.create(a_head()) is None
        bench.mischief.plan("BatchGetDocuments", fault)
        assert await runs.head(RUN) == a_head()

    asyncio.run(story())
    bench.close()


class Meanwhile:
    """Has something happen after the next commit, whose answer is lost, and before it is sent again."""

    def __init__(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, call: Callable[[], Coroutine[Any, Any, Any]]
    ) -> None:
        bench.mischief.plan("Commit", "lost")
        draw, drawn = bench.mischief.draw, 0

        def draws(kind: str, among: Any) -> Any:
            nonlocal drawn
            drawn += kind == "Commit"
            if kind == "Commit" and drawn == 2:
                drawn += 1  # those of the call are later ones
                asyncio.run(call())
            return draw(kind, among)

        monkeypatch.setattr(bench.mischief, "draw", draws)


def test_a_release_knows_itself_when_another_has_the_lease_by_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        runs = bench.fresh()
        other = bench.open()
        await runs.create(a_head())
        await taken(runs)
        Meanwhile(bench, monkeypatch, lambda: taken(other, "message-2", provider_id="provider-2"))
        assert await release(runs)
        head = await other.head(RUN)
        assert head is not None
        assert (head.holder, head.fence, head.last) == ("message-2", 2, "message-1")

    asyncio.run(story())


def test_a_lease_that_was_marked_between_two_attempts_is_ours_and_dirty(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        runs = bench.fresh()
        other = bench.open()
        await runs.create(a_head(armed=60.5))
        Meanwhile(bench, monkeypatch, lambda: other.mark_dirty(RUN, BIRTH, holder="message-1", fence=1, due=60.5))
        lease = await taken(runs)
        assert (lease.head.dirty, lease.head.armed, lease.unclean) == (True, None, False)

    asyncio.run(story())


def test_a_lease_that_was_lost_between_two_attempts_is_not_ours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        runs = bench.fresh()
        other = bench.open()
        await runs.create(a_head())
        Meanwhile(bench, monkeypatch, lambda: taken(other, provider_id="provider-2", now=LATER, until=LATER + 30))
        head = await take(runs)
        assert not isinstance(head, Lease)
        assert head is not None
        assert (head.holder, head.fence) == ("message-1", 2)

    asyncio.run(story())


def test_of_one_message_in_two_hands_at_one_moment_one_gets_the_lease_and_the_claim(bench: Bench) -> None:
    async def story() -> None:
        both = bench.fresh(), bench.open()
        await both[0].create(a_head())
        leases = await asyncio.gather(*(take(runs, now=NOW, until=UNTIL) for runs in both * 4))
        assert sum(isinstance(lease, Lease) for lease in leases) == 1
        claims = await asyncio.gather(*(claim(runs) for runs in both * 4))
        assert [claimed for claimed, _ in claims].count(True) == 1
        assert {item.attempt for _, item in claims} == {1}

    asyncio.run(story())


def test_of_one_message_in_two_hands_one_takes_over_what_ran_out(bench: Bench) -> None:
    async def story() -> None:
        both = bench.fresh(), bench.open()
        await both[0].create(a_head(**HELD))
        await claim(both[0])
        again: dict[str, Any] = {"now": LATER, "until": LATER + 30}
        leases = await asyncio.gather(*(take(runs, **again) for runs in both * 4))
        (lease,) = [lease for lease in leases if isinstance(lease, Lease)]
        assert (lease.head.fence, lease.head.stalls, lease.unclean) == (5, 1, True)
        claims = await asyncio.gather(*(claim(runs, **again) for runs in both * 4))
        assert [claimed for claimed, _ in claims].count(True) == 1
        assert {(item.attempt, item.interrupted) for _, item in claims} == {(2, 1)}

    asyncio.run(story())
