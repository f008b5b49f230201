"""What the processes leave that die without a word: messages nobody works on, listeners nobody hears."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite3 import Connection

    from wdk_cloud.world.local.database import Database


def free_what_the_gone_hold(database: Database) -> None:
    """Make the messages of processes that are gone visible at once. Leases and claims are judged when somebody asks
    for them (`heads.py`, `steps.py`)."""
    owners = database.read(
        "SELECT owner FROM listeners UNION SELECT owner FROM messages INDEXED BY messages_by_owner"
        " WHERE owner IS NOT NULL"
    )
    for (owner,) in owners:
        if database.is_gone(owner):
            database.write_now(_free, owner, database)


def _free(sql: Connection, owner: str, database: Database) -> None:
    # Several processes may find the same one gone: the first frees its messages, the others find none of that owner.
    now = database.clock.now()
    sql.execute("DELETE FROM listeners WHERE owner = ?", (owner,))
    freed = sql.execute(
        "UPDATE messages SET visible_at = min(visible_at, ?), owner = NULL WHERE owner = ? RETURNING namespace",
        (now, owner),
    ).fetchall()
    for (namespace,) in freed:
        database.notices.sent(namespace, now)
