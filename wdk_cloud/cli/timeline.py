"""What happened in a run, folded from its log: steps with their attempts, timers, operations, hooks, in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import msgspec

from wdk_cloud.engine import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterable

AttemptState = Literal["running", "completed", "retried", "interrupted", "failed", "unfinished"]
StepState = Literal["waiting", "running", "retrying", "interrupted", "completed", "failed", "unfinished"]
TimerState = Literal["waiting", "over", "dropped", "unfinished"]


@dataclass(slots=True)
class Attempt:
    number: int
    state: AttemptState
    started_at: float | None = None
    """None where only its end is in the log: it ran in a delivery of its own."""
    ended_at: float | None = None
    error: bytes | None = None


@dataclass(slots=True)
class StepLine:
    """One call of a step."""

    call: str
    name: str
    position: int
    created_at: float
    queued: bool
    input: bytes
    again: bool = False
    """Whether the run has another call of this step, from which people have to tell it."""
    attempts: list[Attempt] = field(default_factory=list[Attempt])
    state: StepState = "waiting"
    ended_at: float | None = None
    retry_at: float | None = None
    result: bytes | None = None
    error: bytes | None = None

    @property
    def started_at(self) -> float | None:
        return self.attempts[0].started_at if self.attempts else None

    def attempt(self, number: int) -> Attempt:
        """The attempt of that number; made where the log does not tell of its start."""
        for attempt in reversed(self.attempts):
            if attempt.number == number:
                return attempt
        self.attempts.append(Attempt(number, "running"))
        return self.attempts[-1]


@dataclass(slots=True)
class TimerLine:
    """A sleep or a time-out of the body."""

    id: str
    position: int
    created_at: float
    due: float
    delay: float | None
    state: TimerState = "waiting"
    ended_at: float | None = None


@dataclass(slots=True)
class OperationLine:
    """Something that the body asked of another run, or to start one."""

    id: str
    name: str
    position: int
    created_at: float
    input: bytes
    ended_at: float | None = None
    failed: bool = False

    @property
    def awaited_run(self) -> str | None:
        """The run whose result it waits for; None for another operation, and where its input is encrypted."""
        if self.name != "run.return_value":
            return None
        try:
            return msgspec.json.decode(self.input, type=OfRun).run_id
        except msgspec.MsgspecError:
            return None


@dataclass(slots=True)
class HookLine:
    """A hook or a webhook."""

    id: str
    position: int
    created_at: float
    kind: Literal["hook", "webhook"]
    digest: str
    metadata: bytes
    received: int = 0
    conflict: str | None = None
    """The run that owns the token: this hook never receives."""
    ended_at: float | None = None


class OfRun(msgspec.Struct):
    """The part that is read of an operation's input."""

    run_id: str


