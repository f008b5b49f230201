"""How a turn waits in process: for inline steps, for short timers, and a little for steps that run elsewhere."""

from __future__ import annotations

import asyncio

from wdk_cloud.engine.turn_state import LEAST, TurnState

LINGER, LONGEST_LINGER = 0.1, 1.0
"""Seconds that a turn waits for queue-dispatched steps before it releases, doubling while ends keep coming."""

FIRST_GAP, LONGEST_GAP = 0.002, 0.05
"""Seconds between two looks at the inbox while ends of queue-dispatched steps keep coming."""

POLL = 1.0
"""Seconds between two looks at the head while something else than an inline step may wake the body."""


class Waiting(TurnState):
    """The part of a turn that waits."""

    async def _wait(self) -> bool:
        """True: something is there to take in. False: nothing in this process will come soon."""
        if self._ended or self._told or self.operations.done or self.inbox.labels or self.hold.lost:
            return True
        due = None if self.schedule.empty else self.schedule.next_due(self.valid)
        queued = bool(self.history.queued) and self._waits_for_queued()
        if self._attended() or self.operations.running:
            await self._sleep(self._next_look(due, queued))
            return True
        clock = self.engine.world.clock
        if clock.still:  # a virtual clock: nobody moves it while this turn works
            return False
        if due is not None and due - clock.now() <= self.engine.world.short_wait:
            await self._sleep(due)
            return True
        return queued and await self._wait_for_queued(due)

    def _attended(self) -> bool:
        """Whether an inline step runs that the body waits for, or behind which another waits that is to begin here."""
        if self.steps.waiting and self.steps.running:
            return True
        body = self.body
        if body is not None:
            for id in self.steps.running:
                if body.wants(id):
                    return True
        return False

    def _waits_for_queued(self) -> bool:
        body = self.body
        return body is not None and any(s.created.queued and body.wants(id) for id, s in self.history.steps.items())

    def _next_look(self, due: float | None, queued: bool) -> float | None:
        # What waits begins in another delivery when this one has too little time: nothing happens here at that moment.
        held_up = None if self._out_of_time else self.steps.held_up_until()
        if held_up is not None and (due is None or held_up < due):
            due = held_up
        if not (queued or self.steps.cancellable() or (self.body is not None and self.body.awaits_hooks())):
            return due
        poll = self.engine.world.clock.now() + POLL
        self._polling = True
        return poll if due is None else min(due, poll)

    async def _sleep(self, until: float | None) -> bool:
        """Until something wakes this turn (True) or the time has come (False)."""
        waker = self._waker = asyncio.get_running_loop().create_future()
        handle = None
        if until is not None:
            handle = self.engine.world.clock.call_at(until, lambda: waker.done() or waker.set_result(None))
        try:
            await waker
        finally:
            self._waker = None
            if handle is not None:
                handle.cancel()
        if self._polling:
            self._polling = False
            self._told = self._told or await self.hold.dirty()
        return bool(self._ended or self._told or self.operations.done)

    async def _wait_for_queued(self, due: float | None) -> bool:
        deadline = self.delivery.deadline
        if deadline is not None and deadline - self.engine.world.clock.monotonic() <= self.delivery.limit * LEAST:
            return False  # a delivery that is cut off leaves its lease behind
        if self._linger and self._gap and self.history.queued > 1:
            await asyncio.sleep(self._gap)  # real time: so that a thousand ends make a handful of turns
            if self._told or self._ended:  # it came while nobody slept who could be woken
                return self._more_keeps_coming()
        self._linger = min(max(LINGER, self._linger * 2), LONGEST_LINGER)
        until = self.engine.world.clock.now() + self._linger
        if await self._sleep(until if due is None else min(until, due)) or await self._told_elsewhere():
            return self._more_keeps_coming()
        self._linger = self._gap = 0.0
        return bool(due is not None and due <= self.engine.world.clock.now())

    async def _told_elsewhere(self) -> bool:
        """Whether an end has come by another process: cheaper to see by a look than by a release that is refused."""
        self._told = await self.hold.dirty()
        return self._told

    def _more_keeps_coming(self) -> bool:
        self._gap = min(max(FIRST_GAP, self._gap * 2), LONGEST_GAP)
        return True
