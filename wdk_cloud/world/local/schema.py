"""The tables of a local database, and how a file of an older version becomes one of this version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.ports import Head

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID = 0x57444B31  # "WDK1", in the header of every file of ours; `file` and SQLite show it

HEAD_FIELDS: tuple[str, ...] = Head.__struct_fields__
"""The columns of `heads` that make a head are named as its fields are: a new field of `Head` needs a migration here."""

# Every key begins with the namespace; all but the key of a head goes on with run and birth, so that a writer of an
# earlier life writes where nobody reads. What is small and found by its key lies in the key's own tree (WITHOUT
# ROWID); what may be large or has an order of its own has a row number. Times have no type: in a column of type REAL,
# SQLite keeps 40.0 as an integer, and RETURNING shows it as one.
VERSION_1 = """
CREATE TABLE heads (
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, workflow TEXT NOT NULL,
    created_at NOT NULL, seed BLOB NOT NULL, input_digest TEXT NOT NULL, status TEXT NOT NULL,
    not_before NOT NULL, data_key TEXT, parent TEXT, root TEXT, trace TEXT, idempotency_key TEXT,
    version TEXT NOT NULL, last_version TEXT NOT NULL,
    holder TEXT, fence INTEGER NOT NULL, until NOT NULL, dirty INTEGER NOT NULL, last TEXT, armed,
    stalls INTEGER NOT NULL, stalls_length INTEGER NOT NULL, length INTEGER NOT NULL,
    retired TEXT NOT NULL, trouble TEXT, ended_at, end_at INTEGER NOT NULL, error_code TEXT,
    wake_by NOT NULL,
    owner TEXT, unclean INTEGER NOT NULL DEFAULT 0, input BLOB,
    PRIMARY KEY (namespace, run_id)
) WITHOUT ROWID;
CREATE INDEX heads_by_time ON heads (namespace, created_at, run_id);
CREATE INDEX heads_by_wake ON heads (namespace, wake_by) WHERE status IN ('pending', 'running');

CREATE TABLE log (
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, at INTEGER NOT NULL,
    count INTEGER NOT NULL, fence INTEGER NOT NULL, nonce TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (namespace, run_id, birth, at)
) WITHOUT ROWID;

CREATE TABLE inbox (
    place INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, key TEXT NOT NULL,
    kind TEXT NOT NULL, data BLOB NOT NULL, time NOT NULL,
    UNIQUE (namespace, run_id, birth, key)
);

CREATE TABLE steps (
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, step_id TEXT NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0, holder TEXT, until NOT NULL DEFAULT 0.0,
    retry_at NOT NULL DEFAULT 0.0, first_started NOT NULL DEFAULT 0.0,
    interrupted INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0,
    retired TEXT NOT NULL DEFAULT '', outcome BLOB, owner TEXT,
    PRIMARY KEY (namespace, run_id, birth, step_id)
) WITHOUT ROWID;

CREATE TABLE labels (
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL,
    pairs BLOB NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (namespace, run_id, birth)
) WITHOUT ROWID;

CREATE TABLE tokens (
    namespace TEXT NOT NULL, digest TEXT NOT NULL,
    run_id TEXT NOT NULL, birth TEXT NOT NULL, hook_id TEXT NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (namespace, digest)
) WITHOUT ROWID;
CREATE INDEX tokens_by_run ON tokens (namespace, run_id, birth);

CREATE TABLE blobs (
    place INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,
    UNIQUE (namespace, run_id, birth, name)
);

-- AUTOINCREMENT: the number is the provider's id, and an id that came again would meet itself in `retired`.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace TEXT NOT NULL, visible_at NOT NULL, received INTEGER NOT NULL DEFAULT 0, owner TEXT,
    body BLOB NOT NULL
);
CREATE INDEX messages_by_time ON messages (namespace, visible_at);
CREATE INDEX messages_by_owner ON messages (owner, namespace) WHERE owner IS NOT NULL;

CREATE TABLE listeners (
    owner TEXT NOT NULL, port INTEGER NOT NULL, wants INTEGER NOT NULL,
    PRIMARY KEY (owner, port)
) WITHOUT ROWID;
"""

VERSION_2 = """
ALTER TABLE heads ADD COLUMN continued_from TEXT;
ALTER TABLE heads ADD COLUMN continued_to TEXT;
"""

# What the sweep removes: runs by their end, and the few tombstones whose erasure a death has interrupted.
VERSION_3 = """
CREATE INDEX heads_by_end ON heads (namespace, ended_at, run_id) WHERE ended_at IS NOT NULL;
CREATE INDEX heads_to_erase ON heads (namespace, run_id) WHERE status = 'deleted' AND wake_by <> 0;
"""

# An object of a stream may be large: a row number, as a blob has. A mark is that of a producer that is not run again.
VERSION_4 = """
CREATE TABLE chunks (
    place INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, stream TEXT NOT NULL, ordinal INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (namespace, run_id, birth, stream, ordinal)
);

CREATE TABLE marks (
    namespace TEXT NOT NULL, run_id TEXT NOT NULL, birth TEXT NOT NULL, stream TEXT NOT NULL, marked NOT NULL,
    PRIMARY KEY (namespace, run_id, birth, stream)
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (VERSION_1, VERSION_2, VERSION_3, VERSION_4)
"""What leads from version n to n + 1, each in the transaction that also writes the new version."""

VERSION = len(MIGRATIONS)


def migrate(sql: sqlite3.Connection, version: int) -> None:
    """Bring the file from `version` to ours, inside the caller's transaction."""
    for script in MIGRATIONS[version:]:
        for statement in _statements(script):
            sql.execute(statement)
    sql.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    sql.execute(f"PRAGMA user_version = {VERSION}")


def _statements(script: str) -> list[str]:
    """One by one: `executescript` would commit the transaction first."""
    return [statement for part in script.split(";\n") if (statement := part.strip())]
