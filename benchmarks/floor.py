"""The floor: what SQLite itself takes for the writes of a workload, without anything of ours around it.

It repeats the transactions that the meter recorded on a fresh file: the same tables and indexes, the same statements
with the same values, in the same transactions, in the same mode (write-ahead log, `synchronous=NORMAL`). It leaves out
what is no write: reads, the rows that a statement returns, savepoints. For a step in a row that is one transaction with
one INSERT into `log`, whose `data` are the step's events. Repeating has to change as many rows as were recorded, or the
comparison would be void.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from benchmarks.measuring import Cost, Stopwatch
from wdk_cloud.world.local.schema import migrate

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.meter import Commit, Writes


def repeat(writes: Writes, path: Path) -> Cost:
    """Do the measured writes once more, on a file that is not there yet."""
    sql = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    try:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = NORMAL")
        sql.execute("PRAGMA cache_size = -8192")  # as much as the local world asks for
        migrate(sql, 0)
        _commit_all(sql, writes.before)
        before = sql.total_changes
        with Stopwatch() as watch:
            _commit_all(sql, writes.measured)
        if sql.total_changes - before != writes.rows:
            raise AssertionError(f"the floor changed {sql.total_changes - before} rows, the engine {writes.rows}")
    finally:
        sql.close()
    return watch.cost


def _commit_all(sql: sqlite3.Connection, commits: list[Commit]) -> None:
    execute, executemany = sql.execute, sql.executemany
    for commit in commits:
        execute("BEGIN IMMEDIATE")
        for write in commit.writes:
            if write.many:
                executemany(write.statement, write.args)
            else:
                execute(write.statement, write.args)
        execute("COMMIT")
