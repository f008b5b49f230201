"""Writing to streams: what goes out when, what shares an object, what lost answers and rivals do to the order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import takewhile
from typing import Any

import pytest

from tests.contract.records import BIRTH, RUN, a_head
from tests.unit.engine_bench import until
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.sealing import Sealer
from wdk_cloud.engine import appender as appender_module
from wdk_cloud.engine import chunks, patience, producing
from wdk_cloud.engine.appender import Appender
from wdk_cloud.engine.follower import Follower
from wdk_cloud.engine.streaming import Place
from wdk_cloud.errors import StreamClosedError, StreamError, WorldUnavailableError
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import HeadFields


@pytest.fixture(autouse=True)
def _breathless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What shares an object must not depend on how quick this machine is."""
    monkeypatch.setattr(appender_module, "BREATH", float("inf"))


def frame(number: int, size: int = 0) -> bytes:
    return chunks.framed(str(number).encode().rjust(size, b" "), is_value=False)


class Store:
    """The streams of a memory world whose `put` waits to be let through, or loses its answer, or refuses."""

    def __init__(self, streams: Any, window: float = 0.0) -> None:
        self._streams = streams
        self.window = window
        self.puts = 0
        self.looks = 0
        self.gate: asyncio.Event | None = None
        self.lose_answers = 0
        self.refuse = 0
        self.gone: set[int] = set()
        """Ordinals of objects that somebody else has removed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._streams, name)

    async def marked(self, *args: Any) -> float | None:
        self.looks += 1
        return await self._streams.marked(*args)

    async def looked(self, times: int) -> None:
        """Until readers have looked so often more whether the producer lives."""
        until = self.looks + times
        while self.looks < until:
            await asyncio.sleep(0)

    async def get(self, run_id: str, birth: str, stream: str, ordinal: int, most: int) -> list[bytes]:
        found: list[bytes] = await self._streams.get(run_id, birth, stream, ordinal, most)
        there = takewhile(lambda at: at not in self.gone, range(ordinal, ordinal + len(found)))
        return found[: len(list(there))]

    async def put(self, *args: Any) -> bytes | None:
        self.puts += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.refuse:
            self.refuse -= 1
            raise WorldUnavailableError("refused")
        answer = await self._streams.put(*args)
        if self.lose_answers:
            self.lose_answers -= 1
            raise WorldUnavailableError("the answer is lost")
        return answer


async def a_place(key: bytes | None = None, window: float = 0.0) -> tuple[Place, Store]:
    world = MemoryWorld(VirtualClock())
    await world.runs.create(a_head())
    store = Store(world.streams, window)
    world.streams = store  # type: ignore[assignment]
    return Place(world, RUN, BIRTH, "log", Sealer(RUN, key)), store


async def objects(place: Place) -> list[chunks.Object]:
    return [chunks.decode(data) for data in await place.world.streams.get(RUN, BIRTH, "log", 0, 1 << 30)]


async def read(place: Place, start_index: int = 0) -> list[tuple[int, bytes]]:
    """What is there, of a stream that is closed."""
    follower = Follower(place, KnownTypes(), start_index)
    return [(chunk.number, chunk.data) async for batch in follower.batches() for chunk in batch]


def run(story: Any) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(20):
            return await story()

    return asyncio.run(limited())


def test_a_chunk_that_finds_the_writer_idle_goes_out_at_once() -> None:
    async def story() -> list[int]:
        place, _ = await a_place(window=3600.0)
        await (writer := Appender(place)).write(frame(1))
        while not await objects(place):
            await asyncio.sleep(0)
        await writer.drain()
        return [object.chunks for object in await objects(place)]

    assert run(story) == [1]


def test_the_first_chunks_of_a_loop_that_only_writes_go_out_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> bool:
        place, _ = await a_place()
        writer = Appender(place)
        number = 0
        while not await objects(place):  # nothing else suspends here
            number += 1
            await writer.write(frame(number))
        await writer.drain()
        return sum(object.chunks for object in await objects(place)) == number

    monkeypatch.setattr(appender_module, "BREATH", 0.0001)
    assert run(story)


def test_chunks_that_come_while_a_call_is_under_way_share_the_next_object() -> None:
    async def story() -> list[int]:
        place, store = await a_place()
        store.gate = asyncio.Event()
        writer = Appender(place)
        await writer.write(frame(0))
        await until(lambda: store.puts)
        for number in range(1, 50):
            await writer.write(frame(number))
        store.gate.set()
        await writer.drain()
        return [object.chunks for object in await objects(place)]

    assert run(story) == [1, 49]


def test_chunks_within_the_window_share_an_object_until_somebody_waits_for_them() -> None:
    async def story() -> list[int]:
        place, _ = await a_place(window=3600.0)
        writer = Appender(place)
        for number in range(50):
            await writer.write(frame(number))
            await asyncio.sleep(0)
        before = len(await objects(place))
        await writer.drain()
        return [before, *(object.chunks for object in await objects(place))]

    assert run(story) == [1, 1, 49]


def test_an_object_that_is_full_does_not_wait_for_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appender_module, "MOST_CHUNKS", 10)

    async def story() -> list[int]:
        place, _ = await a_place(window=3600.0)
        writer = Appender(place)
        await writer.write(frame(0))
        while not await objects(place):
            await asyncio.sleep(0)
        for number in range(1, 11):
            await writer.write(frame(number))
        while len(await objects(place)) < 2:
            await asyncio.sleep(0)
        return [object.chunks for object in await objects(place)]

    assert run(story) == [1, 10]


def test_an_object_ends_before_it_is_larger_than_a_megabyte() -> None:
    async def story() -> list[int]:
        place, store = await a_place()
        store.gate = asyncio.Event()
        writer = Appender(place)
        await writer.write(frame(0))
        await until(lambda: store.puts)
        for number in range(5):
            await writer.write(frame(number, 400_000))
        store.gate.set()
        await writer.drain()
        return [object.chunks for object in await objects(place)]

    assert run(story) == [1, 2, 2, 1]


def test_a_writer_that_is_far_ahead_waits_for_the_store() -> None:
    async def story() -> tuple[bool, bool, int]:
        place, store = await a_place()
        store.gate = asyncio.Event()
        writer = Appender(place)

        async def write() -> None:
            for number in range(12):
                await writer.write(frame(number, 500_000))

        writing = asyncio.create_task(write())
        for _ in range(100):
            await asyncio.sleep(0)
        stuck = not writing.done()
        held = writer.waiting
        store.gate.set()
        await writing
        await writer.drain()
        return stuck, held <= appender_module.BUFFERED + 500_100, len(await objects(place))

    assert run(story) == (True, True, 7)


def test_an_answer_that_is_lost_after_the_write_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.0)

    async def story() -> list[tuple[int, bytes]]:
        place, store = await a_place()
        store.lose_answers = 3
        writer = Appender(place)
        for number in range(3):
            await writer.write(frame(number))
            await writer.drain()
        await writer.close()
        return await read(place)

    assert run(story) == [(0, b"0"), (1, b"1"), (2, b"2")]


def test_a_store_that_does_not_answer_for_long_is_told_by_the_next_write_and_by_drain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.0)

    async def story() -> int:
        place, store = await a_place()
        store.refuse = 1
        writer = Appender(place)
        await writer.write(frame(0))
        with pytest.raises(WorldUnavailableError):
            await writer.drain()
        with pytest.raises(WorldUnavailableError):
            await writer.write(frame(1))
        return len(await objects(place))

    assert run(story) == 0


def test_rivals_keep_their_order_and_indexes_stay_dense() -> None:
    async def story() -> list[tuple[int, bytes]]:
        place, _ = await a_place()
        writers = [Appender(place) for _ in range(5)]

        async def write(which: int) -> None:
            for number in range(20):
                await writers[which].write(frame(100 * which + number))
                if number % (which + 1) == 0:
                    await writers[which].drain()
            await writers[which].drain()

        await asyncio.gather(*map(write, range(5)))
        await writers[0].close()
        return await read(place)

    found = run(story)
    assert [number for number, _ in found] == list(range(100))
    for which in range(5):
        own = [int(data) for _, data in found if int(data) // 100 == which]
        assert own == [100 * which + number for number in range(20)]


def test_whoever_comes_after_the_end_is_refused() -> None:
    async def story() -> list[tuple[int, bytes]]:
        place, _ = await a_place()
        early, late = Appender(place), Appender(place)
        await late.write(frame(0))
        await late.drain()
        await early.close()
        await late.write(frame(1))
        with pytest.raises(StreamClosedError, match="stream 'log' of run run-1 is closed"):
            await late.drain()
        with pytest.raises(StreamClosedError):
            await late.write(frame(2))
        with pytest.raises(StreamClosedError):
            await early.write(frame(3))
        return await read(place)

    assert run(story) == [(0, b"0")]


def test_a_stream_of_a_run_that_has_ended_is_not_begun() -> None:
    async def story() -> int:
        place, _ = await a_place()
        lease = await place.world.runs.acquire(
            RUN, BIRTH, identity="message", provider_id="provider", now=0.0, until=30.0
        )
        assert lease is not None
        await place.world.runs.change(
            RUN, BIRTH, HeadFields(status="completed", ended_at=1.0), holder="message", fence=1
        )
        writer = Appender(place)
        await writer.write(frame(0))
        with pytest.raises(StreamClosedError):
            await writer.drain()
        return len(await objects(place))

    assert run(story) == 0


@pytest.mark.parametrize("start_index", [0, 1, 7, 19, 20, 21, -1, -7, -20, -21])
def test_a_reader_finds_its_first_chunk_among_objects_of_any_size(start_index: int) -> None:
    async def story() -> list[tuple[int, bytes]]:
        place, store = await a_place()
        writer = Appender(place)
        number = 0
        for size in (1, 5, 1, 9, 4):
            for _ in range(size):
                await writer.write(frame(number))
                number += 1
            await writer.drain()
        assert store.puts == 5
        await writer.close()
        return await read(place, start_index)

    first = max(0, 20 + start_index) if start_index < 0 else min(20, start_index)
    assert run(story) == [(number, str(number).encode()) for number in range(first, 20)]


def test_what_an_earlier_attempt_wrote_is_left_out_by_one_that_goes_on() -> None:
    async def story() -> list[tuple[int, bytes]]:
        place, _ = await a_place()
        for attempt_ends in (3, 5, 8):
            writer = Appender(place, "work#1", resume=True)
            for number in range(attempt_ends):
                await writer.write(frame(number))
            await writer.drain()
            other = Appender(place, "other#1")
            await other.write(frame(99))
            await other.drain()
        await Appender(place).close()
        return await read(place)

    assert [data for _, data in run(story)] == [b"0", b"1", b"2", b"99", b"3", b"4", b"99", b"5", b"6", b"7", b"99"]


def test_sealed_chunks_lie_there_unreadable_and_open_in_their_place_only() -> None:
    async def story() -> tuple[bool, list[tuple[int, bytes]], Exception | None]:
        place, _ = await a_place(key=bytes(range(32)))
        writer = Appender(place)
        await writer.write(chunks.framed(b"a secret", is_value=False))
        await writer.drain()
        await writer.write(chunks.framed(b"another", is_value=False))
        await writer.close()
        hidden = all(b"secret" not in object.body for object in await objects(place))
        found = await read(place)
        first, *_ = await objects(place)
        try:
            place.open(1, first)
        except Exception as error:
            return hidden, found, error
        return hidden, found, None

    hidden, found, error = run(story)
    assert hidden
    assert found == [(0, b"a secret"), (1, b"another")]
    assert "cannot be decrypted" in str(error)


# -- when things go wrong ----------------------------------------------------------------------------------------------


def test_a_store_that_fails_while_a_stream_is_closed_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.0)

    async def story() -> list[chunks.Kind]:
        place, store = await a_place()
        writer = Appender(place)
        await writer.write(frame(0))
        await writer.drain()
        store.refuse = 3
        await writer.close()
        return [object.kind for object in await objects(place)]

    assert run(story) == ["chunks", "closed"]


def test_nobody_waits_for_a_writer_that_was_stopped_before_it_began() -> None:
    async def story() -> int:
        place, _ = await a_place()
        writer = Appender(place)
        others = asyncio.all_tasks()
        await writer.write(frame(0))
        (begun,) = asyncio.all_tasks() - others
        begun.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer.drain()
        return len(await objects(place))

    assert run(story) == 0


def test_with_resume_an_attempt_that_goes_on_beside_the_next_one_doubles_nothing() -> None:
    async def story() -> list[tuple[int, bytes]]:
        place, _ = await a_place()
        given_up = Appender(place, "step#1", resume=True)
        await given_up.write(frame(0))
        await given_up.drain()
        following = Appender(place, "step#1", resume=True)
        for number in range(2):
            await following.write(frame(number))
        await following.drain()
        for number in (1, 2, 3):  # together: the first of them is there already
            await given_up.write(frame(number))
        await given_up.drain()
        for number in (2, 3, 4):
            await following.write(frame(number))
        await following.close()
        return await read(place)

    assert run(story) == [(number, b"%d" % number) for number in range(5)]


def test_a_producer_that_a_reader_took_for_dead_stops_and_says_so() -> None:
    async def story() -> tuple[list[int], str]:
        place, _ = await a_place()
        produced: list[int] = []

        async def numbers() -> AsyncIterator[int]:
            for number in range(1000):
                produced.append(number)
                yield number
                await asyncio.sleep(0)

        upload = await producing.begin(place)
        await place.end(frame(0))  # as a reader does that finds no mark for a minute
        with pytest.raises(StreamError) as caught:
            await upload.run(numbers(), KnownTypes(), "produce#1")
        return produced, str(caught.value)

    produced, said = run(story)
    assert len(produced) < 1000
    assert "has ended with the error of its producer" in said
