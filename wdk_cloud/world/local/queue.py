"""The queue: a row per message, found by the time from which it is visible. A timer is a message with a delay."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.world.local.bell import MESSAGES
from wdk_cloud.world.local.database import PATIENCE
from wdk_cloud.world.local.failures import DatabaseLockedError
from wdk_cloud.world.local.records import is_buried
from wdk_cloud.world.ports import Delivery, Message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from wdk_cloud.world.local.database import Database

log = logging.getLogger("wdk_cloud.world.local")

LOCKED_PAUSE = 0.01  # seconds between two tries to take messages from a database that is locked

_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Message)


class LocalQueue:
    longest_delay = callers_delay = math.inf

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    async def send(self, messages: Sequence[tuple[Message, float]]) -> None:
        now = self._database.clock.now()
        rows = [(self._namespace, round(now + delay, 6), _encode(message)) for message, delay in messages]
        steps = {(m.run_id, m.birth) for m, _ in messages if m.kind == "step"}
        if steps:
            await self._database.write_apart(self._send_steps, messages, rows, steps)
        elif len(rows) == 1:
            await self._database.write(self._send, rows)
        elif rows:
            await self._database.write_apart(self._send, rows)

    def _send_steps(
        self,
        sql: Connection,
        messages: Sequence[tuple[Message, float]],
        rows: list[tuple[str, float, bytes]],
        runs: set[tuple[str, str]],
    ) -> None:
        # A copy that comes after the erasure of its run would bring the step's input back.
        gone = {run for run in runs if is_buried(sql, (self._namespace, *run))}
        kept = [
            row
            for row, (m, _) in zip(rows, messages, strict=True)
            if m.kind != "step" or (m.run_id, m.birth) not in gone
        ]
        if kept:
            self._send(sql, kept)

    def _send(self, sql: Connection, rows: list[tuple[str, float, bytes]]) -> None:
        statement = "INSERT INTO messages (namespace, visible_at, body) VALUES (?, ?, ?)"
        if len(rows) == 1:
            sql.execute(statement, rows[0])
        else:
            sql.executemany(statement, rows)
        self._database.notices.sent(self._namespace, min(row[1] for row in rows))

    def extend(self, delivery: Delivery, seconds: float) -> None:
        visible_at = round(self._database.clock.now() + seconds, 6)
        # Beside it, the time-out may have passed and another may have received the message: then it is theirs, and its
        # count of receives, our receipt, has risen.
        written = self._database.write_aside(
            "UPDATE messages SET visible_at = ? WHERE id = ? AND received = ? RETURNING id",
            (visible_at, int(delivery.provider_id), int(delivery.receipt)),
        )
        if written:
            self._database.notices.tell_from_thread(self._namespace, visible_at)


class LocalReceiver:
    def __init__(self, database: Database, namespace: str, visibility: float) -> None:
        self._database = database
        self._namespace = namespace
        self._visibility = visibility

    async def receive(self, limit: int) -> list[Delivery]:
        locked = 0.0
        while True:
            try:
                self._database.notices.listen(MESSAGES)
                due = self._next_due()
                if due is not None and due <= self._database.clock.now():
                    # Taken and returned without an await between: a cancel comes before or after both.
                    deliveries = self._database.write_now(self._take, limit)
                    if deliveries:
                        return deliveries
                    continue  # another process was quicker
                pause = None
            except DatabaseLockedError:
                locked += LOCKED_PAUSE
                if locked > PATIENCE:
                    raise
                due, pause = None, LOCKED_PAUSE
            await self._rest(due, pause)

    def _next_due(self) -> float | None:
        ((due,),) = self._database.read("SELECT min(visible_at) FROM messages WHERE namespace = ?", (self._namespace,))
        return due

    async def _rest(self, due: float | None, pause: float | None) -> None:
        """Wait until `due` by the world's clock, or for `pause` real seconds, or until somebody tells of a message."""
        waiter = self._database.notices.expect(self._namespace, due)
        timers = [
            *([] if due is None else [self._database.clock.call_at(due, waiter.wake)]),
            *([] if pause is None else [self._database.loop.call_later(pause, waiter.wake)]),
        ]
        try:
            await waiter.woken
        finally:
            for timer in timers:
                timer.cancel()
            self._database.notices.forget(waiter)

    def _take(self, sql: Connection, limit: int) -> list[Delivery]:
        now = self._database.clock.now()
        # Receivers of other processes race for the same rows: the lock on the file lets one after the other, and the
        # later one finds them invisible.
        rows = sql.execute(
            "UPDATE messages SET visible_at = ?, received = received + 1, owner = ? WHERE id IN"
            " (SELECT id FROM messages WHERE namespace = ? AND visible_at <= ? ORDER BY visible_at, id LIMIT ?)"
            " RETURNING id, received, body",
            (round(now + self._visibility, 6), self._database.owner, self._namespace, now, limit),
        ).fetchall()
        rows.sort()
        return [delivery for row in rows if (delivery := _delivery(*row)) is not None]

    async def acknowledge(self, delivery: Delivery) -> None:
        await self._database.write_passing(_acknowledge, int(delivery.provider_id), int(delivery.receipt))

    async def put_back(self, delivery: Delivery, delay: float) -> None:
        visible_at = round(self._database.clock.now() + delay, 6)
        await self._database.write_passing(self._put_back, int(delivery.provider_id), int(delivery.receipt), visible_at)

    def _put_back(self, sql: Connection, message: int, receipt: int, visible_at: float) -> None:
        written = sql.execute(
            "UPDATE messages SET visible_at = ?, owner = NULL WHERE id = ? AND received = ?",
            (visible_at, message, receipt),
        ).rowcount
        if written:
            self._database.notices.sent(self._namespace, visible_at)

    def busy(self) -> bool:
        self._database.flush()
        # Left to itself, SQLite takes the index by time and looks at every message that sleeps.
        ((busy,),) = self._database.read(
            "SELECT EXISTS (SELECT 1 FROM messages WHERE namespace = ? AND visible_at <= ?)"
            " OR EXISTS (SELECT 1 FROM messages INDEXED BY messages_by_owner"
            " WHERE owner IS NOT NULL AND namespace = ?)",
            (self._namespace, self._database.clock.now(), self._namespace),
        )
        return bool(busy)


def _acknowledge(sql: Connection, message: int, receipt: int) -> None:
    # An earlier receiver's receipt takes nothing away: the message belongs to whoever received it last.
    sql.execute("DELETE FROM messages WHERE id = ? AND received = ?", (message, receipt))


def _delivery(number: int, received: int, body: bytes) -> Delivery | None:
    try:
        message = _decoder.decode(body)
    except msgspec.ValidationError:
        # Written by newer code: it comes back after its time-out, perhaps to a process that can read it.
        log.warning("message %d is of a kind that this version does not know; left for a newer one", number)
        return None
    return Delivery(message=message, provider_id=str(number), receipt=str(received), again=received > 1)
