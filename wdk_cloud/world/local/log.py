"""The log: batches by position. The position alone decides between two writers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wdk_cloud.world.local.records import Shelf
from wdk_cloud.world.ports import Batch

if TYPE_CHECKING:
    from sqlite3 import Connection

# A holder whose lease ran out and its successor may both write here: the first one's batch stays. And somebody may have
# deleted the run: whichever comes first, nothing lies under the tombstone after the erasure.
_APPEND = (
    "INSERT INTO log (namespace, run_id, birth, at, count, fence, nonce, data) SELECT ?, ?, ?, ?, ?, ?, ?, ?"
    " WHERE NOT EXISTS (SELECT 1 FROM heads WHERE namespace = ? AND run_id = ? AND birth = ? AND status = 'deleted')"
    " ON CONFLICT DO NOTHING"
)
_READ = "SELECT at, count, fence, nonce, data FROM log WHERE namespace = ? AND run_id = ? AND birth = ?"


class Log(Shelf):
    async def append(self, run_id: str, birth: str, batch: Batch) -> Batch | None:
        return await self._database.write(self._append, run_id, birth, batch)

    def _append(self, sql: Connection, run_id: str, birth: str, batch: Batch) -> Batch | None:
        key = (self._namespace, run_id, birth, batch.at)
        tombstone = (self._namespace, run_id, birth)
        if sql.execute(_APPEND, (*key, batch.count, batch.fence, batch.nonce, batch.data, *tombstone)).rowcount:
            return None
        row = sql.execute(_READ + " AND at = ?", key).fetchone()
        if row is None:  # there is a tombstone
            return Batch(at=batch.at, count=0, fence=0, nonce="", data=b"")
        there = _batch(row)
        return None if there.nonce == batch.nonce else there

    async def read(self, run_id: str, birth: str, after: int) -> list[Batch]:
        rows = self._database.read(_READ + " AND at > ? ORDER BY at", (self._namespace, run_id, birth, after))
        return [_batch(row) for row in rows]

    async def read_at(self, run_id: str, birth: str, at: int) -> Batch | None:
        rows = self._database.read(_READ + " AND at = ?", (self._namespace, run_id, birth, at))
        return _batch(rows[0]) if rows else None


def _batch(row: tuple[Any, ...]) -> Batch:
    return Batch(at=row[0], count=row[1], fence=row[2], nonce=row[3], data=row[4])
