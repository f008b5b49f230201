"""Counts what a workload asks of its world, exactly: the calls of the ports, and the writes that reach SQLite.

Metered passes are passes of their own, never timed ones. The calls are those of the client and the worker together. The
writes are kept statement by statement, so that the floor can do the very same ones.
"""

from __future__ import annotations

import inspect
import re
import sqlite3
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

from wdk_cloud.world import ports
from wdk_cloud.world.local.database import Database, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from benchmarks.figures import Json
    from wdk_cloud.world.ports import Subscription, World

# --- calls ------------------------------------------------------------------------------------------------------------


class MeteredPort:
    """One port of a world; the calls of its protocol are counted by their names."""

    def __init__(self, port: Any, protocol: type, calls: Counter[str]) -> None:
        self._port = port
        self._protocol = protocol
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        there = getattr(self._port, name)
        if inspect.isfunction(getattr(self._protocol, name, None)) and name != "busy":
            return partial(self._call, name, there)
        return there  # an attribute, or a question that touches nothing

    def _call(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self._calls[name] += 1
        return method(*args, **kwargs)


class MeteredWorld:
    """A world whose calls are counted."""

    def __init__(self, world: World, calls: Counter[str] | None = None) -> None:
        self.calls: Counter[str] = Counter() if calls is None else calls
        self._world = world
        self.name = world.name
        self.namespace = world.namespace
        self.short_wait = world.short_wait
        self.clock = world.clock
        self.runs: Any = MeteredPort(world.runs, ports.RunStore, self.calls)
        self.blobs: Any = MeteredPort(world.blobs, ports.BlobStore, self.calls)
        self.streams: Any = MeteredPort(world.streams, ports.StreamStore, self.calls)
        self.queue: Any = MeteredPort(world.queue, ports.Queue, self.calls)
        self.receiver: Any = world.receiver and MeteredPort(world.receiver, ports.Receiver, self.calls)

    def scoped(self, namespace: str) -> MeteredWorld:
        return MeteredWorld(self._world.scoped(namespace), self.calls)

    def subscribe(self, run_id: str) -> Subscription:
        return self._world.subscribe(run_id)

    async def open(self) -> None:
        await self._world.open()

    async def close(self) -> None:
        await self._world.close()


# --- writes -----------------------------------------------------------------------------------------------------------

_WRITING = re.compile(r"\s*(INSERT|UPDATE|DELETE)\b", re.IGNORECASE)

_RETURNING = re.compile(r"\sRETURNING\s.*", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Write:
    """One statement that changes rows, without what it returned: returning is reading."""

    statement: str
    args: Any
    many: bool
    """`args` is a list of them, for `executemany`."""
    operation: int = 0
    """The writes of one operation have one number."""


@dataclass(frozen=True)
class Commit:
    """One transaction."""

    writes: list[Write]
    rows: int
    """Rows that were changed."""

    @property
    def apart(self) -> list[list[Write]]:
        """Its writes, operation by operation."""
        return [list(writes) for _, writes in groupby(self.writes, lambda write: write.operation)]


@dataclass
class Writes:
    """The transactions of one metered pass, in order."""

    before: list[Commit] = field(default_factory=list[Commit])
    """Those before the measured part, such as who listens: they are repeated, and not timed."""
    measured: list[Commit] = field(default_factory=list[Commit])
    _over: bool = False

    def __post_init__(self) -> None:
        self._taking = self.before

    def begin(self) -> None:
        self._taking = self.measured

    def end(self) -> None:
        """What closing writes belongs to nothing that is measured."""
        self._over = True

    def add(self, commit: Commit) -> None:
        if not self._over:
            self._taking.append(commit)

    @property
    def commits(self) -> int:
        return len(self.measured)

    @property
    def operations(self) -> int:
        """Commits as there would be if nothing were grouped."""
        return sum(len(commit.apart) for commit in self.measured)

    @property
    def rows(self) -> int:
        return sum(commit.rows for commit in self.measured)

    @property
    def bytes(self) -> int:
        return sum(_size(write.args) for commit in self.measured for write in commit.writes)

    @property
    def appends(self) -> int:
        """Batches that were written to the log."""
        return sum(w.statement.startswith("INSERT INTO log ") for commit in self.measured for w in commit.writes)

    def to_json(self, steps: int) -> Json:
        return {
            "commits": self.commits,
            "operations": self.operations,
            "appends": self.appends,
            "rows": self.rows,
            "bytes": self.bytes,
            "commits_per_step": round(self.commits / steps, 4),
            "appends_per_step": round(self.appends / steps, 4),
            "rows_per_step": round(self.rows / steps, 4),
            "bytes_per_step": round(self.bytes / steps, 1),
        }


def _size(value: Any) -> int:
    """Bytes of what is bound to a statement; a number counts as eight."""
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(map(_size, value.values()))  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))  # pyright: ignore[reportUnknownArgumentType]
    return 0 if value is None else 8


@contextmanager
def metered_sqlite() -> Generator[Writes]:
    """Whoever connects to SQLite in this block has its writes recorded."""
    writes = Writes()
    genuine, perform = sqlite3.connect, Database._perform  # pyright: ignore[reportPrivateUsage]
    number = 0

    def counted(self: Database, sql: sqlite3.Connection, operation: Operation) -> None:
        nonlocal number
        number += 1
        perform(self, sql, operation)

    class MeteredConnection(sqlite3.Connection):
        """Reads pass; writes wait here until their transaction is over."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._pending: list[Write] = []
            self._counted = 0

        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return self._record(super().execute, sql, parameters, many=False)

        def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
            return self._record(super().executemany, sql, list(parameters), many=True)

        def _record(
            self, execute: Callable[[str, Any], sqlite3.Cursor], sql: str, args: Any, *, many: bool
        ) -> sqlite3.Cursor:
            inside = self.in_transaction
            cursor = execute(sql, args)
            if _WRITING.match(sql):
                self._pending.append(Write(_RETURNING.sub("", sql).strip(), args, many, number))
            if not self.in_transaction and (inside or self._pending):
                # Counted only now: a statement that returns rows has its changes counted when all of them are read.
                writes.add(Commit(self._pending, self.total_changes - self._counted))
                self._pending, self._counted = [], self.total_changes
            return cursor

    sqlite3.connect = partial(genuine, factory=MeteredConnection)
    Database._perform = counted  # pyright: ignore[reportPrivateUsage]
    try:
        yield writes
    finally:
        sqlite3.connect, Database._perform = genuine, perform  # pyright: ignore[reportPrivateUsage]


def per_step(calls: Counter[str], steps: int) -> Json:
    return {
        "calls": dict(sorted(calls.items())),
        "calls_in_all": calls.total(),
        "calls_per_step": round(calls.total() / steps, 4),
    }


def further(longer: Counter[str], shorter: Counter[str], steps: int) -> dict[str, float]:
    """Calls of each step more: what begins and ends a run falls out."""
    names: Sequence[str] = sorted({*longer, *shorter})
    each = {name: round((longer[name] - shorter[name]) / steps, 4) for name in names}
    return {name: value for name, value in each.items() if value}
