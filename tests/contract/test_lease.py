"""acquire, mark_dirty, renew, and how a release ends a lease."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    OTHER_BIRTH,
    RUN,
    UNTIL,
    a_head,
    release,
    started,
    take,
    taken,
)
from wdk_cloud.world.ports import ENDED, HeadFields, Lease

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

HELD: dict[str, Any] = {"holder": "message-0", "fence": 4, "until": UNTIL}


async def test_a_free_lease_is_taken_clean(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(length=7, stalls=2, stalls_length=5))
    lease = await take(place.runs)
    head = a_head(length=7, stalls=2, stalls_length=5, holder="message-1", fence=1, until=UNTIL)
    assert lease == Lease(head=head, unclean=False)
    assert await place.runs.head(RUN) == head


async def test_the_fence_rises_with_every_lease(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    fences: list[int] = []
    for number in range(1, 4):
        lease = await taken(place.runs, f"message-{number}", provider_id=f"provider-{number}")
        fences.append(lease.head.fence)
        assert await release(place.runs, f"message-{number}", fence=number)
    assert fences == [1, 2, 3]


@pytest.mark.parametrize("identity", ["message-0", "message-1"])
async def test_a_lease_that_is_held_is_refused_to_everybody(place: WorldUnderTest, identity: str) -> None:
    head = a_head(**HELD)
    await place.runs.create(head)
    assert await take(place.runs, identity, now=UNTIL - 0.001) == head
    assert await place.runs.head(RUN) == head


async def test_a_copy_of_the_holders_message_with_another_end_is_refused(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    assert await take(place.runs, provider_id="provider-2", until=UNTIL + 1) == lease.head
    assert await place.runs.head(RUN) == lease.head


@pytest.mark.parametrize("identity", ["message-0", "message-1"])
async def test_a_lease_that_has_run_out_is_taken_over_unclean(place: WorldUnderTest, identity: str) -> None:
    await place.runs.create(a_head(**HELD, dirty=True, armed=77.5, length=9))
    lease = await take(place.runs, identity, now=UNTIL, until=LATER)
    head = a_head(holder=identity, fence=5, until=LATER, stalls=1, stalls_length=9, length=9)
    assert lease == Lease(head=head, unclean=True)
    assert await place.runs.head(RUN) == head


async def test_a_further_take_over_leaves_the_length_at_which_the_stalls_began(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(**HELD, stalls=1, stalls_length=3, length=9))
    lease = await taken(place.runs, now=LATER, until=LATER + 30)
    assert lease == Lease(
        head=a_head(holder="message-1", fence=5, until=LATER + 30, stalls=2, stalls_length=3, length=9), unclean=True
    )


async def test_the_message_whose_turn_released_last_is_refused(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    head = await place.runs.head(RUN)
    assert await take(place.runs, provider_id="provider-2", now=LATER, until=LATER + 30) == head
    assert await place.runs.head(RUN) == head


async def test_the_message_that_released_last_may_take_over_a_lease_that_ran_out(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(**HELD, last="message-1"))
    lease = await taken(place.runs, now=LATER, until=LATER + 30)
    assert (lease.unclean, lease.head.holder, lease.head.last) == (True, "message-1", "message-1")


@pytest.mark.parametrize("held", [{}, HELD], ids=["free", "run out"])
async def test_a_message_that_was_retired_is_refused(place: WorldUnderTest, held: dict[str, Any]) -> None:
    head = a_head(**held, retired=("provider-0", "provider-1"))
    await place.runs.create(head)
    assert await take(place.runs, now=LATER, until=LATER + 30) == head
    assert await place.runs.head(RUN) == head
    assert (await taken(place.runs, provider_id="provider-2", now=LATER, until=LATER + 30)).head.holder == "message-1"


@pytest.mark.parametrize("status", sorted(ENDED))
async def test_a_run_that_has_ended_has_no_lease_to_take(place: WorldUnderTest, status: Any) -> None:
    head = a_head(status=status)
    await place.runs.create(head)
    assert await take(place.runs) == head
    assert await take(place.runs, "message-2", unclean=True) == head
    assert await place.runs.head(RUN) == head


@pytest.mark.parametrize(
    ("before", "not_before", "after"),
    [
        ("pending", 0.0, "running"),
        ("pending", NOW, "running"),
        ("pending", NOW + 1, "pending"),
        ("running", 0.0, "running"),
    ],
)
async def test_a_pending_run_that_may_begin_runs_from_its_first_lease_on(
    place: WorldUnderTest, before: Any, not_before: float, after: str
) -> None:
    await place.runs.create(a_head(status=before, not_before=not_before))
    assert (await taken(place.runs)).head.status == after


async def test_there_is_no_lease_without_a_head_of_its_birth(place: WorldUnderTest) -> None:
    assert await take(place.runs) is None
    assert await place.runs.head(RUN) is None
    await place.runs.create(a_head(birth=OTHER_BIRTH))
    assert await take(place.runs) is None
    assert await place.runs.head(RUN) == a_head(birth=OTHER_BIRTH)


@pytest.mark.parametrize(
    ("due", "unclean", "armed"),
    [(None, False, 60.5), (50.5, False, 60.5), (60.5, False, None), (None, True, None), (50.5, True, None)],
)
async def test_an_armed_timer_counts_only_in_a_clean_turn_of_another_message(
    place: WorldUnderTest, due: float | None, unclean: bool, armed: float | None
) -> None:
    await place.runs.create(a_head(armed=60.5))
    lease = await taken(place.runs, due=due, unclean=unclean)
    assert lease == Lease(head=a_head(holder="message-1", fence=1, until=UNTIL, armed=armed), unclean=unclean)
    assert await place.runs.head(RUN) == lease.head


async def test_a_timer_for_a_time_that_is_not_armed_finds_nothing_armed(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert (await taken(place.runs, due=60.5)).head.armed is None


async def test_a_turn_that_is_unclean_by_request_is_no_stall(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(length=4))
    lease = await taken(place.runs, unclean=True)
    assert lease == Lease(head=a_head(holder="message-1", fence=1, until=UNTIL, length=4), unclean=True)


async def test_after_a_release_the_next_turn_is_clean(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    lease = await taken(place.runs, "message-2", provider_id="provider-2", now=LATER, until=LATER + 30)
    head = a_head(holder="message-2", fence=2, until=LATER + 30, last="message-1")
    assert lease == Lease(head=head, unclean=False)


# -- mark_dirty --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("due", "armed"), [(None, 60.5), (50.5, 60.5), (60.5, None)], ids=["no timer", "another timer", "the armed timer"]
)
async def test_who_finds_the_run_held_marks_it_dirty(
    place: WorldUnderTest, due: float | None, armed: float | None
) -> None:
    await place.runs.create(a_head(**HELD, armed=60.5))
    assert await place.runs.mark_dirty(RUN, BIRTH, holder="message-0", fence=4, due=due)
    assert await place.runs.head(RUN) == a_head(**HELD, armed=armed, dirty=True)


async def test_a_timer_marks_a_run_that_has_nothing_armed(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(**HELD))
    assert await place.runs.mark_dirty(RUN, BIRTH, holder="message-0", fence=4, due=60.5)
    assert await place.runs.head(RUN) == a_head(**HELD, dirty=True)


async def test_a_run_that_is_dirty_can_be_marked_again(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(**HELD, armed=60.5))
    assert await place.runs.mark_dirty(RUN, BIRTH, holder="message-0", fence=4)
    assert await place.runs.mark_dirty(RUN, BIRTH, holder="message-0", fence=4, due=60.5)
    assert await place.runs.head(RUN) == a_head(**HELD, dirty=True)


@pytest.mark.parametrize(("holder", "fence"), [("message-1", 4), ("message-0", 3), ("message-0", 5)])
async def test_dirty_is_not_set_for_a_holder_that_is_gone(place: WorldUnderTest, holder: str, fence: int) -> None:
    head = a_head(**HELD, armed=60.5)
    await place.runs.create(head)
    assert not await place.runs.mark_dirty(RUN, BIRTH, holder=holder, fence=fence, due=60.5)
    assert await place.runs.head(RUN) == head


async def test_dirty_is_not_set_on_a_lease_that_was_released(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    head = await place.runs.head(RUN)
    assert not await place.runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    assert await place.runs.head(RUN) == head


async def test_dirty_is_not_set_without_a_head_of_its_birth(place: WorldUnderTest) -> None:
    assert not await place.runs.mark_dirty(RUN, BIRTH, holder="message-0", fence=4)
    assert await place.runs.head(RUN) is None
    await place.runs.create(a_head(**HELD))
    assert not await place.runs.mark_dirty(RUN, OTHER_BIRTH, holder="message-0", fence=4)
    assert await place.runs.head(RUN) == a_head(**HELD)


# -- renew -------------------------------------------------------------------------------------------------------------


async def test_the_holder_prolongs_its_lease(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    renewed = replace(lease.head, until=UNTIL + 20)
    assert place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=UNTIL + 20) == renewed
    assert await place.runs.head(RUN) == renewed


async def test_a_lease_is_renewed_from_another_thread(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    renew = partial(place.runs.renew, RUN, BIRTH, holder="message-1", fence=1, until=UNTIL + 20)
    assert await asyncio.to_thread(renew) == replace(lease.head, until=UNTIL + 20)
    assert await place.runs.head(RUN) == replace(lease.head, until=UNTIL + 20)


async def test_who_renews_sees_that_the_run_is_dirty(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    await place.runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    head = place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=UNTIL + 20)
    assert head == replace(lease.head, until=UNTIL + 20, dirty=True)


async def test_a_renewed_lease_is_held_until_its_new_end(place: WorldUnderTest) -> None:
    await started(place.runs)
    head = place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER)
    assert await take(place.runs, "message-2", now=LATER - 0.001, until=LATER + 30) == head
    assert (await taken(place.runs, "message-2", now=LATER, until=LATER + 30)).unclean


async def test_a_lease_that_ran_out_and_that_nobody_took_can_be_renewed(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(holder="message-1", fence=1, until=NOW - 100))
    head = place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=UNTIL)
    assert head == a_head(holder="message-1", fence=1, until=UNTIL)


@pytest.mark.parametrize(("holder", "fence"), [("message-1", 4), ("message-0", 3), ("message-0", 5)])
async def test_a_lease_that_is_lost_is_not_renewed(place: WorldUnderTest, holder: str, fence: int) -> None:
    await place.runs.create(a_head(**HELD))
    assert place.runs.renew(RUN, BIRTH, holder=holder, fence=fence, until=LATER) is None
    assert await place.runs.head(RUN) == a_head(**HELD)


async def test_a_lease_that_was_released_is_not_renewed(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    head = await place.runs.head(RUN)
    assert place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER) is None
    assert await place.runs.head(RUN) == head


async def test_nothing_is_renewed_without_a_head_of_its_birth(place: WorldUnderTest) -> None:
    assert place.runs.renew(RUN, BIRTH, holder="message-0", fence=4, until=LATER) is None
    assert await place.runs.head(RUN) is None
    await place.runs.create(a_head(**HELD))
    assert place.runs.renew(RUN, OTHER_BIRTH, holder="message-0", fence=4, until=LATER) is None
    assert await place.runs.head(RUN) == a_head(**HELD)


async def test_a_renewal_does_not_undo_the_end_of_the_run(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    fields: HeadFields = {"status": "failed", "ended_at": 9.5, "end_at": 2, "error_code": "X"}
    await place.runs.change(RUN, BIRTH, fields, holder="message-1", fence=1)
    place.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER)
    assert await place.runs.head(RUN) == replace(lease.head, **fields, until=LATER)
