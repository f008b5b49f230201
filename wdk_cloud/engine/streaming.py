"""A stream's place in its run, and what its writers and readers ask of it alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import Sealer
from wdk_cloud.engine import chunks
from wdk_cloud.engine.patience import patiently
from wdk_cloud.errors import SerializationError, StreamClosedError, StreamError
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.world.ports import Head, World

DEFAULT = "default"
"""The stream without a name."""

REGISTERED = "stream:"
"""What the keys of inbox items begin with that name a run's streams."""

OF_A_VALUE = "@"
"""What the names of streams begin with that are values; those that users name do not."""


@dataclass(frozen=True)
class Place:
    """Where a stream lies, and what opens it. A store that fails is asked again for a while (`patience.py`)."""

    world: World
    run_id: str
    birth: str
    stream: str
    sealer: Sealer

    def __str__(self) -> str:
        return f"stream {self.stream!r} of run {self.run_id}"

    async def register(self) -> None:
        """Let the run know the stream, which its end will close. Raises StreamClosedError when it has ended."""
        runs = self.world.runs
        item = InboxItem(key=REGISTERED + self.stream, kind="stream", data=b"", time=self.world.clock.now())
        await patiently(lambda: runs.put_item(self.run_id, self.birth, item))
        head = await self.head()
        if head is None or head.birth != self.birth or head.ended:
            raise self.closed()

    async def is_registered(self) -> bool:
        return self.stream in registered(await patiently(lambda: self.world.runs.items(self.run_id, self.birth, ())))

    async def head(self) -> Head | None:
        """Of its run."""
        return await patiently(lambda: self.world.runs.head(self.run_id))

    async def put(self, ordinal: int, object: chunks.Object) -> chunks.Object | None:
        streams, data = self.world.streams, chunks.encode(object)
        there = await patiently(lambda: streams.put(self.run_id, self.birth, self.stream, ordinal, data))
        return None if there is None else self._decoded(there)

    async def get(self, ordinal: int, most: int) -> list[chunks.Object]:
        streams = self.world.streams
        found = await patiently(lambda: streams.get(self.run_id, self.birth, self.stream, ordinal, most))
        return [self._decoded(data) for data in found]

    async def last(self) -> tuple[int, chunks.Object | None]:
        """The next free ordinal, and the object before it."""
        while length := await patiently(lambda: self.world.streams.length(self.run_id, self.birth, self.stream)):
            found = await self.get(length - 1, 0)
            if found:
                return length, found[0]
        return 0, None

    async def mark(self, time: float) -> None:
        """Its producer was alive then."""
        await patiently(lambda: self.world.streams.mark(self.run_id, self.birth, self.stream, time))

    async def marked(self) -> float | None:
        return await patiently(lambda: self.world.streams.marked(self.run_id, self.birth, self.stream))

    def seal(self, ordinal: int, frames: list[bytes]) -> bytes:
        return chunks.sealed(self.sealer, self.stream, ordinal, frames)

    def open(self, ordinal: int, object: chunks.Object) -> list[chunks.Chunk]:
        """Raises StreamError when it is damaged, or cannot be decrypted."""
        try:
            return list(chunks.unframed(chunks.opened(self.sealer, self.stream, ordinal, object.body)))
        except NewerFormatError:
            raise
        except SerializationError as error:
            raise self.damaged(error) from error

    def _decoded(self, data: bytes) -> chunks.Object:
        try:
            return chunks.decode(data)
        except NewerFormatError:
            raise
        except SerializationError as error:
            raise self.damaged(error) from error

    def damaged(self, why: object) -> StreamError:
        return StreamError(
            f"{self} cannot be read any further ({why}); it was changed by something else than wdk-cloud, or its "
            "storage is damaged: restore it, or start the run again"
        )

    async def end(self, error: bytes | None = None) -> None:
        """Close the stream, or end it with an error (a frame), unless it has ended: the first end stands for all.

        What others write meanwhile comes before it.
        """
        await self._end("closed" if error is None else "error", error)

    async def end_with_run(self) -> None:
        """Close what is still open. One that is a value has a producer, which would have closed it at its end."""
        await self._end("cut" if self.stream.startswith(OF_A_VALUE) else "closed")

    async def _end(self, kind: chunks.Kind, error: bytes | None = None) -> None:
        ordinal, before = await self.last()
        nonce = chunks.new_nonce()
        while before is None or before.kind == "chunks":
            first = 0 if before is None else before.next
            body = b"" if error is None else self.seal(ordinal, [error])
            before = await self.put(ordinal, chunks.Object(kind, first, 0, body, nonce=nonce))
            if before is None:
                return
            ordinal += 1

    def closed(self) -> StreamClosedError:
        return StreamClosedError(
            f"{self} is closed: somebody closed it, or its run has ended; write to another namespace, or in another run"
        )

    def cut(self) -> StreamError:
        return StreamError(
            f"{self} has ended early, as its run did before its producer; await in the body what reads the stream"
        )

    def broken(self) -> StreamError:
        return StreamError(f"{self} has ended with the error of its producer; write to another namespace")


async def close_all(world: World, head: Head, items: Sequence[InboxItem]) -> None:
    """The end of a run closes what is open. The status is in the head before its inbox is read, and a writer registers
    its stream before it reads the head: so one of the two sees the other."""
    for stream in registered(items):
        await Place(world, head.run_id, head.birth, stream, Sealer(head.run_id, None)).end_with_run()


def registered(items: Sequence[InboxItem]) -> list[str]:
    """The streams that a run's inbox names."""
    return sorted(item.key.removeprefix(REGISTERED) for item in items if item.kind == "stream")


def named(items: Sequence[InboxItem]) -> list[str]:
    """Those of them that users have named, or written without a name."""
    return [stream for stream in registered(items) if not stream.startswith(OF_A_VALUE)]


async def info(world: World, head: Head, stream: str) -> tuple[int, bool]:
    """The index of the last chunk (-1: there is none), and whether nothing more can come."""
    _, last = await Place(world, head.run_id, head.birth, stream, Sealer(head.run_id, None)).last()
    if last is None:
        return -1, head.ended
    return last.next - 1, last.kind != "chunks" or head.ended