@dataclass(slots=True)
class Timeline:
    created: ev.RunCreated | None = None
    started_at: float | None = None
    end: ev.End | None = None
    length: int = 0
    steps: dict[str, StepLine] = field(default_factory=dict[str, StepLine])
    timers: dict[str, TimerLine] = field(default_factory=dict[str, TimerLine])
    operations: dict[str, OperationLine] = field(default_factory=dict[str, OperationLine])
    hooks: dict[str, HookLine] = field(default_factory=dict[str, HookLine])
    admitted: set[str] = field(default_factory=set[str])
    """The keys of the payloads that hooks have received."""

    @staticmethod
    def of(events: Iterable[tuple[int, ev.AnyEvent]]) -> Timeline:
        timeline = Timeline()
        for position, event in events:
            timeline._apply(position, event)
        if timeline.end is not None:
            timeline._close()
        calls = Counter(step.name for step in timeline.steps.values())
        for step in timeline.steps.values():
            step.again = calls[step.name] > 1
        return timeline

    def open_steps(self) -> list[StepLine]:
        return [step for step in self.steps.values() if step.ended_at is None]

    def open_timers(self) -> list[TimerLine]:
        return [timer for timer in self.timers.values() if timer.ended_at is None]

    def open_operations(self) -> list[OperationLine]:
        return [operation for operation in self.operations.values() if operation.ended_at is None]

    def open_hooks(self) -> list[HookLine]:
        """Those that can receive."""
        return [hook for hook in self.hooks.values() if hook.ended_at is None and hook.conflict is None]

    def _apply(self, position: int, event: ev.AnyEvent) -> None:
        self.length = position
        match event:
            case ev.RunCreated():
                self.created = event
            case ev.RunStarted(time=time):
                self.started_at = time
            case ev.RunCompleted() | ev.RunFailed() | ev.RunCancelled() | ev.RunContinued():
                self.end = event
            case ev.WaitCreated(id=id, time=time, due=due, delay=delay):
                self.timers[id] = TimerLine(id, position, time, due, delay)
            case ev.WaitCompleted(id=id, time=time) | ev.WaitCancelled(id=id, time=time):
                if (timer := self.timers.get(id)) is not None:
                    timer.ended_at, timer.state = time, "over" if isinstance(event, ev.WaitCompleted) else "dropped"
            case ev.OperationCreated(id=id, name=name, time=time):
                self.operations[id] = OperationLine(id, name, position, time, bytes(event.input))
            case ev.OperationCompleted(id=id, time=time) | ev.OperationFailed(id=id, time=time):
                if (operation := self.operations.get(id)) is not None:
                    operation.ended_at, operation.failed = time, isinstance(event, ev.OperationFailed)
            case _:
                self._apply_to_step(position, event)
                self._apply_to_hook(position, event)

    def _apply_to_hook(self, position: int, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.HookCreated):
            kind = "hook" if event.webhook is None else "webhook"
            self.hooks[event.id] = HookLine(event.id, position, event.time, kind, event.digest, bytes(event.metadata))
            return
        hook = self.hooks.get(getattr(event, "id", None) or "")
        if hook is None:
            return
        match event:
            case ev.HookReceived(key=key):
                hook.received += 1
                if key is not None:
                    self.admitted.add(key)
            case ev.HookConflict(run_id=run_id):
                hook.conflict = run_id
            case ev.HookDisposed(time=time):
                hook.ended_at = time
            case _:
                pass

    def _apply_to_step(self, position: int, event: ev.AnyEvent) -> None:
        if isinstance(event, ev.StepCreated):
            self.steps[event.id] = StepLine(
                event.id, event.name, position, event.time, event.queued, bytes(event.input)
            )
            return
        step = self.steps.get(getattr(event, "id", ""))
        if step is None:
            return
        match event:
            case ev.StepStarted(time=time, attempt=number):
                step.attempts.append(Attempt(number, "running", time))
                step.state, step.retry_at = "running", None
            case ev.StepRetrying(time=time, attempt=number, error=error, retry_at=retry_at):
                _end(step.attempt(number), "retried", time, bytes(error))
                step.state, step.retry_at = "retrying", retry_at
            case ev.StepInterrupted(time=time, attempt=number):
                _end(step.attempt(number), "interrupted", time)
                step.state = "interrupted"
            case ev.StepCompleted(time=time, attempt=number, result=result):
                _end(step.attempt(number), "completed", time)
                step.state, step.ended_at, step.result = "completed", time, bytes(result)
            case ev.StepFailed(time=time, attempt=number, error=error):
                last = step.attempt(number)
                _end(last, "interrupted" if last.state == "interrupted" else "failed", time, bytes(error))
                step.state, step.ended_at, step.error = "failed", time, bytes(error)
            case _:
                pass

    def _close(self) -> None:
        """The run has ended: nobody waits for what is still open."""
        for step in self.open_steps():
            step.state = "unfinished"
            for attempt in step.attempts:
                if attempt.state == "running":
                    attempt.state = "unfinished"
        for timer in self.open_timers():
            timer.state = "unfinished"


def _end(attempt: Attempt, state: AttemptState, time: float, error: bytes | None = None) -> None:
    attempt.state, attempt.ended_at, attempt.error = state, time, error
