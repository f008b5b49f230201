"""put, get, length, mark, marked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.contract.records import BIRTH, NOW, OTHER_BIRTH, RUN, a_head

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

MOST = 1_000


async def put(place: WorldUnderTest, ordinal: int, data: bytes, *, stream: str = "log") -> bytes | None:
    return await place.world.streams.put(RUN, BIRTH, stream, ordinal, data)


async def get(place: WorldUnderTest, ordinal: int = 0, *, stream: str = "log", most: int = MOST) -> list[bytes]:
    return await place.world.streams.get(RUN, BIRTH, stream, ordinal, most)


async def bury(place: WorldUnderTest) -> None:
    await place.runs.create(a_head())
    await place.runs.bury(RUN, BIRTH, holder=None, fence=0, now=NOW)


async def test_objects_are_read_in_their_order_as_they_were_put(place: WorldUnderTest) -> None:
    objects = [bytes([n]) * (n + 1) for n in range(10)]
    for ordinal, data in enumerate(objects):
        assert await put(place, ordinal, data) is None
    assert await get(place) == objects
    assert await get(place, 7) == objects[7:]
    assert await get(place, 10) == []
    assert await place.world.streams.length(RUN, BIRTH, "log") == 10


async def test_a_stream_that_nobody_wrote_to_is_empty(place: WorldUnderTest) -> None:
    assert await get(place) == []
    assert await place.world.streams.length(RUN, BIRTH, "log") == 0


async def test_an_ordinal_that_is_taken_is_refused_with_what_lies_there(place: WorldUnderTest) -> None:
    assert await put(place, 0, b"first") is None
    assert await put(place, 0, b"second") == b"first"
    assert await get(place) == [b"first"]


async def test_the_same_object_again_is_success(place: WorldUnderTest) -> None:
    assert await put(place, 0, b"first") is None
    assert await put(place, 0, b"first") is None
    assert await get(place) == [b"first"]


async def test_of_fifty_writers_of_one_ordinal_one_has_it(place: WorldUnderTest) -> None:
    answers = await asyncio.gather(*(put(place, 0, f"writer {n}".encode()) for n in range(50)))
    (there,) = await get(place)
    assert [n for n, answer in enumerate(answers) if answer is None] == [int(there.split()[1])]
    assert {answer for answer in answers if answer is not None} == {there}


async def test_a_read_ends_before_it_is_larger_than_asked(place: WorldUnderTest) -> None:
    for ordinal in range(4):
        await put(place, ordinal, bytes([ordinal]) * 400)
    assert [len(data) for data in await get(place, most=1_000)] == [400, 400]
    assert [len(data) for data in await get(place, 1, most=1_200)] == [400, 400, 400]


async def test_one_object_comes_however_large_it_is(place: WorldUnderTest) -> None:
    large = bytes(range(256)) * 8_000
    await put(place, 0, large)
    await put(place, 1, b"next")
    assert await get(place, most=10) == [large]


async def test_streams_lives_and_runs_do_not_see_each_other(place: WorldUnderTest) -> None:
    streams = place.world.streams
    await streams.put(RUN, BIRTH, "log", 0, b"this")
    await streams.put(RUN, BIRTH, "other", 0, b"another stream")
    await streams.put(RUN, OTHER_BIRTH, "log", 0, b"another life")
    await streams.put("run-2", BIRTH, "log", 0, b"another run")
    await place.world.scoped("elsewhere").streams.put(RUN, BIRTH, "log", 0, b"another namespace")
    assert await get(place) == [b"this"]
    assert await streams.length(RUN, BIRTH, "log") == 1


async def test_the_latest_mark_is_kept(place: WorldUnderTest) -> None:
    streams = place.world.streams
    assert await streams.marked(RUN, BIRTH, "log") is None
    await streams.mark(RUN, BIRTH, "log", NOW)
    await streams.mark(RUN, BIRTH, "log", NOW + 20.0)
    assert await streams.marked(RUN, BIRTH, "log") == NOW + 20.0
    assert await streams.marked(RUN, OTHER_BIRTH, "log") is None


async def test_whoever_watches_the_run_is_told_of_an_object(place: WorldUnderTest) -> None:
    async with place.second() as reader:
        watch = reader.subscribe(RUN)
        try:
            assert await watch.wait(0.0) is False
            await put(place, 0, b"first")
            assert await watch.wait(20.0) is True
            await put(place, 0, b"refused")
            assert await watch.wait(0.0) is False
            await put(place, 1, b"second")
            assert await watch.wait(20.0) is True
        finally:
            watch.close()


async def test_nothing_is_written_under_a_tombstone(place: WorldUnderTest) -> None:
    await bury(place)
    streams = place.world.streams
    await streams.mark(RUN, BIRTH, "log", NOW)
    assert await put(place, 0, b"late") is None
    assert await streams.marked(RUN, BIRTH, "log") is None
    assert await get(place) == []


async def test_an_erasure_takes_streams_along(place: WorldUnderTest) -> None:
    streams = place.world.streams
    await streams.mark(RUN, BIRTH, "log", NOW)
    await put(place, 0, b"data")
    await streams.put(RUN, OTHER_BIRTH, "log", 0, b"of another life")
    await bury(place)
    await place.runs.erase([(RUN, BIRTH)])
    assert await streams.marked(RUN, BIRTH, "log") is None
    assert await get(place) == []
    assert await streams.get(RUN, OTHER_BIRTH, "log", 0, MOST) == [b"of another life"]
