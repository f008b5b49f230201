"""Live runs, kept from expiring: each of their items gets a later expiry, and each of their objects a younger age."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wdk_aws.items import Item, head_of, last_part, number, text
from wdk_aws.listing import FILTERED, FIRST
from wdk_aws.places import age, moment, shards
from wdk_aws.removal import Removal, belongs
from wdk_aws.schema import EXPIRES, PK, RUNS, RUNS_AGE, RUNS_SHARD, SK
from wdk_aws.shelf import HEAD, POINTERS
from wdk_aws.table import THERE, key_of

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head

SAFE = "sf"
"""Of a head: nothing that belongs to the run expires before that time. Without it: nothing expires before the time for
which things are kept has passed since the run's creation."""

SLACK = 86_400.0
"""Seconds by which an expiry may be earlier than that of what is written now: what a refresh that died has done, it
need not do again."""

NEXT = "!"
"""Behind the age of a run, and before that of every later one."""

AT_ONCE = 8
"""Requests of one run: a batch of the log may be some hundred write units."""


class Refreshing(Removal):
    @property
    def keeps(self) -> float | None:
        return self._table.keep

    async def aging(self, before: float, limit: int, after: Head | None = None) -> list[Head]:
        """The index has the creation; whether a run was refreshed since says its head."""
        first = FIRST if after is None else age(after.created_at, after.run_id) + NEXT
        last = moment(max(0.0, before - self._table.keep))
        found: list[Head] = []
        while first < last and len(found) < limit:
            rows = await asyncio.gather(*(self._row(shard, first, last, limit) for shard in shards(self._namespace)))
            entries = sorted((entry for row in rows for entry in row), key=lambda entry: entry[RUNS_AGE]["S"])[:limit]
            if not entries:
                break
            items = await self._table.get_all([key_of(entry[PK]["S"], entry[SK]["S"]) for entry in entries])
            heads = [head_of(item) for item in items if SAFE not in item or float(item[SAFE]["N"]) < before]
            wanted = [head for head in heads if not head.ended or head.continued_to is not None]
            found += sorted(wanted, key=lambda head: (head.created_at, head.run_id))
            first = entries[-1][RUNS_AGE]["S"] + NEXT
        return found[:limit]

    async def _row(self, shard: str, first: str, last: str, limit: int) -> list[Item]:
        """Entries of one shard, oldest first."""
        found: list[Item] = []
        entries = self._table.query(
            f"#{RUNS_SHARD} = :shard AND #{RUNS_AGE} BETWEEN :first AND :last",
            {"shard": text(shard), "first": text(first), "last": text(last)},
            page=FILTERED,
            IndexName=RUNS,
            FilterExpression="attribute_not_exists(#e) OR attribute_exists(#ct)",
        )
        async for entry in entries:
            found.append(entry)
            if len(found) == limit:
                break
        return found

    async def refresh(self, run_id: str, birth: str) -> None:
        # Races with whoever writes or deletes any of it: each update asks that its item is there, and changes nothing
        # but the expiry. Items that come meanwhile have a late one by themselves. Objects are copied onto themselves,
        # beside an erasure too: see there. The head's mark comes last, so that a death leaves the run among the aging.
        late = int(self._table.now() + self._table.keep)
        few = asyncio.Semaphore(AT_ONCE)

        async def touch(item: Item) -> None:
            async with few:
                await self._table.touch(key_of(item[PK]["S"], item[SK]["S"]), late, THERE, {})
                if item[SK]["S"].startswith(POINTERS):
                    token = self._token(last_part(item))
                    owned = {"r": text(run_id), "b": text(birth)}
                    await self._table.touch(token, late, "#r = :r AND #b = :b", owned)

        aging = [
            item
            async for item in self._table.query(
                "#pk = :pk", {"pk": text(self._collection(run_id))}, ProjectionExpression=f"#pk, #sk, #{EXPIRES}"
            )
            if belongs(item, birth) and float(item[EXPIRES]["N"]) < late - SLACK
        ]
        await asyncio.gather(*map(touch, aging))
        if self.objects is not None:
            await self.objects.refresh(run_id, birth, self._table.now() - SLACK)
        safe = {"b": text(birth), "deleted": text("deleted"), SAFE: number(late - SLACK)}
        await self._table.touch(
            self._key(run_id, HEAD), late, "#b = :b AND #st <> :deleted", safe, f", #{SAFE} = :{SAFE}"
        )
