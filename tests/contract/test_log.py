"""append, read, read_at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.records import BIRTH, LATER, OTHER_BIRTH, RUN, a_batch, a_head, started, taken

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


async def test_a_batch_is_read_as_it_was_appended(place: WorldUnderTest) -> None:
    batch = a_batch(1, count=3, nonce="n\x00-ä", data=bytes(range(256)), fence=9)
    assert await place.runs.append(RUN, BIRTH, batch) is None
    assert await place.runs.read(RUN, BIRTH, 0) == [batch]
    assert await place.runs.read_at(RUN, BIRTH, 1) == batch


async def test_a_batch_of_three_hundred_kilobytes_is_read_as_it_was_appended(place: WorldUnderTest) -> None:
    batch = a_batch(1, count=1, data=bytes(range(256)) * 1_200)
    await place.runs.append(RUN, BIRTH, batch)
    assert await place.runs.read(RUN, BIRTH, 0) == [batch]


async def test_a_log_without_batches_is_empty(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.read(RUN, BIRTH, 0) == []
    assert await place.runs.read_at(RUN, BIRTH, 1) is None


async def test_the_log_is_read_from_behind_a_position_in_order(place: WorldUnderTest) -> None:
    first, second, third = a_batch(1, count=3), a_batch(4), a_batch(5, count=6)
    for batch in (first, second, third):
        await place.runs.append(RUN, BIRTH, batch)
    assert await place.runs.read(RUN, BIRTH, 0) == [first, second, third]
    assert await place.runs.read(RUN, BIRTH, 1) == [second, third]
    assert await place.runs.read(RUN, BIRTH, 3) == [second, third]
    assert await place.runs.read(RUN, BIRTH, 4) == [third]
    assert await place.runs.read(RUN, BIRTH, 5) == []
    assert await place.runs.read(RUN, BIRTH, 10) == []


async def test_the_order_is_that_of_numbers_however_many_digits_they_have(place: WorldUnderTest) -> None:
    batches = [a_batch(at) for at in (1, 2, 9, 10, 11, 99, 100, 101, 999, 1_000, 12_345)]
    for batch in batches:
        await place.runs.append(RUN, BIRTH, batch)
    assert await place.runs.read(RUN, BIRTH, 0) == batches
    assert await place.runs.read(RUN, BIRTH, 99) == batches[6:]


async def test_batches_appended_out_of_order_are_read_in_order(place: WorldUnderTest) -> None:
    for at in (5, 1, 3):
        await place.runs.append(RUN, BIRTH, a_batch(at))
    assert [batch.at for batch in await place.runs.read(RUN, BIRTH, 0)] == [1, 3, 5]


async def test_a_position_within_a_batch_has_no_batch(place: WorldUnderTest) -> None:
    await place.runs.append(RUN, BIRTH, a_batch(1, count=3))
    assert await place.runs.read_at(RUN, BIRTH, 2) is None
    assert await place.runs.read_at(RUN, BIRTH, 4) is None


async def test_who_appends_where_a_batch_begins_gets_that_batch(place: WorldUnderTest) -> None:
    first = a_batch(1, nonce="nonce-1", data=b"first")
    await place.runs.append(RUN, BIRTH, first)
    assert await place.runs.append(RUN, BIRTH, a_batch(1, nonce="nonce-2", data=b"second")) == first
    assert await place.runs.read(RUN, BIRTH, 0) == [first]


async def test_our_own_nonce_at_the_position_is_success(place: WorldUnderTest) -> None:
    batch = a_batch(1, count=2)
    assert await place.runs.append(RUN, BIRTH, batch) is None
    assert await place.runs.append(RUN, BIRTH, batch) is None
    assert await place.runs.append(RUN, BIRTH, a_batch(1, count=2)) is None
    assert await place.runs.read(RUN, BIRTH, 0) == [batch]


async def test_our_own_batch_is_recognised_by_its_nonce_alone(place: WorldUnderTest) -> None:
    same_content = a_batch(1, nonce="nonce-1", data=b"same")
    await place.runs.append(RUN, BIRTH, same_content)
    assert await place.runs.append(RUN, BIRTH, a_batch(1, nonce="nonce-2", data=b"same")) == same_content


async def test_one_nonce_may_append_at_many_positions(place: WorldUnderTest) -> None:
    for at in (1, 2, 3):
        assert await place.runs.append(RUN, BIRTH, a_batch(at, nonce="nonce-1")) is None
    assert len(await place.runs.read(RUN, BIRTH, 0)) == 3


async def test_a_batch_can_be_there_before_the_head(place: WorldUnderTest) -> None:
    await place.runs.append(RUN, BIRTH, a_batch(1))
    assert await place.runs.head(RUN) is None
    assert await place.runs.create(a_head()) is None
    assert await place.runs.read(RUN, BIRTH, 0) == [a_batch(1)]


async def test_an_append_does_not_ask_for_the_lease(place: WorldUnderTest) -> None:
    await started(place.runs)
    await taken(place.runs, "message-2", now=LATER, until=LATER + 30)
    late = a_batch(1, fence=1, nonce="lost its lease")
    assert await place.runs.append(RUN, BIRTH, late) is None
    assert await place.runs.append(RUN, BIRTH, a_batch(1, fence=2, nonce="holds the lease")) == late


async def test_a_late_append_of_another_birth_is_read_by_nobody(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    await place.runs.append(RUN, BIRTH, a_batch(1, data=b"this life"))
    assert await place.runs.append(RUN, OTHER_BIRTH, a_batch(1, nonce="nonce-2", data=b"earlier life")) is None
    assert await place.runs.append(RUN, OTHER_BIRTH, a_batch(2, nonce="nonce-2")) is None
    assert await place.runs.read(RUN, BIRTH, 0) == [a_batch(1, data=b"this life")]
    assert await place.runs.read_at(RUN, BIRTH, 2) is None


async def test_runs_whose_ids_begin_alike_have_logs_of_their_own(place: WorldUnderTest) -> None:
    await place.runs.append("run-1", BIRTH, a_batch(1, data=b"one"))
    await place.runs.append("run-11", BIRTH, a_batch(1, data=b"eleven"))
    await place.runs.append("run-1", BIRTH + "1", a_batch(2, data=b"other birth"))
    assert await place.runs.read("run-1", BIRTH, 0) == [a_batch(1, data=b"one")]
    assert await place.runs.read("run-11", BIRTH, 0) == [a_batch(1, data=b"eleven")]
