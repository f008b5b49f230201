"""Making a connection: the folder, the file, what marks it as ours, and SQLite's settings."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.world.local.disk import refuse_network_disk
from wdk_cloud.world.local.failures import is_busy, not_ours, translated
from wdk_cloud.world.local.schema import APPLICATION_ID, VERSION, migrate

if TYPE_CHECKING:
    from pathlib import Path

OLDEST_SQLITE = (3, 35, 0)  # RETURNING

HOST_BUSY_MS = 30
"""How long a statement of the host thread waits in C for a lock: it stands still meanwhile, so the group commit gives
up early and tries again from the loop (`database.py`)."""

SIDE_BUSY_MS = 5_000
"""The renewing thread may wait: a lease has ten seconds left when it is renewed."""

OPENING_S = 5.0
"""Seconds that processes which open one new file at once have for taking turns: each is done in milliseconds."""

TURN_S = 0.002
"""Seconds until one that was refused at once tries again: SQLite does not wait where two would wait for each other."""

STATEMENTS_KEPT = 256  # more than there are; `change` makes one for each set of fields


def prepare_file(path: Path) -> None:
    """Make the folder (for its owner alone) and an empty file, if they are not there."""
    if os.path.isdir(path):  # unlike Path.is_dir, it does not raise where we may not look
        raise WorldConfigurationError(
            f"WDK_LOCAL_PATH names the folder {path}; name a file in it, for example {path / 'local.db'}"
        )
    refuse_network_disk(path)
    try:
        if not path.parent.exists():
            _make_folder(path.parent)
        # Only a file that is not there is opened here: closing a second descriptor of a database would drop the
        # locks that SQLite holds on it for another world of this process.
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        path.chmod(0o600)  # some umasks take rights from the owner, too
    except FileExistsError:
        if path.exists():
            return
        raise WorldConfigurationError(
            f"a part of the path {path} is a file, not a folder; set WDK_LOCAL_PATH to another place"
        ) from None
    except OSError as error:
        raise WorldConfigurationError(
            f"the database {path} cannot be made ({error.strerror}): give this user the right to write its folder, or "
            "set WDK_LOCAL_PATH to another place"
        ) from error


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        return  # another process was quicker, and its rights are as ours would be
    folder.chmod(0o700)  # as below


def connect(path: Path, sync: str, *, aside: bool = False) -> sqlite3.Connection:
    """A connection to a file that `prepare_file` has seen. One that is `aside` may be used from any thread, under a
    lock of its user."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise WorldConfigurationError(
            f"this Python has SQLite {sqlite3.sqlite_version}; the local world needs 3.35 or newer: use a newer Python"
        )
    with translated(path):
        sql = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=not aside, cached_statements=STATEMENTS_KEPT
        )
        try:
            sql.execute(f"PRAGMA busy_timeout = {SIDE_BUSY_MS if aside else HOST_BUSY_MS}")
            if not aside:
                _take_turns(sql, path)
            _configure(sql, sync)
        except BaseException:
            sql.close()
            raise
    return sql


def _take_turns(sql: sqlite3.Connection, path: Path) -> None:
    """Check and migrate; again while another process does so, and has the file locked."""
    until = time.monotonic() + OPENING_S
    while True:
        try:
            return _check_and_migrate(sql, path)
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() >= until:
                raise
        time.sleep(TURN_S)


def _check_and_migrate(sql: sqlite3.Connection, path: Path) -> None:
    """Refuse what is not ours before anything is changed; then make the tables in one transaction."""
    version = _checked_version(sql, path)
    if (mode := _pragma(sql, "journal_mode = WAL")) != "wal":
        raise WorldConfigurationError(
            f"the database {path} cannot use SQLite's write-ahead log (its journal mode stays {mode!r}): put it on a "
            "disk of this machine"
        )
    sql.execute("BEGIN IMMEDIATE")
    try:
        version = _checked_version(sql, path)  # another process may have been quicker
        # Something is written in any case: only then SQLite says that the file cannot be written.
        migrate(sql, version)
        sql.execute("COMMIT")
    finally:
        if sql.in_transaction:
            sql.execute("ROLLBACK")


def _checked_version(sql: sqlite3.Connection, path: Path) -> int:
    """The version of a file of ours; 0 for an empty one."""
    begun = not sql.in_transaction
    if begun:  # another process may make the file just now: all of it is seen, or nothing
        sql.execute("BEGIN")
    try:
        mark = int(_pragma(sql, "application_id"))
        version = int(_pragma(sql, "user_version"))
        (entries,) = sql.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if begun and sql.in_transaction:
            sql.execute("ROLLBACK")
    if mark != APPLICATION_ID:
        if mark or version or entries:
            raise WorldConfigurationError(not_ours(path))
        return 0
    if version > VERSION:
        raise WorldConfigurationError(
            f"the database {path} was written by a newer wdk-cloud (format {version}, this one knows up to {VERSION}); "
            "install that version or a later one, or set WDK_LOCAL_PATH to another file"
        )
    return version


def _configure(sql: sqlite3.Connection, sync: str) -> None:
    # NORMAL: every commit survives the death of any process; a power cut may take the last ones, but never tears one.
    # FULL waits for the disk at each commit and survives that too.
    sql.execute("PRAGMA synchronous = FULL" if sync == "full" else "PRAGMA synchronous = NORMAL")
    # The log is folded back into the file each 4 MB, SQLite's own default, written down because builds may differ:
    # between 500 and 4,000 pages no difference could be measured for our commits.
    sql.execute("PRAGMA wal_autocheckpoint = 1000")
    # After a burst the log file is cut back to this, so that a full folder can breathe.
    sql.execute("PRAGMA journal_size_limit = 33554432")
    # 8 MB of pages bound the memory that a large file takes: 10,000 runs and 100,000 sleeps added 5 MB in all.
    sql.execute("PRAGMA cache_size = -8192")
    # What is deleted is overwritten with zeros, also where it was deleted long before its run was erased.
    sql.execute("PRAGMA secure_delete = ON")
    # No table refers to another by declaration; some builds of SQLite switch the checks on.
    sql.execute("PRAGMA foreign_keys = OFF")
    # The file may come from a stranger: functions in its schema are not called.
    sql.execute("PRAGMA trusted_schema = OFF")
    # Sorting happens in memory: nothing here sorts more than a page of a listing.
    sql.execute("PRAGMA temp_store = MEMORY")


def _pragma(sql: sqlite3.Connection, words: str) -> str:
    row = sql.execute(f"PRAGMA {words}").fetchone()
    return str(row[0])
