"""Events in, commands out: one workflow body, driven from its log. No await, no clock, no I/O.

A `Body` is given the events of its run. It runs the body on a deterministic loop, delivers one completion per rest, in
log order, and collects what the body asks for that the log does not hold yet. How a recorded call and a made one are
matched, what is kept and what is a difference: LOOP.md's rules, in `_ask`, `_deliver` and `check`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NoReturn

from wdk_cloud import durations
from wdk_cloud.codec.errors import decode_error, encode_error
from wdk_cloud.codec.refusal import NewerFormatError, belonging_to
from wdk_cloud.codec.values import decode, decode_arguments, encode_arguments
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.guard import BodyGuard
from wdk_cloud.engine.loop import BodyLoop
from wdk_cloud.engine.results import encode_result
from wdk_cloud.errors import (
    CorruptedEventLogError,
    NondeterminismError,
    SerializationError,
    StepNotRegisteredError,
    WorkflowDeadlockError,
    WorkflowStalledError,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from wdk_cloud.app import Step, Workflow
    from wdk_cloud.engine.history import Command, History
    from wdk_cloud.engine.loop import DurableTimer

USER_ERROR = "USER_ERROR"
REPLAY_DIVERGENCE = "REPLAY_DIVERGENCE"
CORRUPTED_EVENT_LOG = "CORRUPTED_EVENT_LOG"
MAX_DELIVERIES_EXCEEDED = "MAX_DELIVERIES_EXCEEDED"
MAX_EVENTS_EXCEEDED = "MAX_EVENTS_EXCEEDED"
RUNTIME_ERROR = "RUNTIME_ERROR"


class Call:
    """A step or an operation that a body has called; numbered and encoded when it was made."""

    __slots__ = ("digest", "id", "input", "name", "returns", "step")

    def __init__(
        self, id: str, name: str, input: bytes, digest: str, step: Step[..., Any] | None, returns: object
    ) -> None:
        self.id = id
        self.name = name
        self.input = input
        self.digest = digest
        self.step = step
        self.returns = returns


class Outcome:
    """How a body ended: a result (JSON text), or an error with its code."""

    __slots__ = ("code", "error", "result")

    def __init__(self, *, result: bytes | None = None, code: str = "", error: bytes = b"") -> None:
        self.result = result
        self.code = code
        self.error = error


class Body:
    """One workflow body between its log and its loop."""

    def __init__(self, workflow: Workflow[..., Any], history: History, url: str) -> None:
        created = history.created
        assert created is not None  # the turn applies `run_created` first
        self.run_id = history.run_id
        self.history = history
        self.workflow = workflow
        self.known = workflow.app.known
        self.url = url
        self.position = 0
        self.calls: dict[str, Call] = {}
        """Steps and operations that the body waits for or has left, until they end."""
        self.timers: dict[str, tuple[float, asyncio.Future[None] | DurableTimer]] = {}
        """Timers that the body waits for: when they are due, and what wakes."""
        self.outcome: Outcome | None = None
        self.differences: list[str] = []
        self.cancelled_steps: set[str] = set()
        self.loop = BodyLoop(self.run_id)
        self.loop.owner = self
        self.loop.on_timer = self._timer_made
        self.loop.on_timer_cancelled = self._timer_cancelled
        self.loop.guard = BodyGuard(created.seed)
        self.loop.guard.module_globals = workflow.fn.__globals__
        self._created = created
        self._root: asyncio.Task[object] | None = None
        self._counters: dict[str, int] = {}
        self._made: dict[str, Coroutine[Any, Any, Any]] = {}
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._timer_ids: dict[DurableTimer, str] = {}
        self._recorded: dict[str, tuple[int, Command]] = {}
        self._asked_at: dict[str, int] = {}
        self._queue: deque[ev.AnyEvent] = deque()
        self._kept: dict[str, ev.AnyEvent] = {}
        self._kept_due: deque[str] = deque()
        self._new: list[ev.AnyEvent] = []
        self._patches_passed: set[str] = set()
        self._left_already: set[str] = set()
        """What the log says the body has left: it is said once."""
        self._stopped_at = 1 << 62
        """The first position at which a call differed: its task goes no further, so later ids prove nothing."""
        self._labels = set(created.attributes)

    # -- driving ----------------------------------------------------------------------------------------------------

    def load(self, events: Iterable[ev.AnyEvent]) -> None:
        """Take in events of the log, in order, before they are replayed."""
        for event in events:
            self.position += 1
            if isinstance(event, ev.StepCreated | ev.WaitCreated | ev.OperationCreated):
                self._recorded[event.id] = (self.position, event)
            elif isinstance(event, ev.WaitCancelled | ev.StepCancelled):
                self._left_already.add(event.id)
            elif isinstance(event, ev.AttributesSet):
                if event.id is not None:
                    self._recorded[event.id] = (self.position, event)
            elif isinstance(event, ev.COMPLETIONS) or type(event) is ev.RunStarted:
                self._queue.append(event)

    def replay(self) -> None:
        """Feed what was loaded; afterwards `take` has what is new and `differences` what does not match."""
        if self._queue:
            with self.loop.slice(False):
                self._drive()
        self.check()

    def feed(self, event: ev.AnyEvent) -> None:
        """Deliver one completion that is not in the log yet; its place there is behind all that `take` gave so far."""
        self._queue.append(event)
        with self.loop.slice(True):
            self._drive()

    def take(self) -> list[ev.AnyEvent]:
        """The commands that the body has made since the last call."""
        new, self._new = self._new, []
        return new

    def discard(self) -> None:
        """Close the coroutine, and those of calls that were never awaited, without effect."""
        self.loop.close_body()
        self.forgotten()

    def _drive(self) -> None:
        loop = self.loop
        while self.outcome is None:
            try:
                loop.run_until_rest()
            except WorkflowStalledError as error:
                self._fail(error)
                return
            if loop.guard.violation is not None:
                self._fail(loop.guard.violation)
                return
            if self._root is not None and self._root.done():
                self._finish(self._root)
                return
            if self._kept_due:
                self._resolve(self._kept.pop(self._kept_due.popleft()))
            elif self._queue:
                event = self._queue.popleft()
                loop.now = event.time
                self._deliver(event)
            else:
                return
            loop.delivered()

    def _deliver(self, event: ev.AnyEvent) -> None:
        if type(event) is ev.RunStarted:
            self._root = self.loop.start(self._main())
            return
        assert isinstance(event, ev.COMPLETIONS)  # only these and the start are delivered
        id = event.id
        if id in self._waiting or id in self.timers:
            self._resolve(event)
        elif self._unasked(id):
            self._kept[id] = event
        else:
            self.calls.pop(id, None)  # the body has left it behind

    def _unasked(self, id: str) -> bool:
        name, _, number = id.rpartition("#")
        return id in self._made or int(number) > self._counters.get(name, 0)

    def _resolve(self, event: ev.AnyEvent) -> None:
        match event:
            case ev.WaitCompleted(id=id):
                _, waiter = self.timers.pop(id)
                self._asked_at.pop(id, None)
                if isinstance(waiter, asyncio.Future):
                    if not waiter.done():
                        waiter.set_result(None)
                else:
                    self._timer_ids.pop(waiter, None)
                    waiter.fire()
            case ev.StepCompleted(id=id, result=data) | ev.OperationCompleted(id=id, result=data):
                self._settle(id, data, None)
            case ev.StepFailed(id=id, error=data) | ev.OperationFailed(id=id, error=data):
                self._settle(id, None, data)
            case _:
                raise AssertionError(event)

    def _settle(self, id: str, result: ev.Raw | None, error: ev.Raw | None) -> None:
        future = self._waiting.pop(id)
        call = self.calls.pop(id)
        if future.done():
            return
        if result is None:
            future.set_exception(self._failure(id, bytes(error or b"")))
            return
        try:
            value = decode(bytes(result), call.returns, known=self.known, path=f"the result of {call.name}")
        except NewerFormatError:
            raise
        except SerializationError as failure:
            future.set_exception(failure)
        else:
            future.set_result(value)

    def _failure(self, id: str, data: bytes) -> BaseException:
        """The exception that a call ended with. Any can be recorded and read, whatever its class: what cannot be read
        is none that we wrote."""
        try:
            return decode_error(data, known=self.known)
        except NewerFormatError:
            raise
        except SerializationError as failure:
            raise CorruptedEventLogError(
                f"run {self.run_id}: the error of {id} cannot be read ({failure}); it was changed by something else "
                "than wdk-cloud, or its storage is damaged: restore it, or start the run again"
            ) from failure

    # -- the body itself --------------------------------------------------------------------------------------------

    async def _main(self) -> object:
        arguments = decode_arguments(bytes(self._created.input), self.workflow.annotations, known=self.known)
        try:
            return await self.workflow.invoke(arguments)
        finally:
            await self.loop.shutdown_asyncgens()

    def _finish(self, root: asyncio.Task[object]) -> None:
        if root.cancelled():
            error: BaseException | None = asyncio.CancelledError(f"the body of {self.workflow.id} cancelled itself")
        else:
            error = root.exception()
        if error is not None:
            self._fail(self.loop.explain(error))
            return
        try:
            self.outcome = Outcome(result=encode_result(root.result(), f"workflow {self.workflow.id}", self.known))
        except SerializationError as failure:
            self._fail(failure)

    def _fail(self, error: BaseException, code: str = USER_ERROR) -> None:
        self.outcome = Outcome(code=code, error=encode_error(error, known=self.known))

    def check(self) -> None:
        """Compare the log with what was asked, now that it is used up and the body rests or has ended.

        A recorded id that was never asked is a difference, unless the body still waits for something that was
        recorded later or is new: then steps were added in front of it, and it may yet ask.
        """
        if self._recorded:
            waits = [self._asked_at.get(id, 1 << 62) for id in (*self._waiting, *self.timers)]
            latest = max(waits, default=0) if self.outcome is None else 0
            for id, (position, _) in self._recorded.items():
                if latest < position < self._stopped_at:
                    self.differences.append(
                        f"{id} is in the log at position {position}, and the code never asks for it"
                    )
        if self.outcome is None and not self.differences:
            self._check_deadlock()

    def _check_deadlock(self) -> None:
        if self._root is None or self._waiting or self.timers or self._made_later():
            return
        lines = self.loop.waiting_for()
        self._fail(
            WorkflowDeadlockError(
                f"run {self.run_id}: the body of {self.workflow.id} waits, and nothing is outstanding that could wake "
                "it: no step, sleep, hook or child. Await one of those, or let another task of the body complete what "
                "it waits for. It waits at: " + "; ".join(lines)
            )
        )

    def _made_later(self) -> bool:
        return bool(self._queue or self._kept_due)

    def rest(self) -> None:
        """To be called when the body rests and everything known was fed: fails a body that can never move."""
        if self.outcome is None:
            self._check_deadlock()

    def divergence(self) -> NondeterminismError:
        return NondeterminismError(
            f"run {self.run_id}: the code of {self.workflow.id} asks for something else than its log recorded: "
            + "; ".join(self.differences)
            + ". Keep the old order for runs that are alive (patched()), or give the new code a workflow of its own",
            self.differences,
        )

    # -- what a body calls ------------------------------------------------------------------------------------------

    def number(self, name: str) -> str:
        n = self._counters[name] = self._counters.get(name, 0) + 1
        return f"{name}#{n}"

    def step(self, step: Step[..., Any], arguments: Mapping[str, object]) -> Coroutine[Any, Any, Any]:
        """A call of a step: numbered and encoded now, recorded when it is first awaited."""
        if step.app is not self.workflow.app:
            return self._named(step.name, _raise(_not_registered(step, self.workflow)))
        try:
            data, digest = encode_arguments(arguments, known=self.known, annotations=step.annotations)
        except SerializationError as error:
            raise belonging_to(error, f"step {step.id}") from error.__cause__
        call = Call(self.number(step.id), step.id, data, digest, step, step.returns)
        return self._made_call(step.name, call)

    def operation(self, name: str, arguments: Mapping[str, object], returns: object = Any) -> Coroutine[Any, Any, Any]:
        """A call of the engine's own, which the turn carries out after it is in the log."""
        data, digest = encode_arguments(arguments, known=self.known)
        return self._made_call(name, Call(self.number(name), name, data, digest, None, returns))

    def _made_call(self, name: str, call: Call) -> Coroutine[Any, Any, Any]:
        coroutine = self._named(name, self._ask(call))
        self._made[call.id] = coroutine
        return coroutine

    @staticmethod
    def _named(name: str, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        coroutine.__name__ = coroutine.__qualname__ = name
        return coroutine

    async def _ask(self, call: Call) -> object:
        self._made.pop(call.id, None)
        if self.loop.closed_inert:
            return await self._for_ever()
        command: type[ev.StepCreated | ev.OperationCreated] = (
            ev.OperationCreated if call.step is None else ev.StepCreated
        )
        match self._recorded.pop(call.id, None):
            case None:
                self._new.append(
                    command(
                        time=self.loop.now, id=call.id, name=call.name, digest=call.digest, input=ev.Raw(call.input)
                    )
                )
            case (position, event) if isinstance(event, command) and event.digest == call.digest:
                self._asked_at[call.id] = position
            case (position, event):
                self.differences.append(self._describe(call, position, event))
                self._stopped_at = min(self._stopped_at, position)
                return await self._for_ever()
        future: asyncio.Future[object] = self.loop.create_future()
        self._waiting[call.id] = future
        self.calls[call.id] = call
        if call.id in self._kept:
            self._kept_due.append(call.id)
        try:
            return await future
        except asyncio.CancelledError:
            self._left(call, future)
            raise
        finally:
            self._asked_at.pop(call.id, None)

    def _left(self, call: Call, future: asyncio.Future[object]) -> None:
        """The awaiting task was cancelled: the call goes on, and its completion will be ignored."""
        if self.loop.closed_inert or self._waiting.get(call.id) is not future:
            return
        del self._waiting[call.id]
        if call.id in self._kept_due:
            self._kept_due.remove(call.id)
        if self._kept.pop(call.id, None) is not None:
            self.calls.pop(call.id, None)
        elif call.step is not None and call.step.options.cancellable:
            self.cancelled_steps.add(call.id)
            if call.id not in self._left_already:
                self._new.append(ev.StepCancelled(time=self.loop.now, id=call.id))

    async def _for_ever(self) -> NoReturn:
        while True:
            await self.loop.create_future()

    def _describe(self, call: Call, position: int, event: Command) -> str:
        if type(event) is ev.StepCreated and call.step is not None:
            return f"{call.id} (position {position}): " + self._argument_difference(call, event)
        kind = "an operation" if call.step is None else "a step"
        return (
            f"{call.id} (position {position}): the code asks for {kind}, the log has a different {type(event).__name__}"
        )

    def _argument_difference(self, call: Call, event: ev.StepCreated) -> str:
        try:
            old = decode_arguments(bytes(event.input), {}, known=self.known)
            new = decode_arguments(call.input, {}, known=self.known)
        except SerializationError:
            return f"its input differs (digest {event.digest} in the log, {call.digest} in the code)"
        missing = object()
        parts = [
            f"argument {name} was {_shown(old.get(name, missing), missing)} "
            f"and is now {_shown(new.get(name, missing), missing)}"
            for name in dict.fromkeys((*old, *new))
            if old.get(name, missing) != new.get(name, missing)
        ]
        return "; ".join(parts) or f"its input differs (digest {event.digest} in the log, {call.digest} in the code)"

    # -- time -------------------------------------------------------------------------------------------------------

    def sleep(self, duration: object) -> Coroutine[Any, Any, None]:
        """A durable sleep, numbered now."""
        due = durations.due(duration, self.loop.now, "sleep()")
        id = self.number("sleep")
        coroutine = self._named("sleep", self._sleep(id, due))
        self._made[id] = coroutine
        return coroutine

    async def _sleep(self, id: str, due: float) -> None:
        self._made.pop(id, None)
        if self.loop.closed_inert:
            await self._for_ever()
        future: asyncio.Future[None] = self.loop.create_future()
        self._wait(id, due, due - self.loop.now, future)
        try:
            await future
        except asyncio.CancelledError:
            if not self.loop.closed_inert and id in self.timers:
                self._unwait(id)
            raise

    def _timer_made(self, timer: DurableTimer) -> None:
        if self.loop.closed_inert:
            return
        id = self.number(timer.kind)
        self._timer_ids[timer] = id
        self._wait(id, round(self.loop.now + timer.delay, 6), timer.delay, timer)

    def _timer_cancelled(self, timer: DurableTimer) -> None:
        id = self._timer_ids.pop(timer, None)
        if id is not None and not self.loop.closed_inert:
            self._unwait(id)

    def _wait(self, id: str, due: float, delay: float, waiter: asyncio.Future[None] | DurableTimer) -> None:
        match self._recorded.pop(id, None):
            case None:
                due = round(due, 6)
                self._new.append(ev.WaitCreated(time=self.loop.now, id=id, due=due, delay=round(delay, 6)))
            case (position, ev.WaitCreated(due=recorded)):
                due = recorded
                self._asked_at[id] = position
            case (position, event):
                self.differences.append(
                    f"{id} (position {position}): the code waits, the log has {type(event).__name__}"
                )
                return
        self.timers[id] = (due, waiter)
        if id in self._kept:
            self._kept_due.append(id)

    def _unwait(self, id: str) -> None:
        """The body no longer waits for this timer. If its command is not in the log yet, it never will be."""
        self.timers.pop(id, None)
        self._asked_at.pop(id, None)
        if id in self._kept_due:
            self._kept_due.remove(id)
        if self._kept.pop(id, None) is not None:
            return
        for index, event in enumerate(self._new):
            if type(event) is ev.WaitCreated and event.id == id:
                del self._new[index]
                return
        if id not in self._left_already:
            self._new.append(ev.WaitCancelled(time=self.loop.now, id=id))

    # -- labels and patches -----------------------------------------------------------------------------------------

    def set_attributes(self, changes: dict[str, str | None]) -> None:
        """Record a change of the labels; the change itself is in the next append, nothing is waited for."""
        for name, value in changes.items():
            (self._labels.discard if value is None else self._labels.add)(name)
        id = self.number("set_attributes")
        match self._recorded.pop(id, None):
            case None:
                self._new.append(ev.AttributesSet(time=self.loop.now, id=id, changes=changes))
            case (_, ev.AttributesSet(changes=recorded)) if recorded == changes:
                pass
            case (position, event):
                was = event.changes if isinstance(event, ev.AttributesSet) else type(event).__name__
                self.differences.append(f"{id} (position {position}): the labels were {was} and are now {changes}")

    def label_names(self) -> set[str]:
        """The labels that the run was started with or that its body has set."""
        return self._labels

    def wants(self, id: str) -> bool:
        """Whether the body waits for this step or operation."""
        return id in self._waiting

    def patched(self, change_id: str) -> bool:
        """Whether this run has the change: recorded where the run first reaches the call at the end of its log."""
        if change_id in self.history.patches:
            return True
        if change_id in self._patches_passed:
            return False
        if self._queue or self._recorded:
            self._patches_passed.add(change_id)
            return False
        self.history.patches.add(change_id)
        self._new.append(ev.PatchRecorded(time=self.loop.now, id=change_id))
        return True

    def forgotten(self) -> list[str]:
        """The names of the calls that were made and never awaited; their coroutines are closed."""
        names = [coroutine.__name__ for coroutine in self._made.values()]
        for coroutine in self._made.values():
            coroutine.close()
        self._made.clear()
        return names


async def _raise(error: BaseException) -> NoReturn:
    raise error


def _not_registered(step: Step[..., Any], workflow: Workflow[..., Any]) -> StepNotRegisteredError:
    return StepNotRegisteredError(
        f"step {step.id} is not registered in the app of workflow {workflow.id}; a body calls steps of its own app: "
        "declare the step with the same Workflows object"
    )


def _shown(value: object, missing: object) -> str:
    return "left out" if value is missing else repr(value)[:200]
