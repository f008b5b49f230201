"""create, head, change, retire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from tests.contract.records import BIRTH, LATER, OTHER_BIRTH, RUN, a_head, release, started, take, taken
from wdk_cloud.world.ports import RETIRED_KEPT, Head, HeadFields, Trouble

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

EVERY_FIELD: dict[str, Any] = {
    "workflow": "anmeldung-für-łódź",
    "created_at": 1_700_000_000.123456,
    "seed": bytes(reversed(range(32))),
    "input": b"\x00\xff input",
    "status": "running",
    "not_before": 12.5,
    "data_key": "wrapped",
    "parent": "run-0",
    "root": "run-00",
    "trace": "00-trace-01",
    "idempotency_key": "key\nwith a newline",
    "continued_from": "run-00",
    "continued_to": "run-2",
    "version": "v1",
    "last_version": "v2",
    "holder": "message-9",
    "fence": 7,
    "until": 99.000001,
    "dirty": True,
    "last": "message-8",
    "armed": 123.456789,
    "stalls": 3,
    "stalls_length": 11,
    "length": 12,
    "retired": ("p1", "p2"),
    "trouble": Trouble(reason="no such workflow", since=4.5, count=2, onward="message-9", interrupt=True),
    "ended_at": 130.25,
    "end_at": 12,
    "error_code": "USER_ERROR",
    "wake_by": 140.5,
}
CHANGES: HeadFields = {
    "status": "running",
    "input": None,
    "holder": None,
    "until": 77.25,
    "dirty": True,
    "last": "message-1",
    "armed": 88.125,
    "stalls": 2,
    "stalls_length": 5,
    "length": 6,
    "trouble": Trouble(reason="code", since=1.0),
    "last_version": "v3",
    "ended_at": 9.5,
    "end_at": 6,
    "error_code": "RUNTIME_ERROR",
    "continued_to": "run-3",
    "wake_by": 200.5,
}


async def test_a_head_is_read_as_it_was_created(place: WorldUnderTest) -> None:
    head = a_head(**EVERY_FIELD)
    assert set(EVERY_FIELD) | {"run_id", "birth", "input_digest"} == set(Head.__struct_fields__)
    assert await place.runs.create(head) is None
    assert await place.runs.head(RUN) == head


async def test_a_head_with_nothing_set_is_read_as_it_was_created(place: WorldUnderTest) -> None:
    head = a_head()
    await place.runs.create(head)
    assert await place.runs.head(RUN) == head


async def test_an_unknown_run_has_no_head(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.head("run-2") is None


async def test_creating_a_run_again_with_its_own_birth_is_success_and_changes_nothing(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    assert await place.runs.create(a_head()) is None
    assert await place.runs.head(RUN) == lease.head


async def test_who_creates_a_run_that_is_there_gets_its_head(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.create(a_head(birth=OTHER_BIRTH, workflow="other")) == a_head()
    assert await place.runs.head(RUN) == a_head()


async def test_who_creates_a_run_that_was_deleted_gets_its_tombstone(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(status="deleted"))
    assert await place.runs.create(a_head(birth=OTHER_BIRTH)) == a_head(status="deleted")


async def test_a_change_writes_its_fields_and_no_others(place: WorldUnderTest) -> None:
    lease = await started(place.runs, **{**EVERY_FIELD, "holder": None, "fence": 0, "retired": ()})
    changed, head = await place.runs.change(RUN, BIRTH, {"length": 40}, holder="message-1", fence=1)
    assert (changed, head) == (True, replace(lease.head, length=40))
    assert await place.runs.head(RUN) == replace(lease.head, length=40)


async def test_a_change_can_write_every_field_that_a_holder_may(place: WorldUnderTest) -> None:
    assert set(CHANGES) == set(HeadFields.__annotations__)
    lease = await started(place.runs, input=b"input")
    changed, head = await place.runs.change(RUN, BIRTH, CHANGES, holder="message-1", fence=1)
    assert (changed, head) == (True, replace(lease.head, **CHANGES))
    assert await place.runs.head(RUN) == head


async def test_a_change_can_take_back_what_is_optional(place: WorldUnderTest) -> None:
    lease = await started(place.runs, input=b"input")
    given: HeadFields = {"armed": 5.5, "trouble": Trouble(reason="code", since=1.0), "error_code": "X"}
    back: HeadFields = {"armed": None, "trouble": None, "error_code": None, "input": None}
    await place.runs.change(RUN, BIRTH, given, holder="message-1", fence=1)
    assert await place.runs.change(RUN, BIRTH, back, holder="message-1", fence=1) == (
        True,
        replace(lease.head, input=None),
    )


@pytest.mark.parametrize(("holder", "fence"), [("message-2", 1), ("message-1", 0), ("message-1", 2)])
async def test_a_change_by_another_holder_or_fence_is_refused(place: WorldUnderTest, holder: str, fence: int) -> None:
    lease = await started(place.runs)
    assert await place.runs.change(RUN, BIRTH, {"length": 9}, holder=holder, fence=fence) == (False, lease.head)
    assert await place.runs.head(RUN) == lease.head


async def test_a_change_of_a_run_that_is_not_there_is_refused_and_makes_no_head(place: WorldUnderTest) -> None:
    assert await place.runs.change(RUN, BIRTH, {"length": 9}, holder="message-1", fence=1) == (False, None)
    assert await place.runs.head(RUN) is None


async def test_a_change_from_another_birth_is_refused_and_sees_no_head(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    refused = await place.runs.change(RUN, OTHER_BIRTH, {"length": 9}, holder="message-1", fence=1)
    assert refused == (False, None)
    assert await place.runs.head(RUN) == lease.head


async def test_a_release_of_a_dirty_run_is_refused_and_returns_the_head(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    await place.runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    dirty = replace(lease.head, dirty=True)
    fields: HeadFields = {"holder": None, "last": "message-1"}
    refused = await place.runs.change(RUN, BIRTH, fields, holder="message-1", fence=1, unless_dirty=True)
    assert refused == (False, dirty)
    assert await place.runs.head(RUN) == dirty


async def test_a_change_that_does_not_ask_for_it_ignores_dirty(place: WorldUnderTest) -> None:
    lease = await started(place.runs, armed=44.5)
    await place.runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    cleared = await place.runs.change(RUN, BIRTH, {"dirty": False}, holder="message-1", fence=1)
    assert cleared == (True, replace(lease.head, dirty=False, armed=44.5))


async def test_a_change_that_asks_for_it_writes_where_nothing_is_dirty(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    fields: HeadFields = {"holder": None, "last": "message-1", "length": 3}
    released = await place.runs.change(RUN, BIRTH, fields, holder="message-1", fence=1, unless_dirty=True)
    assert released == (True, replace(lease.head, holder=None, last="message-1", length=3))


async def test_a_release_repeated_is_success_and_writes_nothing(place: WorldUnderTest) -> None:
    await started(place.runs)
    assert await release(place.runs)
    head = await place.runs.head(RUN)
    assert await release(place.runs)
    assert await place.runs.head(RUN) == head


async def test_a_release_from_another_birth_is_never_taken_for_a_repeated_one(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    head = await place.runs.head(RUN)
    fields: HeadFields = {"holder": None, "last": "message-1"}
    assert await place.runs.change(RUN, OTHER_BIRTH, fields, holder="message-1", fence=1) == (False, None)
    assert await place.runs.head(RUN) == head


async def test_a_release_repeated_after_the_next_turn_is_refused(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    await taken(place.runs, "message-2", provider_id="provider-2")
    assert not await release(place.runs)
    assert await release(place.runs, "message-2", fence=2)
    assert not await release(place.runs)


async def test_the_release_of_an_earlier_lease_of_the_same_message_is_refused(place: WorldUnderTest) -> None:
    await started(place.runs)
    await taken(place.runs, provider_id="provider-2", now=LATER, until=LATER + 30)
    assert await release(place.runs, fence=2)
    head = await place.runs.head(RUN)
    assert not await release(place.runs, fence=1)
    assert await place.runs.head(RUN) == head


async def test_a_release_by_another_than_the_one_that_released_is_refused(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    head = await place.runs.head(RUN)
    assert not await release(place.runs, "message-2", fence=1)
    assert await place.runs.head(RUN) == head


async def test_a_change_after_the_release_is_refused_unless_it_is_that_release(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    head = await place.runs.head(RUN)
    assert await place.runs.change(RUN, BIRTH, {"length": 9}, holder="message-1", fence=1) == (False, head)
    assert await place.runs.head(RUN) == head


async def test_the_end_of_a_run_leaves_its_holder(place: WorldUnderTest) -> None:
    lease = await started(place.runs)
    fields: HeadFields = {"status": "completed", "ended_at": 50.5, "end_at": 4}
    ended = replace(lease.head, status="completed", ended_at=50.5, end_at=4)
    assert await place.runs.change(RUN, BIRTH, fields, holder="message-1", fence=1) == (True, ended)
    assert await place.runs.head(RUN) == ended
    assert ended.holder == "message-1"


async def test_a_retired_message_is_in_the_head_and_changes_nothing_else(place: WorldUnderTest) -> None:
    lease = await started(place.runs, armed=3.5)
    retired = replace(lease.head, retired=("provider-1",))
    assert await place.runs.retire(RUN, BIRTH, "provider-1") == retired
    assert await place.runs.head(RUN) == retired


async def test_retiring_a_message_twice_changes_nothing(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    await place.runs.retire(RUN, BIRTH, "a")
    await place.runs.retire(RUN, BIRTH, "b")
    assert await place.runs.retire(RUN, BIRTH, "a") == a_head(retired=("a", "b"))


async def test_the_last_sixteen_retired_messages_are_remembered(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    for number in range(RETIRED_KEPT + 3):
        head = await place.runs.retire(RUN, BIRTH, f"p{number}")
    assert RETIRED_KEPT == 16
    assert head == a_head(retired=tuple(f"p{number}" for number in range(3, 19)))


async def test_a_retired_id_that_begins_or_ends_like_another_is_another(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    await place.runs.retire(RUN, BIRTH, "12")
    await place.runs.retire(RUN, BIRTH, "1")
    assert await place.runs.retire(RUN, BIRTH, "2") == a_head(retired=("12", "1", "2"))
    await taken(place.runs, provider_id="21")


async def test_a_message_of_an_ended_run_can_be_retired(place: WorldUnderTest) -> None:
    await place.runs.create(a_head(status="completed"))
    assert await place.runs.retire(RUN, BIRTH, "p") == a_head(status="completed", retired=("p",))


async def test_retiring_finds_no_head_without_one_of_its_birth(place: WorldUnderTest) -> None:
    assert await place.runs.retire(RUN, BIRTH, "p") is None
    assert await place.runs.head(RUN) is None
    await place.runs.create(a_head())
    assert await place.runs.retire(RUN, OTHER_BIRTH, "p") is None
    assert await place.runs.head(RUN) == a_head()


async def test_a_retired_message_is_remembered_beyond_leases(place: WorldUnderTest) -> None:
    await started(place.runs)
    await place.runs.retire(RUN, BIRTH, "provider-2")
    await release(place.runs)
    head = await place.runs.head(RUN)
    assert await take(place.runs, "message-2", provider_id="provider-2", now=LATER, until=LATER + 30) == head
