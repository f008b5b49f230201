"""Who waits for what in this process, and how the others are woken.

After a commit that somebody may wait for, the waiters of this process are called directly, and each listener of
another process gets one small datagram on the loopback. A datagram can be lost and anybody on this machine can send
one: it only makes its receiver look sooner, and everybody looks once a second anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING
from weakref import WeakSet
from zlib import crc32

from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.local.bell import MESSAGES, RUNS, Bell, ring
from wdk_cloud.world.local.departures import free_what_the_gone_hold
from wdk_cloud.world.local.failures import DatabaseLockedError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from sqlite3 import Connection

    from wdk_cloud.world.local.database import Database

LOOK_EVERY = 1.0
"""Seconds between two looks at the file, in case a datagram was lost: a delay that people forgive once."""

_open_here: dict[Path, WeakSet[Notices]] = {}
"""What is open in this process, so that worlds on one file wake each other without a datagram."""


class Waiter:
    """A `receive` that waits for a message, visible at `due` at the latest."""

    def __init__(self, namespace: str, due: float, loop: asyncio.AbstractEventLoop) -> None:
        self.namespace = namespace
        self.due = due
        self.woken: asyncio.Future[None] = loop.create_future()

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class LocalSubscription:
    """To the end of one run, and to what its streams get."""

    def __init__(self, notices: Notices, namespace: str, run_id: str) -> None:
        self.namespace = namespace
        self.run_id = run_id
        self.mark = run_mark(namespace, run_id)
        self._notices = notices
        self._happened = False
        self._waiting: asyncio.Future[None] | None = None

    def notify(self) -> None:
        self._happened = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self, timeout: float) -> bool:
        """True: the run may have ended, or one of its streams grown. False: the (real) time is over."""
        if not self._happened:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            timer = loop.call_later(timeout, self._time_is_over)
            try:
                await self._waiting
            finally:
                timer.cancel()
                self._waiting = None
        happened, self._happened = self._happened, False
        return happened

    def _time_is_over(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def close(self) -> None:
        self._notices.unsubscribe(self)


def run_mark(namespace: str, run_id: str) -> int:
    """What a datagram says of a run. Two runs of one mark only look once too often."""
    return crc32(f"{namespace}\0{run_id}".encode("utf-8", "surrogatepass"))


class Notices:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: dict[str, set[Waiter]] = {}
        self._subscriptions: dict[int, set[LocalSubscription]] = {}
        self._bell: Bell | None = None
        self._registered = 0
        self._tick: asyncio.TimerHandle | None = None
        self._seen_version = -1
        self._sent: dict[str, float] = {}
        self._changed: set[int] = set()

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        _open_here.setdefault(self._database.path, WeakSet()).add(self)

    def close(self) -> None:
        """Leave the lists; called while the database is still open."""
        here = _open_here.get(self._database.path)
        if here is not None:
            here.discard(self)
            if not here:
                del _open_here[self._database.path]
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()  # it finds the database closed, and says so
        if self._bell is not None:
            bell, self._bell, self._registered = self._bell, None, 0
            bell.close()
            # A row that stays is harmless: whoever finds its process gone removes it.
            with contextlib.suppress(WorldUnavailableError):
                self._database.write_now(_remove_listener, self._database.owner, bell.port)

    # -- waiting ----------------------------------------------------------------------------------------------------

    def expect(self, namespace: str, due: float | None) -> Waiter:
        waiter = Waiter(namespace, math.inf if due is None else due, self._database.loop)
        self._waiters.setdefault(namespace, set()).add(waiter)
        return waiter

    def forget(self, waiter: Waiter) -> None:
        waiters = self._waiters[waiter.namespace]
        waiters.discard(waiter)
        if not waiters:
            del self._waiters[waiter.namespace]

    def subscribe(self, namespace: str, run_id: str) -> LocalSubscription:
        subscription = LocalSubscription(self, namespace, run_id)
        self._subscriptions.setdefault(subscription.mark, set()).add(subscription)
        with contextlib.suppress(DatabaseLockedError):  # the next look tries again
            self.listen(RUNS)
        return subscription

    def unsubscribe(self, subscription: LocalSubscription) -> None:
        subscriptions = self._subscriptions.get(subscription.mark, set())
        subscriptions.discard(subscription)
        if not subscriptions:
            self._subscriptions.pop(subscription.mark, None)

    def listen(self, wants: int) -> None:
        """Have other processes tell us; durable when it returns, so what is read after it misses nothing."""
        if self._registered & wants == wants:
            return
        loop = self._database.loop
        if self._bell is None:
            self._bell = Bell(loop, self._rung)
        if self._tick is None:
            self._tick = loop.call_later(LOOK_EVERY, self._look)
            free_what_the_gone_hold(self._database)
        self._database.write_now(_add_listener, self._database.owner, self._bell.port, wants)
        self._registered |= wants

    # -- telling ----------------------------------------------------------------------------------------------------

    def sent(self, namespace: str, visible_at: float) -> None:
        """Called inside a transaction: when it is committed, tell that a message is visible from then on."""
        known = self._sent.get(namespace)
        if known is None or visible_at < known:
            self._sent[namespace] = visible_at

    def changed(self, namespace: str, run_id: str) -> None:
        """Called inside a transaction: when it is committed, tell that this run has ended, or a stream of it grown."""
        self._changed.add(run_mark(namespace, run_id))

    def tell_from_thread(self, namespace: str, visible_at: float) -> None:
        """A message's time was changed from another thread: somebody here may be waiting for a later one."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits on it
                self._loop.call_soon_threadsafe(self._deliver_everywhere, {namespace: visible_at}, ())

    def discard(self) -> None:
        self._sent.clear()
        self._changed.clear()

    def publish(self) -> None:
        """After the commit."""
        if not self._sent and not self._changed:
            return
        sent, self._sent = self._sent, {}
        changed, self._changed = self._changed, set()
        self._deliver_everywhere(sent, changed)
        # What is due later than the next look is found by the look.
        soon = self._database.clock.now() + 2 * LOOK_EVERY
        wants = (MESSAGES if min(sent.values(), default=math.inf) <= soon else 0) | (RUNS if changed else 0)
        if wants:
            ports = self._database.read(
                "SELECT port FROM listeners WHERE owner <> ? AND wants & ? <> 0", (self._database.owner, wants)
            )
            ring([port for (port,) in ports], wants, changed)

    def _deliver_everywhere(self, sent: dict[str, float], changed: Iterable[int]) -> None:
        for notices in list(_open_here.get(self._database.path, ())):
            notices.deliver(sent, changed, self._loop)

    def deliver(self, sent: dict[str, float], changed: Iterable[int], loop: asyncio.AbstractEventLoop | None) -> None:
        """Wake those of this world that wait for it; `loop` is the one that calls."""
        if self._loop is not loop:
            if self._loop is not None:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits on it
                    self._loop.call_soon_threadsafe(self.deliver, sent, changed, self._loop)
            return
        for namespace, visible_at in sent.items():
            for waiter in self._waiters.get(namespace, ()):
                if visible_at < waiter.due:
                    waiter.wake()
        for mark in changed:
            for subscription in self._subscriptions.get(mark, ()):
                subscription.notify()

    def _rung(self, wants: int, marks: Iterable[int]) -> None:
        """A datagram came."""
        if wants & MESSAGES:
            self._wake_all()
        for mark in marks:
            for subscription in self._subscriptions.get(mark, ()):
                subscription.notify()

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.wake()

    # -- looking ----------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Once a second: what a lost datagram, a death without a word or a clock that was set may have hidden."""
        loop = self._database.loop
        self._tick = loop.call_later(LOOK_EVERY, self._look)
        # Locked: another process is writing, the next look is soon.
        with contextlib.suppress(DatabaseLockedError):
            free_what_the_gone_hold(self._database)
            self._look_for_changes()
            if self._subscriptions:
                self.listen(RUNS)

    def _look_for_changes(self) -> None:
        now = self._database.clock.now()
        for waiters in self._waiters.values():
            for waiter in waiters:
                if waiter.due <= now:
                    waiter.wake()
        ((version,),) = self._database.read("PRAGMA data_version")
        if version == self._seen_version:
            return
        self._seen_version = version
        self._wake_all()
        for subscriptions in list(self._subscriptions.values()):
            for subscription in subscriptions:
                if self._has_ended(subscription):
                    subscription.notify()

    def _has_ended(self, subscription: LocalSubscription) -> bool:
        return bool(
            self._database.read(
                "SELECT 1 FROM heads WHERE namespace = ? AND run_id = ? AND status NOT IN ('pending', 'running')",
                (subscription.namespace, subscription.run_id),
            )
        )


def _add_listener(sql: Connection, owner: str, port: int, wants: int) -> None:
    sql.execute(
        "INSERT INTO listeners (owner, port, wants) VALUES (?, ?, ?)"
        " ON CONFLICT DO UPDATE SET wants = wants | excluded.wants",
        (owner, port, wants),
    )


def _remove_listener(sql: Connection, owner: str, port: int) -> None:
    sql.execute("DELETE FROM listeners WHERE owner = ? AND port = ?", (owner, port))
