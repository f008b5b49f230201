"""The database, its collections, indexes and expiry; the queues and the bucket: as data for whoever creates them or
checks a template against them.

    wdk_runs/<run>                           the head
    wdk_runs/<run>/wdk_log/<position>        a batch of the log
    wdk_runs/<run>/wdk_inbox/<key>           an inbox item
    wdk_runs/<run>/wdk_steps/<step>          a step item
    wdk_runs/<run>/wdk_labels/labels         the labels
    wdk_runs/<run>/wdk_orders/<digest>       the order of a step that is too large for its message
    wdk_tokens/<sha>                         who owns a hook's token

What follows a run is named after its birth as well, and runs and tokens after their namespace (`places.py`). Reading a
document by its name, or a row of names within a collection, needs no index. Firestore indexes every field of its own
accord, which costs storage and makes times that rise a hot spot: so each field is exempt, but for those of `INDEXED`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNS, LOG, INBOX, STEPS, LABELS, ORDERS = "wdk_runs", "wdk_log", "wdk_inbox", "wdk_steps", "wdk_labels", "wdk_orders"
TOKENS = "wdk_tokens"

BELOW_A_RUN = (LOG, INBOX, STEPS, LABELS, ORDERS)
COLLECTIONS = (RUNS, *BELOW_A_RUN, TOKENS)

EXPIRES = "expires"
"""The time after which Firestore takes the document away by itself: the TTL field of every collection. A document that
expires does not take along what lies below it, so that each has a time of its own."""

LISTED = "listed"
"""All heads: shard, then creation time and id."""

SWEPT = "swept"
"""What the sweep looks for next: whether it is due, has ended, is a tombstone or an erased one; shard; since when."""

LASTING = "lasting"
"""Heads of which something has to be kept from expiring, live runs and those that were continued: as `listed`."""

DONE = "done"
"""On the item of a step that has ended."""

OWNER = "owner"
"""Of a token: its run, with which an erasure finds it."""

SHARDS = 8
"""Rows of an index in each namespace, at its beginning or its end. Firestore takes 500 writes a second to values that
rise: so 4,000 runs a second can begin. A listing asks each shard once a page."""


@dataclass(frozen=True, slots=True)
class CompositeIndex:
    collection: str
    fields: tuple[str, ...]
    """`-listed` is `listed` in descending order."""


INDEXED: Mapping[str, tuple[str, ...]] = {
    RUNS: (LISTED, SWEPT, LASTING),
    STEPS: (DONE,),
    TOKENS: (OWNER,),
}
"""The fields that keep the indexes of their own that Firestore gives to each, ascending and descending."""

COMPOSITE = tuple(CompositeIndex(RUNS, (field, f"-{LISTED}")) for field in ("w", "st", "v"))
"""For listings by workflow, status and version. Firestore serves a listing by several of them from several indexes."""

EXEMPT: Mapping[str, tuple[str, ...]] = {
    RUNS: (
        *("b", "w", "c", "s", "d", "i", "st", "nb", "k", "p", "r", "t", "ik", "v", "lv", "h", "f", "u", "y", "l", "a"),
        *("x", "xl", "n", "re", "tr", "e", "ea", "ec", "cf", "ct", "wb", "ln", "rn", "sf", EXPIRES),
    ),
    LOG: ("c", "f", "n", "d", EXPIRES),
    INBOX: ("id", "k", "d", "t", "o", "pn", EXPIRES),
    STEPS: ("id", "a", "h", "u", "rt", "fs", "it", "x", "re", "e", "cn", "rn", EXPIRES),
    LABELS: ("v", "p", EXPIRES),
    ORDERS: ("d", EXPIRES),
    TOKENS: ("r", "b", "h", "d", EXPIRES),
}
"""The fields without an index of their own, payloads and times among them: all that `items.py` writes but the others.
A field of a composite index needs none."""


@dataclass(frozen=True, slots=True)
class QueueSettings:
    max_attempts: int
    min_backoff: int
    """Seconds, as `max_backoff`."""
    max_backoff: int
    max_doublings: int


QUEUE = QueueSettings(max_attempts=-1, min_backoff=1, max_backoff=60, max_doublings=6)
"""Of both queues. Whatever our own retry handles is answered with 200: a task comes back only when its service is gone
or did not take it. So it is tried for ever, the first time after a second, and once a minute while nobody answers."""

DAY = 86_400.0

LEAST_DAYS = 60
"""For which an object is kept at least: twice the retention, where that is more (docs/retention.md)."""


def object_days(retention: float) -> int:
    """The age in days of the bucket's lifecycle rule; `retention` in seconds."""
    return max(LEAST_DAYS, math.ceil(2 * retention / DAY))
