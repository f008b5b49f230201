"""Heads: each write asks that what it read is still there, and meets itself where its answer was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from wdk_cloud.world.fields import LEASE_NONCE, RELEASE_NONCE
from wdk_cloud.world.ports import RETIRED_KEPT, Head, HeadFields, Lease
from wdk_cloud.world.taking import Taking
from wdk_gcp.database import Step
from wdk_gcp.schema import EXPIRES
from wdk_gcp.shelf import Shelf, nonce

if TYPE_CHECKING:
    from wdk_gcp.database import Found


class Heads(Shelf):
    async def create(self, head: Head) -> Head | None:
        # Two may start one run: the first one's birth stays. Our own birth that is there is our own write, or its copy.
        there = await self._database.create(self._run(head.run_id), self._fields(head))
        if there is None:
            self._sightings.saw(head)
            return None
        seen = self._seen(there)
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
        # Races with other deliveries of the run, also with the same message in another's hands at the same moment: of
        # those who read one version the first write changes it, and the others read its holder. Only the nonce tells
        # our own write from a twin's.
        asked = Taking(birth, identity, provider_id, now, until, due, unclean)
        ours: dict[str, bool] = {}

        def decide(found: Found | None) -> Step[Lease | Head | None]:
            head = self._seen_of(found, birth)
            if found is None or head is None:
                return Step(None)
            before = found.fields.get(LEASE_NONCE, "")
            if before in ours:
                return Step(Lease(head=head, unclean=ours[before]))
            if not asked.may_have(head):
                return Step(head)
            mark, lease = nonce(), asked.lease(head)
            ours[mark] = lease.unclean
            return Step(lease, {**self._changed(head, lease.head), LEASE_NONCE: mark, EXPIRES: self._database.expiry()})

        return await self._database.decide(self._run(run_id), decide)

    async def mark_dirty(self, run_id: str, birth: str, *, holder: str, fence: int, due: float | None = None) -> bool:
        # Races with the holder's release, which is for the version that it read: either it sees the mark or we see it
        # gone. A mark that is set twice, for a lost answer, makes the holder look once more; one that is there already
        # will make it look after this read.
        def decide(found: Found | None) -> Step[bool]:
            head = self._seen_of(found, birth)
            if head is None or (head.holder, head.fence) != (holder, fence):
                return Step(False)
            armed = None if due is not None and head.armed == due else head.armed
            return Step(True, self._changed(head, replace(head, dirty=True, armed=armed)) or None)

        return await self._database.decide(self._run(run_id), decide)

    async def retire(self, run_id: str, birth: str, provider_id: str) -> Head | None:
        # Races with an acquire by an earlier receiver of that message: it comes first and holds, or it is refused. Of
        # others who retire none is lost: each adds to the list that it read.
        def decide(found: Found | None) -> Step[Head | None]:
            head = self._seen_of(found, birth)
            if head is None or head.status == "deleted" or provider_id in head.retired:
                return Step(head)
            retired = replace(head, retired=(*head.retired, provider_id)[-RETIRED_KEPT:])
            return Step(retired, self._changed(head, retired))

        return await self._database.decide(self._run(run_id), decide)

    def renew(self, run_id: str, birth: str, *, holder: str, fence: int, until: float) -> Head | None:
        # Races with a successor after our lease ran out: it raised the fence. Setting `until` twice is the same.
        def decide(found: Found | None) -> Step[Head | None]:
            head = self._seen_of(found, birth)
            if head is None or (head.holder, head.fence) != (holder, fence):
                return Step(None)
            renewed = replace(head, until=until)
            return Step(renewed, self._changed(head, renewed) or None)

        return self._database.decide_now(self._run(run_id), decide)

    async def change(
        self, run_id: str, birth: str, fields: HeadFields, *, holder: str, fence: int, unless_dirty: bool = False
    ) -> tuple[bool, Head | None]:
        # Races with a successor (another holder and fence) and, at a release, with whoever marks it dirty. A change
        # that keeps the lease can be written twice; a release cannot: its repeat finds its own nonce, even if another
        # holds the lease by then, or our identity in `last`, if the caller repeats it.
        mark = nonce()
        release = "holder" in fields and fields["holder"] is None

        def decide(found: Found | None) -> Step[tuple[bool, Head | None]]:
            head = self._seen_of(found, birth)
            if found is None or head is None:
                return Step((False, None))
            if release and found.fields.get(RELEASE_NONCE) == mark:
                return Step((True, head))
            if (head.holder, head.fence) != (holder, fence):
                return Step((release and head.holder is None and head.fence == fence and head.last == holder, head))
            if unless_dirty and head.dirty:
                return Step((False, head))
            new = replace(head, **fields)
            change = {**self._changed(head, new), EXPIRES: self._database.expiry()}
            return Step((True, new), {**change, RELEASE_NONCE: mark} if release else change)

        return await self._database.decide(self._run(run_id), decide)
