"""The inbox: what came from outside, in the order of its commits, until the holder has admitted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.local.records import Shelf, is_buried
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from sqlite3 import Connection


# The ends of steps that ran elsewhere lie in their step items; they follow what lies in the inbox, by a place that no
# row has. One statement: both come from one snapshot.
_INBOX = "SELECT key, kind, data, time, place FROM inbox WHERE namespace = ? AND run_id = ? AND birth = ?"
_ENDS = (
    " UNION ALL SELECT 'step:' || step_id, 'step', outcome, 0.0, 9223372036854775807 FROM steps"
    " WHERE namespace = ? AND run_id = ? AND birth = ? AND outcome IS NOT NULL"
)

MOST_BY_KEY = 256
"""Steps that are looked up one by one. SQLite takes 999 parameters everywhere; beyond that all ends are read."""


class Inbox(Shelf):
    async def put_item(self, run_id: str, birth: str, item: InboxItem) -> bool:
        args = (self._namespace, run_id, birth, item.key, item.kind, item.data, item.time)
        return await self._database.write(_put, args)

    async def items(self, run_id: str, birth: str, steps: Collection[str] | None = None) -> list[InboxItem]:
        run = (self._namespace, run_id, birth)
        if steps is None or len(steps) > MOST_BY_KEY:
            rows = self._database.read(f"{_INBOX}{_ENDS} ORDER BY place", (*run, *run))
        elif steps:
            asked = [*steps]
            asked += asked[:1] * ((1 << (len(asked) - 1).bit_length()) - len(asked))  # few statements are kept
            which = f"{_ENDS} AND step_id IN ({', '.join('?' * len(asked))})"
            rows = self._database.read(f"{_INBOX}{which} ORDER BY place", (*run, *run, *asked))
        else:
            rows = self._database.read(f"{_INBOX} ORDER BY place", run)
        return [InboxItem(key=key, kind=kind, data=data, time=time) for key, kind, data, time, _ in rows]

    async def drop_items(self, run_id: str, birth: str, keys: Sequence[str]) -> None:
        if keys:
            await self._database.write_apart(_drop, [(self._namespace, run_id, birth, key) for key in keys])


def _put(sql: Connection, args: tuple[object, ...]) -> bool:
    # Two deliveries of one thing may race: one puts it, the other learns that it is there.
    if is_buried(sql, args):
        return False
    statement = (
        "INSERT INTO inbox (namespace, run_id, birth, key, kind, data, time) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING"
    )
    return sql.execute(statement, args).rowcount > 0


def _drop(sql: Connection, keys: list[tuple[str, str, str, str]]) -> None:
    sql.executemany("DELETE FROM inbox WHERE namespace = ? AND run_id = ? AND birth = ? AND key = ?", keys)
