"""Two writers of different kinds, the late writers of another birth, and the renewing thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.contract.racing import ROUNDS, both, race
from tests.contract.records import (
    BIRTH,
    LATER,
    OTHER_BIRTH,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    an_item,
    claim,
    release,
    started,
    take,
    taken,
)
from wdk_cloud.world.ports import Head, HeadFields, Labels, Lease

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_mark_and_a_release_do_not_miss_each_other(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await started(runs[0])
        marked, released = await race(
            [
                lambda: runs[0].mark_dirty(RUN, BIRTH, holder="message-1", fence=1),
                lambda: release(runs[1]),
            ],
            seed,
        )
        assert marked is not released
        head = await runs[0].head(RUN)
        assert head is not None
        assert (head.dirty, head.holder) == ((True, "message-1") if marked else (False, None))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_an_item_put_against_a_release_is_seen_by_one_of_the_two(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await started(runs[0])

        async def deliver() -> bool:
            """Whether the run was found free: then a message wakes it."""
            await runs[0].put_item(RUN, BIRTH, an_item("key"))
            while True:
                head = await runs[0].head(RUN)
                assert head is not None
                if head.holder is None:
                    return True
                if await runs[0].mark_dirty(RUN, BIRTH, holder=head.holder, fence=head.fence):
                    return False

        async def hold() -> bool:
            """Whether the holder saw the item before it let go."""
            seen = bool(await runs[1].items(RUN, BIRTH))
            while not await release(runs[1]):
                await runs[1].change(RUN, BIRTH, {"dirty": False}, holder="message-1", fence=1)
                seen = bool(await runs[1].items(RUN, BIRTH))
            return seen

        found_free, seen = await race([deliver, hold], seed)
        assert found_free or seen
        head = await runs[0].head(RUN)
        assert head is not None
        assert (head.holder, head.dirty) == (None, False)


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_an_exchange_comes_before_or_after_the_acquire_of_its_message(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await runs[0].create(a_head())
        answer, head = await race([lambda: take(runs[0]), lambda: runs[1].retire(RUN, BIRTH, "provider-1")], seed)
        assert isinstance(head, Head)
        assert head.retired == ("provider-1",)
        # Who exchanges reads in the answer whether the earlier receiver holds the lease: then the copy waits for it.
        assert head.holder == ("message-1" if isinstance(answer, Lease) else None)
        if isinstance(answer, Head):
            assert answer == a_head(retired=("provider-1",))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_lease_that_ran_out_is_renewed_or_taken_over_not_both(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await started(runs[0])

        async def renew() -> Head | None:
            return runs[1].renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER + 30)

        answer, renewed = await race(
            [lambda: take(runs[0], "message-2", provider_id="provider-2", now=LATER, until=LATER + 30), renew], seed
        )
        head = await runs[0].head(RUN)
        assert head is not None
        assert isinstance(answer, Lease) is (renewed is None)
        assert (head.holder, head.fence) == (("message-1", 1) if renewed else ("message-2", 2))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_holder_that_lost_its_lease_changes_nothing_of_its_successors(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await started(runs[0])
        fields: HeadFields = {"status": "completed", "length": 7}
        answer, (changed, _) = await race(
            [
                lambda: take(runs[0], "message-2", provider_id="provider-2", now=LATER, until=LATER + 30),
                lambda: runs[1].change(RUN, BIRTH, fields, holder="message-1", fence=1),
            ],
            seed,
        )
        head = await runs[0].head(RUN)
        assert head is not None
        assert isinstance(answer, Lease) is not changed  # the end came first, and an ended run is taken by nobody
        assert (head.status, head.length, head.fence) == (("completed", 7, 1) if changed else ("running", 0, 2))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_the_end_of_a_step_survives_a_retry_beside_it(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await claim(runs[0])
        ended, _ = await race(
            [
                lambda: runs[0].end_step(RUN, BIRTH, STEP, attempt=None, end=b"end"),
                lambda: runs[1].retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER),
            ],
            seed,
        )
        item = await runs[1].step(RUN, BIRTH, STEP)
        assert item is not None
        assert (ended, item.end, item.holder, item.attempt) == (True, b"end", None, 1)
        assert await claim(runs[0], "message-2", now=LATER, until=LATER + 30) == (False, item)


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_step_is_ended_by_its_attempt_or_taken_over_not_both(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await claim(runs[0])
        ended, (claimed, seen) = await race(
            [
                lambda: runs[0].end_step(RUN, BIRTH, STEP, attempt=1, end=b"failed for good"),
                lambda: claim(runs[1], "message-2", provider_id="provider-2", now=LATER, until=LATER + 30),
            ],
            seed,
        )
        item = await runs[0].step(RUN, BIRTH, STEP)
        assert item == seen
        assert ended is not claimed
        assert (seen.end, seen.attempt, seen.interrupted) == ((b"failed for good", 1, 0) if ended else (None, 2, 1))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_step_is_retried_by_its_attempt_or_taken_over_not_both(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await claim(runs[0])
        retried, (claimed, seen) = await race(
            [
                lambda: runs[0].retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER + 100),
                lambda: claim(runs[1], "message-2", provider_id="provider-2", now=LATER, until=LATER + 30),
            ],
            seed,
        )
        assert retried is not claimed
        assert await runs[0].step(RUN, BIRTH, STEP) == seen
        assert (seen.attempt, seen.holder) == ((1, None) if retried else (2, "message-2"))


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_an_exchange_of_a_step_comes_before_or_after_its_claim(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await claim(runs[0])
        (claimed, seen), item = await race(
            [
                lambda: claim(runs[0], provider_id="provider-2", now=LATER, until=LATER + 30),
                lambda: runs[1].retire_step(RUN, BIRTH, STEP, "provider-2"),
            ],
            seed,
        )
        assert item is not None
        assert item.retired == ("provider-2",)
        assert item.attempt == seen.attempt == (2 if claimed else 1)


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_cancel_beside_the_claim_of_its_step_is_seen_by_the_worker(place: WorldUnderTest, seed: int) -> None:
    async with both(place) as runs:
        await race([lambda: claim(runs[0]), lambda: runs[1].cancel_step(RUN, BIRTH, STEP)], seed)
        item = runs[0].renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER)
        assert item is not None
        assert item.cancelled


async def test_late_writes_of_another_birth_change_nothing(place: WorldUnderTest) -> None:
    async with both(place) as (runs, late):
        lease = await started(runs)
        _, item = await claim(runs)
        await runs.append(RUN, BIRTH, a_batch(1))

        async def renew() -> object:
            return late.renew(RUN, OTHER_BIRTH, holder="message-1", fence=1, until=LATER)

        answers = await race(
            [
                lambda: late.acquire(RUN, OTHER_BIRTH, identity="m", provider_id="p", now=LATER, until=LATER + 30),
                lambda: late.retire(RUN, OTHER_BIRTH, "p"),
                lambda: late.mark_dirty(RUN, OTHER_BIRTH, holder="message-1", fence=1),
                lambda: late.change(RUN, OTHER_BIRTH, {"status": "failed"}, holder="message-1", fence=1),
                lambda: late.append(RUN, OTHER_BIRTH, a_batch(2)),
                lambda: late.put_item(RUN, OTHER_BIRTH, an_item("late")),
                lambda: late.end_step(RUN, OTHER_BIRTH, STEP, attempt=None, end=b"late"),
                lambda: late.put_labels(RUN, OTHER_BIRTH, Labels(values={"late": "1"}, position=9)),
                renew,
            ]
        )
        assert answers == [None, None, False, (False, None), None, True, True, None, None]
        assert await runs.head(RUN) == lease.head
        assert await runs.read(RUN, BIRTH, 0) == [a_batch(1)]
        assert await runs.items(RUN, BIRTH) == []
        assert await runs.step(RUN, BIRTH, STEP) == item
        assert await runs.labels(RUN, BIRTH) == Labels(values={})


# -- the renewing thread ----------------------------------------------------------------------------------------------


async def test_a_renewing_thread_undoes_no_write_of_the_loop(place: WorldUnderTest) -> None:
    await started(place.runs)
    await claim(place.runs)
    over = threading.Event()
    renewals = [0]

    def renew() -> None:
        while not over.is_set():
            until = UNTIL + renewals[0]
            assert place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=until) is not None
            assert place.runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=until) is not None
            renewals[0] += 1

    renewing = asyncio.create_task(asyncio.to_thread(renew))
    try:
        number = 0
        while number < 40 or renewals[0] < 40:
            assert await place.runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
            assert not await release(place.runs)
            fields: HeadFields = {"dirty": False, "length": number}
            changed, head = await place.runs.change(RUN, BIRTH, fields, holder="message-1", fence=1)
            assert changed
            assert head is not None
            assert (head.dirty, head.length) == (False, number)
            await place.runs.retire_step(RUN, BIRTH, STEP, f"p{number}")
            item = await place.runs.step(RUN, BIRTH, STEP)
            assert item is not None
            assert item.retired[-1] == f"p{number}"
            number += 1
            await asyncio.sleep(0)
    finally:
        over.set()
        await renewing
    head = await place.runs.head(RUN)
    assert head is not None
    assert head.until == UNTIL + renewals[0] - 1


async def test_two_connections_see_each_others_writes_at_once(place: WorldUnderTest) -> None:
    async with both(place) as (one, two):
        await started(one)
        for number in range(1, 11):
            await one.append(RUN, BIRTH, a_batch(number))
            assert len(await two.read(RUN, BIRTH, 0)) == number
            await two.put_item(RUN, BIRTH, an_item(f"key-{number}"))
            assert len(await one.items(RUN, BIRTH)) == number
            one.renew(RUN, BIRTH, holder="message-1", fence=1, until=UNTIL + number)
            head = await two.head(RUN)
            assert head is not None
            assert head.until == UNTIL + number
        await release(two)
        assert (await taken(one, "message-2", provider_id="provider-2")).head.fence == 2
