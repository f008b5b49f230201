"""Each write of the store, with the answer of each of its requests lost in turn: Google's client sends it again, and what
comes of it is what came of it without."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest

from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_token,
    an_item,
    claim,
    release,
    take,
    taken,
)
from tests.gcp.stores import REQUESTS, Bench
from wdk_cloud.world.ports import Labels, Lease
from wdk_gcp.store import FirestoreStore

HELD: dict[str, Any] = {"holder": "message-1", "fence": 4, "until": UNTIL}

Call = Callable[[FirestoreStore], Awaitable[object]]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as bench:
        yield bench


def create(**fields: Any) -> Call:
    return lambda runs: runs.create(a_head(**fields))


async def renew(runs: FirestoreStore) -> object:
    return await asyncio.to_thread(runs.renew, RUN, BIRTH, holder="message-1", fence=4, until=LATER)


async def renew_step(runs: FirestoreStore) -> object:
    return await asyncio.to_thread(runs.renew_step, RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER)


async def bury(runs: FirestoreStore) -> object:
    return await runs.bury(RUN, BIRTH, holder="message-1", fence=4, now=LATER)


def change(fields: Any, **more: Any) -> Call:
    return lambda runs: runs.change(RUN, BIRTH, fields, holder="message-1", fence=4, **more)


WRITES: dict[str, tuple[list[Call], Call]] = {
    "create": ([], create()),
    "acquire a free lease": ([create()], take),
    "acquire a lease of a pending run": ([create(status="pending")], take),
    "acquire before the time": ([create(status="pending", not_before=LATER)], take),
    "acquire a lease that ran out": (
        [create(**HELD)],
        lambda runs: take(runs, "message-2", now=LATER, until=LATER + 9),
    ),
    "acquire with the armed timer": ([create(armed=60.5)], lambda runs: take(runs, due=60.5)),
    "acquire with another timer": ([create(armed=60.5)], lambda runs: take(runs, due=50.5)),
    "mark": ([create(**HELD)], lambda runs: runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=4)),
    "mark with another timer": (
        [create(**HELD, armed=60.5)],
        lambda runs: runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=4, due=50.5),
    ),
    "retire": ([create()], lambda runs: runs.retire(RUN, BIRTH, "p")),
    "retire the seventeenth": (
        [create(retired=tuple(f"p{number}" for number in range(16)))],
        lambda runs: runs.retire(RUN, BIRTH, "p"),
    ),
    "renew": ([create(**HELD)], renew),
    "change": ([create(**HELD)], change({"length": 7})),
    "change if it is not dirty": ([create(**HELD)], change({"length": 7}, unless_dirty=True)),
    "end": ([create(**HELD)], change({"status": "completed", "ended_at": 9.5, "end_at": 3})),
    "release": ([create(**HELD)], change({"holder": None, "last": "message-1"}, unless_dirty=True)),
    "append": ([create()], lambda runs: runs.append(RUN, BIRTH, a_batch(1))),
    "put an item": ([create()], lambda runs: runs.put_item(RUN, BIRTH, an_item("a"))),
    "drop items": (
        [create(), lambda runs: runs.put_item(RUN, BIRTH, an_item("a"))],
        lambda runs: runs.drop_items(RUN, BIRTH, ["a"]),
    ),
    "claim a step": ([create()], claim),
    "claim a step that was interrupted": ([create(), claim], lambda runs: claim(runs, now=LATER, until=LATER + 30)),
    "renew a step": ([create(), claim], renew_step),
    "retire in a step": ([create(), claim], lambda runs: runs.retire_step(RUN, BIRTH, STEP, "p")),
    "end a step": ([create(), claim], lambda runs: runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"end")),
    "end a step of any attempt": ([create()], lambda runs: runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")),
    "retry a step": (
        [create(), claim],
        lambda runs: runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER),
    ),
    "cancel a step": ([create(), claim], lambda runs: runs.cancel_step(RUN, BIRTH, STEP)),
    "put labels": ([create()], lambda runs: runs.put_labels(RUN, BIRTH, Labels(values={"a": "1"}, position=3))),
    "claim a token": ([create()], lambda runs: runs.claim_token(a_token())),
    "take a token over": (
        [create(), lambda runs: runs.claim_token(a_token("run-2"))],
        lambda runs: runs.claim_token(a_token(), instead_of=a_token("run-2")),
    ),
    "free a token": ([create(), lambda runs: runs.claim_token(a_token())], lambda runs: runs.free_token(a_token())),
    "bury": ([create(**HELD)], bury),
    "erase": (
        [
            create(**HELD),
            lambda runs: runs.claim_token(a_token()),
            lambda runs: runs.append(RUN, BIRTH, a_batch(1)),
            bury,
        ],
        lambda runs: runs.erase([(RUN, BIRTH)]),
    ),
    "forget": ([create(**HELD), bury], lambda runs: runs.forget(RUN, BIRTH)),
}


async def state(runs: FirestoreStore) -> list[object]:
    return [
        await runs.head(RUN),
        await runs.read(RUN, BIRTH, 0),
        await runs.items(RUN, BIRTH),
        await runs.step(RUN, BIRTH, STEP),
        await runs.labels(RUN, BIRTH),
        await runs.token(a_token().digest),
    ]


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
