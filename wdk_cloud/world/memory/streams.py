"""Streams: lists of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading

    from wdk_cloud.world.memory.life import Life
    from wdk_cloud.world.memory.watch import Watches


AT_ONCE = 64
"""Objects of one read at most, as on `local`."""


class Streams:
    """`StreamStore`, as a part of the store. An object costs nothing here, so nothing gathers."""

    window = 0.0

    watches: Watches
    _lock: threading.Lock

    if TYPE_CHECKING:  # what the store has, for use within the lock

        def _life(self, run_id: str, birth: str) -> Life: ...
        def _life_to_write(self, run_id: str, birth: str) -> Life: ...

    async def put(self, run_id: str, birth: str, stream: str, ordinal: int, data: bytes) -> bytes | None:
        # Races with other writers of the stream, and with its end: the first one has the ordinal.
        with self._lock:
            objects = self._life_to_write(run_id, birth).streams.setdefault(stream, [])
            if ordinal < len(objects):
                there = objects[ordinal]
                return None if there == data else there
            objects.append(data)
        self.watches.ring(run_id)
        return None

    async def get(self, run_id: str, birth: str, stream: str, ordinal: int, most: int) -> list[bytes]:
        with self._lock:
            objects = self._life(run_id, birth).streams.get(stream, [])
            found: list[bytes] = []
            size = 0
            for data in objects[ordinal : ordinal + AT_ONCE]:
                size += len(data)
                if found and size > most:
                    break
                found.append(data)
            return found

    async def length(self, run_id: str, birth: str, stream: str) -> int:
        return len(self._life(run_id, birth).streams.get(stream, ()))

    async def mark(self, run_id: str, birth: str, stream: str, time: float) -> None:
        with self._lock:
            self._life_to_write(run_id, birth).marks[stream] = time

    async def marked(self, run_id: str, birth: str, stream: str) -> float | None:
        return self._life(run_id, birth).marks.get(stream)
