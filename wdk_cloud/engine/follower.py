"""Reading a stream: from any chunk on, live until its end, each chunk once.

A reader holds an ordinal and nothing else, so it goes on where it was after any failure of the store, and one that is
far behind holds an object or two at a time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud.codec.errors import decode_error, encode_error
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.values import encode
from wdk_cloud.engine import chunks
from wdk_cloud.engine.streaming import OF_A_VALUE
from wdk_cloud.errors import RunExpiredError, StreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wdk_cloud.engine.streaming import Place
    from wdk_cloud.world.ports import Subscription

READ_AT_ONCE = 1024 * 1024
"""Bytes: an object that is full."""

LOOK_EVERY = 1.0
"""Seconds (real) after which a reader looks by itself, in case what it was to be told was lost."""

MARK_EVERY = 20.0
"""Seconds between two marks of a producer that is not run again when it dies."""

MARK_AGE = 60.0
"""Seconds after which it is taken for dead: three marks did not come. A reader finds it out within a minute and a half
of the death, whatever the clocks say within some seconds."""


class Indexed(NamedTuple):
    """One chunk and its place among all."""

    number: int
    """From 0, without a gap."""
    data: bytes
    is_value: bool

    def as_json(self) -> bytes:
        """As JSON text: of a value as the codec writes it, of bytes with their tag."""
        return self.data if self.is_value else encode(self.data, known=KnownTypes())

    def as_bytes(self) -> bytes:
        """For those who want bytes: text in UTF-8, other values as lines of JSON."""
        if not self.is_value:
            return self.data
        return json.loads(self.data).encode() if self.data.startswith(b'"') else self.data + b"\n"


class Follower:
    """One reader; `known` is what it may make of a producer's error."""

    def __init__(self, place: Place, known: KnownTypes, start_index: int = 0) -> None:
        self.place = place
        self._known = known
        self._start = start_index
        self._ordinal = 0
        self.index = 0
        """Of the next chunk."""

    async def batches(self) -> AsyncGenerator[list[Indexed], None]:
        """The chunks, as they come, until the stream is closed. Raises StreamError for one that ended with an error,
        RunExpiredError for one that was deleted meanwhile."""
        watch = self.place.world.subscribe(self.place.run_id)
        try:
            await self._go_to_start()
            while True:
                objects = await self.place.get(self._ordinal, READ_AT_ONCE)
                for object in objects:
                    if object.kind != "chunks":
                        if object.kind == "closed":
                            return
                        raise self.place.cut() if object.kind == "cut" else self._error(object)
                    if batch := self._chunks(object):
                        yield batch
                    self._ordinal += 1
                if not objects and not await self._wait(watch):
                    return
        finally:
            watch.close()

    # -- where to begin ---------------------------------------------------------------------------------------------

    async def _go_to_start(self) -> None:
        """Beyond either end is the end; a negative index counts back from the last chunk that is there now."""
        if self._start == 0:
            return
        length, last = await self.place.last()
        total = 0 if last is None else last.next
        wanted = max(0, total + self._start) if self._start < 0 else min(self._start, total)
        self.index = wanted
        low, high = 0, length  # the object with that chunk is in here, or the one that follows all
        while low < high:
            middle = (low + high) // 2
            found = await self.place.get(middle, 0) or await self.place.get(middle, 0)
            if not found:  # nor at a second look: an answer may have a hole that the stream has not
                raise await self._hole()
            object = found[0]
            if object.kind == "chunks" and object.next <= wanted:
                low = middle + 1
            else:
                high = middle
        self._ordinal = low

    def _chunks(self, object: chunks.Object) -> list[Indexed]:
        found = [
            Indexed(index, chunk.data, chunk.is_value)
            for index, chunk in enumerate(self.place.open(self._ordinal, object), object.first)
            if index >= self.index
        ]
        self.index = max(self.index, object.next)
        return found

    def _error(self, object: chunks.Object) -> StreamError:
        (encoded,) = self.place.open(self._ordinal, object)
        cause = decode_error(encoded.data, known=self._known)
        if isinstance(cause, StreamError):
            return cause
        error = StreamError(
            f"{self.place} has ended early, its producer failed with {type(cause).__name__}: {cause}; read what came "
            "before, and start its run again for the rest"
        )
        error.__cause__ = cause
        return error

    # -- waiting ----------------------------------------------------------------------------------------------------

    async def _wait(self, watch: Subscription) -> bool:
        """Until there may be more; False when nothing comes any more."""
        place = self.place
        head = await place.head()
        if head is None or head.birth != place.birth or head.status == "deleted":
            raise RunExpiredError(place.run_id)
        if head.ended:
            # Its end closes what is registered, and may have died before it did.
            if not await place.is_registered():
                return False
            if not await place.get(self._ordinal, 0):
                await place.end_with_run()
                if not await place.get(self._ordinal, 0):
                    raise await self._hole()
        elif not await watch.wait(LOOK_EVERY):
            await self._end_of_a_dead_producer(head.created_at)
        return True

    async def _hole(self) -> Exception:
        """An object is not there, and some that come after it are."""
        head = await self.place.head()
        if head is None or head.status == "deleted":
            return RunExpiredError(self.place.run_id)
        return self.place.damaged("an object in its middle is gone")

    async def _end_of_a_dead_producer(self, created_at: float) -> None:
        place = self.place
        marked = await place.marked()
        if marked is None and place.stream.startswith(OF_A_VALUE):
            marked = created_at  # whoever started the run with a stream died before the first mark
        if marked is None or place.world.clock.now() - marked < MARK_AGE:
            return
        error = StreamError(
            f"{place}: its producer died, or was cut off, and is not run again; what came before is complete. Start "
            "what it does again, from the last chunk that came"
        )
        await place.end(chunks.framed(encode_error(error, known=KnownTypes()), is_value=True))
