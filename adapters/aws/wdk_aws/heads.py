"""Heads: each write asks what it needs to be true, and meets itself where its answer was lost."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from wdk_aws.items import (
    GRAVE,
    TRUE,
    Item,
    Value,
    head_attributes,
    head_of,
    number,
    text,
    texts,
    written,
)
from wdk_aws.places import age, shard
from wdk_aws.schema import ACTIVE_SHARD, EXPIRES, RUNS_AGE, RUNS_SHARD
from wdk_aws.shelf import HEAD, ROUNDS, Shelf, crowded
from wdk_aws.table import ABSENT
from wdk_cloud.world.fields import HEAD as FIELDS
from wdk_cloud.world.fields import LEASE_NONCE, RELEASE_NONCE
from wdk_cloud.world.ports import RETIRED_KEPT, Head, HeadFields, Lease, Status
from wdk_cloud.world.taking import Taking

if TYPE_CHECKING:
    from collections.abc import Mapping

ZERO, ONE = number(0), number(1)
QUIET: frozenset[Status] = frozenset(("completed", "cancelled"))
"""Ended, and nobody's concern any more: not in the index of active runs."""

OURS = "#b = :b AND #h = :h AND #f = :f"
LIVES = "#b = :b AND (#st = :pending OR #st = :running)"
STATUSES: Mapping[str, Value] = {"pending": text("pending"), "running": text("running")}


def nonce() -> str:
    """Of one call: 64 random bits, which nobody else's call has."""
    return os.urandom(8).hex()


