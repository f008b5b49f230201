"""bury, erase under a tombstone, removable, forget."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.contract.conftest import WorldUnderTest
from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    OTHER_BIRTH,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_message,
    a_token,
    an_item,
    claim,
    started,
    take,
)
from tests.contract.test_listing import create, fill
from wdk_cloud.world.ports import Head, Labels, StepItem

ONLY_THE_TOMBSTONE = Head(
    run_id=RUN,
    birth=BIRTH,
    workflow="",
    created_at=1_000.0,
    seed=b"",
    input_digest="",
    status="deleted",
    fence=2,
    ended_at=LATER,
    wake_by=LATER,
)


async def buried(place: WorldUnderTest, **fields: object) -> Head:
    """Create RUN, take its lease and put a tombstone in its place."""
    await started(place.runs, **fields)
    head = await place.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER)
    assert head is not None
    assert head.status == "deleted"
    return head


# -- bury -------------------------------------------------------------------------------------------------------------


async def test_a_tombstone_has_nothing_of_the_run_but_id_and_times(place: WorldUnderTest) -> None:
    head = await buried(place, idempotency_key="k", parent="p", root="r", trace="t", version="v", data_key="d")
    assert head == ONLY_THE_TOMBSTONE
    assert await place.runs.head(RUN) == head


async def test_a_tombstone_remembers_the_run_that_goes_on_and_the_length_until_it_is_erased(
    place: WorldUnderTest,
) -> None:
    head = await buried(place, status="running", continued_to="run-2", length=7)
    assert (head.continued_to, head.length, head.wake_by) == ("run-2", 7, LATER)
    await place.runs.erase([(RUN, BIRTH)])
    head = await place.runs.head(RUN)
    assert head is not None
    assert (head.continued_to, head.length, head.wake_by, head.ended_at) == (None, 0, 0.0, LATER)


@pytest.mark.parametrize(("holder", "fence"), [(None, 1), ("message-2", 1), ("message-1", 0)])
async def test_a_run_whose_lease_is_not_as_seen_is_not_buried(
    place: WorldUnderTest, holder: str | None, fence: int
) -> None:
    lease = await started(place.runs)
    assert await place.runs.bury(RUN, BIRTH, holder=holder, fence=fence, now=LATER) == lease.head
    assert await place.runs.head(RUN) == lease.head


async def test_a_run_that_nobody_holds_is_buried(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    head = await place.runs.bury(RUN, BIRTH, holder=None, fence=0, now=LATER)
    assert head is not None
    assert (head.status, head.fence) == ("deleted", 1)


async def test_burying_again_changes_nothing(place: WorldUnderTest) -> None:
    head = await buried(place)
    assert await place.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER + 5) == head
    assert await place.runs.bury(RUN, BIRTH, holder=None, fence=2, now=LATER + 5) == head


async def test_another_birth_is_not_buried(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    assert await place.runs.bury(RUN, OTHER_BIRTH, holder="message-1", fence=1, now=LATER) is None
    assert await place.runs.head(RUN) == lease.head


async def test_nothing_can_claim_a_tombstone_and_its_holder_has_lost_it(place: WorldUnderTest) -> None:
    runs, head = place.runs, await buried(place)
    assert await take(runs, "message-2", now=LATER, until=LATER + 30) == head
    assert runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER + 30) is None
    assert await runs.change(RUN, BIRTH, {"length": 3}, holder="message-1", fence=1) == (False, head)
    assert not await runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    assert await runs.retire(RUN, BIRTH, "provider-1") == head
    assert await runs.overdue(LATER + 1, 10) == []


async def test_who_waits_for_the_end_hears_of_the_tombstone(place: WorldUnderTest) -> None:
    await started(place.runs)
    subscription = place.world.subscribe(RUN)
    try:
        await place.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER)
        assert await subscription.wait(10)
    finally:
        subscription.close()


# -- late writers -----------------------------------------------------------------------------------------------------

LATE: dict[str, Callable[[WorldUnderTest], Awaitable[object]]] = {
    "append": lambda p: p.runs.append(RUN, BIRTH, a_batch(1)),
    "put_item": lambda p: p.runs.put_item(RUN, BIRTH, an_item("late")),
    "claim_step": lambda p: claim(p.runs),
    "end_step": lambda p: p.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"late"),
    "cancel_step": lambda p: p.runs.cancel_step(RUN, BIRTH, STEP),
    "put_labels": lambda p: p.runs.put_labels(RUN, BIRTH, Labels(values={"late": "1"}, position=9)),
    "claim_token": lambda p: p.runs.claim_token(a_token()),
    "put_blob": lambda p: p.blobs.put_blob(RUN, BIRTH, "blob", b"late"),
}

ANSWERS: dict[str, object] = {
    "append": a_batch(1, count=0, fence=0, nonce="", data=b""),
    "put_item": False,
    "claim_step": (False, StepItem(step_id=STEP, end=b"")),
    "end_step": False,
}
"""None for the others."""


@pytest.mark.parametrize("write", LATE)
@pytest.mark.parametrize("erased", [False, True], ids=["buried", "erased"])
async def test_nothing_is_written_under_a_tombstone(place: WorldUnderTest, write: str, erased: bool) -> None:
    await buried(place)
    if erased:
        await place.runs.erase([(RUN, BIRTH)])
    assert await LATE[write](place) == ANSWERS.get(write)
    await nothing_is_left(place)


async def nothing_is_left(place: WorldUnderTest) -> None:
    runs = place.runs
    assert await runs.read(RUN, BIRTH, 0) == []
    assert await runs.items(RUN, BIRTH) == []
    assert await runs.step(RUN, BIRTH, STEP) is None
    assert await runs.labels(RUN, BIRTH) == Labels(values={})
    assert await runs.token(a_token().digest) is None
    assert await place.blobs.get_blob(RUN, BIRTH, "blob") is None


async def test_another_birth_writes_as_if_there_were_no_tombstone(place: WorldUnderTest) -> None:
    await buried(place)
    await fill(place, RUN, OTHER_BIRTH)
    assert await place.runs.read(RUN, OTHER_BIRTH, 0) == [a_batch(1)]


async def test_what_was_written_before_is_erased_with_the_messages(place: WorldUnderTest) -> None:
    await started(place.runs)
    await fill(place, RUN, BIRTH)
    order = a_message("order", kind="step", step_id=STEP, order=b"secret")
    await place.queue.send([(order, 0.0), (a_message("w"), 60.0), (a_message("other", birth=OTHER_BIRTH), 0.0)])
    await place.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER)
    await place.runs.erase([(RUN, BIRTH)])
    await nothing_is_left(place)
    await place.queue.send([(order, 0.0)])  # a copy, by somebody who had it in hand
    await place.advance(61)
    left = [] if place.erases_messages else ["order", "order", "w"]
    assert sorted(delivery.message.identity for delivery in await place.visible()) == sorted([*left, "other"])


async def test_an_erasure_of_many_runs_leaves_the_others_alone(place: WorldUnderTest) -> None:
    births = {f"run{n}": f"birth{n}" for n in range(100)}
    for run_id, birth in births.items():
        await place.runs.create(a_head(run_id, birth=birth, status="completed", ended_at=NOW))
        await place.runs.append(run_id, birth, a_batch(1))
        await place.queue.send([(a_message(run_id, run_id=run_id, birth=birth), 1.0)])
        await place.runs.bury(run_id, birth, holder=None, fence=0, now=LATER)
    await place.runs.erase([(run_id, birth) for run_id, birth in births.items() if run_id != "run1"])
    left = [head.run_id for head in await place.runs.removable(ended_before=0.0, buried_before=0.0, limit=200)]
    assert left == ["run1"]
    assert await place.runs.read("run10", "birth10", 0) == []
    assert await place.runs.read("run1", "birth1", 0) == [a_batch(1)]
    await place.advance(1)
    left = ["run1"] if place.erases_messages else sorted(births)
    assert sorted(delivery.message.identity for delivery in await place.visible()) == left


async def test_who_has_a_message_of_an_erased_run_in_hand_can_do_with_it_what_it_wants(place: WorldUnderTest) -> None:
    await buried(place)
    await place.queue.send([(a_message("a"), 0.0), (a_message("b"), 0.0), (a_message("c"), 0.0)])
    a, b, c = sorted(await place.visible(), key=lambda delivery: delivery.message.identity)
    await place.runs.erase([(RUN, BIRTH)])
    place.queue.extend(a, 10)
    await place.receiver.put_back(b, 0)
    await place.receiver.acknowledge(c)
    await place.advance(place.visibility + 1)
    left = [] if place.erases_messages else ["a", "b"]
    assert sorted(delivery.message.identity for delivery in await place.visible()) == left
    assert place.receiver.busy() is bool(left)


# -- removable --------------------------------------------------------------------------------------------------------


async def removable(place: WorldUnderTest, limit: int = 10, ended: float = 100.0, buried: float = 50.0) -> list[str]:
    found = await place.runs.removable(ended_before=ended, buried_before=buried, limit=limit)
    return [head.run_id for head in found]


async def test_runs_that_ended_long_ago_are_removable_oldest_first(place: WorldUnderTest) -> None:
    await create(
        place,
        a_head("late", status="completed", ended_at=100.0),
        a_head("b", status="failed", ended_at=99.0),
        a_head("a", status="completed", ended_at=98.0),
        a_head("c", status="cancelled", ended_at=99.5),
        a_head("pending", status="pending"),
        a_head("running", status="running"),
    )
    assert await removable(place) == ["a", "b", "c"]
    assert await removable(place, limit=2) == ["a", "b"]


async def test_unfinished_tombstones_come_first_and_old_ones_last(place: WorldUnderTest) -> None:
    await create(
        place,
        a_head("old", status="deleted", ended_at=49.0, wake_by=0.0),
        a_head("young", status="deleted", ended_at=50.0, wake_by=0.0),
        a_head("unfinished", status="deleted", ended_at=NOW, wake_by=NOW),
        a_head("expired", status="completed", ended_at=1.0),
    )
    assert await removable(place) == ["unfinished", "expired", "old"]
    assert await removable(place, limit=1) == ["unfinished"]


async def test_a_run_that_leads_to_one_that_is_there_is_kept(place: WorldUnderTest) -> None:
    await create(
        place,
        a_head("first", status="completed", ended_at=1.0, continued_to="second"),
        a_head("second", status="completed", ended_at=2.0, continued_to="third"),
        a_head("third", status="running"),
        a_head("last", status="completed", ended_at=3.0, continued_to="buried"),
        a_head("buried", status="deleted", ended_at=NOW, wake_by=0.0),
        a_head("lost", status="completed", ended_at=4.0, continued_to="nowhere"),
    )
    assert await removable(place) == ["last", "lost"]


# -- forget -----------------------------------------------------------------------------------------------------------


async def test_only_a_tombstone_of_this_birth_is_forgotten(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    await place.runs.forget(RUN, BIRTH)
    assert await place.runs.head(RUN) == lease.head
    tombstone = await place.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=UNTIL)
    await place.runs.forget(RUN, OTHER_BIRTH)
    assert await place.runs.head(RUN) == tombstone
    await place.runs.forget(RUN, BIRTH)
    assert await place.runs.head(RUN) is None
