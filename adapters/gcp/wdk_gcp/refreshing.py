"""Live runs, kept from expiring: each of their documents gets a later expiry, each of their objects a younger age."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from wdk_gcp.database import Step
from wdk_gcp.items import SAFE
from wdk_gcp.listing import Row, merged
from wdk_gcp.places import FIRST, age, beyond, moment, of_birth, shards
from wdk_gcp.removal import Removal
from wdk_gcp.schema import BELOW_A_RUN, EXPIRES, LASTING

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head
    from wdk_gcp.database import Found

SLACK = 86_400.0
"""Seconds by which an expiry may be earlier than that of what is written now: what a refresh that died has done, it
need not do again."""

NEXT = "!"
"""Behind the age of a run, and before that of every later one."""

PAGE = 50
"""Heads of a shard that are read at once: those that are aging and those that were refreshed lie side by side."""

AT_ONCE = 8
"""Requests of one run, beside the renewals of a worker."""


class Refreshing(Removal):
    @property
    def keeps(self) -> float | None:
        return self._database.keep

    async def aging(self, before: float, limit: int, after: Head | None = None) -> list[Head]:
        """The index has the creation; whether a run was refreshed since says its head."""
        first = FIRST if after is None else age(after.created_at, after.run_id) + NEXT
        last = moment(max(0.0, before - self._database.keep))
        page = min(limit, PAGE)
        rows = [Row(self._database, LASTING, f"{shard}#", first, last, page) for shard in shards(self._namespace)]
        found: list[Head] = []
        async for entry in merged(rows):
            if len(found) == limit:
                break
            if entry.fields.get(SAFE, 0.0) < before:
                found.append(self._seen(entry))
        return found

    async def refresh(self, run_id: str, birth: str) -> None:
        # Races with whoever writes or deletes any of it: each update asks that its document is there, and changes
        # nothing but the expiry. Documents that come meanwhile have a late one by themselves. Objects are copied onto
        # themselves, beside an erasure too: see there. The head's mark comes last, so that a death leaves the run among
        # the aging.
        late, few = self._database.expiry(), asyncio.Semaphore(AT_ONCE)
        old = late - timedelta(seconds=SLACK)

        async def touch(document: Found) -> None:
            async with few:
                await self._database.touch(document.path, late)

        for collection in BELOW_A_RUN:
            there = await self._database.names(
                self._run(run_id), collection, of_birth(birth, ""), beyond(birth), [EXPIRES]
            )
            await asyncio.gather(*(touch(document) for document in there if document.fields[EXPIRES] < old))
        for token in await self._tokens_of(run_id, birth):
            await self._touch_token(token.path, run_id, birth)
        if self.objects is not None:
            await self.objects.refresh(run_id, birth, self._database.now() - SLACK)

        def mark(found: Found | None) -> Step[None]:
            head = self._seen_of(found, birth)
            if head is None or head.status == "deleted":
                return Step(None)
            return Step(None, {EXPIRES: late, SAFE: old.timestamp()})

        await self._database.decide(self._run(run_id), mark)

    async def _touch_token(self, path: str, run_id: str, birth: str) -> None:
        # Races with a run that takes the token over: then it is not ours.
        def decide(found: Found | None) -> Step[None]:
            ours = found is not None and (found.fields["r"], found.fields["b"]) == (run_id, birth)
            return Step(None, {EXPIRES: self._database.expiry()} if ours else None)

        await self._database.decide(path, decide)
