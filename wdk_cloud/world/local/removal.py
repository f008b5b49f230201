"""Removing runs: the tombstone, what lies under it, and what has been kept long enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from wdk_cloud.world.local.records import HEAD_COLUMNS, Shelf, head_from_row, head_to_row
from wdk_cloud.world.local.schema import HEAD_FIELDS
from wdk_cloud.world.ports import Head, tombstone

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

_encode = msgspec.json.Encoder().encode

_TABLES = ("log", "inbox", "steps", "labels", "tokens", "blobs", "chunks", "marks")
"""All that belongs to a run but its head and its messages."""

_KEY = " WHERE namespace = ? AND run_id = ? AND birth = ?"

_HEAD = f"SELECT {HEAD_COLUMNS} FROM heads{_KEY}"  # noqa: S608 - our own names

_BURY = f"UPDATE heads SET {', '.join(f'{name} = ?' for name in HEAD_FIELDS)}, owner = NULL, unclean = 0{_KEY}"  # noqa: S608

_ERASED = f"UPDATE heads SET continued_to = NULL, length = 0, wake_by = 0.0{_KEY} AND status = 'deleted'"  # noqa: S608

# Messages have no index by run: it would cost each of them a third more. So an erasure looks at them all, once for all
# the runs that it is asked for. This is the part of a message that names its run and birth, as `Message` orders them.
_FROM, _TO = """instr(body, CAST('"run_id":' AS BLOB))""", """instr(body, CAST(',"identity":' AS BLOB))"""
_NAMED = f"substr(body, {_FROM}, {_TO} - {_FROM})"

_UNFINISHED = (
    f"SELECT {HEAD_COLUMNS} FROM heads WHERE namespace = ? AND status = 'deleted' AND wake_by <> 0"  # noqa: S608
    " ORDER BY ended_at, run_id LIMIT ?"
)
_EXPIRED = (
    f"SELECT {HEAD_COLUMNS} FROM heads WHERE namespace = ? AND ended_at < ?"  # noqa: S608
    " AND status IN ('completed', 'failed', 'cancelled') AND NOT EXISTS (SELECT 1 FROM heads AS successor"
    " WHERE successor.namespace = heads.namespace AND successor.run_id = heads.continued_to"
    " AND successor.status <> 'deleted') ORDER BY ended_at, run_id LIMIT ?"
)
_OLD = (
    f"SELECT {HEAD_COLUMNS} FROM heads WHERE namespace = ? AND ended_at < ?"  # noqa: S608
    " AND status = 'deleted' AND wake_by = 0 ORDER BY ended_at, run_id LIMIT ?"
)


class Removal(Shelf):
    async def bury(self, run_id: str, birth: str, *, holder: str | None, fence: int, now: float) -> Head | None:
        return await self._database.write(self._bury, (self._namespace, run_id, birth), holder, fence, now)

    def _bury(
        self, sql: Connection, key: tuple[str, str, str], holder: str | None, fence: int, now: float
    ) -> Head | None:
        # Races with whoever acquires, releases or ends the run: the caller has not seen that, and looks again.
        row = sql.execute(_HEAD, key).fetchone()
        if row is None:
            return None
        head = head_from_row(row)
        if head.status == "deleted" or head.holder != holder or head.fence != fence:
            return head
        head = tombstone(head, now)
        sql.execute(_BURY, (*head_to_row(head), *key))
        self._database.notices.changed(self._namespace, head.run_id)
        return head

    async def erase(self, runs: Sequence[tuple[str, str]]) -> None:
        for run in runs:
            await self._database.write_apart(_erase, (self._namespace, *run))
        await self._database.write(_drop_messages, self._namespace, runs)
        await self._database.fold_log()
        # Last: the write-ahead log that a death leaves before this has pages of what was erased, and the sweep comes.
        await self._database.write(_close, [(self._namespace, *run) for run in runs])

    async def removable(self, *, ended_before: float, buried_before: float, limit: int) -> list[Head]:
        rows: list[Any] = []
        for statement, args in ((_UNFINISHED, ()), (_EXPIRED, (ended_before,)), (_OLD, (buried_before,))):
            if len(rows) < limit:
                rows += self._database.read(statement, (self._namespace, *args, limit - len(rows)))
        return [head_from_row(row) for row in rows]

    async def forget(self, run_id: str, birth: str) -> None:
        await self._database.write(_forget, (self._namespace, run_id, birth))


def _erase(sql: Connection, key: tuple[str, str, str]) -> None:
    for table in _TABLES:
        sql.execute(f"DELETE FROM {table}{_KEY}", key)  # noqa: S608


def _drop_messages(sql: Connection, namespace: str, runs: Sequence[tuple[str, str]]) -> None:
    named = [b'"run_id":' + _encode(run_id) + b',"birth":' + _encode(birth) for run_id, birth in runs]
    which = ", ".join("?" * len(named))
    sql.execute(f"DELETE FROM messages WHERE namespace = ? AND {_NAMED} IN ({which})", (namespace, *named))  # noqa: S608


def _close(sql: Connection, keys: Sequence[tuple[str, str, str]]) -> None:
    sql.executemany(_ERASED, keys)


def _forget(sql: Connection, key: tuple[str, str, str]) -> None:
    sql.execute(f"DELETE FROM heads{_KEY} AND status = 'deleted'", key)  # noqa: S608
