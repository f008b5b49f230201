"""Removing runs: the tombstone, what lies under it, and what has been kept long enough."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from wdk_aws.heads import ONE
from wdk_aws.items import GRAVE, Item, Value, head_of, last_part, number, text
from wdk_aws.listing import Listing
from wdk_aws.places import shard
from wdk_aws.schema import ACTIVE_SHARD, EXPIRES, PK, SK
from wdk_aws.shelf import HEAD, POINTERS
from wdk_cloud.world.fields import HEAD as FIELDS
from wdk_cloud.world.fields import LEASE_NONCE, RELEASE_NONCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.world.ports import Head

ERASED_AT_ONCE = 8
"""Runs: each has a request or two under way, and a worker has its renewals to send meanwhile."""

LEFT = ("birth", "created_at", "length", "continued_to")
"""What a tombstone keeps of the head as it is."""

WRITTEN = ("status", "fence", "ended_at", "wake_by")


class Objects(Protocol):
    async def erase(self, run_id: str, birth: str) -> None:
        """Delete the run's blobs and streams."""
        ...

    async def refresh(self, run_id: str, birth: str, before: float) -> None:
        """Have those of them that were written before that time count as written now."""
        ...


class Removal(Listing):
    objects: Objects | None = None
    """Set by the world, once it has made them: they ask the store for tombstones."""

    async def bury(self, run_id: str, birth: str, *, holder: str | None, fence: int, now: float) -> Head | None:
        # Races with whoever acquires, releases or ends the run: the caller has not seen that, and looks again. A repeat
        # finds the tombstone.
        values: dict[str, Value] = {
            "b": text(birth),
            "f": number(fence),
            "deleted": text("deleted"),
            "next": number(fence + 1),
            "now": number(now),
            "shard": text(shard(self._namespace, run_id)),
            "one": ONE,
            "expires": self._table.expiry(),
        }
        condition = "#b = :b AND #st <> :deleted AND #f = :f AND "
        if holder is None:
            condition += "attribute_not_exists(#h)"
        else:
            condition += "#h = :h"
            values["h"] = text(holder)
        _, item = await self._table.update(self._key(run_id, HEAD), BURY, condition, values)
        if not item or item["b"]["S"] != birth:
            return None
        return self._seen(item)

    async def erase(self, runs: Sequence[tuple[str, str]]) -> None:
        few = asyncio.Semaphore(ERASED_AT_ONCE)

        async def erase(run_id: str, birth: str) -> None:
            async with few:
                await self._erase(run_id, birth)

        await asyncio.gather(*(erase(*run) for run in dict.fromkeys(runs)))

    async def _erase(self, run_id: str, birth: str) -> None:
        pointers: list[Item] = []
        others: list[Item] = []
        collection = {"pk": text(self._collection(run_id))}
        async for key in self._table.query("#pk = :pk", collection, ProjectionExpression="#pk, #sk"):
            if belongs(key, birth):
                (pointers if key[SK]["S"].startswith(POINTERS) else others).append(key)
        # Tokens first: then nobody who finds one writes to the run. Their pointers last: a death finds them again.
        for key in pointers:
            await self._free(last_part(key), run_id, birth)
        await self._table.delete_all(others)
        if self.objects is not None:
            await self.objects.erase(run_id, birth)
        await self._table.delete_all(pointers)
        await self._close(run_id, birth)

    async def _free(self, digest: str, run_id: str, birth: str) -> None:
        # Races with a run that takes the token over: then it is not ours.
        owner = {"r": text(run_id), "b": text(birth)}
        await self._table.delete(self._token(digest), "#r = :r AND #b = :b", owner)

    async def _close(self, run_id: str, birth: str) -> None:
        # Races with another erasure, which writes the same, and with one that forgets the tombstone.
        values = {"b": text(birth), "deleted": text("deleted"), "zero": number(0.0)}
        change = f"SET #wb = :zero REMOVE #n, #ct, #{ACTIVE_SHARD}, #{GRAVE}"
        await self._table.update(self._key(run_id, HEAD), change, "#b = :b AND #st = :deleted", values)

    async def removable(self, *, ended_before: float, buried_before: float, limit: int) -> list[Head]:
        entries = await self._active(f"attribute_exists(#{GRAVE})", {})
        entries.sort(key=_by_end)
        graves = await self._first(entries, limit, lambda head: _is_grave(head) and head.wake_by != 0)
        if len(graves) >= limit:
            return graves
        entries = await self._ended(max(ended_before, buried_before))
        entries.sort(key=_by_end)
        kept = [entry for entry in entries if entry["st"]["S"] != "deleted" and _ended_at(entry) < ended_before]
        old = [entry for entry in entries if entry["st"]["S"] == "deleted" and _ended_at(entry) < buried_before]
        found = graves + await self._expired(kept, limit - len(graves), ended_before)
        return found + await self._first(
            old,
            limit - len(found),
            lambda head: _is_grave(head) and not head.wake_by and (head.ended_at or 0.0) < buried_before,
        )

    async def _expired(self, entries: Sequence[Item], limit: int, before: float) -> list[Head]:
        """Without those that lead on to a run that is there."""
        found: list[Head] = []
        start = 0
        while len(found) < limit and start < len(entries):
            some = entries[start : start + limit]
            start += len(some)
            heads = [
                head
                for head in await self._heads_of(some)
                if head.ended and not _is_grave(head) and head.ended_at is not None and head.ended_at < before
            ]
            onward = {head.continued_to for head in heads if head.continued_to is not None}
            items = await self._table.get_all([self._key(run_id, HEAD) for run_id in sorted(onward)])
            there = {head.run_id for head in map(head_of, items) if not _is_grave(head)}
            found += [head for head in heads if head.continued_to not in there]
        return found[:limit]

    async def forget(self, run_id: str, birth: str) -> None:
        values = {"b": text(birth), "deleted": text("deleted")}
        await self._table.delete(self._key(run_id, HEAD), "#b = :b AND #st = :deleted", values)


def belongs(item: Item, birth: str) -> bool:
    kind, _, rest = item[SK]["S"].partition("#")
    return kind != HEAD and (rest == birth or rest.startswith(f"{birth}#"))


def _is_grave(head: Head) -> bool:
    return head.status == "deleted"


def _by_end(entry: Item) -> tuple[float, str]:
    return _ended_at(entry), entry[PK]["S"]


def _ended_at(entry: Item) -> float:
    return float(entry["e"]["N"])


_TAKEN = (
    *(field.name for name, field in FIELDS.items() if name not in (*LEFT, *WRITTEN)),
    LEASE_NONCE,
    RELEASE_NONCE,
)

BURY = (
    f"SET #st = :deleted, #f = :next, #e = :now, #wb = :now, #{GRAVE} = :one, #{ACTIVE_SHARD} = :shard,"
    f" #{EXPIRES} = :expires REMOVE {', '.join(f'#{attribute}' for attribute in _TAKEN)}"
)
