"""The floor: what SQLite itself takes for the writes of a workload, without anything of ours around it.

It repeats what the meter recorded on a fresh file: the same tables and indexes, the same statements with the same
values, in the same mode (write-ahead log, `synchronous=NORMAL`), each operation committed by itself, as a program
commits that talks to SQLite without an engine. It leaves out what is no write: reads, the rows that a statement
returns, savepoints. For a step in a row that is one transaction with one INSERT into `log`, whose `data` are the step's
events. `grouped` repeats the very transactions of the local world instead, which puts operations that are asked for at
the same time into one. Repeating has to change as many rows as were recorded, or the comparison would be void.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from benchmarks.measuring import Cost, Stopwatch
from wdk_cloud.world.local.schema import migrate

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.meter import Commit, Write, Writes


def repeat(writes: Writes, path: Path, *, grouped: bool = False) -> Cost:
    """Do the measured writes once more, on a file that is not there yet."""
    before_it, measured = (_transactions(commits, grouped) for commits in (writes.before, writes.measured))
    sql = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    try:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = NORMAL")
        sql.execute("PRAGMA cache_size = -8192")  # as much as the local world asks for
        migrate(sql, 0)
        _commit_all(sql, before_it)
        before = sql.total_changes
        with Stopwatch() as watch:
            _commit_all(sql, measured)
        if sql.total_changes - before != writes.rows:
            raise AssertionError(f"the floor changed {sql.total_changes - before} rows, the engine {writes.rows}")
    finally:
        sql.close()
    return watch.cost


def _transactions(commits: list[Commit], grouped: bool) -> list[list[Write]]:
    return [writes for commit in commits for writes in ([commit.writes] if grouped else commit.apart)]


def _commit_all(sql: sqlite3.Connection, transactions: list[list[Write]]) -> None:
    execute, executemany = sql.execute, sql.executemany
    for writes in transactions:
        execute("BEGIN IMMEDIATE")
        for write in writes:
            if write.many:
                executemany(write.statement, write.args)
            else:
                execute(write.statement, write.args)
        execute("COMMIT")
