"""One delivery: what is new goes into the body, what comes out of it into the log, and then out into the world.

PROTOCOL.md, "A worker that receives a message for a run", steps 3 to 9, call by call. The order of the calls is what
keeps a run correct when the process dies between any two of them; change it there and in the model first.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.context import StepContext
from wdk_cloud.engine import continuation, ending, outgoing, trouble
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.appending import AppendConflict, append
from wdk_cloud.engine.inbox import Inbox
from wdk_cloud.engine.inline import InlineSteps
from wdk_cloud.engine.leasing import LeaseHold, LeaseLost
from wdk_cloud.engine.loading import bring_up, load
from wdk_cloud.engine.operations import Operations
from wdk_cloud.engine.orders import step_message
from wdk_cloud.engine.replay import MAX_DELIVERIES_EXCEEDED, MAX_EVENTS_EXCEEDED, Body
from wdk_cloud.engine.schedule import Schedule
from wdk_cloud.engine.slices import BodyInterrupted
from wdk_cloud.errors import (
    CorruptedEventLogError,
    MaxDeliveriesExceededError,
    MaxEventsExceededError,
    WorldUnavailableError,
)

if TYPE_CHECKING:
    from wdk_cloud.engine.attempt import Ending
    from wdk_cloud.engine.history import History
    from wdk_cloud.engine.payloads import Payloads
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Delivery, Head, Lease

log = logging.getLogger("wdk_cloud")

MAX_STALLS = 10
"""Leases taken over unreleased since the log last grew; after more than these the run fails (DESIGN.md 3.7)."""

LINGER, LONGEST_LINGER = 0.1, 1.0
"""Seconds that a turn waits for queue-dispatched steps before it releases, doubling while ends keep coming."""

FULL_DELIVERY = 0.9
"""Share of a delivery's limit that a step's `timeout` may take; one that is longer fits nowhere and counts as none."""

LEAST = 0.1
"""Share of a delivery's limit under which not even the first step of a delivery begins."""

FIRST_GAP, LONGEST_GAP = 0.002, 0.05
"""Seconds between two looks at the inbox while ends of queue-dispatched steps keep coming."""

POLL = 1.0
"""Seconds between two looks at the head while something else than an inline step may wake the body."""


class WarmRun(NamedTuple):
    """What a process keeps of a run between two deliveries."""

    history: History
    body: Body
    payloads: Payloads


