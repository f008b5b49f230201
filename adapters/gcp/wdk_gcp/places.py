"""Where runs stand in the indexes, their shard and their age as text that sorts like it; and the names of documents."""

from __future__ import annotations

import zlib
from hashlib import sha256
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote

from wdk_gcp.schema import RUNS, SHARDS, TOKENS

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head

MICROSECOND = 0.000001

LONGEST_PART = 1_000
"""Characters of a part of a document's name; of a longer one there is its digest. An id has 1,500 bytes at most
(Firestore, "Quotas and limits")."""

FIRST, LAST = "", "~"
"""Before and after every age: they begin with digits."""

Kind = Literal["due", "ended", "grave", "tomb"]
"""Of a head, for the sweep: a run that may have to be woken; one that has ended; the tombstone of one that is not
erased yet, and of one that is."""


# -- names of documents -----------------------------------------------------------------------------------------------


def run_path(namespace: str, run_id: str) -> str:
    """Spread by a hash, as names that lie close together are written by one server."""
    spread = zlib.crc32(f"{namespace}:{run_id}".encode())
    return f"{RUNS}/{spread:08x}:{namespace}:{quote(run_id, safe='')}"


def run_id_of(path: str) -> str:
    return unquote(path.split("/")[1].rpartition(":")[2])


def token_path(namespace: str, digest: str) -> str:
    """A digest is spread by itself."""
    return f"{TOKENS}/{quote(digest, safe='')}:{namespace}"


def digest_of(path: str) -> str:
    return unquote(path.split("/")[1].rpartition(":")[0])


def of_birth(birth: str, part: str) -> str:
    """The id of a document that lies below a run."""
    quoted = quote(part, safe="")
    if len(quoted) > LONGEST_PART:
        quoted = "!" + sha256(part.encode()).hexdigest()
    return f"{quote(birth, safe='')}:{quoted}"


def beyond(birth: str) -> str:
    """After the ids of all that belongs to a birth: `;` follows `:`."""
    return f"{quote(birth, safe='')};"


def last_part(path: str) -> str:
    """What follows the birth in a document's id."""
    return unquote(path.rpartition("/")[2].partition(":")[2])


# -- places in the indexes --------------------------------------------------------------------------------------------


def shard(namespace: str, run_id: str) -> str:
    """The id alone says it; those of one second are spread by their random part."""
    return f"{namespace}#{zlib.crc32(run_id.encode()) % SHARDS}"


def shards(namespace: str) -> list[str]:
    return [f"{namespace}#{number}" for number in range(SHARDS)]


def age(created_at: float, run_id: str) -> str:
    return f"{moment(created_at)}#{run_id}"


def moment(time: float) -> str:
    """Before the `age` of each run of this microsecond, after that of every earlier one."""
    return f"{time:018.6f}"


def listed(namespace: str, head: Head) -> str:
    return f"{shard(namespace, head.run_id)}#{age(head.created_at, head.run_id)}"


def lasting(namespace: str, head: Head) -> str | None:
    """None: whatever belongs to the run may go when its time comes."""
    lasts = not head.ended or (head.continued_to is not None and head.status != "deleted")
    return listed(namespace, head) if lasts else None


def swept(namespace: str, head: Head) -> str | None:
    kind, since = _kind_of(head)
    if since is None:
        return None
    return f"{sweep_row(kind, shard(namespace, head.run_id))}{age(since, head.run_id)}"


def sweep_row(kind: Kind, shard: str) -> str:
    """What the places of one kind in one shard begin with."""
    return f"{kind}#{shard}#"


def _kind_of(head: Head) -> tuple[Kind, float | None]:
    if not head.ended:
        return "due", head.wake_by
    if head.status != "deleted":
        return "ended", head.ended_at
    return ("grave" if head.wake_by != 0 else "tomb"), head.ended_at