class Heads(Shelf):
    async def create(self, head: Head) -> Head | None:
        # Two may start one run: the first one's birth stays. Our own birth that is there is our own write, or its copy.
        item = {
            **self._key(head.run_id, HEAD),
            **head_attributes(head),
            RUNS_SHARD: text(shard(self._namespace, head.run_id)),
            RUNS_AGE: text(age(head.created_at, head.run_id)),
        }
        unfinished = head.status == "deleted" and head.wake_by != 0
        if unfinished:
            item[GRAVE] = ONE
        if unfinished or head.status not in (*QUIET, "deleted"):
            item[ACTIVE_SHARD] = text(shard(self._namespace, head.run_id))
        there = await self._table.put(item, ABSENT)
        seen = self._seen(item if there is None else there)
        return None if seen.birth == head.birth else seen

    async def acquire(
        self,
        run_id: str,
        birth: str,
        *,
        identity: str,
        provider_id: str,
        now: float,
        until: float,
        due: float | None = None,
        unclean: bool = False,
    ) -> Lease | Head | None:
        # Races with other deliveries of the run, also with the same message in another's hands at the same moment:
        # the first update changes `holder` and `fence`, and the next one is refused. Only the nonce tells our own write
        # from a twin's. The first round takes the lease to be free and the timer that came to be the armed one, so that
        # a turn begins with one write; every further one asks for exactly what the last refusal showed.
        asked = Taking(birth, identity, provider_id, now, until, due, unclean)
        ours: dict[str, bool] = {}
        seen: Head | None = None
        for _ in range(ROUNDS):
            mark = nonce()
            change, condition, values, dirty_start = _taking(asked, seen)
            ours[mark] = dirty_start
            values |= {"ln": text(mark), "expires": self._table.expiry()}
            done, item = await self._table.update(self._key(run_id, HEAD), change, condition, values)
            if not item or item["b"]["S"] != birth:
                return None
            seen = self._seen(item)
            if done:
                return Lease(head=seen, unclean=dirty_start)
            before = item[LEASE_NONCE]["S"] if LEASE_NONCE in item else ""
            if before in ours:
                return Lease(head=seen, unclean=ours[before])
            if not asked.may_have(seen):
                return seen
        raise crowded(f"the head of run {run_id}")

    async def mark_dirty(self, run_id: str, birth: str, *, holder: str, fence: int, due: float | None = None) -> bool:
        # Races with the holder's release, which asks for `dirty` unset: either it sees the mark or we see it gone. A
        # mark that is set twice, for a lost answer, makes the holder look once more. Its timer is taken for the armed
        # one at first; the further rounds are for one that is not, and for a holder that arms one meanwhile.
        values = {"b": text(birth), "h": text(holder), "f": number(fence), "true": TRUE}
        ours, key = OURS, self._key(run_id, HEAD)
        if due is None:
            done, _ = await self._table.update(key, "SET #y = :true", ours, values)
            return done
        values["due"] = number(due)
        for _ in range(ROUNDS):
            armed = f"{ours} AND (attribute_not_exists(#a) OR #a = :due)"
            done, item = await self._table.update(key, "SET #y = :true REMOVE #a", armed, values)
            if done or not _holds(item, birth, holder, fence):
                return done
            done, item = await self._table.update(key, "SET #y = :true", f"{ours} AND #a <> :due", values)
            if done or not _holds(item, birth, holder, fence):
                return done
        raise crowded(f"the head of run {run_id}")

    async def retire(self, run_id: str, birth: str, provider_id: str) -> Head | None:
        # Races with an acquire by an earlier receiver of that message: it comes first and holds, or it is refused. Of
        # others who retire none is lost: the list is appended to where it lies, or changed if it is still as seen.
        key, condition = self._key(run_id, HEAD), f"{LIVES_OR_ENDED} AND NOT contains(#re, :p)"
        change = "SET #re = list_append(if_not_exists(#re, :none), :one)"
        values: dict[str, Value] = {"b": text(birth), "deleted": text("deleted"), "p": text(provider_id)}
        done, item = await self._table.update(
            key,
            change,
            f"{condition} AND (attribute_not_exists(#re) OR size(#re) < :kept)",
            {**values, "none": texts(()), "one": texts((provider_id,)), "kept": number(RETIRED_KEPT)},
        )
        for _ in range(ROUNDS):
            if not item or item["b"]["S"] != birth:
                return None
            head = self._seen(item)
            if done or head.status == "deleted" or provider_id in head.retired:
                return head
            kept = texts((*head.retired, provider_id)[-RETIRED_KEPT:])
            done, item = await self._table.update(
                key,
                "SET #re = :kept",
                f"{condition} AND #re = :seen",
                {**values, "kept": kept, "seen": texts(head.retired)},
            )
        raise crowded(f"the head of run {run_id}")

    def renew(self, run_id: str, birth: str, *, holder: str, fence: int, until: float) -> Head | None:
        # Races with a successor after our lease ran out: it raised the fence. Setting `until` twice is the same.
        values = {"b": text(birth), "h": text(holder), "f": number(fence), "u": number(until)}
        done, item = self._table.update_now(self._key(run_id, HEAD), "SET #u = :u", OURS, values)
        if not item or item["b"]["S"] != birth:
            return None
        head = self._seen(item)
        return head if done else None

    async def change(
        self, run_id: str, birth: str, fields: HeadFields, *, holder: str, fence: int, unless_dirty: bool = False
    ) -> tuple[bool, Head | None]:
        # Races with a successor (another holder and fence) and, at a release, with whoever marks it dirty. A change
        # that keeps the lease can be written twice; a release cannot: its repeat finds its own nonce, even if another
        # holds the lease by then, or our identity in `last`, if the caller repeats it.
        mark = nonce()
        values: dict[str, Value] = {"b": text(birth), "h": text(holder), "f": number(fence)}
        release = "holder" in fields and fields["holder"] is None
        change, written = self._changing(run_id, fields, mark if release else None)
        condition = f"{OURS} AND attribute_not_exists(#y)" if unless_dirty else OURS
        done, item = await self._table.update(self._key(run_id, HEAD), change, condition, {**values, **written})
        if not item or item["b"]["S"] != birth:
            return False, None
        head = self._seen(item)
        if done or not release:
            return done, head
        repeated = head.holder is None and head.fence == fence and head.last == holder
        return repeated or item.get(RELEASE_NONCE) == text(mark), head

    def _changing(self, run_id: str, fields: HeadFields, mark: str | None) -> tuple[str, dict[str, Value]]:
        given: Mapping[str, Any] = fields
        sets: dict[str, Value] = {EXPIRES: self._table.expiry()}
        removes: list[str] = []
        for name, value in given.items():
            field = FIELDS[name]
            if field.is_left_out(value):
                removes.append(field.name)
            else:
                sets[field.name] = written(field.kind, value)
        if mark is not None:
            sets[RELEASE_NONCE] = text(mark)
        if "status" in fields:
            if fields["status"] in QUIET:
                removes.append(ACTIVE_SHARD)
            else:
                sets[ACTIVE_SHARD] = text(shard(self._namespace, run_id))
        return changing(sets, removes), {f"new_{attribute}": value for attribute, value in sets.items()}