class Turn:
    """Holds the lease of one run."""

    def __init__(self, engine: Engine, delivery: Delivery, lease: Lease) -> None:
        self.engine = engine
        self.delivery = delivery
        self.head: Head = lease.head
        self.fence = lease.head.fence
        self.unclean = lease.unclean
        self.armed = lease.head.armed
        self.hold = LeaseHold(engine, delivery, lease.head, self._wake)
        self.batch: list[ev.AnyEvent] = []
        self.history: History
        self.payloads: Payloads
        self.body: Body | None = None
        self.steps: InlineSteps
        self.schedule = Schedule()
        self.operations: Operations
        self.inbox = Inbox(self)
        self._ended: list[tuple[str, Ending]] = []
        self._uncommitted: list[tuple[str, Ending]] = []
        self._told = False
        self._waker: asyncio.Future[None] | None = None
        self._linger = self._gap = 0.0
        self._polling = False
        self._finishing = False
        self._diverged = False
        self._begun = False
        self._labels_written = 0
        self._out_of_time = self._worked = False
        self.over = False
        """The batch ends the run: nothing more is taken in."""

    @property
    def key(self) -> tuple[str, str]:
        return self.head.run_id, self.head.birth

    def now(self) -> float:
        """The time of the next event: never before the last one's."""
        last = self.batch[-1].time if self.batch else self.history.last_time
        return max(self.engine.world.clock.now(), last)

    # -- being woken ------------------------------------------------------------------------------------------------

    def told(self) -> None:
        """`dirty` was set while this turn holds the lease."""
        self._told = True
        self._wake()

    def lapsed(self) -> bool:
        return self.hold.left() <= 0

    def step_ended(self, id: str, result: Ending) -> None:
        self._ended.append((id, result))
        self._wake()

    def _wake(self) -> None:
        if self._waker is not None and not self._waker.done():
            self._waker.set_result(None)

    # -- the whole turn ---------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Work until nothing is left to do in this process; returns whether to acknowledge."""
        self.engine.live[self.key] = self
        self.engine.keeper.keep(self.hold)
        try:
            return await self._work()
        except LeaseLost:
            log.info("run %s: the lease passed to somebody else; this delivery stops", self.head.run_id)
            return False
        except trouble.HandOn as reason:
            return await trouble.hand_on(self, reason)
        except NewerFormatError as error:
            return await trouble.hand_on(self, trouble.HandOn(str(error), None))
        except BodyInterrupted as interrupt:
            await trouble.interrupted(self, interrupt)
            if isinstance(interrupt.__cause__, KeyboardInterrupt):
                raise interrupt.__cause__ from None
            return False
        except WorldUnavailableError as error:
            await self.hold.postpone(error)
            return False
        except asyncio.CancelledError:
            self._stop_bodies()
            raise
        finally:
            if self.body is not None:
                self.body.discard()
            await self._let_bodies_end()
            self.engine.keeper.drop(self.hold)
            if self.engine.live.get(self.key) is self:
                del self.engine.live[self.key]

    async def _work(self) -> bool:
        try:
            await self._load()
        except trouble.Diverged:
            self._diverged = True
            await self._bring_up_again()
        except CorruptedEventLogError as error:
            return await ending.close_corrupted(self, error)
        if self.history.end is not None:
            return await self._finish()
        if self._too_many_stalls():
            self._end(trouble.failure(MAX_DELIVERIES_EXCEEDED, self._stalled(), self.now()))
        while True:
            if not await self._taken_in():
                continue
            if self.batch:
                if not await self._commit():
                    continue
                if self.history.end is not None:
                    return await self._finish()
                await self._after_commit(everything=False)
                if self.steps.running and not self.unclean:
                    await self._wait()
                continue
            if self.unclean:
                self.unclean = False
                await self._after_commit(everything=True)
                continue
            if await self._wait():
                continue
            released = await self._release()
            if released is not None:
                return released

    async def _load(self) -> None:
        """Step 3: the log past what this process has, and the body that it leads to."""
        loaded = await load(self)
        self.history, self.payloads = loaded.history, loaded.payloads
        self.unclean = self.unclean or loaded.longer
        self.steps = InlineSteps(self.engine, self.history, self.step_ended)
        self.operations = Operations(self)
        self.inbox.unread = loaded.read_inbox
        await self.hold.note_growth(self.history.position)
        if self._too_many_stalls():
            return
        self.body = await bring_up(self, loaded)
        self._labels_written = self.history.labels_at
        self.schedule.fill(self.body)
        if self.body is not None:
            self._pick_up_steps()

    def _too_many_stalls(self) -> bool:
        return self.hold.head.stalls > MAX_STALLS

    def _stalled(self) -> MaxDeliveriesExceededError:
        error = MaxDeliveriesExceededError(
            f"run {self.head.run_id}: {MAX_STALLS} workers in a row gave it up without its log growing; the run was "
            "ended. A step or the body kills its process (memory, a crash in C code, sys.exit), or none has the time"
        )
        last = self.hold.head.trouble
        if last is not None:
            error.__cause__ = RuntimeError(last.reason)
        return error

    async def _bring_up_again(self) -> None:
        """A divergence is tried once more, from a fresh read without a warm body; then it is judged."""
        try:
            await self._reload()
        except trouble.Diverged:
            assert self.body is not None  # only a body diverges
            self.batch = []
            self._end(await trouble.verdict(self, self.body.divergence()))

    async def _taken_in(self) -> bool:
        """Take in what is new. False: the body diverged, and was brought up once more from a fresh read."""
        try:
            await self._take_in()
        except trouble.Diverged:
            assert self.body is not None  # only a body diverges
            if self._diverged:
                self.batch = []
                self._end(await trouble.verdict(self, self.body.divergence()))
                return True
            self._diverged = True
            await self._bring_up_again()
            return bool(self.batch)
        return True

    # -- taking in --------------------------------------------------------------------------------------------------

    async def _take_in(self) -> None:
        """Feed ends, inbox items and elapsed timers to the body, one by one; what it asks for joins the batch."""
        if self.hold.lost:
            raise LeaseLost
        if self._told or self.hold.dirty_seen:
            self._told = self.hold.dirty_seen = False
            await self.inbox.clear_dirty()
        if self.inbox.labels:
            self.inbox.take_labels()
        if self._ended:
            ends, self._ended = self._ended, []
            for id, result in ends:
                self._step_over(id, result)
        for event in self.operations.take():
            self.feed(event)
        if self.history.cancel is not None and not self.over:
            self._end(ev.RunCancelled(time=self.now(), reason=self.history.cancel.reason))
        if self.inbox.unread and not self.over:
            await self.inbox.read()
        if not self.over:
            if not self._begun:
                self._begin_body()
            self._fire_timers()
            self._end_if_over()

    def _step_over(self, id: str, result: Ending) -> None:
        if result.kind == "interrupted":
            raise trouble.interrupt_of(result.cause)
        event = self.steps.over(id, result, self.now())
        if event is None or self.over:
            return
        self._uncommitted.append((id, result))
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
        for command in self.body.take():
            match command:
                case ev.StepCreated(id=id):
                    self.batch.append(self._dispatch(command))
                case ev.StepCancelled(id=id):
                    self.batch.append(command)
                    self.steps.cancel(id)
                case ev.WaitCreated(id=id, due=due):
                    self.batch.append(command)
                    self.schedule.wait(id, due)
                case _:
                    self.batch.append(command)
        if self.schedule.unclaimed:
            self._pick_up_steps()
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
        return ev.StepCreated(
            time=command.time, id=command.id, name=command.name, digest=command.digest, input=command.input, queued=True
        )

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
        if self.schedule.empty:
            return
        proof = self.delivery.message.due or 0.0
        while (entry := self.schedule.pop_due(max(self.engine.world.clock.now(), proof), self.valid)) is not None:
            kind, id, due = entry
            if kind == "retry":
                self.steps.waiting.append(id)
            elif id:
                self.feed(ev.WaitCompleted(time=max(self.now(), due), id=id))

    def valid(self, kind: str, id: str) -> bool:
        """Whether a scheduled entry still matters: retried steps always, waits while the body waits for them."""
        if kind == "retry":
            return True
        if not id:
            return not self._begun
        return self.body is not None and id in self.body.timers

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
                self.schedule.unclaimed = True
            elif state.retry_at > self.engine.world.clock.now():
                self.schedule.retry(id, state.retry_at)
            else:
                self.steps.waiting.append(id)

    def _end_if_over(self) -> None:
        body = self.body
        if body is None:
            return
        if self.steps.waiting and not self._short_of_time(body):
            self.batch.extend(self.steps.begin(body, self.now()))
        if body.outcome is None and not self.batch:
            body.rest()
        if body.outcome is not None:
            self._end(ending.end_event(body.outcome, self.now()))

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

    def _end(self, event: ev.RunCompleted | ev.RunFailed | ev.RunCancelled) -> None:
        """The last event of the log; attempts that were to begin with this batch do not."""
        self.over = True
        self.batch = [e for e in self.batch if type(e) is not ev.StepStarted or e.id in self.steps.running]
        self.batch.append(event)

    async def fail(self, event: ev.RunFailed) -> bool:
        """End the run without its body; returns whether to acknowledge."""
        self.batch = []
        self._end(event)
        if not await self._commit():
            return False
        return await self._finish()

    def cancel(self, request: ev.CancelRequested) -> None:
        """The run ends here: no further line of its body runs."""
        self.batch.append(request)
        self._end(ev.RunCancelled(time=self.now(), reason=request.reason))
        for id in list(self.steps.running):
            self.steps.cancel(id)

    # -- commit and after -------------------------------------------------------------------------------------------

    async def _commit(self) -> bool:
        """Step 4. False: somebody else wrote, and the log was read again."""
        if self.history.position + len(self.batch) > self.engine.settings.max_events:
            self._end_for_length()
        try:
            await append(self, self.batch)
        except AppendConflict:
            await self._conflict()
            return False
        self._worked = True
        return True

    def _end_for_length(self) -> None:
        if self.over:
            return
        limit = self.engine.settings.max_events
        error = MaxEventsExceededError(
            f"run {self.head.run_id}: its log would exceed {limit:,} events (WDK_MAX_EVENTS); end it in time with "
            "continue_as_new(), or do the work of a loop in child workflows"
        )
        now, self.batch = self.now(), []
        self._end(trouble.failure(MAX_EVENTS_EXCEEDED, error, now))

    async def _conflict(self) -> None:
        """Somebody else wrote at our position: what it left unsent is sent again."""
        await self.hold.check()
        await self._reload()
        self.unclean = True

    async def _reload(self) -> None:
        """From a fresh read of the log. What ended here meanwhile is offered again."""
        self.batch = []
        self.over = self._begun = False
        if self.body is not None:
            self.body.discard()
            self.body = None
        running, self._ended = self.steps, [*self._uncommitted, *self._ended]
        self._uncommitted = []
        self.schedule = Schedule()
        await self._load()
        self.inbox.unread = True
        self.steps.adopt(running)

    async def _after_commit(self, *, everything: bool) -> None:
        """Step 5: all of it is harmless when done twice. `everything`: whatever the log says is outstanding."""
        batch, self.batch = self.batch, []
        self._uncommitted = []
        body = self.body
        if everything:
            created = [state.created for state in self.history.steps.values() if state.created.queued]
            operations = list(self.history.operations.values())
        else:
            created = [event for event in batch if type(event) is ev.StepCreated and event.queued]
            operations = [event for event in batch if type(event) is ev.OperationCreated]
        if operations:
            self.operations.start(operations)
        for event in batch:
            if type(event) is ev.StepCancelled and self._is_queued(event.id):
                await self.engine.world.runs.cancel_step(*self.key, event.id)
        if created:
            await self.engine.world.queue.send([(await step_message(self, event), 0.0) for event in created])
        if self.history.labels_at > self._labels_written or (everything and self.history.labels_at):
            await ending.write_labels(self.engine, self.head, self.history)
            self._labels_written = self.history.labels_at
        if self.inbox.admits:
            await self.inbox.drop_admitted()
        if body is not None:
            for event in batch:
                if type(event) is ev.StepStarted:
                    await self.hold.ensure()
                    self.steps.start(body, event, self.step_context(event))

    def _is_queued(self, id: str) -> bool:
        state = self.history.steps.get(id)
        return state is not None and state.created.queued

    def step_context(self, started: ev.StepStarted) -> StepContext:
        return StepContext(
            run_id=self.head.run_id,
            call_id=started.id,
            step_name=started.id.rpartition("#")[0],
            attempt=started.attempt,
            first_started=self.steps.first_started(started),
            workflow_name=self.head.workflow,
            run_started=self.history.started_at or 0.0,
            url=self.engine.settings.public_url,
            set_attributes=self.inbox.attributes_setter(started),
        )

    # -- waiting, releasing, ending ---------------------------------------------------------------------------------

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
        """Whether an inline step runs that the body still waits for."""
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
        if not (queued or self.steps.cancellable()):
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
        if self._linger and self._gap:
            await asyncio.sleep(self._gap)  # real time: so that a thousand ends make a handful of turns
        self._linger = min(max(LINGER, self._linger * 2), LONGEST_LINGER)
        until = self.engine.world.clock.now() + self._linger
        if await self._sleep(until if due is None else min(until, due)):
            self._gap = min(max(FIRST_GAP, self._gap * 2), LONGEST_GAP)
            return True
        self._linger = self._gap = 0.0
        return bool(due is not None and due <= self.engine.world.clock.now())

    async def _release(self) -> bool | None:
        """Step 8; None: something came in, or is due, and the turn goes round."""
        if self._out_of_time and self.steps.waiting:
            return await continuation.leave(self)
        due = self.schedule.next_due(self.valid)
        now = self.engine.world.clock.now()
        if due is not None and due <= now:
            return None
        if due is not None and (self.armed is None or due < self.armed):
            await self.engine.world.queue.send([outgoing.timer(self.engine, self.head, due)])
            self.armed = due
        if not await self.hold.release(self, due):
            await self.inbox.clear_dirty()
            return None
        self.put_aside()
        return True

    def put_aside(self) -> None:
        """After the release: the body rests until the run's next delivery in this process."""
        if self.body is not None:
            self.engine.keep_warm(self.key, WarmRun(self.history, self.body, self.payloads))
            self.body = None

    async def _finish(self) -> bool:
        """The end event is in the log: the head, the inbox once more, what follows the end."""
        if self.body is not None:
            ending.warn_forgotten(self.head, self.body)
        self.head = await self.hold.end(self.history, self.engine.version)
        self._finishing = True
        if isinstance(self.history.end, ev.RunCancelled):
            await ending.cancel_queued_steps(self.engine, self.head, self.history)
        if self.history.labels_at:
            await ending.write_labels(self.engine, self.head, self.history)
        await ending.follow(self.engine, self.head)
        return True

    def _stop_bodies(self) -> None:
        """The worker shuts down: what runs is interrupted, as if the process had died."""
        if hasattr(self, "steps"):
            self.steps.stop()

    async def _let_bodies_end(self) -> None:
        """A delivery returns only when every body that it began has ended; ends that came too late go to the inbox."""
        tasks = list(self.steps.tasks.values()) if hasattr(self, "steps") else []
        if tasks:
            if self.engine.live.get(self.key) is self:
                del self.engine.live[self.key]
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended and not self._finishing:
            await self.inbox.hand_over(self._ended)
