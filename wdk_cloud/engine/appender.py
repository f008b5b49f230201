"""Writing to a stream: chunks gather while a call is under way, and share the next object.

A chunk that finds its writer idle goes out at once. What comes while an object is being written, or within the world's
window since the last one was begun, waits for the next one: a writer that is slow pays for each chunk, one that is
quick for each window. Writers of one stream race for its ordinals; who is refused learns where the other's object ends
and goes behind it, so that each writer's chunks stay in its order and all readers see one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wdk_cloud.engine import chunks

if TYPE_CHECKING:
    from wdk_cloud.engine.streaming import Place

LARGEST_OBJECT = 1024 * 1024
"""Bytes after which an object is full: as much as a reader holds at a time."""

MOST_CHUNKS = 1000
"""Of an object: to read it takes a millisecond."""

BUFFERED = 4 * LARGEST_OBJECT
"""Bytes that may wait; a writer that is ahead by more waits itself. Four objects keep a store busy meanwhile."""

BREATH = 0.01
"""Seconds after which a loop that only writes lets the event loop have a turn, so that its chunks go out meanwhile:
short beside what a person notices, long beside a commit, which would be paid for each turn."""


class Appender:
    """One producer's way into one stream. On one event loop."""

    def __init__(self, place: Place, producer: str = "", *, resume: bool = False) -> None:
        self.place = place
        self._producer = producer
        self._resume = resume
        self._frames: list[bytes] = []
        self.waiting = 0
        """Bytes of the frames."""
        self._at: tuple[int, int] | None = None
        """The next ordinal, and the index of its first chunk."""
        self._written = 0
        self._to_skip = 0
        """Chunks that an earlier attempt has written, of those that will be written again."""
        self._task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None
        """What writing has failed with; each write and drain raises it."""
        self._draining = 0
        """How many wait for everything to be durable."""
        self._loop = asyncio.get_running_loop()
        self._hurry = asyncio.Event()
        self._room = asyncio.Event()
        self._not_before = 0.0
        self._breathed = 0.0
        self.is_closed = False

    # -- for the producer -------------------------------------------------------------------------------------------

    async def write(self, frame: bytes) -> None:
        """Returns when the chunk is buffered and there is room for more. Raises what an earlier one failed with."""
        if self._resume and self._at is None:
            await self._find_place()
        self._check()
        if self._to_skip:
            self._to_skip -= 1
            return
        self._frames.append(frame)
        self.waiting += len(frame)
        self._go()
        if self.waiting >= LARGEST_OBJECT or len(self._frames) >= MOST_CHUNKS:
            self._hurry.set()
        if (now := self._loop.time()) - self._breathed >= BREATH:
            self._breathed = now
            await asyncio.sleep(0)
        while self.waiting > BUFFERED and self.error is None:
            self._room.clear()
            await self._room.wait()

    async def drain(self) -> None:
        """Returns when everything written is durable; raises when it cannot be."""
        self._draining += 1
        try:
            while self._frames or self._task is not None:
                self._hurry.set()
                self._go()
                if self._task is not None:
                    await asyncio.wait([self._task])
        finally:
            self._draining -= 1
        if self.error is not None:
            raise self.error

    async def close(self, error: bytes | None = None) -> None:
        """Write what waits, then end the stream, with an error if one is given."""
        if self.is_closed:
            return
        self.is_closed = True
        await self.drain()
        await self.place.register()
        await self.place.end(error)

    def abandon(self) -> None:
        """What waits is not written."""
        self.is_closed = True
        self._frames.clear()
        if self._task is not None:
            self._task.cancel()

    def _check(self) -> None:
        if self.error is not None:
            raise self.error
        if self.is_closed:
            raise self.place.closed()

    # -- writing ----------------------------------------------------------------------------------------------------

    def _go(self) -> None:
        if self._task is None and self._frames and self.error is None:
            self._task = asyncio.create_task(self._write_all())
            self._task.add_done_callback(self._is_gone)

    async def _write_all(self) -> None:
        try:
            while self._frames:
                await self._gather()
                group = self._taken()
                await self._write_group(group)
                self._room.set()
        except Exception as error:
            self._fail(error)
        finally:
            self._task = None
            self._hurry.clear()
            self._room.set()

    def _is_gone(self, task: asyncio.Task[None]) -> None:
        """It may have been stopped with its process, even before it began: nobody waits for it, or begins it again."""
        if task.cancelled() or task.exception() is not None:
            self._fail(task.exception() if not task.cancelled() else asyncio.CancelledError())
        if self._task is task:
            self._task = None
            self._room.set()

    def _fail(self, error: BaseException | None) -> None:
        """Each write and drain from now on raises it, and the step's attempt waits for its drain."""
        self.error = error
        self._frames.clear()

    async def _gather(self) -> None:
        """Wait until the window is over, unless there is enough for an object or somebody waits for it."""
        pause = self._not_before - self._loop.time()
        full = self.waiting >= LARGEST_OBJECT or len(self._frames) >= MOST_CHUNKS
        if pause > 0 and not full and not self._draining:
            timer = self._loop.call_later(pause, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()
        self._hurry.clear()
        self._not_before = self._loop.time() + self.place.world.streams.window

    def _taken(self) -> list[bytes]:
        size = count = 0
        for frame in self._frames[:MOST_CHUNKS]:
            size += len(frame)
            if count and size > LARGEST_OBJECT:
                size -= len(frame)
                break
            count += 1
        group, self._frames = self._frames[:count], self._frames[count:]
        self.waiting -= size
        return group

    async def _write_group(self, group: list[bytes]) -> None:
        if self._at is None:
            await self._find_place()
        assert self._at is not None  # found
        nonce = chunks.new_nonce()
        self._written += len(group)
        while group:
            ordinal, first = self._at
            body = self.place.seal(ordinal, group)
            object = chunks.Object("chunks", first, len(group), body, self._producer, self._written, nonce)
            there = await self.place.put(ordinal, object)  # ours is known by its nonce
            if there is None:
                self._at = ordinal + 1, first + len(group)
                return
            self._go_behind(ordinal, there)
            if self._resume and there.producer == self._producer:
                group = self._without(group, there.written)

    def _without(self, group: list[bytes], written: int) -> list[bytes]:
        """What is left of it, when another attempt has written so many: one that was given up, and went on."""
        ahead = written - (self._written - len(group))
        if ahead > len(group):
            skipped = self._frames[: ahead - len(group)]
            self._frames = self._frames[len(skipped) :]
            self.waiting -= sum(map(len, skipped))
            self._to_skip += ahead - len(group) - len(skipped)
            self._written = written
        return group[max(0, ahead) :]

    def _go_behind(self, ordinal: int, there: chunks.Object) -> None:
        if there.kind in ("closed", "cut"):
            raise self.place.closed()
        if there.kind == "error":
            raise self.place.broken()
        self._at = ordinal + 1, there.next

    async def _find_place(self) -> None:
        await self.place.register()
        ordinal, last = await self.place.last()
        if last is None:
            self._at = 0, 0
            return
        if self._resume:
            self._written = self._to_skip = await self._written_before(ordinal)
        self._go_behind(ordinal - 1, last)

    async def _written_before(self, ordinal: int) -> int:
        """Looks from the end: a step that writes alone has written the last object."""
        while ordinal:
            ordinal -= 1
            found = await self.place.get(ordinal, 0) or await self.place.get(ordinal, 0)
            if not found:  # nor at a second look
                raise self.place.damaged("an object in its middle is gone")
            if found[0].producer == self._producer:
                return found[0].written
        return 0
