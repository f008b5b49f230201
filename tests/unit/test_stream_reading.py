"""Reading streams: how a reader learns that nothing more comes, and of a producer that is gone."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.records import BIRTH, RUN
from tests.unit.engine_bench import until
from tests.unit.test_stream_writing import Store, a_place, frame, objects, read, run
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.engine import appender as appender_module
from wdk_cloud.engine import follower as follower_module
from wdk_cloud.engine import patience
from wdk_cloud.engine.appender import Appender
from wdk_cloud.engine.follower import MARK_AGE, Follower
from wdk_cloud.engine.streaming import Place
from wdk_cloud.errors import RunExpiredError, StreamError, WorldUnavailableError
from wdk_cloud.streams import ReadableStream
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.ports import HeadFields


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appender_module, "BREATH", float("inf"))
    monkeypatch.setattr(follower_module, "LOOK_EVERY", 0.002)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.0)


async def end_the_run(place: Place) -> None:
    runs = place.world.runs
    assert await runs.acquire(RUN, BIRTH, identity="message", provider_id="provider", now=0.0, until=30.0)
    await runs.change(RUN, BIRTH, HeadFields(status="completed", ended_at=1.0), holder="message", fence=1)


async def write(place: Place, *numbers: int) -> None:
    writer = Appender(place)
    for number in numbers:
        await writer.write(frame(number))
    await writer.drain()


def advance(place: Place, seconds: float) -> None:
    assert isinstance(place.world.clock, VirtualClock)
    place.world.clock.advance_to(place.world.clock.now() + seconds)


async def read_all(place: Place, got: list[bytes]) -> None:
    async for batch in Follower(place, KnownTypes()).batches():
        got.extend(chunk.data for chunk in batch)


def test_a_stream_that_nobody_began_ends_with_its_run() -> None:
    async def story() -> tuple[bool, list[bytes]]:
        place, store = await a_place()
        got: list[bytes] = []
        reading = asyncio.create_task(read_all(place, got))
        await store.looked(2)
        waits = not reading.done()
        await end_the_run(place)
        await reading
        return waits, got

    assert run(story) == (True, [])


def test_a_reader_closes_the_stream_of_an_ended_run_whose_worker_died_before_it_did() -> None:
    async def story() -> tuple[list[bytes], list[str]]:
        place, _ = await a_place()
        await write(place, 1, 2)
        await end_the_run(place)
        got: list[bytes] = []
        await read_all(place, got)
        return got, [object.kind for object in await objects(place)]

    assert run(story) == ([b"1", b"2"], ["chunks", "closed"])


def test_a_producer_that_is_gone_for_a_minute_ends_the_stream_for_all_readers_alike() -> None:
    async def story() -> tuple[list[list[bytes]], list[str], list[str]]:
        place, store = await a_place()
        await write(place, 1, 2)
        await place.world.streams.mark(RUN, BIRTH, "log", place.world.clock.now())
        got: list[list[bytes]] = [[], [], []]
        reading = [asyncio.create_task(read_all(place, each)) for each in got]
        advance(place, MARK_AGE - 1)
        await store.looked(9)  # three times each
        assert not any(one.done() for one in reading)
        advance(place, 1)
        errors = await asyncio.gather(*reading, return_exceptions=True)
        late: list[bytes] = []
        with pytest.raises(StreamError) as caught:
            await read_all(place, late)
        got.append(late)
        return got, [str(error) for error in (*errors, caught.value)], [object.kind for object in await objects(place)]

    got, errors, kinds = run(story)
    assert got == [[b"1", b"2"]] * 4
    assert len(set(errors)) == 1
    assert "stream 'log' of run run-1: its producer died" in errors[0]
    assert kinds == ["chunks", "error"]


def test_a_producer_that_was_taken_for_dead_writes_nothing_more() -> None:
    async def story() -> str:
        place, _ = await a_place()
        writer = Appender(place)
        await writer.write(frame(1))
        await writer.drain()
        await place.world.streams.mark(RUN, BIRTH, "log", place.world.clock.now())
        advance(place, MARK_AGE)
        with pytest.raises(StreamError):
            await read_all(place, [])
        await writer.write(frame(2))
        with pytest.raises(StreamError) as caught:
            await writer.drain()
        return str(caught.value)

    assert "has ended with the error of its producer" in run(story)


def test_an_upload_that_never_began_ends_a_minute_after_its_run_was_created() -> None:
    async def story() -> str:
        place, _ = await a_place()
        place = replace(place, stream="@input#1")
        advance(place, MARK_AGE + 1_000.0)
        with pytest.raises(StreamError) as caught:
            await read_all(place, [])
        return str(caught.value)

    assert "its producer died" in run(story)


def test_a_mark_that_is_renewed_keeps_the_stream_open() -> None:
    async def story() -> bool:
        place, store = await a_place()
        await write(place, 1)
        reading = asyncio.create_task(read_all(place, []))
        for _ in range(10):
            await place.world.streams.mark(RUN, BIRTH, "log", place.world.clock.now())
            advance(place, MARK_AGE - 1)
            await store.looked(2)
        open_still = not reading.done()
        reading.cancel()
        return open_still

    assert run(story)


def test_a_reader_goes_on_where_it_was_when_the_store_failed_for_a_while() -> None:
    class Failing(Store):
        fails = 0

        async def get(self, *args: Any) -> list[bytes]:
            if self.fails:
                self.fails -= 1
                raise WorldUnavailableError("not now")
            return await self._streams.get(*args)

    async def story() -> list[bytes]:
        place, store = await a_place()
        failing = Failing(store)
        place.world.streams = failing  # type: ignore[misc]
        got: list[bytes] = []
        reading = asyncio.create_task(read_all(place, got))
        for number in range(5):
            failing.fails = 3
            await write_with(place, store, number)
            while len(got) <= number:
                await asyncio.sleep(0)
        await place.end()
        await reading
        return got

    async def write_with(place: Place, store: Store, number: int) -> None:
        await Appender(Place(_WorldWith(place.world, store), RUN, BIRTH, "log", place.sealer)).write(frame(number))

    assert run(story) == [b"0", b"1", b"2", b"3", b"4"]


class _WorldWith:
    def __init__(self, world: Any, streams: Any) -> None:
        self._world = world
        self.streams = streams

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world, name)


def test_a_run_that_is_deleted_ends_its_readers() -> None:
    async def story() -> None:
        place, _ = await a_place()
        await write(place, 1)
        got: list[bytes] = []
        reading = asyncio.create_task(read_all(place, got))
        await until(lambda: got)
        await place.world.runs.bury(RUN, BIRTH, holder=None, fence=0, now=1.0)
        with pytest.raises(RunExpiredError):
            await reading

    run(story)


@pytest.mark.parametrize("reader", [ReadableStream.numbered, ReadableStream.raw], ids=["numbered", "raw"])
def test_a_stream_of_an_iterable_has_no_indexes_to_read_by(reader: Any) -> None:
    async def story() -> None:
        with pytest.raises(TypeError, match="is read where it was made"):
            await anext(reader(ReadableStream.from_iterable([1])))

    run(story)


@pytest.mark.parametrize("start_index", [0, 2], ids=["from the beginning", "from behind it"])
def test_an_object_that_is_gone_from_the_middle_of_an_ended_stream_is_told_as_such(start_index: int) -> None:
    async def story() -> str:
        place, store = await a_place()
        await place.register()
        for number in range(3):
            await write(place, number)
        await end_the_run(place)
        await place.end_with_run()
        store.gone = {1}
        with pytest.raises(StreamError) as caught:
            await read(place, start_index)
        return str(caught.value)

    assert "an object in its middle is gone" in run(story)


def test_an_object_that_was_damaged_is_told_as_such() -> None:
    async def story() -> str:
        place, store = await a_place()
        await write(place, 1)
        data = (await store.get(RUN, BIRTH, "log", 0, 0))[0]
        await store.put(RUN, BIRTH, "log", 1, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(StreamError) as caught:
            await read(place)
        return str(caught.value)

    assert run(story).startswith("stream 'log' of run run-1 cannot be read any further (a record is damaged")


class Holey:
    """A store whose first answer about each object lacks it, as an answer that is no snapshot may."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._asked: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def get(self, run_id: str, birth: str, stream: str, ordinal: int, most: int) -> list[bytes]:
        if ordinal not in self._asked:
            self._asked.add(ordinal)
            return []
        return (await self._store.get(run_id, birth, stream, ordinal, most))[:1]


@pytest.mark.parametrize("start_index", [0, 1, 2, -1])
def test_an_object_that_only_an_answer_lacks_is_found_by_a_second_look(start_index: int) -> None:
    async def story() -> list[tuple[int, bytes]]:
        place, store = await a_place()
        await place.register()
        for number in range(3):
            await write(place, number)
        await end_the_run(place)
        await place.end_with_run()
        holey: Any = _WorldWith(place.world, Holey(store))
        return await read(Place(holey, RUN, BIRTH, "log", place.sealer), start_index)

    assert run(story) == [(0, b"0"), (1, b"1"), (2, b"2")][start_index:]
