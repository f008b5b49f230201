"""Removing runs: the tombstone, what lies under it, and what has been kept long enough."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from wdk_cloud.world.fields import LEASE_NONCE, RELEASE_NONCE
from wdk_cloud.world.ports import tombstone
from wdk_gcp.database import Step
from wdk_gcp.items import SAFE, head_of
from wdk_gcp.listing import Listing, take
from wdk_gcp.places import beyond, of_birth
from wdk_gcp.schema import BELOW_A_RUN, EXPIRES, OWNER, TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.world.ports import Head
    from wdk_gcp.database import Found

ERASED_AT_ONCE = 8
"""Runs: each has a request or two under way, and a worker has its renewals to send meanwhile."""

FOR_EVER = 1e11
"""Seconds since the epoch: later than all times, and with as many digits as places have (`places.moment`)."""


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
        def decide(found: Found | None) -> Step[Head | None]:
            head = self._seen_of(found, birth)
            if head is None or head.status == "deleted" or (head.holder, head.fence) != (holder, fence):
                return Step(head)
            grave = tombstone(head, now)
            gone = {LEASE_NONCE: None, RELEASE_NONCE: None, SAFE: None}
            return Step(grave, {**self._changed(head, grave), **gone, EXPIRES: self._database.expiry()})

        head = await self._database.decide(self._run(run_id), decide)
        if head is not None:
            self._sightings.saw(head)
        return head

    async def erase(self, runs: Sequence[tuple[str, str]]) -> None:
        few = asyncio.Semaphore(ERASED_AT_ONCE)

        async def erase(run_id: str, birth: str) -> None:
            async with few:
                await self._erase(run_id, birth)

        await asyncio.gather(*(erase(*run) for run in dict.fromkeys(runs)))

    async def _erase(self, run_id: str, birth: str) -> None:
        # Tokens first: then nobody who finds one writes to the run.
        for token in await self._tokens_of(run_id, birth):
            await self._free(token.path, run_id, birth)
        for collection in BELOW_A_RUN:
            found = await self._database.names(self._run(run_id), collection, of_birth(birth, ""), beyond(birth))
            await self._database.delete_all([document.path for document in found])
        if self.objects is not None:
            await self.objects.erase(run_id, birth)
        await self._close(run_id, birth)

    async def _tokens_of(self, run_id: str, birth: str) -> list[Found]:
        return await self._database.equal(TOKENS, {OWNER: f"{self._namespace}#{run_id}#{birth}"})

    async def _free(self, path: str, run_id: str, birth: str) -> None:
        # Races with a run that takes the token over: then it is not ours.
        await self._database.delete(path, lambda found: (found.fields["r"], found.fields["b"]) == (run_id, birth))

    async def _close(self, run_id: str, birth: str) -> None:
        # Races with another erasure, which writes the same, and with one that forgets the tombstone.
        def decide(found: Found | None) -> Step[None]:
            head = self._seen_of(found, birth)
            if head is None or head.status != "deleted":
                return Step(None)
            return Step(None, self._changed(head, replace(head, continued_to=None, length=0, wake_by=0.0)) or None)

        await self._database.decide(self._run(run_id), decide)

    async def removable(self, *, ended_before: float, buried_before: float, limit: int) -> list[Head]:
        found = await take(self._swept("grave", FOR_EVER, limit), limit)
        if len(found) < limit:
            found += await self._expired(ended_before, limit - len(found))
        if len(found) < limit:
            found += await take(self._swept("tomb", buried_before, limit - len(found)), limit - len(found))
        return found

    async def _expired(self, before: float, limit: int) -> list[Head]:
        """Without those that lead on to a run that is there."""
        found: list[Head] = []
        ended = self._swept("ended", before, limit)
        while len(found) < limit:
            some = await take(ended, limit)
            onward = sorted({head.continued_to for head in some if head.continued_to is not None})
            heads = map(head_of, await self._database.get_all(map(self._run, onward)))
            there = {head.run_id for head in heads if head.status != "deleted"}
            found += [head for head in some if head.continued_to not in there]
            if len(some) < limit:
                break
        return found[:limit]

    async def forget(self, run_id: str, birth: str) -> None:
        def is_grave(found: Found) -> bool:
            return (found.fields["b"], found.fields["st"]) == (birth, "deleted")

        await self._database.delete(self._run(run_id), is_grave)
