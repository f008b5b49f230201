"""Step items: who works on a step that was sent to a delivery of its own, and how it ended. And orders of steps that
are too large for a message."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wdk_cloud.world.fields import CLAIM_NONCE, RETRY_NONCE
from wdk_cloud.world.ports import RETIRED_KEPT, StepItem
from wdk_gcp.database import Step
from wdk_gcp.items import changed, step_fields, step_of
from wdk_gcp.schema import EXPIRES, ORDERS, STEPS
from wdk_gcp.shelf import Shelf, nonce

if TYPE_CHECKING:
    from wdk_gcp.database import Found


class Steps(Shelf):
    async def step(self, run_id: str, birth: str, step_id: str) -> StepItem | None:
        found = await self._database.get(self._step(run_id, birth, step_id))
        return None if found is None else step_of(found)

    async def claim_step(
        self, run_id: str, birth: str, step_id: str, *, identity: str, provider_id: str, now: float, until: float
    ) -> tuple[bool, StepItem]:
        if await self.buried(run_id, birth):
            return False, StepItem(step_id=step_id, end=b"")
        # Races with other deliveries of the step, also with the same message in another's hands at the same moment, and
        # with its end: whatever came first is seen and refuses. Only the nonce tells our own claim from a twin's.
        ours: set[str] = set()

        def decide(found: Found | None) -> Step[tuple[bool, StepItem]]:
            item = StepItem(step_id=step_id) if found is None else step_of(found)
            if found is not None and found.fields.get(CLAIM_NONCE) in ours:
                return Step((True, item))
            live = item.holder is not None and item.until > now
            if item.end is not None or live or item.retry_at > now or provider_id in item.retired:
                return Step((False, item))
            mark = nonce()
            ours.add(mark)
            claimed = replace(
                item,
                holder=identity,
                attempt=item.attempt + 1,
                until=until,
                first_started=item.first_started or now,
                interrupted=item.interrupted + (item.holder is not None),
            )
            change = _changed(found, claimed)
            return Step((True, claimed), {**change, CLAIM_NONCE: mark, EXPIRES: self._database.expiry()})

        return await self._database.decide(self._step(run_id, birth, step_id), decide)

    def renew_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, until: float
    ) -> StepItem | None:
        # Against one that claimed it after our claim had run out: it raised the attempt. Twice is the same.
        def decide(found: Found | None) -> Step[StepItem | None]:
            item = _claimed(found, attempt, identity)
            if item is None:
                return Step(None)
            renewed = replace(item, until=until)
            return Step(renewed, _changed(found, renewed) or None)

        return self._database.decide_now(self._step(run_id, birth, step_id), decide)

    async def retire_step(self, run_id: str, birth: str, step_id: str, provider_id: str) -> StepItem | None:
        # As for a head: races with a claim by an earlier receiver of that message, and loses none of others' ids.
        def decide(found: Found | None) -> Step[StepItem | None]:
            item = None if found is None else step_of(found)
            if item is None or provider_id in item.retired:
                return Step(item)
            retired = replace(item, retired=(*item.retired, provider_id)[-RETIRED_KEPT:])
            return Step(retired, _changed(found, retired))

        return await self._database.decide(self._step(run_id, birth, step_id), decide)

    async def end_step(self, run_id: str, birth: str, step_id: str, *, attempt: int | None, end: bytes) -> bool:
        if await self.buried(run_id, birth):
            return False

        # Races with the end by another attempt (the first one stands) and with a claim that takes over (an end that
        # names its attempt is refused then). The same end there is our own.
        def decide(found: Found | None) -> Step[bool]:
            item = StepItem(step_id=step_id) if found is None else step_of(found)
            if item.end is not None:
                return Step(item.end == end)
            if attempt is not None and (found is None or item.attempt != attempt):
                return Step(False)
            change = _changed(found, replace(item, end=end, holder=None, until=0.0))
            gone = {CLAIM_NONCE: None, RETRY_NONCE: None, EXPIRES: self._database.expiry()}
            return Step(True, {**change, **gone})

        return await self._database.decide(self._step(run_id, birth, step_id), decide)

    async def retry_step(
        self, run_id: str, birth: str, step_id: str, *, attempt: int, identity: str, retry_at: float
    ) -> bool:
        # Races with a claim that takes over and with an end by an earlier attempt. Our nonce there is our own.
        mark = nonce()

        def decide(found: Found | None) -> Step[bool]:
            if found is not None and found.fields.get(RETRY_NONCE) == mark:
                return Step(True)
            item = _claimed(found, attempt, identity)
            if item is None:
                return Step(False)
            freed = replace(item, holder=None, until=0.0, retry_at=retry_at)
            return Step(True, {**_changed(found, freed), RETRY_NONCE: mark})

        return await self._database.decide(self._step(run_id, birth, step_id), decide)

    async def cancel_step(self, run_id: str, birth: str, step_id: str) -> None:
        if await self.buried(run_id, birth):
            return

        # Its worker may be claiming it now: whichever comes second, the flag is there when the worker renews.
        def decide(found: Found | None) -> Step[None]:
            item = StepItem(step_id=step_id) if found is None else step_of(found)
            if item.cancelled:
                return Step(None)
            change = _changed(found, replace(item, cancelled=True))
            return Step(None, {**change, EXPIRES: self._database.expiry()})

        await self._database.decide(self._step(run_id, birth, step_id), decide)

    # -- orders -------------------------------------------------------------------------------------------------------

    async def put_order(self, run_id: str, birth: str, order: bytes) -> str | None:
        """Its digest, with which whoever gets the message finds it; None under a tombstone."""
        if await self.buried(run_id, birth):
            return None
        # Named by its content: whoever writes it too writes the same.
        digest = sha256(order).hexdigest()
        await self._database.put_blindly(self._below(run_id, ORDERS, birth, digest), {"d": order})
        return digest

    async def order(self, run_id: str, birth: str, digest: str) -> bytes | None:
        """None: its run was erased."""
        found = await self._database.get(self._below(run_id, ORDERS, birth, digest))
        return None if found is None else found.fields["d"]

    def _step(self, run_id: str, birth: str, step_id: str) -> str:
        return self._below(run_id, STEPS, birth, step_id)


def _changed(found: Found | None, after: StepItem) -> dict[str, object]:
    return changed({} if found is None else step_fields(step_of(found)), step_fields(after))


def _claimed(found: Found | None, attempt: int, identity: str) -> StepItem | None:
    """The item, if this attempt of this identity has it and it has no end."""
    item = None if found is None else step_of(found)
    if item is None or item.end is not None or (item.attempt, item.holder) != (attempt, identity):
        return None
    return item
