"""Heads: every write a single statement that asks for what must still hold, and answers with the row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wdk_cloud.world.local.records import (
    HEAD_COLUMNS,
    Shelf,
    head_from_row,
    head_to_row,
    retired_entry,
    retired_with,
    trouble_to_text,
)
from wdk_cloud.world.local.schema import HEAD_FIELDS
from wdk_cloud.world.ports import ENDED, Head, HeadFields, HeadPage, Lease, RunQuery

if TYPE_CHECKING:
    from sqlite3 import Connection

_KEY = " WHERE namespace = ? AND run_id = ? AND birth = ?"

_HEAD = f"SELECT {HEAD_COLUMNS} FROM heads WHERE namespace = ? AND run_id = ?"  # noqa: S608 - our own names


_OWNED_HEAD = f"SELECT {HEAD_COLUMNS}, owner FROM heads{_KEY}"  # noqa: S608

_CREATE = (
    f"INSERT INTO heads (namespace, {HEAD_COLUMNS}) VALUES (?{', ?' * len(HEAD_FIELDS)})"  # noqa: S608
    " ON CONFLICT DO NOTHING"
)

# Workers race here, each with a message for the run. The first whose statement runs takes the lease; every other one
# meets a live holder and is refused, as is who comes with a message that was exchanged or is done.
# On the right of SET, columns have their old values. `lapsed` is the time by which a lease has run out: now, or
# infinity when its holder's process is gone.
_ACQUIRE = f"""
UPDATE heads SET
    unclean = holder IS NOT NULL OR :unclean,
    status = CASE WHEN not_before <= :now THEN 'running' ELSE status END,
    stalls_length = CASE WHEN holder IS NOT NULL AND stalls = 0 THEN length ELSE stalls_length END,
    stalls = stalls + (holder IS NOT NULL),
    armed = CASE WHEN holder IS NULL AND NOT :unclean THEN nullif(armed, :due) END,
    holder = :identity, fence = fence + 1, until = :until, dirty = 0, owner = :owner
WHERE namespace = :namespace AND run_id = :run_id AND birth = :birth
    AND status IN ('pending', 'running')
    AND CASE WHEN holder IS NULL THEN last IS NOT :identity ELSE until <= :lapsed END
    AND (retired = '' OR instr(char(10) || retired, char(10) || :provider_id) = 0)
