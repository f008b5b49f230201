"""One delivery: what is new goes into the body, what comes out of it into the log, and then out into the world.

docs/protocol.md, "A message for a run", steps 3 to 9, call by call. The order of the calls is what
keeps a run correct when the process dies between any two of them; change it there and in the model first.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.context import StepContext
from wdk_cloud.engine import continuation, ending, outgoing, succession, tokens, trouble
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.appending import AppendConflict, append
from wdk_cloud.engine.inline import InlineSteps
from wdk_cloud.engine.intake import Intake
from wdk_cloud.engine.leasing import LeaseLost
from wdk_cloud.engine.loading import bring_up, load
from wdk_cloud.engine.operations import Operations
from wdk_cloud.engine.orders import step_message
from wdk_cloud.engine.replay import MAX_DELIVERIES_EXCEEDED, MAX_EVENTS_EXCEEDED, Body
from wdk_cloud.engine.schedule import Schedule
from wdk_cloud.engine.slices import BodyInterrupted
from wdk_cloud.engine.waiting import Waiting
from wdk_cloud.engine.writers import Writers
from wdk_cloud.errors import (
    CorruptedEventLogError,
    MaxDeliveriesExceededError,
    MaxEventsExceededError,
    WorldConfigurationError,
    WorldUnavailableError,
)

if TYPE_CHECKING:
    from wdk_cloud.engine.history import History
    from wdk_cloud.engine.payloads import Payloads

log = logging.getLogger("wdk_cloud")

MAX_STALLS = 10
"""Leases taken over unreleased since the log last grew; after more than these the run fails (docs/protocol.md)."""

LONG = 0.8
"""The part of WDK_MAX_EVENTS at which a run's log is warned about: once, by whoever writes past it."""


class WarmRun(NamedTuple):
    """What a process keeps of a run between two deliveries."""

    history: History
    body: Body
    payloads: Payloads