LIVES_OR_ENDED = "#b = :b AND #st <> :deleted"
MENTIONED = re.compile(r":(\w+)")


def changing(sets: Mapping[str, Value], removes: list[str]) -> str:
    """An update that sets these attributes to the values `:new_…`, and takes those away."""
    change = "SET " + ", ".join(f"#{attribute} = :new_{attribute}" for attribute in sets)
    return change + (" REMOVE " + ", ".join(f"#{attribute}" for attribute in removes) if removes else "")


def _holds(item: Item, birth: str, holder: str, fence: int) -> bool:
    if not item:
        return False
    head = head_of(item)
    return (head.birth, head.holder, head.fence) == (birth, holder, fence)


def _taking(asked: Taking, seen: Head | None) -> tuple[str, str, dict[str, Value], bool]:
    """The update of one round, its condition and values, and whether the turn is unclean if it succeeds."""
    abandoned = seen is not None and seen.holder is not None
    unclean = asked.unclean or abandoned
    sets = ["#h = :h", "#f = #f + :one", "#u = :u", "#ln = :ln", "#expires = :expires"]
    asks = [LIVES, "NOT contains(#re, :p)"]
    if seen is not None:
        asks.append("#f = :seen")
    if seen is not None and seen.holder is not None:
        asks += ["attribute_exists(#h)", "(attribute_not_exists(#u) OR #u <= :now)"]
        sets.append("#x = if_not_exists(#x, :zero) + :one")
        asks.append("attribute_exists(#x)" if seen.stalls else "attribute_not_exists(#x)")
        if not seen.stalls:
            sets.append("#xl = if_not_exists(#n, :zero)")
    else:
        asks += ["attribute_not_exists(#h)", "(attribute_not_exists(#l) OR #l <> :h)"]
    if seen is None:
        asks.append("(attribute_not_exists(#nb) OR #nb <= :now)")
    if seen is None or seen.not_before <= asked.now:
        sets.append("#st = :running")
    removes = ["#y"]
    if unclean:
        removes.append("#a")
    elif asked.due is not None:
        if seen is None or seen.armed is None or seen.armed == asked.due:
            removes.append("#a")
            asks.append("(attribute_not_exists(#a) OR #a = :due)")
        else:
            asks.append("#a <> :due")
    change, condition = f"SET {', '.join(sets)} REMOVE {', '.join(removes)}", " AND ".join(asks)
    return change, condition, _taken_from(asked, seen, f"{change} {condition}"), unclean


def _taken_from(asked: Taking, seen: Head | None, expressions: str) -> dict[str, Value]:
    """The values that the expressions mention: DynamoDB refuses others."""
    values: dict[str, Value] = {
        **STATUSES,
        "b": text(asked.birth),
        "h": text(asked.identity),
        "u": number(asked.until),
        "p": text(asked.provider_id),
        "now": number(asked.now),
        "zero": ZERO,
        "one": ONE,
    }
    if asked.due is not None:
        values["due"] = number(asked.due)
    if seen is not None:
        values["seen"] = number(seen.fence)
    mentioned = set(MENTIONED.findall(expressions))
    return {name: value for name, value in values.items() if name in mentioned}
