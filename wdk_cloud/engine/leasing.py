"""A turn's hold on its run: how long the lease is ours, renewing it, and every change of the head under it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from wdk_cloud.engine import events as ev
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.ports import HeadFields

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.engine.history import History
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.turn import Turn
    from wdk_cloud.world.ports import Delivery, Head, Status, Trouble

log = logging.getLogger("wdk_cloud")

RENEW_AT = 1 / 3
"""A lease is renewed when a third of it is over, and no body begins when less than a third is left."""

GRACE = 300.0
"""Seconds after a timer's due time until the sweep thinks that its message was lost."""
STEP_PATIENCE = 6 * 3600.0
"""Seconds that a run may wait for queue-dispatched steps before the sweep sends their messages again."""
FOR_EVER = 4_102_444_800.0
"""2100-01-01: a run that waits for other runs or for people shows no progress, and that is right."""


class LeaseLost(Exception):
    """Somebody else holds the run, or it is gone: stop, without acknowledging."""


class LeaseHold:
    """The lease of one delivery. `renew` runs on the renewing thread, all else on the host's loop."""

    def __init__(self, engine: Engine, delivery: Delivery, head: Head, wake: Callable[[], None]) -> None:
        self.head = head
        self.nonce = engine.identity()
        self.lost = False
        self.released = False
        self._engine = engine
        self._delivery = delivery
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self.dirty_seen = False
        """A renewal has found `dirty` set."""
        self._until = head.until
        self._monotonic_until = 0.0
        self.renew_after = 0.0
        self._reckon(head.until - engine.lease)

    def _reckon(self, asked_at: float) -> None:
        """The lease counts from before the request that gave it, on the wall clock and on the monotonic one."""
        clock, lease = self._engine.world.clock, self._engine.lease
        spent = max(0.0, clock.now() - asked_at)
        self._monotonic_until = clock.monotonic() + lease - spent
        self.renew_after = clock.monotonic() + lease * RENEW_AT - spent

    def left(self) -> float:
        """Seconds for which the lease is certainly ours."""
        clock = self._engine.world.clock
        return min(self._until - clock.now(), self._monotonic_until - clock.monotonic())

    def renew(self) -> None:
        """Prolong lease and invisibility; a refusal, or `dirty` in the answer, wakes the turn."""
        clock, lease = self._engine.world.clock, self._engine.lease
        self._engine.world.queue.extend(self._delivery, 2 * lease)
        if self.released or self.lost:
            self.renew_after = clock.monotonic() + lease * RENEW_AT
            return
        asked = clock.now()
        until = round(asked + lease, 6)
        head = self._engine.world.runs.renew(
            self.head.run_id,
            self.head.birth,
            holder=self._delivery.message.identity,
            fence=self.head.fence,
            until=until,
        )
        if head is None:
            if not self.released:
                self.lost = True
                self._loop.call_soon_threadsafe(self._wake)
            return
        self._until = until
        self._reckon(asked)
        if head.dirty:
            self.dirty_seen = True
            self._loop.call_soon_threadsafe(self._wake)

    async def ensure(self) -> None:
        """Directly before a body: the lease has a third of its length left, or is renewed; raises LeaseLost."""
        if self.left() < self._engine.lease * RENEW_AT:
            self.renew()
        if self.lost:
            raise LeaseLost

    async def dirty(self) -> bool:
        """Look at the head: whether `dirty` is set; raises LeaseLost."""
        return (await self.check()).dirty

    async def check(self) -> Head:
        """Read the head; raises LeaseLost if it is no longer ours."""
        head = await self._engine.world.runs.head(self.head.run_id)
        if head is None or not self._ours(head):
            self.lost = True
            raise LeaseLost
        return head

    def _ours(self, head: Head) -> bool:
        return (
            head.birth == self.head.birth
            and head.holder == self._delivery.message.identity
            and head.fence == self.head.fence
        )

    async def change(self, fields: HeadFields, *, unless_dirty: bool = False) -> Head | None:
        """Write under our lease. None: refused because `dirty` is set; raises LeaseLost if it is no longer ours."""
        done, head = await self._engine.world.runs.change(
            self.head.run_id,
            self.head.birth,
            fields,
            holder=self._delivery.message.identity,
            fence=self.head.fence,
            unless_dirty=unless_dirty,
        )
        if done:
            assert head is not None  # a change that was done has a head
            self.head = head
            return head
        if head is None or not self._ours(head):
            self.lost = True
            raise LeaseLost
        return None

    async def note_growth(self, position: int) -> None:
        """If the log has grown since the stalls began, they begin anew."""
        head = self.head
        if head.stalls > 1 and position > head.stalls_length:
            await self.change(HeadFields(stalls=1, stalls_length=position))

    async def release(self, turn: Turn, due: float | None) -> bool:
        """Free the lease, unless `dirty` is set: then False."""
        history = turn.history
        fields = HeadFields(
            holder=None,
            until=0.0,
            last=self._delivery.message.identity,
            armed=turn.armed,
            length=history.position,
            stalls=0,
            stalls_length=0,
            trouble=None,
            last_version=history.last_version,
            wake_by=self._wake_by(turn, due),
        )
        if history.position:
            fields["input"] = None
        return await self._free(fields)

    async def let_go(self, note: Trouble) -> bool:
        """Free the lease of a run that this process cannot go on with, unless `dirty` is set: then False."""
        identity = self._delivery.message.identity
        fields = HeadFields(trouble=note, holder=None, until=0.0, last=identity, stalls=0, stalls_length=0)
        return await self._free(fields)

    async def _free(self, fields: HeadFields) -> bool:
        self.released = True  # before the write: a renewal meanwhile must not take it for a loss
        try:
            done = await self.change(fields, unless_dirty=True) is not None
        except BaseException:
            self.released = False
            raise
        self.released = done
        return done

    def _wake_by(self, turn: Turn, due: float | None) -> float:
        latest = FOR_EVER
        if due is not None:
            latest = due + GRACE
        if any(state.created.queued for state in turn.history.steps.values()):
            latest = min(latest, self._engine.world.clock.now() + STEP_PATIENCE)
        return latest

    async def end(self, history: History, version: str) -> Head:
        """The status, once the end event is in the log; `holder` stays: its message does again what follows."""
        status: Status = "completed"
        code: str | None = None
        match history.end:
            case ev.RunFailed(code=code):
                status = "failed"
            case ev.RunCancelled():
                status = "cancelled"
            case _:
                pass
        fields = HeadFields(
            status=status,
            ended_at=history.last_time,
            end_at=history.end_at,
            error_code=code,
            length=history.position,
            input=None,
            armed=None,
            trouble=None,
            last_version=version,
        )
        if isinstance(history.end, ev.RunContinued):
            fields["continued_to"] = history.end.run_id
        head = await self.change(fields)
        assert head is not None  # without `unless_dirty` a change is done or the lease is lost
        return head

    def give_message_back(self) -> None:
        """Let the message come back when the lease has ended, though its delivery goes on."""
        left = max(0.0, self._until - self._engine.world.clock.now())
        try:
            self._engine.world.queue.extend(self._delivery, left)
        except WorldUnavailableError as error:
            log.warning("run %s: its message comes back after its time-out only: %s", self.head.run_id, error)

    async def abandon(self) -> None:
        """The worker shuts down: end the lease now, so that whoever receives the message next need not wait for it."""
        if self.released or self.lost:
            return
        try:
            await self.change(HeadFields(until=self._engine.world.clock.now()))
        except (WorldUnavailableError, LeaseLost) as error:
            log.warning("run %s: its lease runs out by itself: %s", self.head.run_id, error or "it is lost")

    async def postpone(self, error: WorldUnavailableError | WorldConfigurationError) -> None:
        """Stop without releasing, for a growing while, and take the stall back: an outage fails no run."""
        delay = self._engine.outage_delay((self.head.run_id, self.head.birth))
        log.warning("run %s: the world is unavailable, tried again in %s s: %s", self.head.run_id, delay, error)
        until = round(self._engine.world.clock.now() + delay, 6)
        try:
            await self.change(HeadFields(until=until, stalls=max(0, self.head.stalls - 1)))
            self._until = until
        except (WorldUnavailableError, WorldConfigurationError, LeaseLost) as again:
            log.warning("run %s: nor can its lease be shortened, it runs out by itself: %s", self.head.run_id, again)
