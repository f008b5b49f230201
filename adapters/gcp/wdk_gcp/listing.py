"""Many runs, by the places of their heads in the indexes: queries find the heads themselves, strongly consistent."""

from __future__ import annotations

import asyncio
import heapq
from typing import TYPE_CHECKING

from wdk_cloud.world.cursor import from_cursor, to_cursor
from wdk_cloud.world.ports import Head, HeadPage, RunQuery
from wdk_gcp.places import FIRST, LAST, MICROSECOND, Kind, age, moment, shards, sweep_row
from wdk_gcp.schema import LISTED, RUNS, SHARDS, SWEPT
from wdk_gcp.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from wdk_gcp.database import Database, Found

SPARE = 2
"""Heads of a shard that are read beyond its share of a page: shards are never quite even, and each head is a read."""


class Listing(Shelf):
    async def list_heads(self, query: RunQuery) -> HeadPage:
        first = FIRST if query.since is None else moment(query.since)
        # A bound between two microseconds is taken for the later one here, and looked at closely in the heads.
        last = LAST if query.until is None else moment(query.until + MICROSECOND)
        if query.cursor is not None:
            last = min(last, age(*from_cursor(query.cursor)))  # the cursor's own run ended the page before
        found: list[Head] = []
        async for entry in self._listed(first, last, query):
            head = self._seen(entry)
            if _matches(head, query):
                found.append(head)
                if len(found) > query.limit:
                    break
        heads = found[: query.limit]
        more = len(found) > query.limit
        return HeadPage(heads=heads, cursor=to_cursor((heads[-1].created_at, heads[-1].run_id)) if more else None)

    async def overdue(self, now: float, limit: int) -> list[Head]:
        return await take(self._swept("due", now, limit), limit)

    async def _swept(self, kind: Kind, before: float, limit: int) -> AsyncIterator[Head]:
        """Heads of this kind that have been it since before that time, longest first. `limit`: how many are wanted."""
        last = moment(max(0.0, before) + MICROSECOND)
        rows = [
            Row(self._database, SWEPT, sweep_row(kind, shard), FIRST, last, _share(limit))
            for shard in shards(self._namespace)
        ]
        async for entry in merged(rows):
            head = self._seen(entry)
            since = head.wake_by if kind == "due" else head.ended_at
            if since is not None and since < before:
                yield head

    def _listed(self, first: str, last: str, query: RunQuery) -> AsyncIterator[Found]:
        """Heads between two ages, newest first: each shard is a row, and the rows are merged."""
        said = {"w": query.workflow, "st": query.status, "v": query.version}
        asked = {name: value for name, value in said.items() if value is not None}
        page = _share(query.limit + 1)
        rows = [
            Row(self._database, LISTED, f"{shard}#", first, last, page, asked, descending=True)
            for shard in shards(self._namespace)
        ]
        return merged(rows)


class Row:
    """The heads of one shard, in the order of a field, a page at a time."""

    def __init__(
        self,
        database: Database,
        field: str,
        prefix: str,
        first: str,
        last: str,
        page: int,
        asked: Mapping[str, str] | None = None,
        *,
        descending: bool = False,
    ) -> None:
        self._database = database
        self.field = field
        self.descending = descending
        self._prefix = prefix
        self._first, self._last = prefix + first, prefix + last
        self._page = page
        self._asked = asked

    async def entries(self) -> AsyncIterator[tuple[str, Found]]:
        """Each with its place behind the prefix."""
        first, last = self._first, self._last
        while first < last:
            found = await self._database.between(
                RUNS, self.field, first, last, self._page, self._asked, descending=self.descending
            )
            for entry in found:
                yield entry.fields[self.field].removeprefix(self._prefix), entry
            if len(found) < self._page:
                return
            if self.descending:
                last = found[-1].fields[self.field]
            else:
                first = found[-1].fields[self.field]


async def merged(rows: Sequence[Row]) -> AsyncIterator[Found]:
    """The entries of all rows in their common order. Their first pages are asked for at once."""
    runs = [row.entries() for row in rows]
    heap = [
        _Next(following[0], number, following[1], rows[number].descending)
        for number, following in enumerate(await asyncio.gather(*(anext(run, None) for run in runs)))
        if following is not None
    ]
    heapq.heapify(heap)
    while heap:
        first = heap[0]
        yield first.entry
        following = await anext(runs[first.row], None)
        if following is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, _Next(following[0], first.row, following[1], first.descending))


class _Next:
    """The next entry of a row; sorts by its place."""

    __slots__ = ("descending", "entry", "place", "row")

    def __init__(self, place: str, row: int, entry: Found, descending: bool) -> None:
        self.place = place
        self.row = row
        self.entry = entry
        self.descending = descending

    def __lt__(self, other: _Next) -> bool:
        return self.place > other.place if self.descending else self.place < other.place


async def take(heads: AsyncIterator[Head], most: int) -> list[Head]:
    found: list[Head] = []
    while len(found) < most:
        head = await anext(heads, None)
        if head is None:
            break
        found.append(head)
    return found


def _share(wanted: int) -> int:
    return wanted // SHARDS + SPARE


def _matches(head: Head, query: RunQuery) -> bool:
    return (query.since is None or query.since <= head.created_at) and (
        query.until is None or head.created_at < query.until
    )
