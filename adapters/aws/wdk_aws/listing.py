"""Many runs: the two indexes say which, their heads say how they are now.

An index lags behind the table by some milliseconds, now and then by seconds: what is found there is read again by key,
and dropped if it is not what was asked for any more; what is missing there comes with the next look.
"""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING, Any

from wdk_aws.items import Item, Value, number, text
from wdk_aws.places import MICROSECOND, age, moment, shards
from wdk_aws.schema import ACTIVE, ACTIVE_SHARD, PK, RUNS, RUNS_AGE, RUNS_SHARD, SK
from wdk_aws.shelf import Shelf
from wdk_cloud.world.cursor import from_cursor, to_cursor
from wdk_cloud.world.ports import Head, HeadPage, RunQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

FILTERED = 1_000
"""Entries of a page where a filter leaves few of them: some 150 bytes each, so that a page is far below 1 MB."""

CLOCKS = 3600.0
"""Seconds by which a run may have ended before it was created, by clocks of two machines."""

FIRST = moment(0)
LAST = "~"
"""After every age: they begin with digits."""


class Listing(Shelf):
    async def list_heads(self, query: RunQuery) -> HeadPage:
        found: list[Head] = []
        entries = self._by_age(query)
        while len(found) <= query.limit:
            some = await _take(entries, query.limit + 1 - len(found))
            if not some:
                break
            heads = await self._heads_of(some)
            found += [head for head in heads if _matches(head, query)]
        heads = found[: query.limit]
        more = len(found) > query.limit
        return HeadPage(heads=heads, cursor=to_cursor((heads[-1].created_at, heads[-1].run_id)) if more else None)

    async def overdue(self, now: float, limit: int) -> list[Head]:
        late = await self._active("attribute_not_exists(#e) AND #wb < :now", {"now": number(now)})
        late.sort(key=lambda entry: float(entry["wb"]["N"]))
        return await self._first(late, limit, lambda head: not head.ended and head.wake_by < now)

    # -- what the indexes say -----------------------------------------------------------------------------------------

    async def _by_age(self, query: RunQuery) -> AsyncIterator[Item]:
        """Entries of `runs`, newest first: each shard is a row, and the rows are merged."""
        first = FIRST if query.since is None else moment(query.since)
        # A bound between two microseconds is taken for the later one here, and looked at closely in the heads.
        last = LAST if query.until is None else moment(query.until + MICROSECOND)
        if query.cursor is not None:
            last = min(last, age(*from_cursor(query.cursor)))
        if first > last:
            return  # nothing lies between them, and DynamoDB refuses to look
        asked, values = _filter(query)
        page = FILTERED if asked else query.limit + 1
        rows = [
            self._table.query(
                f"#{RUNS_SHARD} = :shard AND #{RUNS_AGE} BETWEEN :first AND :last",
                {"shard": text(shard), "first": text(first), "last": text(last), **values},
                page=page,
                IndexName=RUNS,
                ScanIndexForward=False,
                **asked,
            )
            for shard in shards(self._namespace)
        ]
        heads = await asyncio.gather(*(anext(row, None) for row in rows))
        heap = [(_Later(entry), number) for number, entry in enumerate(heads) if entry is not None]
        heapq.heapify(heap)
        while heap:
            latest, which = heap[0]
            if latest.age != last:  # the cursor's own run ended the page before
                yield latest.entry
            following = await anext(rows[which], None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (_Later(following), which))

    async def _active(self, condition: str, values: Item) -> list[Item]:
        return await self._everywhere(ACTIVE, f"#{ACTIVE_SHARD} = :shard", condition, values)

    async def _ended(self, before: float) -> list[Item]:
        """Entries of runs that ended before that, tombstones included."""
        return await self._everywhere(
            RUNS,
            f"#{RUNS_SHARD} = :shard AND #{RUNS_AGE} < :latest",
            "#e < :before",
            {"latest": text(moment(max(0.0, before) + CLOCKS)), "before": number(before)},
        )

    async def _everywhere(self, index: str, keys: str, condition: str, values: Item) -> list[Item]:
        async def row(shard: str) -> list[Item]:
            asked = {"shard": text(shard), **values}
            return [e async for e in self._table.query(keys, asked, IndexName=index, FilterExpression=condition)]

        rows = await asyncio.gather(*(row(shard) for shard in shards(self._namespace)))
        return [entry for row in rows for entry in row]

    # -- what the heads say -------------------------------------------------------------------------------------------

    async def _first(self, entries: Sequence[Item], limit: int, wanted: Callable[[Head], bool]) -> list[Head]:
        """The heads of the first entries that are as wanted."""
        found: list[Head] = []
        start = 0
        while len(found) < limit and start < len(entries):
            some = entries[start : start + limit]
            start += len(some)
            found += [head for head in await self._heads_of(some) if wanted(head)]
        return found[:limit]

    async def _heads_of(self, entries: Sequence[Item]) -> list[Head]:
        """In the order of the entries; without those that are gone."""
        items = await self._table.get_all([{PK: entry[PK], SK: entry[SK]} for entry in entries])
        heads = {item[PK]["S"]: self._seen(item) for item in items}
        return [heads[entry[PK]["S"]] for entry in entries if entry[PK]["S"] in heads]


class _Later:
    """Sorts entries of `runs` newest first."""

    __slots__ = ("age", "entry")

    def __init__(self, entry: Item) -> None:
        self.entry = entry
        self.age: str = entry[RUNS_AGE]["S"]

    def __lt__(self, other: _Later) -> bool:
        return self.age > other.age


def _filter(query: RunQuery) -> tuple[Mapping[str, Any], Mapping[str, Value]]:
    asked = {"w": query.workflow, "st": query.status, "v": query.version}
    values = {name: text(value) for name, value in asked.items() if value is not None}
    if not values:
        return {}, {}
    return {"FilterExpression": " AND ".join(f"#{name} = :{name}" for name in values)}, values


async def _take(entries: AsyncIterator[Item], most: int) -> list[Item]:
    found: list[Item] = []
    while len(found) < most:
        entry = await anext(entries, None)
        if entry is None:
            break
        found.append(entry)
    return found


def _matches(head: Head, query: RunQuery) -> bool:
    return (
        (query.workflow is None or head.workflow == query.workflow)
        and (query.status is None or head.status == query.status)
        and (query.version is None or head.version == query.version)
        and (query.since is None or query.since <= head.created_at)
        and (query.until is None or head.created_at < query.until)
    )