RETURNING {HEAD_COLUMNS}, unclean
"""  # noqa: S608

_OURS = " WHERE namespace = ? AND run_id = ? AND birth = ? AND holder = ? AND fence = ?"

# The holder may have released, or lost the lease, since the caller looked: then there is nobody to tell, and the
# caller looks again.
_MARK_DIRTY = f"UPDATE heads SET dirty = 1, armed = nullif(armed, ?){_OURS}"  # noqa: S608

# Against a successor that took the lease over: it raised the fence.
_RENEW = f"UPDATE heads SET until = ?{_OURS} RETURNING {HEAD_COLUMNS}"  # noqa: S608

_RETIRED = f"SELECT retired, holder, owner FROM heads{_KEY} AND status <> 'deleted'"  # noqa: S608

_RETIRE = (
    f"UPDATE heads SET retired = ?, until = CASE WHEN ? THEN min(until, ?) ELSE until END{_KEY}"  # noqa: S608
    f" RETURNING {HEAD_COLUMNS}"
)

_WRITABLE = frozenset(HeadFields.__annotations__)


class Heads(Shelf):
    async def create(self, head: Head) -> Head | None:
        return await self._database.write(self._create, head)

    def _create(self, sql: Connection, head: Head) -> Head | None:
        # Two callers may start one run id: the first one's head stays, and the other gets to see it.
        if sql.execute(_CREATE, (self._namespace, *head_to_row(head))).rowcount:
            if head.ended:
                self._database.notices.changed(self._namespace, head.run_id)
            return None
        row = sql.execute(_HEAD, (self._namespace, head.run_id)).fetchone()
        there = head_from_row(row)
        return None if there.birth == head.birth else there

    async def head(self, run_id: str) -> Head | None:
        rows = self._database.read(_HEAD, (self._namespace, run_id))
        return head_from_row(rows[0]) if rows else None

    async def acquire(
        self,
        run_id: str,
        birth: str,
        *,
        identity: str,
        provider_id: str,
        now: float,
        until: float,
        due: float | None = None,
        unclean: bool = False,
    ) -> Lease | Head | None:
        asked = {
            "namespace": self._namespace,
            "run_id": run_id,
            "birth": birth,
            "identity": identity,
            "provider_id": retired_entry(provider_id),
            "lapsed": now,
            "now": now,
            "until": until,
            "due": due,
            "unclean": unclean,
            "owner": self._database.owner,
        }
        return await self._database.write_passing(self._acquire, asked)

    def _acquire(self, sql: Connection, asked: dict[str, Any]) -> Lease | Head | None:
        taken = sql.execute(_ACQUIRE, asked).fetchall()
        if not taken:
            there = sql.execute(_OWNED_HEAD, (self._namespace, asked["run_id"], asked["birth"])).fetchone()
            if there is None:
                return None
            head = head_from_row(there)
            if head.holder is None or head.ended or not self._database.is_gone(there[-1]):
                return head
            taken = sql.execute(_ACQUIRE, {**asked, "lapsed": math.inf}).fetchall()
            if not taken:
                return head
        return Lease(head=head_from_row(taken[0]), unclean=bool(taken[0][-1]))

    async def mark_dirty(self, run_id: str, birth: str, *, holder: str, fence: int, due: float | None = None) -> bool:
        args = (due, self._namespace, run_id, birth, holder, fence)
        return await self._database.write(_mark_dirty, args)

    async def retire(self, run_id: str, birth: str, provider_id: str) -> Head | None:
        return await self._database.write(self._retire, run_id, birth, provider_id)

    def _retire(self, sql: Connection, run_id: str, birth: str, provider_id: str) -> Head | None:
        key = (self._namespace, run_id, birth)
        row = sql.execute(_RETIRED, key).fetchone()
        if row is None:
            there = sql.execute(_OWNED_HEAD, key).fetchone()
            return None if there is None else head_from_row(there)
        retired, holder, owner = row
        # The copy is delayed to the lease's end: that is now, if the holder's process is gone.
        lapsed = holder is not None and self._database.is_gone(owner)
        args = (retired_with(retired, provider_id), lapsed, self._database.clock.now(), *key)
        return head_from_row(sql.execute(_RETIRE, args).fetchall()[0])

    def renew(self, run_id: str, birth: str, *, holder: str, fence: int, until: float) -> Head | None:
        rows = self._database.write_aside(_RENEW, (until, self._namespace, run_id, birth, holder, fence))
        return head_from_row(rows[0]) if rows else None

    async def change(
        self, run_id: str, birth: str, fields: HeadFields, *, holder: str, fence: int, unless_dirty: bool = False
    ) -> tuple[bool, Head | None]:
        write = self._database.write if "status" in fields else self._database.write_passing
        return await write(self._change, run_id, birth, fields, holder, fence, unless_dirty)

    def _change(
        self, sql: Connection, run_id: str, birth: str, fields: HeadFields, holder: str, fence: int, unless_dirty: bool
    ) -> tuple[bool, Head | None]:
        values: dict[str, Any] = {**fields}
        if "trouble" in values:
            values["trouble"] = trouble_to_text(fields.get("trouble"))
        statement = _change_statement(tuple(values), unless_dirty)
        key = (self._namespace, run_id, birth)
        rows = sql.execute(statement, (*values.values(), *key, holder, fence)).fetchall()
        if rows:
            if fields.get("status") in ENDED:
                self._database.notices.changed(self._namespace, run_id)
            return True, head_from_row(rows[0])
        there = sql.execute(_OWNED_HEAD, key).fetchone()
        if there is None:
            return False, None
        head = head_from_row(there)
        # Our own release again, whose answer was lost on the way.
        released = "holder" in fields and fields["holder"] is None
        ours = head.holder is None and head.fence == fence and head.last == holder
        return released and ours, head

    # -- many runs --------------------------------------------------------------------------------------------------

    async def list_heads(self, query: RunQuery) -> HeadPage:
        asked = ["namespace = ?"]
        args: list[str | float] = [self._namespace]
        for condition, value in (
            ("workflow = ?", query.workflow),
            ("status = ?", query.status),
            ("version = ?", query.version),
            ("created_at >= ?", query.since),
            ("created_at < ?", query.until),
        ):
            if value is not None:
                asked.append(condition)
                args.append(value)
        if query.cursor is not None:
            asked.append("(created_at, run_id) < (?, ?)")
            args.extend(_from_cursor(query.cursor))
        rows = self._database.read(
            f"SELECT {HEAD_COLUMNS} FROM heads WHERE {' AND '.join(asked)}"  # noqa: S608
            " ORDER BY created_at DESC, run_id DESC LIMIT ?",
            (*args, query.limit + 1),
        )
        heads = [head_from_row(row) for row in rows[: query.limit]]
        more = len(rows) > query.limit and heads
        return HeadPage(heads=heads, cursor=f"{heads[-1].created_at!r} {heads[-1].run_id}" if more else None)

    async def overdue(self, now: float, limit: int) -> list[Head]:
        rows = self._database.read(
            f"SELECT {HEAD_COLUMNS} FROM heads WHERE namespace = ? AND status IN ('pending', 'running')"  # noqa: S608
            " AND wake_by < ? ORDER BY wake_by LIMIT ?",
            (self._namespace, now, limit),
        )
        return [head_from_row(row) for row in rows]


_change_statements: dict[tuple[tuple[str, ...], bool], str] = {}
"""By the names of the fields and whether `dirty` is asked: the engine uses some ten of them."""


def _change_statement(names: tuple[str, ...], unless_dirty: bool) -> str:
    known = _change_statements.get((names, unless_dirty))
    if known is None:
        if not _WRITABLE.issuperset(names):
            raise TypeError(f"no fields that a holder writes: {sorted(set(names) - _WRITABLE)}")
        # Against a successor (another fence) and, at a release, against whoever has put something into the inbox and
        # set `dirty` since the holder looked last: one of the two statements comes first, and the other one sees it.
        setting = ", ".join(f"{name} = ?" for name in names)
        asking = _OURS + (" AND dirty = 0" if unless_dirty else "")
        known = f"UPDATE heads SET {setting}{asking} RETURNING {HEAD_COLUMNS}"  # noqa: S608
        _change_statements[names, unless_dirty] = known
    return known


def _mark_dirty(sql: Connection, args: tuple[Any, ...]) -> bool:
    return sql.execute(_MARK_DIRTY, args).rowcount > 0


def _from_cursor(cursor: str) -> tuple[float, str]:
    created_at, _, run_id = cursor.partition(" ")
    try:
        return float(created_at), run_id
    except ValueError:
        raise ValueError(
            f"{cursor!r} is no cursor of a listing of runs; pass the one that came with the last page"
        ) from None
