"""A stream as the body of a response, live: server-sent events or bytes, whatever serves them."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from wdk_cloud import sync
from wdk_cloud.errors import WorkflowError
from wdk_cloud.http.problems import LONGEST_INDEX, Malformed, told
from wdk_cloud.streams import ReadableStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from wdk_cloud.engine.follower import Follower, Indexed

T = TypeVar("T")

KEEP_ALIVE = 15.0
"""Seconds of silence after which a comment is sent: proxies give up on connections that are silent for a minute, or for
half of one."""

SILENCE = b": keep-alive\n\n"

BEGIN = b"retry: 1000\n\n"
"""Milliseconds after which a browser comes back. Sent at once: some servers send no headers before the first bytes."""

HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""The second tells nginx, and those that follow it, to pass each piece on as it comes."""


class Live:
    """One response. It reads ahead no further than the object that is being sent."""

    def __init__(self, stream: ReadableStream[Any], last_event_id: str | None = None, *, raw: bool = False) -> None:
        """Raises Malformed for a `Last-Event-ID` that no stream has given."""
        if not isinstance(stream, ReadableStream):
            raise TypeError(f"this sends the stream of a run, run.readable(…), not {stream!r}")
        self._stream = stream if last_event_id is None else stream.starting_at(index_behind(last_event_id))
        self._raw = raw
        self._follower: Follower | None = None
        self.media_type = "application/octet-stream" if raw else "text/event-stream"

    async def open(self) -> None:
        """Before the headers are sent. Raises WorkflowRunNotFoundError, RunExpiredError, WorldUnavailableError."""
        self._follower = await self._stream.follower()

    def body(self) -> AsyncGenerator[bytes, None]:
        """Piece by piece, one for each object of the stream. Closing it ends the reader."""
        assert self._follower is not None  # opened
        return _bytes(self._follower) if self._raw else _events(self._follower)


def of_a_run(stream: ReadableStream[Any] | sync.ReadableStream[Any]) -> ReadableStream[Any]:
    """What blocks and what is awaited are two handles on one stream."""
    return stream.stream if isinstance(stream, sync.ReadableStream) else stream


def index_behind(last_event_id: str) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit()) or len(last_event_id) > LONGEST_INDEX:
        raise Malformed("Last-Event-ID is the index of a chunk, the id of the last event that came: a whole number")
    return int(last_event_id) + 1


async def _bytes(follower: Follower) -> AsyncGenerator[bytes, None]:
    async with aclosing(follower.batches()) as batches:
        async for batch in batches:
            yield b"".join(chunk.as_bytes() for chunk in batch)


async def _events(follower: Follower) -> AsyncGenerator[bytes, None]:
    yield BEGIN
    async with aclosing(_or_silence(follower.batches(), KEEP_ALIVE)) as batches:
        try:
            async for batch in batches:
                yield SILENCE if batch is None else b"".join(map(_event, batch))
        except WorkflowError as error:
            yield _named("error", told(error.slug, str(error)))
        else:
            yield _named("end", {"tail_index": follower.index - 1})


def _event(chunk: Indexed) -> bytes:
    return b"id: %d\ndata: %s\n\n" % (chunk.number, chunk.as_json())


def _named(name: str, content: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(content, separators=(",", ":")).encode())


async def _or_silence(source: AsyncGenerator[T, None], seconds: float) -> AsyncGenerator[T | None, None]:
    """What comes, and None whenever nothing has come for so long."""

    async def following() -> tuple[T] | None:
        async for item in source:
            return (item,)
        return None

    async with aclosing(source):
        while True:
            upcoming = asyncio.create_task(following())
            try:
                while not (await asyncio.wait((upcoming,), timeout=seconds))[0]:
                    yield None
            finally:
                # Whoever closes us ends what we wait for. Of one that is over this takes the error, which none missed.
                upcoming.cancel()
                await asyncio.gather(upcoming, return_exceptions=True)
            item = upcoming.result()
            if item is None:
                return
            yield item[0]