class Turn(Intake, Waiting):
    """One delivery that holds the lease of its run."""

    # -- the whole turn ---------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Work until nothing is left to do in this process; returns whether to acknowledge."""
        self.engine.live[self.key] = self
        self.engine.keeper.keep(self.hold)
        try:
            acknowledge = await self._work_or_hand_on()
            self.engine.outage_over(self.key)
            return acknowledge
        except LeaseLost:
            log.info("run %s: the lease passed to somebody else; this delivery stops", self.head.run_id)
            return False
        except BodyInterrupted as interrupt:
            await trouble.interrupted(self, interrupt)
            if isinstance(interrupt.__cause__, KeyboardInterrupt):
                raise interrupt.__cause__ from None
            return False
        except (WorldUnavailableError, WorldConfigurationError) as error:  # not even handed on
            await self.hold.postpone(error)
            return False
        except asyncio.CancelledError:
            self._stop_bodies()
            await self.hold.abandon()
            raise
        finally:
            if self.body is not None:
                self.body.discard()
            await self._let_bodies_end()
            self.engine.keeper.drop(self.hold)
            if self.engine.live.get(self.key) is self:
                del self.engine.live[self.key]

    async def _work_or_hand_on(self) -> bool:
        try:
            return await self._work()
        except trouble.HandOn as reason:
            return await trouble.hand_on(self, reason)
        except (NewerFormatError, WorldConfigurationError) as error:  # no fault of the run's
            return await trouble.hand_on(self, trouble.HandOn(str(error), None))
        except CorruptedEventLogError as error:  # of the log, or of what comes in
            acknowledge = await ending.close_corrupted(self, error)
            self._finishing = True
            return acknowledge

    async def _work(self) -> bool:
        over = await self._prepare()
        while over is None:
            if self.history.end is not None:  # by one whose lease is gone: it cannot say so in the head
                return await self._finish()
            if not await self._taken_in():
                continue
            if self.batch:
                over = await self._write()
            elif self.unclean:
                self.unclean = False
                await self._after_commit(everything=True)
            elif not await self._wait():
                over = await self._release()
        return over

    async def _prepare(self) -> bool | None:
        """Bring the body up; not None: there is nothing (more) to do than to end, and this is the answer."""
        try:
            await self._load()
        except trouble.Diverged:
            self._diverged = True
            await self._bring_up_again()
        if self.history.end is not None:
            return await self._finish()
        if self._too_many_stalls():
            self._end(trouble.failure(MAX_DELIVERIES_EXCEEDED, self._stalled(), self.now()))
        return None

    async def _write(self) -> bool | None:
        """Commit the batch, then act on it. Where only inline steps run now, wait for the next of them at once."""
        if not await self._commit():
            return None
        if self.history.end is not None:
            return await self._finish()
        await self._after_commit(everything=False)
        if self.steps.running and not self.unclean and not self.schedule.unclaimed:
            await self._wait()
        return None

    async def _load(self, running: InlineSteps | None = None) -> None:
        """Step 3: the log past what this process has, and the body it leads to. `running`: this turn's attempts."""
        loaded = await load(self)
        self.history, self.payloads = loaded.history, loaded.payloads
        self.unclean = self.unclean or loaded.longer
        self.steps = InlineSteps(self.engine, self.history, self.step_ended)
        if running is not None:
            self.steps.adopt(running)
        self.operations = Operations(self)
        self.inbox.unread = loaded.read_inbox
        await self.hold.note_growth(self.history.position)
        if self._too_many_stalls():
            return
        self.body = await bring_up(self, loaded)
        self._labels_written = self.history.labels_at
        self.schedule.fill(self.body)
        if self.body is not None:
            self._take_commands()
            self._pick_up_steps()

    def _too_many_stalls(self) -> bool:
        return self.hold.head.stalls > MAX_STALLS

    def _stalled(self) -> MaxDeliveriesExceededError:
        last = self.hold.head.trouble
        met = "" if last is None else f"; the last met {last.reason}"
        error = MaxDeliveriesExceededError(
            f"run {self.head.run_id}: {MAX_STALLS} workers in a row gave it up without its log growing; the run was "
            "ended. A step or the body kills its process (memory, a crash in C code, sys.exit), or none has the time"
            f"{met}. Raise an error instead of leaving the process, or give it more memory, and start the run again"
        )
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

    async def end_now(self, *events: ev.AnyEvent) -> bool:
        """End the run without its body, with these last events; returns whether to acknowledge."""
        self._forget_batch()
        self.over = True
        self.batch.extend(events)
        if not await self._commit():
            return False
        return await self._finish()

    def _forget_batch(self) -> None:
        """Drop what the body asked for; the log still begins with the creation."""
        self.batch = [event for event in self.batch if type(event) is ev.RunCreated]

    # -- commit and after -------------------------------------------------------------------------------------------

    async def _commit(self) -> bool:
        """Step 4. False: somebody else wrote, and the log was read again."""
        limit, before = self.engine.settings.max_events, self.history.position
        if before + len(self.batch) > limit:
            self._end_for_length()
        try:
            await append(self, self.batch)
        except AppendConflict:
            await self._conflict()
            return False
        if before < limit * LONG <= self.history.position and not self.over:
            trouble.warn_of_length(self.head.run_id, self.history.position, limit)
        self._worked = True
        self._cancel_inline_steps()
        return True

    def _cancel_inline_steps(self) -> None:
        """Only now that the log says so: the end that a cancelled step comes to must not be known before its cause."""
        for event in self.batch:
            if type(event) is ev.StepCancelled:
                self.steps.cancel(event.id)
            elif type(event) is ev.RunCancelled:
                for id in list(self.steps.running):
                    self.steps.cancel(id)

    def _end_for_length(self) -> None:
        if self.over:
            return
        limit = self.engine.settings.max_events
        error = MaxEventsExceededError(
            f"run {self.head.run_id}: its log would exceed {limit:,} events (WDK_MAX_EVENTS); end it in time with "
            "continue_as_new(), or do the work of a loop in child workflows"
        )
        now = self.now()
        self._forget_batch()
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
        running = self.steps
        for id, _, attempt in self._uncommitted:
            running.running[id] = attempt
        self._ended = [*((id, result) for id, result, _ in self._uncommitted), *self._ended]
        self._uncommitted = []
        self.schedule = Schedule()
        await self._load(running)
        self.inbox.unread = True

    async def _after_commit(self, *, everything: bool) -> None:
        """Step 5: all of it is harmless when done twice. `everything`: whatever the log says is outstanding."""
        batch, self.batch = self.batch, []
        self._uncommitted = []
        if everything:
            created = [state.created for state in self.history.steps.values() if state.created.queued]
            operations = list(self.history.operations.values())
            cancelled = [id for id, state in self.history.steps.items() if state.cancelled and state.created.queued]
        else:
            created = [event for event in batch if type(event) is ev.StepCreated and event.queued]
            operations = [event for event in batch if type(event) is ev.OperationCreated]
            cancelled = [event.id for event in batch if type(event) is ev.StepCancelled and self._is_queued(event.id)]
        if self.history.hooks or self.history.disposed:
            # An unclean turn does all of it at once: what begins now may need a token that was not claimed before it.
            await tokens.settle(self, batch, everything=everything or self.unclean)
        if operations:
            self.operations.start(operations)
        for id in cancelled:
            await self.engine.world.runs.cancel_step(*self.key, id)
        if created:
            await self.engine.world.queue.send([(await step_message(self, event), 0.0) for event in created])
        if self.history.labels_at > self._labels_written or (everything and self.history.labels_at):
            await ending.write_labels(self.engine, self.head, self.history)
            self._labels_written = self.history.labels_at
        if self.inbox.admits:
            await self.inbox.drop_admitted()
        for event in batch:
            if type(event) is ev.StepStarted:
                await self._begin_attempt(event)

    async def _begin_attempt(self, started: ev.StepStarted) -> None:
        """The log counts the attempt; directly before its body the lease is looked at once more."""
        assert self.body is not None  # who else asks for steps
        await self.hold.ensure()
        self.steps.start(self.body, started, self.step_context(started))

    def _is_queued(self, id: str) -> bool:
        state = self.history.steps.get(id)
        return state is not None and state.created.queued

    def step_context(self, started: ev.StepStarted) -> StepContext:
        assert self.body is not None  # who else asks for steps
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
            streams=Writers(self.engine.world, self.engine.keys, self.key, self.payloads, started.id, self.body.known),
        )

    # -- waiting, releasing, ending ---------------------------------------------------------------------------------

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
        """The end event is in the log: labels, steps and successor, then the head, then what follows the end.

        What comes before the head's status is done again by the next turn, what comes after it by the message that the
        head names: a death at any point leaves nothing undone.
        """
        if self.body is not None:
            ending.warn_forgotten(self.head, self.body)
        if self.history.labels_at:
            await ending.write_labels(self.engine, self.head, self.history)
        if self.history.queued:
            await ending.cancel_queued_steps(self.engine, self.head, self.history)
        if self.history.hooks:
            await tokens.free(self.engine.world, self.head, self.history)
        if isinstance(self.history.end, ev.RunContinued):
            await succession.create(self.engine, self.head, self.history, self.history.end)
        self.head = await self.hold.end(self.history, self.engine.version)
        self._finishing = True
        await ending.follow(self.engine, self.head, self.history)
        return True

    def _stop_bodies(self) -> None:
        """The worker shuts down: what runs is interrupted, as if the process had died."""
        self.steps.stop()

    def _leave_to_others(self) -> None:
        """This turn has given up, and bodies still run: neither the lease nor the message waits for them."""
        self.engine.keeper.drop(self.hold)
        self.hold.give_message_back()
        self.steps.abandon()

    async def _let_bodies_end(self) -> None:
        """A delivery returns only when every body that it began has ended; ends that came too late go to the inbox."""
        tasks = list(self.steps.tasks.values())
        if tasks:
            if self.engine.live.get(self.key) is self:
                del self.engine.live[self.key]
            if not self.hold.released and not self._finishing:
                self._leave_to_others()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._ended and not self._finishing:
            await self.inbox.hand_over(self._ended)
