"""Blobs and streams in a store of objects: an object of each blob, and one of each append to a stream."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable


class Objects(Protocol):
    """The objects of one namespace, as an adapter asks its cloud for them. Reads are strongly consistent. Under a
    tombstone nothing is put."""

    def key(self, run_id: str, birth: str, *parts: str) -> str: ...

    async def put(self, run_id: str, birth: str, key: str, data: bytes) -> None:
        """Write it, whatever lies there."""
        ...

    async def put_same(self, run_id: str, birth: str, key: str, data: bytes) -> None:
        """Write it; what may lie there says the same."""
        ...

    async def put_new(self, run_id: str, birth: str, key: str, data: bytes) -> bytes | None:
        """Write it if there is nothing. None: written, or the same lies there; else what lies there."""
        ...

    async def get(self, key: str, most: int | None = None) -> bytes | None:
        """None if it is not there, or is larger than `most`."""
        ...

    async def is_there(self, key: str) -> bool: ...


LONGEST_PART = 200
"""Characters of a part of a key; of a longer one there is its digest. A key has 1,024 bytes at most, at Amazon and at
Google, and the name of a stream may have 128 characters, of up to twelve bytes each as they are quoted."""


def quoted(part: str) -> str:
    """A part of a key. No slash, and no part that is a dot or two: some clients resolve those."""
    found = quote(part, safe="").replace(".", "%2E")
    return found if len(found) <= LONGEST_PART else "!" + sha256(part.encode()).hexdigest()


class ObjectBlobs:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def put_blob(self, run_id: str, birth: str, name: str, data: bytes) -> None:
        # Named by its content: whoever writes it too writes the same.
        await self._objects.put_same(run_id, birth, self._objects.key(run_id, birth, "b", name), data)

    async def get_blob(self, run_id: str, birth: str, name: str) -> bytes | None:
        return await self._objects.get(self._objects.key(run_id, birth, "b", name))


class ObjectStreams:
    """Readers ask for the next object by its key; nothing is listed. `moved` is told the run of what came or went."""

    window = 0.1  # an object costs as much as a follower's twelve reads, and takes 30 to 50 ms to write

    def __init__(self, objects: Objects, moved: Callable[[str], None]) -> None:
        self._objects = objects
        self._moved = moved

    async def put(self, run_id: str, birth: str, stream: str, ordinal: int, data: bytes) -> bytes | None:
        # Races with other writers of the stream, and with its end: the first one has the ordinal.
        there = await self._objects.put_new(run_id, birth, self._key(run_id, birth, stream, ordinal), data)
        if there is None:
            self._moved(run_id)
        return there

    async def get(self, run_id: str, birth: str, stream: str, ordinal: int, most: int) -> list[bytes]:
        found: list[bytes] = []
        left: int | None = None  # the first one comes however large it is
        while left is None or left > 0:
            data = await self._objects.get(self._key(run_id, birth, stream, ordinal + len(found)), left)
            if data is None:
                break
            found.append(data)
            left = (most if left is None else left) - len(data)
        if found:
            self._moved(run_id)
        return found

    async def length(self, run_id: str, birth: str, stream: str) -> int:
        """As there are no holes, some twenty questions find the end of a stream of a thousand objects."""
        there, gone = -1, 0
        while await self._objects.is_there(self._key(run_id, birth, stream, gone)):
            there, gone = gone, 2 * gone + 1
        while gone - there > 1:
            middle = (there + gone) // 2
            if await self._objects.is_there(self._key(run_id, birth, stream, middle)):
                there = middle
            else:
                gone = middle
        return gone

    async def mark(self, run_id: str, birth: str, stream: str, time: float) -> None:
        # The producer alone writes it.
        await self._objects.put(run_id, birth, self._objects.key(run_id, birth, "m", stream), repr(time).encode())

    async def marked(self, run_id: str, birth: str, stream: str) -> float | None:
        data = await self._objects.get(self._objects.key(run_id, birth, "m", stream))
        return None if data is None else float(data)

    def _key(self, run_id: str, birth: str, stream: str, ordinal: int) -> str:
        return self._objects.key(run_id, birth, "s", stream, f"{ordinal:08}")
