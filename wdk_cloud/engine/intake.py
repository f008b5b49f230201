"""What a turn takes in: ends of steps, items of the inbox, elapsed timers. Each goes into the body, and into the batch.

Nothing here talks to the world but through the inbox; what the body asks for joins the batch in its order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.engine import ending, trouble
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.leasing import LeaseLost
from wdk_cloud.engine.turn_state import LEAST, TurnState

if TYPE_CHECKING:
    from wdk_cloud.engine.attempt import Ending
    from wdk_cloud.engine.replay import Body

FULL_DELIVERY = 0.9
"""Share of a delivery's limit that a step's `timeout` may take; one that is longer fits nowhere and counts as none."""


class Intake(TurnState):
    """The part of a turn that feeds the body."""

    async def _take_in(self) -> None:
        """Feed ends, inbox items and elapsed timers to the body, one by one; what it asks for joins the batch."""
        if self.hold.lost:
            raise LeaseLost
        if self._told or self.hold.dirty_seen:
            self._told = self.hold.dirty_seen = False
            await self.inbox.clear_dirty()
        if self.schedule.unclaimed and self.body is not None:
            self._pick_up_steps()
        self._take_ends()
        if self.history.cancel is not None and not self.over:
            self._end(ev.RunCancelled(time=self.now(), reason=self.history.cancel.reason))
        if self.inbox.unread and not self.over:
            await self.inbox.read()
        if not self.over:
            if not self._begun:
                self._begin_body()
            self._fire_timers()
            self._end_if_over()

    def _take_ends(self) -> None:
        """What ended in this process, in the order in which it ended."""
        if self.inbox.labels:
            self.inbox.take_labels()
        if self._ended:
            ends, self._ended = self._ended, []
            for id, result in ends:
                self._step_over(id, result)
        conflicts, self.conflicts = self.conflicts, []
        for event in conflicts:
            if event.id in self.history.hooks:
                self.feed(msgspec.structs.replace(event, time=self.now()))
        for event in self.operations.take():
            self.feed(msgspec.structs.replace(event, time=self.now()))

    def _step_over(self, id: str, result: Ending) -> None:
        if result.kind == "interrupted":
            raise trouble.interrupt_of(result.cause)
        attempt = self.steps.running[id]
        event = self.steps.over(id, result, self.now())
        if event is None or self.over:
            return
        self._uncommitted.append((id, result, attempt))
        if isinstance(event, ev.StepRetrying):
            self.batch.append(event)
            self.schedule.retry(id, event.retry_at)
        else:
            self.feed(event)

    def feed(self, event: ev.AnyEvent) -> None:
        """Deliver one completion, which gets its place in the log now, and take what the body asks for next."""
        if self.over:
            return
        self.batch.append(event)
        if self.body is not None and self.body.outcome is None:
            self.body.feed(event)
            self._take_commands()

    def _take_commands(self) -> None:
        assert self.body is not None  # the callers have fed it
        for made in self.body.take():
            earliest = self.batch[-1].time if self.batch else self.history.last_time
            command = made if made.time >= earliest else msgspec.structs.replace(made, time=earliest)
            match command:
                case ev.StepCreated(id=id):
                    self.batch.append(self._dispatch(command))
                case ev.WaitCreated(id=id, due=due):
                    self.batch.append(command)
                    self.schedule.wait(id, due)
                case _:
                    self.batch.append(command)
        if self.body.found:
            self.schedule.fill_up(self.body)
        if self.body.differences:
            raise trouble.Diverged

    def _dispatch(self, command: ev.StepCreated) -> ev.StepCreated:
        assert self.body is not None  # the callers have fed it
        step = self.body.calls[command.id].step
        assert step is not None  # steps are created by steps
        how = step.options.dispatch
        if how == "auto":
            pending = len(self.steps.running) + len(self.steps.waiting)
            how = "queue" if pending >= self.engine.settings.inline_limit else "inline"
        if how == "inline":
            self.steps.waiting.append(command.id)
            return command
        return msgspec.structs.replace(command, queued=True)

    def _begin_body(self) -> None:
        if self.body is None or self.history.started_at is not None:
            self._begun = True
            return
        proven = self.delivery.message.due == self.head.not_before
        now = self.now()
        if now < self.head.not_before and not proven:
            self.schedule.wait("", self.head.not_before)
            return
        self._begun = True
        self.feed(ev.RunStarted(time=max(now, self.head.not_before)))

    def _fire_timers(self) -> None:
        for id in sorted(self.history.woken) if self.history.woken else ():
            if self.body is not None and id in self.body.timers:
                self.feed(ev.WaitCompleted(time=self.now(), id=id))
        if self.schedule.empty:
            return
        proof = self.delivery.message.due or 0.0
        while (entry := self.schedule.pop_due(max(self.engine.world.clock.now(), proof), self.valid)) is not None:
            kind, id, due = entry
            if kind == "retry":
                self.steps.waiting.append(id)
            elif id:
                self.feed(ev.WaitCompleted(time=max(self.now(), due), id=id))

    def _pick_up_steps(self) -> None:
        """Steps that the log holds without an end: what an earlier lease began and left, and what waits its turn."""
        assert self.body is not None  # the callers have one
        for event in self.steps.interrupted(self.body, self.now()):
            if isinstance(event, ev.StepFailed):
                self.feed(event)
            else:
                self.batch.append(event)
        self.schedule.unclaimed = False
        for id, state in self.history.steps.items():
            if state.created.queued or state.open or id in self.steps.running or id in self.steps.waiting:
                continue
            if not self.body.wants(id):
                self.schedule.unclaimed = self.schedule.unclaimed or id not in self.body.calls  # else it was left
            elif state.retry_at > self.engine.world.clock.now():
                self.schedule.retry(id, state.retry_at)
            else:
                self.steps.wait(id)
        self.steps.prefer_suspects()

    def _end_if_over(self) -> None:
        body = self.body
        if body is None:
            return
        if self.steps.waiting and not self._short_of_time(body):
            self.batch.extend(self.steps.begin(body, self.now()))
        if body.outcome is None and not self.batch:
            body.rest()
        if body.outcome is not None:
            self._end(ending.end_event(self.head, body.outcome, self.now()))

    def _short_of_time(self, body: Body) -> bool:
        """Whether the next inline step would not fit into this delivery: then a fresh one goes on."""
        deadline = self.delivery.deadline
        if deadline is None:
            return False
        call = body.calls.get(self.steps.waiting[0])
        timeout = call.step.options.timeout_seconds if call is not None and call.step is not None else None
        left = deadline - self.engine.world.clock.monotonic()
        whole = self.delivery.limit
        need = whole / 2 if timeout is None or timeout >= whole * FULL_DELIVERY else timeout
        self._out_of_time = left <= need and (self._worked or left <= whole * LEAST)
        return self._out_of_time

    def _end(self, event: ev.End) -> None:
        """The last event of the log; attempts that were to begin with this batch do not."""
        self.over = True
        self.batch = [e for e in self.batch if type(e) is not ev.StepStarted or e.id in self.steps.running]
        self.batch.append(event)

    def cancel(self, request: ev.CancelRequested) -> None:
        """The run ends here: no further line of its body runs."""
        self.batch.append(request)
        self._end(ev.RunCancelled(time=self.now(), reason=request.reason))
