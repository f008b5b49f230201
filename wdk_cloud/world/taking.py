"""Who gets the lease of a run, and what its head is then: for worlds that decide it by a head that they have read."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from wdk_cloud.world.ports import Head, Lease


@dataclass(frozen=True, slots=True)
class Taking:
    """What an acquire asks for."""

    birth: str
    identity: str
    provider_id: str
    now: float
    until: float
    due: float | None
    unclean: bool

    def may_have(self, head: Head) -> bool:
        return not (
            head.ended
            or self.provider_id in head.retired
            or not head.free_at(self.now)
            or (head.holder is None and head.last == self.identity)
        )

    def lease(self, head: Head) -> Lease:
        """What it gets of this head, which it may have."""
        abandoned = head.holder is not None
        unclean = self.unclean or abandoned
        taken = replace(
            head,
            status="running" if head.not_before <= self.now else head.status,
            holder=self.identity,
            fence=head.fence + 1,
            until=self.until,
            dirty=False,
            armed=None if unclean or head.armed == self.due else head.armed,
            stalls=head.stalls + abandoned,
            stalls_length=head.length if abandoned and head.stalls == 0 else head.stalls_length,
        )
        return Lease(head=taken, unclean=unclean)
