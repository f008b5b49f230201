"""The inline steps of one turn: which may begin, which run, and what their ends mean for the log."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from wdk_cloud.codec.errors import encode_error
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.attempt import Attempt, Ending, exhausted
from wdk_cloud.errors import StepInterruptedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.context import StepContext
    from wdk_cloud.engine.history import History, StepState
    from wdk_cloud.engine.replay import Body
    from wdk_cloud.engine.service import Engine

SUSPICION = 30.0
"""Seconds for which an interrupted step runs alone; by then it would have brought its process down again (memory, a
crash in C). Longer it may not: it may end only when one of those ends that wait behind it."""

INTERRUPTIONS_UNCHARGED = 4
"""A step that was interrupted beside others is charged a try from the fifth time on (docs/protocol.md)."""


class InlineSteps:
    """Belongs to a turn, which feeds what `ended` gives and writes the events that are returned here."""

    def __init__(self, engine: Engine, history: History, ended: Callable[[str, Ending], None]) -> None:
        self._engine = engine
        self.history = history
        self._ended = ended
        self.waiting: deque[str] = deque()
        """Steps that may begin, in the order in which they were asked for."""
        self.running: dict[str, Attempt] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._threads: dict[str, asyncio.Future[object]] = {}
        self._suspects: set[str] = set()
        self._alone: str | None = None
        """The suspect that runs now, with nothing beside it."""
        self.alone_until = 0.0
        """When it is acquitted."""

    # -- what may begin ---------------------------------------------------------------------------------------------

    def begin(self, body: Body, now: float) -> list[ev.StepStarted]:
        """The events that count the attempts which begin after the next commit. Interrupted steps go alone."""
        started: list[ev.StepStarted] = []
        if self._alone is not None and self.alone_until <= self._engine.world.clock.now():
            self._acquit(self._alone)
        while self.waiting and len(self.running) + len(started) < self._engine.settings.inline_limit:
            id = self.waiting[0]
            alone = id in self._suspects
            if self._alone is not None or (alone and started):
                break
            self.waiting.popleft()
            if not body.wants(id):
                self._suspects.discard(id)
                continue
            state = self.history.steps.get(id)
            attempt = state.attempt + 1 if state is not None else 1
            started.append(ev.StepStarted(time=now, id=id, attempt=attempt))
            if alone:
                self._alone, self.alone_until = id, self._engine.world.clock.now() + SUSPICION
                break
        return started

    def _acquit(self, id: str) -> None:
        self._suspects.discard(id)
        if id == self._alone:
            self._alone = None

    def held_up_until(self) -> float | None:
        """When steps that wait behind a suspect may begin; None if none do."""
        return self.alone_until if self._alone is not None and self.waiting else None

    def prefer_suspects(self) -> None:
        self.waiting = deque(sorted(self.waiting, key=lambda id: id not in self._suspects))

    def start(self, body: Body, started: ev.StepStarted, context: StepContext) -> None:
        """Begin the body of an attempt that the log counts."""
        call = body.calls[started.id]
        assert call.step is not None  # only steps have attempts
        thread = self._threads.pop(started.id, None)
        attempt = Attempt(
            call.step, call.step.options, call.input, context, self._engine.world.clock, self._engine.executor, thread
        )
        self.running[started.id] = attempt
        self.tasks[started.id] = asyncio.create_task(self._run(started.id, attempt))

    async def _run(self, id: str, attempt: Attempt) -> None:
        ending = await attempt.run()
        if attempt.thread is not None:
            self._threads[id] = attempt.thread
        self._ended(id, ending)

    def cancellable(self) -> bool:
        """Whether a cancellable step runs."""
        return any(attempt.options.cancellable for attempt in self.running.values())

    def cancel(self, id: str) -> None:
        if (attempt := self.running.get(id)) is not None and attempt.options.cancellable:
            attempt.cancel()

    def adopt(self, other: InlineSteps) -> None:
        """Take over the attempts that run, after the log was read again. Whoever wrote it may have ended or cancelled a
        step, or the run: nobody else tells these attempts."""
        self.running.update(other.running)
        self.tasks.update(other.tasks)
        self._threads.update(other._threads)
        over = type(self.history.end) is ev.RunCancelled
        for id in self.running:
            if over or (state := self.history.steps.get(id)) is None or state.cancelled:
                self.cancel(id)

    def abandon(self) -> None:
        """The turn has given up: cancellable attempts end now, as if the process had died; the others come to an end of
        their own, which goes through the inbox."""
        for attempt in self.running.values():
            if attempt.options.cancellable:
                attempt.abandon()

    def stop(self) -> None:
        """The worker shuts down: the attempts that run are interrupted."""
        for task in self.tasks.values():
            task.cancel()

    def first_started(self, started: ev.StepStarted) -> float:
        """When the first attempt of this step began."""
        state = self.history.steps.get(started.id)
        return state.first_started if state is not None else started.time

    # -- what an end means ------------------------------------------------------------------------------------------

    def over(self, id: str, ending: Ending, now: float) -> ev.StepCompleted | ev.StepFailed | ev.StepRetrying | None:
        """The event for the end of a running attempt; None for a step that is not in the log any more."""
        attempt = self.running.pop(id)
        self.tasks.pop(id, None)
        self._acquit(id)
        state = self.history.steps.get(id)
        if state is None:
            return None
        return step_event(state, attempt, ending, now, self._engine.draw())

    # -- what an earlier worker left --------------------------------------------------------------------------------

    def interrupted(self, body: Body, now: float) -> list[ev.StepInterrupted | ev.StepFailed]:
        """Events for the attempts that an earlier lease began and did not end, of the steps that the body wants."""
        found = [
            state
            for id, state in self.history.steps.items()
            if state.open and not state.created.queued and id not in self.running and body.wants(id)
        ]
        beside = sum(state.open and id not in self.running for id, state in self.history.steps.items())
        events: list[ev.StepInterrupted | ev.StepFailed] = []
        for state in found:
            events.extend(self._interrupt(body, state, now, alone=beside == 1))
        self.prefer_suspects()
        return events

    def wait(self, id: str) -> None:
        """A step that the log holds and that may begin; one that an earlier death interrupted still goes alone."""
        if self.history.steps[id].suspect:
            self._suspects.add(id)
        self.waiting.append(id)

    def _interrupt(
        self, body: Body, state: StepState, now: float, alone: bool
    ) -> list[ev.StepInterrupted | ev.StepFailed]:
        id, attempt = state.created.id, state.attempt
        step = body.calls[id].step
        assert step is not None  # only steps have attempts
        lost = StepInterruptedError(
            f"run {body.run_id}: the process died while attempt {attempt} of step {step.id} ran; it may have happened, "
            "wholly or in part: make the step idempotent, or look before you repeat it"
        )
        if step.options.max_retries == 0:
            return [ev.StepFailed(time=now, id=id, attempt=attempt, error=ev.Raw(encode_error(lost, known=body.known)))]
        charged = alone or state.interruptions >= INTERRUPTIONS_UNCHARGED
        event = ev.StepInterrupted(time=now, id=id, attempt=attempt, charged=charged)
        if charged and state.tries + 1 > step.options.max_retries:
            error = exhausted(step.id, attempt, lost, body.known)
            return [event, ev.StepFailed(time=now, id=id, attempt=attempt, error=ev.Raw(error))]
        self._suspects.add(id)
        self.waiting.append(id)
        return [event]


def step_event(
    state: StepState, attempt: Attempt, ending: Ending, now: float, draw: float
) -> ev.StepCompleted | ev.StepFailed | ev.StepRetrying:
    """What the end of an attempt means for its step, by the step's options and the tries that count so far."""
    id, number, step = state.created.id, attempt.context.attempt, attempt.step
    if ending.kind == "completed":
        return ev.StepCompleted(time=now, id=id, attempt=number, result=ev.Raw(ending.data))
    if ending.final:
        return ev.StepFailed(time=now, id=id, attempt=number, error=ev.Raw(ending.data))
    tries = state.tries + 1
    if tries > attempt.options.max_retries:
        error = exhausted(step.id, number, ending.cause, attempt.known)
        return ev.StepFailed(time=now, id=id, attempt=number, error=ev.Raw(error))
    pause = attempt.options.retry.pause(tries, draw)
    retry_at = ending.retry_at if ending.retry_at is not None else now + pause
    return ev.StepRetrying(time=now, id=id, attempt=number, error=ev.Raw(ending.data), retry_at=round(retry_at, 6))
