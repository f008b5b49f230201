"""Step items: who works on a step that was sent to a delivery of its own, and how it ended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from wdk_cloud.world.local.records import STEP_COLUMNS, Shelf, is_buried, retired_entry, retired_with, step_from_row
from wdk_cloud.world.ports import StepItem

if TYPE_CHECKING:
    from sqlite3 import Connection

_KEY = " WHERE namespace = ? AND run_id = ? AND birth = ? AND step_id = ?"

_STEP = f"SELECT {STEP_COLUMNS} FROM steps{_KEY}"  # noqa: S608 - our own names

# Receivers of the step's message, its copies and its retries race here: the first one claims, every other one meets a
# live claim, an end, or a time to try again that has not come. `lapsed` is as in `heads.py`.
_CLAIM = f"""
INSERT INTO steps (namespace, run_id, birth, step_id, attempt, holder, until, first_started, owner)
VALUES (:namespace, :run_id, :birth, :step_id, 1, :identity, :until, :now, :owner)
ON CONFLICT DO UPDATE SET
    attempt = attempt + 1, holder = :identity, until = :until, owner = :owner,
    interrupted = interrupted + (holder IS NOT NULL),
    first_started = CASE WHEN first_started = 0 THEN :now ELSE first_started END
WHERE outcome IS NULL AND (holder IS NULL OR until <= :lapsed) AND retry_at <= :now
    AND (retired = '' OR instr(char(10) || retired, char(10) || :provider_id) = 0)
RETURNING {STEP_COLUMNS}
"""  # noqa: S608

_OURS = _KEY + " AND attempt = ? AND holder = ? AND outcome IS NULL"

# Against one that claimed it after our claim had run out: it raised the attempt.
_RENEW = f"UPDATE steps SET until = ?{_OURS} RETURNING {STEP_COLUMNS}"  # noqa: S608

_RETRY = f"UPDATE steps SET holder = NULL, until = 0.0, retry_at = ?{_OURS}"  # noqa: S608

_RETIRED = f"SELECT retired, holder, owner FROM steps{_KEY}"  # noqa: S608

_RETIRE = (
    f"UPDATE steps SET retired = ?, until = CASE WHEN ? THEN min(until, ?) ELSE until END{_KEY}"  # noqa: S608
    f" RETURNING {STEP_COLUMNS}"
)

# Two attempts may end: the first end stays. A failure counts only if it is that of the last attempt.
_END = f"UPDATE steps SET outcome = ?, holder = NULL, until = 0.0{_KEY} AND outcome IS NULL AND attempt = ?"  # noqa: S608
_END_ANY = (
    "INSERT INTO steps (outcome, namespace, run_id, birth, step_id) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET outcome = excluded.outcome, holder = NULL, until = 0.0 WHERE outcome IS NULL"
)


class Steps(Shelf):
    async def step(self, run_id: str, birth: str, step_id: str) -> StepItem | None:
        rows = self._database.read(_STEP, (self._namespace, run_id, birth, step_id))
        return step_from_row(rows[0]) if rows else None

    async def claim_step(
        self, run_id: str, birth: str, step_id: str, *, identity: str, provider_id: str, now: float, until: float
    ) -> tuple[bool, StepItem]:
        asked = {
            "namespace": self._namespace,
            "run_id": run_id,
            "birth": birth,
            "step_id": step_id,
            "identity": identity,
            "provider_id": retired_entry(provider_id),
            "now": now,
            "lapsed": now,
            "until": until,
            "owner": self._database.owner,
        }
        return await self._database.write(self._claim, asked)

    def _claim(self, sql: Connection, asked: dict[str, Any]) -> tuple[bool, StepItem]:
        if is_buried(sql, (self._namespace, asked["run_id"], asked["birth"])):
            return False, StepItem(step_id=asked["step_id"], end=b"")
        taken = sql.execute(_CLAIM, asked).fetchall()
        if not taken:
            key = (self._namespace, asked["run_id"], asked["birth"], asked["step_id"])
            there = sql.execute(_STEP, key).fetchone()
            item = step_from_row(there)
            if item.holder is None or not self._database.is_gone(there[-1]):
                return False, item
            taken = sql.execute(_CLAIM, {**asked, "lapsed": math.inf}).fetchall()
            if not taken:
                return False, item
        return True, step_from_row(taken[0])

    def renew_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, until: float
    ) -> StepItem | None:
        rows = self._database.write_aside(_RENEW, (until, self._namespace, run_id, birth, step_id, attempt, identity))
        return step_from_row(rows[0]) if rows else None

    async def retire_step(self, run_id: str, birth: str, step_id: str, provider_id: str) -> StepItem | None:
        return await self._database.write(self._retire_step, (self._namespace, run_id, birth, step_id), provider_id)

    def _retire_step(self, sql: Connection, key: tuple[str, str, str, str], provider_id: str) -> StepItem | None:
        row = sql.execute(_RETIRED, key).fetchone()
        if row is None:
            return None
        retired, holder, owner = row
        # As for a lease: the claim of a process that is gone ends now.
        lapsed = holder is not None and self._database.is_gone(owner)
        args = (retired_with(retired, provider_id), lapsed, self._database.clock.now(), *key)
        return step_from_row(sql.execute(_RETIRE, args).fetchall()[0])

    async def end_step(self, run_id: str, birth: str, step_id: str, *, attempt: int | None, end: bytes) -> bool:
        return await self._database.write(_end, (self._namespace, run_id, birth, step_id), attempt, end)

    async def retry_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, retry_at: float
    ) -> bool:
        args = (retry_at, self._namespace, run_id, birth, step_id, attempt, identity)
        return await self._database.write(_retry, args)

    async def cancel_step(self, run_id: str, birth: str, step_id: str) -> None:
        await self._database.write(_cancel, (self._namespace, run_id, birth, step_id))


def _end(sql: Connection, key: tuple[str, str, str, str], attempt: int | None, end: bytes) -> bool:
    if is_buried(sql, key):
        return False
    if attempt is None:
        written = sql.execute(_END_ANY, (end, *key)).rowcount
    else:
        written = sql.execute(_END, (end, *key, attempt)).rowcount
    if written:
        return True
    there = sql.execute(_STEP, key).fetchone()
    return there is not None and step_from_row(there).end == end  # our own call again


def _retry(sql: Connection, args: tuple[object, ...]) -> bool:
    return sql.execute(_RETRY, args).rowcount > 0


def _cancel(sql: Connection, key: tuple[str, str, str, str]) -> None:
    # Its worker may be claiming it now: whichever comes second, the flag is there when the worker renews.
    if is_buried(sql, key):
        return
    sql.execute(
        "INSERT INTO steps (namespace, run_id, birth, step_id, cancelled) VALUES (?, ?, ?, ?, 1)"
        " ON CONFLICT DO UPDATE SET cancelled = 1",
        key,
    )
