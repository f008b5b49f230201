"""SQLite's errors in our words. Every statement of this world runs under `translated`, or has its error put through
`translate`."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorkflowError, WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_READ_ONLY = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)


class DatabaseLockedError(WorldUnavailableError):
    """Another process has the lock; callers inside this package try again, and give up after a while."""


def primary_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; errors that Python's own module raises carry none and count as 0."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return (code or 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Somebody else holds the lock that this needs."""
    return primary_code(error) in _BUSY


def translate(error: sqlite3.Error, path: Path) -> WorkflowError:
    """The error of ours that says what happened to which file, and what to do."""
    code = primary_code(error)
    if code in _BUSY:
        return DatabaseLockedError(
            f"the database {path} stayed locked by another process; if none of yours is busy, look for a tool that "
            f"keeps a transaction open on it ({error})"
        )
    if code == sqlite3.SQLITE_FULL:
        return WorldUnavailableError(
            f"the disk of {path} is full: nothing of this was written; make room, the runs go on by themselves"
        )
    if code in _READ_ONLY:
        return WorldConfigurationError(
            f"the database {path} cannot be written: give this user the right to write the file and its folder, or "
            f"set WDK_LOCAL_PATH to another place ({error})"
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return WorldConfigurationError(
            f"the database {path} cannot be opened: its folder must exist and be writable for this user, also for the "
            f"two files that SQLite keeps beside it ({error})"
        )
    if code == sqlite3.SQLITE_NOTADB:
        return WorldConfigurationError(not_ours(path))
    if code == sqlite3.SQLITE_CORRUPT:
        return WorldConfigurationError(
            f"the database {path} is damaged; bring back a copy, or set WDK_LOCAL_PATH to a new file ({error})"
        )
    if code == sqlite3.SQLITE_IOERR:
        return WorldUnavailableError(
            f"the disk of {path} failed ({error}): nothing of this was written; look at its room, at quotas and "
            "limits of file sizes, and at the system's log. The runs go on by themselves"
        )
    return WorldUnavailableError(
        f"the database {path} answered with an error ({error}); try again, and look at its file if that does not pass"
    )


def not_ours(path: Path) -> str:
    return (
        f"the file {path} is not a database of wdk-cloud, and was left as it is; set WDK_LOCAL_PATH to another place, "
        "or move that file away"
    )


@contextmanager
def translated(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except sqlite3.Error as error:
        raise translate(error, path) from error
