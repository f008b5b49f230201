"""Streams: a row per object, and one for the mark of a producer."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from wdk_cloud.world.local.records import Shelf, is_buried

if TYPE_CHECKING:
    from sqlite3 import Connection

_STREAM = " WHERE namespace = ? AND run_id = ? AND birth = ? AND stream = ?"

_SIZES = f"SELECT ordinal, length(data) FROM chunks{_STREAM} AND ordinal >= ? ORDER BY ordinal LIMIT ?"  # noqa: S608
_OBJECTS = f"SELECT data FROM chunks{_STREAM} AND ordinal BETWEEN ? AND ? ORDER BY ordinal"  # noqa: S608
_OBJECT = f"SELECT data FROM chunks{_STREAM} AND ordinal = ?"  # noqa: S608
_LENGTH = f"SELECT coalesce(max(ordinal) + 1, 0) FROM chunks{_STREAM}"  # noqa: S608

AT_ONCE = 64
"""Objects of one read at most. Beside a writer that is quicker than its readers an object has hundreds of chunks."""


class LocalStreams(Shelf):
    window = 0.002  # a commit takes a tenth of it

    async def put(self, run_id: str, birth: str, stream: str, ordinal: int, data: bytes) -> bytes | None:
        return await self._database.write(self._put, (self._namespace, run_id, birth, stream, ordinal, data))

    def _put(self, sql: Connection, row: tuple[str, str, str, str, int, bytes]) -> bytes | None:
        # Races with other writers of the stream, and with its end: the first one has the ordinal.
        if is_buried(sql, row):
            return None
        written = sql.execute(
            "INSERT INTO chunks (namespace, run_id, birth, stream, ordinal, data) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            row,
        ).rowcount
        if written:
            self._database.notices.changed(self._namespace, row[1])
            return None
        ((there,),) = sql.execute(_OBJECT, row[:5]).fetchall()
        return None if there == row[5] else there

    async def get(self, run_id: str, birth: str, stream: str, ordinal: int, most: int) -> list[bytes]:
        key = (self._namespace, run_id, birth, stream)
        sizes = self._database.read(_SIZES, (*key, ordinal, AT_ONCE))
        if not sizes:
            return []
        fitting = sum(1 for size in accumulate(size for _, size in sizes) if size <= most)
        last = sizes[max(fitting, 1) - 1][0]
        return [data for (data,) in self._database.read(_OBJECTS, (*key, ordinal, last))]

    async def length(self, run_id: str, birth: str, stream: str) -> int:
        ((length,),) = self._database.read(_LENGTH, (self._namespace, run_id, birth, stream))
        return length

    async def mark(self, run_id: str, birth: str, stream: str, time: float) -> None:
        await self._database.write(_mark, (self._namespace, run_id, birth, stream, time))

    async def marked(self, run_id: str, birth: str, stream: str) -> float | None:
        rows = self._database.read(
            f"SELECT marked FROM marks{_STREAM}",  # noqa: S608
            (self._namespace, run_id, birth, stream),
        )
        return rows[0][0] if rows else None


def _mark(sql: Connection, row: tuple[str, str, str, str, float]) -> None:
    if not is_buried(sql, row):
        sql.execute(
            "INSERT INTO marks (namespace, run_id, birth, stream, marked) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET marked = excluded.marked",
            row,
        )
