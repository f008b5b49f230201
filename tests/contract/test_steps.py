"""step, claim_step, renew_step, retire_step, end_step, retry_step, cancel_step."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from tests.contract.records import BIRTH, LATER, NOW, OTHER_BIRTH, RUN, STEP, UNTIL, a_head, claim
from wdk_cloud.world.ports import RETIRED_KEPT, StepItem

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

CLAIMED = StepItem(step_id=STEP, attempt=1, holder="message-1", until=UNTIL, first_started=NOW)


# -- claim_step -------------------------------------------------------------------------------------------------------


async def test_a_step_has_no_item_before_its_first_claim(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.step(RUN, BIRTH, STEP) is None


async def test_the_first_claim_makes_the_item(place: WorldUnderTest) -> None:
    assert await claim(place.runs) == (True, CLAIMED)
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


@pytest.mark.parametrize("identity", ["message-1", "message-2"])
async def test_a_step_with_a_live_claim_is_refused_to_everybody(place: WorldUnderTest, identity: str) -> None:
    await claim(place.runs)
    refused = await claim(place.runs, identity, provider_id="provider-2", now=UNTIL - 0.001, until=LATER)
    assert refused == (False, CLAIMED)
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


@pytest.mark.parametrize("identity", ["message-1", "message-2"])
async def test_a_claim_that_ran_out_is_taken_over_and_counts_as_interrupted(
    place: WorldUnderTest, identity: str
) -> None:
    await claim(place.runs)
    item = replace(CLAIMED, attempt=2, holder=identity, until=LATER, interrupted=1)
    assert await claim(place.runs, identity, provider_id="provider-2", now=UNTIL, until=LATER) == (True, item)
    assert await place.runs.step(RUN, BIRTH, STEP) == item


async def test_every_interruption_is_counted(place: WorldUnderTest) -> None:
    for number in range(4):
        _, item = await claim(place.runs, now=NOW + 100 * number, until=NOW + 100 * number + 30)
    assert (item.attempt, item.interrupted, item.first_started) == (4, 3, NOW)


async def test_a_step_that_has_ended_is_not_claimed(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"end")
    ended = replace(CLAIMED, holder=None, until=0.0, end=b"end")
    assert await claim(place.runs, "message-2", provider_id="provider-2", now=LATER) == (False, ended)
    assert await place.runs.step(RUN, BIRTH, STEP) == ended


async def test_a_step_that_ended_before_any_claim_is_not_claimed(place: WorldUnderTest) -> None:
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"")
    assert await claim(place.runs) == (False, StepItem(step_id=STEP, end=b""))


async def test_a_step_is_not_claimed_before_the_time_of_its_retry(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER)
    waiting = replace(CLAIMED, holder=None, until=0.0, retry_at=LATER)
    assert await claim(place.runs, now=LATER - 0.001, until=LATER + 30) == (False, waiting)
    claimed, item = await claim(place.runs, now=LATER, until=LATER + 30)
    assert claimed
    assert (item.attempt, item.holder, item.until) == (2, "message-1", LATER + 30)


async def test_an_attempt_after_a_retry_is_no_interruption(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=NOW + 5)
    _, item = await claim(place.runs, now=LATER, until=LATER + 30)
    assert (item.interrupted, item.first_started) == (0, NOW)


async def test_a_step_is_not_claimed_with_a_message_that_was_retired(place: WorldUnderTest) -> None:
    await claim(place.runs)
    item = await place.runs.retire_step(RUN, BIRTH, STEP, "provider-2")
    assert await claim(place.runs, provider_id="provider-2", now=LATER, until=LATER + 30) == (False, item)
    claimed, _ = await claim(place.runs, provider_id="provider-3", now=LATER, until=LATER + 30)
    assert claimed


async def test_a_cancelled_step_can_be_claimed_and_its_worker_sees_it(place: WorldUnderTest) -> None:
    await place.runs.cancel_step(RUN, BIRTH, STEP)
    assert await claim(place.runs) == (True, replace(CLAIMED, cancelled=True))


async def test_steps_of_other_ids_births_and_runs_are_others(place: WorldUnderTest) -> None:
    await claim(place.runs)
    again = partial(place.runs.claim_step, identity="m", provider_id="p", now=NOW, until=UNTIL)
    for key in ((RUN, BIRTH, "charge#11"), (RUN, OTHER_BIRTH, STEP), ("run-2", BIRTH, STEP)):
        claimed, item = await again(*key)
        assert (claimed, item.attempt, item.holder) == (True, 1, "m")
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


# -- renew_step -------------------------------------------------------------------------------------------------------


async def test_a_worker_prolongs_its_claim_from_another_thread(place: WorldUnderTest) -> None:
    await claim(place.runs)
    renew = partial(place.runs.renew_step, RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER)
    renewed = replace(CLAIMED, until=LATER)
    assert renew() == renewed
    assert await asyncio.to_thread(renew) == renewed
    assert await claim(place.runs, "message-2", now=LATER - 0.001, until=LATER + 30) == (False, renewed)


async def test_a_worker_that_renews_sees_that_its_step_is_cancelled(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.cancel_step(RUN, BIRTH, STEP)
    item = place.runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER)
    assert item == replace(CLAIMED, until=LATER, cancelled=True)


@pytest.mark.parametrize(("attempt", "identity"), [(0, "message-1"), (2, "message-1"), (1, "message-2")])
async def test_a_claim_of_another_attempt_or_message_is_not_renewed(
    place: WorldUnderTest, attempt: int, identity: str
) -> None:
    await claim(place.runs)
    assert place.runs.renew_step(RUN, BIRTH, STEP, attempt=attempt, identity=identity, until=LATER) is None
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


async def test_the_claim_of_a_step_that_has_ended_is_not_renewed(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")
    assert place.runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER) is None


async def test_a_claim_that_waits_for_its_retry_is_not_renewed(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER)
    assert place.runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER) is None


async def test_the_claim_of_a_step_without_an_item_is_not_renewed(place: WorldUnderTest) -> None:
    assert place.runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER) is None
    assert place.runs.renew_step(RUN, BIRTH, STEP, attempt=0, identity="message-1", until=LATER) is None
    assert await place.runs.step(RUN, BIRTH, STEP) is None


# -- retire_step ------------------------------------------------------------------------------------------------------


async def test_a_retired_message_is_in_the_step_item_once(place: WorldUnderTest) -> None:
    await claim(place.runs)
    retired = replace(CLAIMED, retired=("provider-1",))
    assert await place.runs.retire_step(RUN, BIRTH, STEP, "provider-1") == retired
    assert await place.runs.retire_step(RUN, BIRTH, STEP, "provider-1") == retired
    assert await place.runs.step(RUN, BIRTH, STEP) == retired


async def test_a_step_item_remembers_the_last_sixteen_retired_messages(place: WorldUnderTest) -> None:
    await claim(place.runs)
    for number in range(RETIRED_KEPT + 2):
        item = await place.runs.retire_step(RUN, BIRTH, STEP, f"p{number}")
    assert item == replace(CLAIMED, retired=tuple(f"p{number}" for number in range(2, 18)))


async def test_retiring_finds_no_step_without_an_item_of_its_birth(place: WorldUnderTest) -> None:
    assert await place.runs.retire_step(RUN, BIRTH, STEP, "p") is None
    assert await place.runs.step(RUN, BIRTH, STEP) is None
    await claim(place.runs)
    assert await place.runs.retire_step(RUN, OTHER_BIRTH, STEP, "p") is None
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


# -- end_step ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [1, None])
async def test_the_end_of_a_step_is_kept_and_frees_the_claim(place: WorldUnderTest, attempt: int | None) -> None:
    await claim(place.runs)
    end = bytes(range(256))
    assert await place.runs.end_step(RUN, BIRTH, STEP, attempt=attempt, end=end)
    assert await place.runs.step(RUN, BIRTH, STEP) == replace(CLAIMED, holder=None, until=0.0, end=end)


async def test_a_success_of_any_attempt_ends_a_step_that_another_attempt_works_on(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await claim(place.runs, "message-2", now=LATER, until=LATER + 30)
    assert await place.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"late")
    item = await place.runs.step(RUN, BIRTH, STEP)
    assert item is not None
    assert (item.end, item.attempt, item.holder) == (b"late", 2, None)


async def test_an_end_that_names_an_attempt_counts_only_for_that_attempt(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await claim(place.runs, "message-2", now=LATER, until=LATER + 30)
    item = await place.runs.step(RUN, BIRTH, STEP)
    for attempt in (0, 1, 3):
        assert not await place.runs.end_step(RUN, BIRTH, STEP, attempt=attempt, end=b"end")
    assert await place.runs.step(RUN, BIRTH, STEP) == item
    assert await place.runs.end_step(RUN, BIRTH, STEP, attempt=2, end=b"end")


@pytest.mark.parametrize("attempt", [1, None])
async def test_the_first_end_of_a_step_wins(place: WorldUnderTest, attempt: int | None) -> None:
    await claim(place.runs)
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"first")
    assert not await place.runs.end_step(RUN, BIRTH, STEP, attempt=attempt, end=b"second")
    item = await place.runs.step(RUN, BIRTH, STEP)
    assert item is not None
    assert item.end == b"first"


@pytest.mark.parametrize("attempt", [1, None])
async def test_the_same_end_again_is_success(place: WorldUnderTest, attempt: int | None) -> None:
    await claim(place.runs)
    assert await place.runs.end_step(RUN, BIRTH, STEP, attempt=attempt, end=b"end")
    assert await place.runs.end_step(RUN, BIRTH, STEP, attempt=attempt, end=b"end")


async def test_an_end_without_an_attempt_makes_the_item(place: WorldUnderTest) -> None:
    assert await place.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")
    assert await place.runs.step(RUN, BIRTH, STEP) == StepItem(step_id=STEP, end=b"end")


async def test_an_end_of_an_attempt_that_nobody_knows_is_refused(place: WorldUnderTest) -> None:
    assert not await place.runs.end_step(RUN, BIRTH, STEP, attempt=0, end=b"end")
    assert not await place.runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"end")
    assert await place.runs.step(RUN, BIRTH, STEP) is None


async def test_a_late_end_for_another_birth_is_seen_by_nobody(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.end_step(RUN, OTHER_BIRTH, STEP, attempt=None, end=b"end")
    assert not await place.runs.end_step(RUN, OTHER_BIRTH, STEP, attempt=1, end=b"other")
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


# -- retry_step, cancel_step ------------------------------------------------------------------------------------------


async def test_a_retry_frees_the_claim_and_says_when(place: WorldUnderTest) -> None:
    await claim(place.runs)
    assert await place.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER)
    item = await place.runs.step(RUN, BIRTH, STEP)
    assert item is not None
    assert (item.attempt, item.holder, item.retry_at, item.end) == (1, None, LATER, None)


@pytest.mark.parametrize(("attempt", "identity"), [(0, "message-1"), (2, "message-1"), (1, "message-2")])
async def test_a_retry_by_another_attempt_or_message_is_refused(
    place: WorldUnderTest, attempt: int, identity: str
) -> None:
    await claim(place.runs)
    assert not await place.runs.retry_step(RUN, BIRTH, STEP, attempt=attempt, identity=identity, retry_at=LATER)
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED


async def test_a_retry_of_a_step_that_has_ended_is_refused(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")
    item = await place.runs.step(RUN, BIRTH, STEP)
    assert not await place.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER)
    assert await place.runs.step(RUN, BIRTH, STEP) == item


async def test_a_retry_of_a_step_without_an_item_is_refused(place: WorldUnderTest) -> None:
    assert not await place.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER)
    assert await place.runs.step(RUN, BIRTH, STEP) is None


async def test_a_step_can_be_cancelled_before_and_after_its_claim(place: WorldUnderTest) -> None:
    await place.runs.cancel_step(RUN, BIRTH, "never#1")
    assert await place.runs.step(RUN, BIRTH, "never#1") == StepItem(step_id="never#1", cancelled=True)
    await claim(place.runs)
    await place.runs.cancel_step(RUN, BIRTH, STEP)
    await place.runs.cancel_step(RUN, BIRTH, STEP)
    assert await place.runs.step(RUN, BIRTH, STEP) == replace(CLAIMED, cancelled=True)


async def test_a_cancel_for_another_birth_is_seen_by_nobody(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.cancel_step(RUN, OTHER_BIRTH, STEP)
    assert await place.runs.step(RUN, BIRTH, STEP) == CLAIMED
