"""What the events of a run add up to: the state that a turn decides by, folded from the log one event at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wdk_cloud.engine import events as ev
from wdk_cloud.errors import CorruptedEventLogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Command = ev.StepCreated | ev.WaitCreated | ev.OperationCreated | ev.HookCreated | ev.AttributesSet


@dataclass(slots=True)
class StepState:
    """A step that is in the log and has no end yet."""

    created: ev.StepCreated
    first_started: float = 0.0
    attempt: int = 0
    """The number of the last attempt that began."""
    open: bool = False
    """An attempt has begun and has no end."""
    tries: int = 0
    """Attempts that count against the step's budget."""
    interruptions: int = 0
    charged_last: bool = False
    """The last try was an interruption."""
    retry_at: float = 0.0
    cancelled: bool = False
    """The body has left it, and it is cancellable: whoever runs it is told."""
    suspect: bool = False
    """It was interrupted together with others: it runs alone until it ends."""


@dataclass(slots=True)
class History:
    """The fold. Steps and timers leave it when they end, so that a long run does not grow it."""

    run_id: str
    position: int = 0
    last_time: float = 0.0
    created: ev.RunCreated | None = None
    started_at: float | None = None
    end: ev.End | None = None
    end_at: int = 0
    """The position of the batch with the end event."""
    cancel: ev.CancelRequested | None = None
    steps: dict[str, StepState] = field(default_factory=dict[str, StepState])
    queued: int = 0
    """How many of the steps are queue-dispatched."""
    waits: dict[str, float] = field(default_factory=dict[str, float])
    woken: set[str] = field(default_factory=set[str])
    """Sleeps that a request to wake up has ended; their completions follow it, in the next batch if theirs was cut."""
    operations: dict[str, ev.OperationCreated] = field(default_factory=dict[str, ev.OperationCreated])
    hooks: dict[str, ev.HookCreated] = field(default_factory=dict[str, ev.HookCreated])
    """Those that want payloads: neither disposed of nor in conflict."""
    disposed: dict[str, ev.HookCreated] = field(default_factory=dict[str, ev.HookCreated])
    """Their tokens are free, or will be."""
    conflicts: dict[str, str] = field(default_factory=dict[str, str])
    """Hooks whose tokens belong to others, and the runs that own them."""
    hooks_of: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """Those that were made for a token's digest and are not in conflict, the oldest first; a disposed one stays until
    another is made."""
    admitted: set[str] = field(default_factory=set[str])
    patches: set[str] = field(default_factory=set[str])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    labels_at: int = 0
    """The position of the last event that changed the labels."""
    last_version: str = ""

    def extend(self, events: Iterable[ev.AnyEvent], version: str) -> None:
        """Take in one batch that lies in the log. Raises CorruptedEventLogError for events that cannot follow."""
        at = self.position + 1
        for event in events:
            self.position += 1
            if self.end is not None:
                raise _misplaced(self, event)
            if event.time > self.last_time:
                self.last_time = event.time
            _APPLY[type(event)](self, event)
        if self.end is not None and not self.end_at:
            self.end_at = at
        self.last_version = version

    def receiver_of(self, digest: str, batch: Iterable[ev.AnyEvent]) -> str | None:
        """The hook that gets the payloads of a token, with what is about to be committed: of several the oldest, which
        claimed it first. Also one that was disposed of: it drops what was sent before."""
        live, gone = list(self.hooks_of.get(digest, ())), self.disposed.keys()
        for event in batch:
            match event:
                case ev.HookCreated(digest=one, id=id) if one == digest:
                    live.append(id)
                case ev.HookConflict(id=id) if id in live:
                    live.remove(id)
                case ev.HookDisposed(id=id):
                    gone = gone | {id}
                case _:
                    pass
        return next((id for id in live if id not in gone), live[-1] if live else None)


def _misplaced(history: History, event: ev.AnyEvent) -> CorruptedEventLogError:
    """No worker writes it there: positions are taken once, and what it would follow is over or never was."""
    return CorruptedEventLogError(
        f"run {history.run_id}: position {history.position} of its log has a {event.__struct_config__.tag} that cannot "
        f"come there {getattr(event, 'id', '')}".rstrip()
        + "; it was changed by something else than wdk-cloud: restore it, or start the run again"
    )


def _admit(history: History, key: str | None) -> None:
    if key is not None:
        history.admitted.add(key)


def _run_created(h: History, e: ev.RunCreated) -> None:
    if h.position != 1:
        raise _misplaced(h, e)
    h.created = e
    if e.attributes:
        h.labels.update(e.attributes)
        h.labels_at = h.position


def _run_started(h: History, e: ev.RunStarted) -> None:
    if h.started_at is not None or h.created is None:
        raise _misplaced(h, e)
    h.started_at = e.time


