"""The connection of one open world: grouped writes, reads, and a second connection for the renewing thread.

Why a group: a commit costs more than what is in it. All writes that are asked for in one round of the event loop
share a transaction, made in the host thread: handing it to another would cost three times the commit itself. The
transaction begins and ends without an await, so nothing of ours can wait for it while it is open.

With `sync="full"` a commit waits for the disk if something in it must outlive a power cut. Who holds a lease or a
message need not: the cut leaves no holder either. The log on the disk has one order, so a commit that waits takes
along whatever was committed before it, and what the cut takes is always the last of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from sqlite3 import Connection, Error
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.local.connection import connect, prepare_file
from wdk_cloud.world.local.failures import DatabaseLockedError, is_busy, translate
from wdk_cloud.world.local.notices import Notices
from wdk_cloud.world.local.processes import is_gone, this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from wdk_cloud.world.ports import Clock

log = logging.getLogger("wdk_cloud.world.local")

T = TypeVar("T")
A = TypeVarTuple("A")

LARGEST_GROUP = 500
"""Operations per transaction: some 5 ms, after which the loop breathes and other processes get their turn."""

PATIENCE = 5.0
"""Seconds of the lock of another process that callers do not notice."""

PAUSE_LOCKED = 0.002  # between two tries; the transactions of our own processes take less


class Operation:
    """A write that waits for its group."""

    __slots__ = ("apart", "args", "error", "function", "future", "passing", "value")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], future: asyncio.Future[Any] | None) -> None:
        self.function = function
        self.args = args
        self.future = future
        self.apart = False
        """It has several statements: a savepoint of its own makes them one."""
        self.passing = False
        """It says who holds something just now: nobody does after a power cut."""
        self.error: Exception | None = None
        self.value: Any = None

    def settle(self, error: Exception | None = None) -> None:
        """Tell the caller, unless it has gone away."""
        error = error or self.error
        self.error = error
        if self.future is None or self.future.done():
            return
        if error is None:
            self.future.set_result(self.value)
        else:
            self.future.set_exception(error)


class Database:
    """One file, as one open world and its scoped siblings see it."""

    def __init__(self, path: Path, sync: str, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.us = this_process()
        self.owner = str(self.us)
        self.notices = Notices(self)
        self._opened_by = 0
        self._sync = sync
        self._waits_for_disk = False
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._host: Connection | None = None
        self._side: Connection | None = None
        self._side_lock = threading.Lock()
        self._waiting: list[Operation] = []
        self._flush_handle: asyncio.Handle | None = None
        self._locked_since: float | None = None

    # -- opening and closing ----------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect for one more user."""
        loop = asyncio.get_running_loop()
        if self._host is not None:
            if self._loop is not loop:
                raise WorldConfigurationError(
                    f"the local world at {self.path} is open on another event loop; make a LocalWorld for each loop"
                )
            self._users += 1
            return
        prepare_file(self.path)
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._host = connect(self.path, self._sync)
                self._waits_for_disk = self._sync == "full"
                break
            except DatabaseLockedError:
                # Another process is opening it too, or mends what a death left.
                if time.monotonic() >= until:
                    raise
                await asyncio.sleep(PAUSE_LOCKED)
        self._loop = loop
        self._opened_by = os.getpid()
        self._users = 1
        self.notices.open(loop)

    def close(self) -> None:
        """Disconnect one user; the last one closes the file."""
        self._users -= 1
        if self._users > 0 or self._host is None:
            return
        try:
            self._flush_all()
            self.notices.close()
        finally:
            host, self._host = self._host, None
            with self._side_lock:
                side, self._side = self._side, None
            if side is not None:
                side.close()
            host.close()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._host is None:
            raise self._not_open()
        return self._loop

    def _connected(self) -> Connection:
        if self._host is None or self._forked():
            raise self._not_open()
        return self._host

    def _forked(self) -> bool:
        """Whether this is the child of a fork: SQLite's connections are their parent's alone."""
        return os.getpid() != self._opened_by

    def _not_open(self) -> WorldUnavailableError:
        if self._host is not None:
            return WorldUnavailableError(
                f"the local world at {self.path} was opened by process {self._opened_by}, and this is its child "
                f"{os.getpid()}; make a LocalWorld of its own for it"
            )
        return WorldUnavailableError(f"the local world at {self.path} is not open: await its open() first")

    def is_gone(self, owner: str | None) -> bool:
        """Whether what this owner holds is held by nobody any more."""
        return owner is not None and owner != self.owner and is_gone(owner, self.us)

    # -- writing ----------------------------------------------------------------------------------------------------

    def write(self, function: Callable[[Connection, Unpack[A]], T], *args: *A) -> asyncio.Future[T]:
        """Have `function`, which changes by a single statement, run in the next group. The future ends after the
        commit."""
        return self._submit(function, args)

    def write_passing(self, function: Callable[[Connection, Unpack[A]], T], *args: *A) -> asyncio.Future[T]:
        """As `write`, for what says who holds something: it does not wait for the disk."""
        return self._submit(function, args, passing=True)

    def _submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], apart: bool = False, passing: bool = False
    ) -> asyncio.Future[Any]:
        loop = self.loop
        future: asyncio.Future[Any] = loop.create_future()
        operation = Operation(function, args, future)
        operation.apart = apart
        operation.passing = passing
        self._waiting.append(operation)
        if self._flush_handle is None:
            self._flush_handle = loop.call_soon(self._flush)
        return future

    def write_apart(self, function: Callable[[Connection, Unpack[A]], T], *args: *A) -> asyncio.Future[T]:
        """As `write`, for a function of several statements: all of them happen, or none."""
        return self._submit(function, args, apart=True)

    def write_now(self, function: Callable[[Connection, Unpack[A]], T], *args: *A) -> T:
        """As `write_passing`, of several statements, and at once, together with what waits: for callers that must not
        be cancelled between the two."""
        operation = Operation(function, args, None)
        operation.apart = operation.passing = True
        self._connected()
        self._waiting.append(operation)
        while operation in self._waiting:
            if not self._commit_group():
                self._waiting.remove(operation)
                self._retry_later()
                raise DatabaseLockedError(f"the database {self.path} is locked by another process")
        if operation.error is not None:
            raise operation.error
        return operation.value

    def flush(self) -> None:
        """Write what waits, if no other process has the lock."""
        if self._waiting:
            self._connected()
            self._flush()

    def _flush(self) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        if self._waiting and self._host is not None and (not self._commit_group() or self._waiting):
            self._retry_later()

    def _retry_later(self) -> None:
        if self._waiting and self._flush_handle is None:
            pause = PAUSE_LOCKED if self._locked_since is not None else 0.0
            self._flush_handle = self.loop.call_later(pause, self._flush)

    def _flush_all(self) -> None:
        """Before closing: what waits is written, or its callers hear that it is not."""
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        until = time.monotonic() + PATIENCE
        while self._waiting:
            if not self._commit_group() and time.monotonic() >= until:
                self._fail_waiting(DatabaseLockedError(f"the database {self.path} stayed locked until it was closed"))

    def _fail_waiting(self, error: Exception) -> None:
        group, self._waiting = self._waiting, []
        for operation in group:
            operation.settle(error)

    def _commit_group(self) -> bool:
        """One transaction with the operations that wait. False: another process has the lock, they wait on."""
        if self._forked():
            self._fail_waiting(self._not_open())
            return True
        sql = self._connected()
        group = self._waiting[:LARGEST_GROUP]
        try:
            if self._sync == "full":
                self._wait_for_disk(sql, not all(operation.passing for operation in group))
            sql.execute("BEGIN IMMEDIATE")
        except Error as error:
            return self._not_begun(error)
        self._locked_since = None
        self._waiting = self._waiting[LARGEST_GROUP:]
        try:
            for operation in group:
                if operation.future is None or not operation.future.done():  # done: its caller was cancelled
                    self._perform(sql, operation)
            sql.execute("COMMIT")
        except BaseException as error:
            self._undo(sql, group, error)
            if not isinstance(error, Error):
                raise
            return True
        for operation in group:
            operation.settle()
        self.notices.publish()
        return True

    def _wait_for_disk(self, sql: Connection, waits: bool) -> None:
        """Whether the next commit does; SQLite takes the setting between two transactions only."""
        if waits != self._waits_for_disk:
            sql.execute("PRAGMA synchronous = FULL" if waits else "PRAGMA synchronous = NORMAL")
            self._waits_for_disk = waits

    def _not_begun(self, error: Error) -> bool:
        if is_busy(error):
            now = time.monotonic()
            self._locked_since = self._locked_since or now
            if now - self._locked_since < PATIENCE:
                return False
        self._locked_since = None
        self._fail_waiting(translate(error, self.path))
        return True

    def _undo(self, sql: Connection, group: list[Operation], error: BaseException) -> None:
        """Nothing of the group was written: a full disk at the commit, or an interrupt in the middle."""
        self.notices.discard()
        if isinstance(error, Error):
            told = translate(error, self.path)
        else:
            told = WorldUnavailableError(
                f"a write to the database {self.path} was interrupted; it did not happen: repeat it"
            )
        told.__cause__ = error
        for operation in group:
            operation.settle(told)
        if sql.in_transaction:
            sql.execute("ROLLBACK")

    def _perform(self, sql: Connection, operation: Operation) -> None:
        """Run one operation of the group; its failure is its own, unless SQLite has given up the transaction."""
        try:
            if not operation.apart:
                operation.value = operation.function(sql, *operation.args)
                return
            sql.execute("SAVEPOINT apart")
            operation.value = operation.function(sql, *operation.args)
            sql.execute("RELEASE apart")
        except Exception as error:
            if not sql.in_transaction:
                raise  # SQLite does so when the disk is full or fails: everybody's writes are gone
            if operation.apart:
                sql.execute("ROLLBACK TO apart")
                sql.execute("RELEASE apart")
            operation.error = translate(error, self.path) if isinstance(error, Error) else error
            if operation.error is not error:
                operation.error.__cause__ = error

    async def fold_log(self) -> None:
        """Fold the write-ahead log back into the file and cut it to nothing: it holds pages as they were before."""
        until = time.monotonic() + PATIENCE
        while not self._folded():
            if time.monotonic() >= until:  # a reader that does not end; the log is written over in time
                log.warning("%s is being read: what was erased stays in its write-ahead log until later", self.path)
                return
            await asyncio.sleep(PAUSE_LOCKED)

    def _folded(self) -> bool:
        try:
            ((busy, _, _),) = self._connected().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except Error as error:
            if is_busy(error):
                return False
            raise translate(error, self.path) from error
        return not busy

    # -- reading ----------------------------------------------------------------------------------------------------

    def read(self, statement: str, args: Sequence[object] = ()) -> list[Any]:
        """The rows, from the host's connection: every write that was awaited is in them."""
        sql = self._connected()
        until: float | None = None
        while True:
            try:
                return sql.execute(statement, args).fetchall()
            except Error as error:
                # A reader waits for nobody in a write-ahead log, except while it is mended after a death.
                until = until or time.monotonic() + PATIENCE
                if not is_busy(error) or time.monotonic() >= until:
                    raise translate(error, self.path) from error

    # -- from other threads -----------------------------------------------------------------------------------------

    def write_aside(self, statement: str, args: Sequence[object]) -> list[Any]:
        """One statement, committed by itself on a connection beside the host's, from whichever thread; its rows.

        It may wait for the host's transaction and the host for it: neither holds a lock of ours or Python's meanwhile.
        All that is written so prolongs what somebody holds: it does not wait for the disk.
        """
        with self._side_lock:
            self._connected()
            if self._side is None:
                self._side = connect(self.path, "normal", aside=True)
            try:
                return self._side.execute(statement, args).fetchall()
            except Error as error:
                raise translate(error, self.path) from error
