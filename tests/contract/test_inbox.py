"""put_item, items, drop_items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract.records import BIRTH, OTHER_BIRTH, RUN, STEP, a_head, an_item, claim, without_places
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


async def test_an_item_is_read_as_it_was_put(place: WorldUnderTest) -> None:
    item = InboxItem(key="hook#1/ä", kind="payload", data=bytes(range(256)), time=1_700_000_000.123456)
    assert await place.runs.put_item(RUN, BIRTH, item)
    assert without_places(await place.runs.items(RUN, BIRTH)) == [item]


async def test_an_inbox_without_items_is_empty(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.items(RUN, BIRTH) == []


async def test_a_second_item_of_one_key_is_not_put(place: WorldUnderTest) -> None:
    first = an_item("a", b"first")
    assert await place.runs.put_item(RUN, BIRTH, first)
    assert not await place.runs.put_item(RUN, BIRTH, an_item("a", b"second"))
    assert not await place.runs.put_item(RUN, BIRTH, first)
    assert without_places(await place.runs.items(RUN, BIRTH)) == [first]


async def test_items_come_in_the_order_in_which_one_client_put_them(place: WorldUnderTest) -> None:
    keys = ["z", "a", "m", "10", "9", "B", "b"]
    for key in keys:
        await place.runs.put_item(RUN, BIRTH, an_item(key))
    assert [item.key for item in await place.runs.items(RUN, BIRTH)] == keys


async def test_the_order_is_that_of_the_puts_whatever_the_times_say(place: WorldUnderTest) -> None:
    for key, time in (("a", 30.0), ("b", 10.0), ("c", 20.0)):
        await place.runs.put_item(RUN, BIRTH, InboxItem(key=key, kind="payload", data=b"", time=time))
    assert [item.key for item in await place.runs.items(RUN, BIRTH)] == ["a", "b", "c"]


async def test_reading_takes_nothing_away(place: WorldUnderTest) -> None:
    await place.runs.put_item(RUN, BIRTH, an_item("a"))
    first, second = [await place.runs.items(RUN, BIRTH) for _ in range(2)]
    assert first == second
    assert without_places(first) == [an_item("a")]


async def test_dropped_items_are_gone_and_the_others_stay(place: WorldUnderTest) -> None:
    for key in ("a", "b", "c", "d"):
        await place.runs.put_item(RUN, BIRTH, an_item(key))
    await place.runs.drop_items(RUN, BIRTH, ["c", "a"])
    assert [item.key for item in await place.runs.items(RUN, BIRTH)] == ["b", "d"]


async def test_dropping_what_is_not_there_does_not_matter(place: WorldUnderTest) -> None:
    await place.runs.drop_items(RUN, BIRTH, ["a"])
    await place.runs.put_item(RUN, BIRTH, an_item("a"))
    await place.runs.drop_items(RUN, BIRTH, [])
    await place.runs.drop_items(RUN, BIRTH, ["never", "a", "a"])
    await place.runs.drop_items(RUN, BIRTH, ["a"])
    assert await place.runs.items(RUN, BIRTH) == []


async def test_many_items_are_dropped_at_once(place: WorldUnderTest) -> None:
    keys = [f"key-{number:03}" for number in range(120)]
    for key in keys:
        await place.runs.put_item(RUN, BIRTH, an_item(key))
    assert len(await place.runs.items(RUN, BIRTH)) == 120
    await place.runs.drop_items(RUN, BIRTH, keys[1:])
    assert without_places(await place.runs.items(RUN, BIRTH)) == [an_item("key-000")]


async def test_an_item_can_be_put_before_the_head_is_there(place: WorldUnderTest) -> None:
    assert await place.runs.put_item(RUN, BIRTH, an_item("a"))
    assert await place.runs.head(RUN) is None
    await place.runs.create(a_head())
    assert without_places(await place.runs.items(RUN, BIRTH)) == [an_item("a")]


async def test_a_late_item_for_another_birth_is_read_by_nobody(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    assert await place.runs.put_item(RUN, OTHER_BIRTH, an_item("a", b"earlier life"))
    assert await place.runs.items(RUN, BIRTH) == []
    assert await place.runs.put_item(RUN, BIRTH, an_item("a", b"this life"))
    await place.runs.drop_items(RUN, OTHER_BIRTH, ["a"])
    assert without_places(await place.runs.items(RUN, BIRTH)) == [an_item("a", b"this life")]


async def test_an_item_keeps_its_place_in_another_inbox(place: WorldUnderTest) -> None:
    """Whoever passes it on may have another clock, and what comes later may be there already."""
    await place.runs.put_item(RUN, BIRTH, an_item("first"))
    (first,) = await place.runs.items(RUN, BIRTH)
    if first.place:  # the others have one order for all
        await place.runs.put_item("other", BIRTH, an_item("second"))
        await place.runs.put_item("other", BIRTH, first)
        found = await place.runs.items("other", BIRTH)
        assert [item.key for item in found] == ["first", "second"]
        assert found[0] == first


async def test_a_step_that_has_ended_comes_after_the_items(place: WorldUnderTest) -> None:
    await claim(place.runs)
    await place.runs.claim_step(
        RUN, BIRTH, "other#1", identity="m", provider_id="p", now=0.0, until=1.0
    )  # has no end: it is not there
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"the end")
    await place.runs.put_item(RUN, BIRTH, an_item("a"))
    first, second = await place.runs.items(RUN, BIRTH)
    assert without_places([first]) == [an_item("a")]
    assert (second.key, second.kind, second.data) == (f"step:{STEP}", "step", b"the end")


@pytest.mark.parametrize("asked", [0, 1, 3, 300])
async def test_of_the_steps_that_are_asked_for_none_is_missing(place: WorldUnderTest, asked: int) -> None:
    for number in range(0, 310, 2):
        await place.runs.end_step(RUN, BIRTH, f"s#{number}", attempt=None, end=b"the end")
    await place.runs.put_item(RUN, BIRTH, an_item("a"))
    steps = [f"s#{number}" for number in range(asked)]
    first, *ends = await place.runs.items(RUN, BIRTH, steps)
    assert without_places([first]) == [an_item("a")]
    assert {f"step:{step}" for step in steps[::2]} <= {end.key for end in ends}


async def test_all_steps_that_have_ended_are_among_the_items(place: WorldUnderTest) -> None:
    steps = [f"s#{number}" for number in range(30)]
    for step in steps:
        await place.runs.end_step(RUN, BIRTH, step, attempt=None, end=step.encode())
    found = {item.key: item.data for item in await place.runs.items(RUN, BIRTH)}
    assert found == {f"step:{step}": step.encode() for step in steps}
    assert await place.runs.items(RUN, OTHER_BIRTH) == []


async def test_dropping_the_end_of_a_step_does_not_lose_it(place: WorldUnderTest) -> None:
    await place.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"the end")
    await place.runs.drop_items(RUN, BIRTH, [f"step:{STEP}"])
    item = await place.runs.step(RUN, BIRTH, STEP)
    assert item is not None
    assert item.end == b"the end"