def _step_created(h: History, e: ev.StepCreated) -> None:
    if e.id in h.steps:
        raise _misplaced(h, e)
    h.steps[e.id] = StepState(e)
    h.queued += e.queued


def _step_started(h: History, e: ev.StepStarted) -> None:
    if (step := h.steps.get(e.id)) is not None:
        step.attempt = e.attempt
        step.first_started = step.first_started or e.time
        step.open = True
        step.charged_last = False


def _step_retrying(h: History, e: ev.StepRetrying) -> None:
    if (step := h.steps.get(e.id)) is not None:
        step.open = False
        step.tries += 1
        step.retry_at = e.retry_at
        step.suspect = False


def _step_interrupted(h: History, e: ev.StepInterrupted) -> None:
    if (step := h.steps.get(e.id)) is not None:
        step.open = False
        step.interruptions += 1
        step.suspect = True
        if e.charged:
            step.tries += 1
            step.charged_last = True


def _step_ended(h: History, e: ev.StepCompleted | ev.StepFailed) -> None:
    step = h.steps.pop(e.id, None)
    if step is None:
        raise _misplaced(h, e)
    h.queued -= step.created.queued
    if e.key is not None:
        h.admitted.add(e.key)


def _step_cancelled(h: History, e: ev.StepCancelled) -> None:
    if (step := h.steps.get(e.id)) is not None:
        step.cancelled = True


def _wait_created(h: History, e: ev.WaitCreated) -> None:
    h.waits[e.id] = e.due


def _wait_over(h: History, e: ev.WaitCompleted | ev.WaitCancelled) -> None:
    h.waits.pop(e.id, None)
    h.woken.discard(e.id)


def _operation_created(h: History, e: ev.OperationCreated) -> None:
    h.operations[e.id] = e


def _operation_over(h: History, e: ev.OperationCompleted | ev.OperationFailed) -> None:
    h.operations.pop(e.id, None)


def _hook_created(h: History, e: ev.HookCreated) -> None:
    if e.id in h.hooks:
        raise _misplaced(h, e)
    h.hooks[e.id] = e
    h.hooks_of[e.digest] = [*(id for id in h.hooks_of.get(e.digest, ()) if id not in h.disposed), e.id]


def _hook_received(h: History, e: ev.HookReceived) -> None:
    _admit(h, e.key)


def _hook_conflict(h: History, e: ev.HookConflict) -> None:
    created = h.hooks.pop(e.id, None)
    h.conflicts[e.id] = e.run_id
    if created is not None:
        h.hooks_of[created.digest].remove(e.id)


def _hook_disposed(h: History, e: ev.HookDisposed) -> None:
    created = h.hooks.pop(e.id, None)
    if created is not None:
        h.disposed[e.id] = created


def _attributes_set(h: History, e: ev.AttributesSet) -> None:
    for name, value in e.changes.items():
        if value is None:
            h.labels.pop(name, None)
        else:
            h.labels[name] = value
    h.labels_at = h.position
    _admit(h, e.key)


def _patch_recorded(h: History, e: ev.PatchRecorded) -> None:
    h.patches.add(e.id)


def _cancel_requested(h: History, e: ev.CancelRequested) -> None:
    h.cancel = h.cancel or e
    _admit(h, e.key)


def _wake_requested(h: History, e: ev.WakeRequested) -> None:
    h.woken.update(id for id in h.waits if id.startswith("sleep#"))
    _admit(h, e.key)


def _ended(h: History, e: ev.End) -> None:
    h.end = e


_APPLY: dict[type[ev.AnyEvent], Callable[[History, Any], None]] = {
    ev.RunCreated: _run_created,
    ev.RunStarted: _run_started,
    ev.StepCreated: _step_created,
    ev.StepStarted: _step_started,
    ev.StepRetrying: _step_retrying,
    ev.StepInterrupted: _step_interrupted,
    ev.StepCompleted: _step_ended,
    ev.StepFailed: _step_ended,
    ev.StepCancelled: _step_cancelled,
    ev.WaitCreated: _wait_created,
    ev.WaitCompleted: _wait_over,
    ev.WaitCancelled: _wait_over,
    ev.OperationCreated: _operation_created,
    ev.OperationCompleted: _operation_over,
    ev.OperationFailed: _operation_over,
    ev.HookCreated: _hook_created,
    ev.HookReceived: _hook_received,
    ev.HookConflict: _hook_conflict,
    ev.HookDisposed: _hook_disposed,
    ev.AttributesSet: _attributes_set,
    ev.PatchRecorded: _patch_recorded,
    ev.CancelRequested: _cancel_requested,
    ev.WakeRequested: _wake_requested,
    ev.RunCompleted: _ended,
    ev.RunFailed: _ended,
    ev.RunCancelled: _ended,
    ev.RunContinued: _ended,
}
