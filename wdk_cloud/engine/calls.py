"""What a body calls: numbered when made, matched with the log, recorded when it is new.

The half of a `Body` that faces the code of a workflow; the other half, in replay.py, faces the log. How calls are
numbered, and what is a difference, is in `_ask` and `_wait`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

from wdk_cloud import durations
from wdk_cloud.builtin import BUILT_IN
from wdk_cloud.codec.refusal import belonging_to
from wdk_cloud.codec.values import decode_arguments, encode_arguments
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.guard import BodyGuard
from wdk_cloud.engine.hooks import BodyHook
from wdk_cloud.engine.loop import BodyLoop
from wdk_cloud.engine.payloads import check_size
from wdk_cloud.engine.succession import Successor, Will
from wdk_cloud.errors import SerializationError, StepNotRegisteredError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from wdk_cloud.app import Step, Workflow
    from wdk_cloud.engine.history import Command, History
    from wdk_cloud.engine.loop import DurableTimer


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


class Calls:
    """The calls of one workflow body, and which of them the log holds."""

    def __init__(self, workflow: Workflow[..., Any], history: History) -> None:
        created = history.created
        assert created is not None  # the turn applies `run_created` first
        self.run_id = history.run_id
        self.history = history
        self.workflow = workflow
        self.known = workflow.app.known
        self.calls: dict[str, Call] = {}
        """Steps and operations that the body waits for or has left, until they end."""
        self.timers: dict[str, tuple[float, asyncio.Future[None] | DurableTimer]] = {}
        """Timers that the body waits for: when they are due, and what wakes."""
        self.found: list[str] = []
        """Timers of the log that the body has come to; new ones are among the commands."""
        self.differences: list[str] = []
        self.cancelled_steps: set[str] = set()
        self.hooks: dict[str, BodyHook] = {}
        self.loop = BodyLoop(self.run_id)
        self.loop.owner = self
        self.loop.on_timer = self._timer_made
        self.loop.on_timer_cancelled = self._timer_cancelled
        self.loop.guard = BodyGuard(created.seed)
        self.loop.guard.module_globals = workflow.fn.__globals__
        self._created = created
        self._counters: dict[str, int] = {}
        self._made: dict[str, Coroutine[Any, Any, Any]] = {}
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._recorded: dict[str, tuple[int, Command]] = {}
        self._asked_at: dict[str, int] = {}
        self._queue: deque[ev.AnyEvent] = deque()
        self._kept: dict[str, ev.AnyEvent] = {}
        self._kept_due: deque[str] = deque()
        self._new: list[ev.AnyEvent] = []
        self._new_waits: set[str] = set()
        """Those in `_new`."""
        self._unwaited: set[str] = set()
        """Those of them that the body has left again."""
        self._patches_passed: set[str] = set()
        self._left_already: set[str] = set()
        """What the log says the body has left: it is said once."""
        self._stopped = False
        """A call or a timer differed: its task goes no further, and might have asked for anything behind it."""
        self._early: dict[str, list[ev.HookReceived | ev.HookConflict]] = {}
        """What came for hooks that the code makes later than it did when they were recorded."""
        self._labels = set(created.attributes)
        self._will = Will()

    # -- steps and operations -----------------------------------------------------------------------------------------

    def number(self, name: str) -> str:
        n = self._counters[name] = self._counters.get(name, 0) + 1
        return f"{name}#{n}"

    def step(self, step: Step[..., Any], arguments: Mapping[str, object]) -> Coroutine[Any, Any, Any]:
        """A call of a step: numbered and encoded now, recorded when it is first awaited."""
        if step.app is not self.workflow.app and step.id not in BUILT_IN:
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
                self._stopped = True
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
        timer.record = id
        self._wait(id, round(self.loop.now + timer.delay, 6), timer.delay, timer)

    def _timer_cancelled(self, timer: DurableTimer) -> None:
        id, timer.record = timer.record, None
        if id is not None and not self.loop.closed_inert:
            self._unwait(id)

    def _wait(self, id: str, due: float, delay: float, waiter: asyncio.Future[None] | DurableTimer) -> None:
        match self._recorded.pop(id, None):
            case None:
                due = round(due, 6)
                self._new.append(ev.WaitCreated(time=self.loop.now, id=id, due=due, delay=round(delay, 6)))
                self._new_waits.add(id)
            case (position, ev.WaitCreated(due=recorded)):
                due = recorded
                self._asked_at[id] = position
                self.found.append(id)
            case (position, event):
                self.differences.append(
                    f"{id} (position {position}): the code waits, the log has {type(event).__name__}"
                )
                self._stopped = True
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
        if id in self._new_waits:
            self._unwaited.add(id)
        elif id not in self._left_already:
            self._new.append(ev.WaitCancelled(time=self.loop.now, id=id))

    # -- hooks --------------------------------------------------------------------------------------------------------

    def create_hook(
        self, digest: str, metadata: bytes, returns: object, webhook: ev.WebhookTerms | None = None
    ) -> BodyHook:
        """A hook, recorded now: its token is claimed before anything that the body asks for afterwards."""
        hook = BodyHook(self.number("hook"), digest, returns, self.loop.now, webhook)
        if self.loop.closed_inert:
            return hook
        match self._recorded.pop(hook.id, None):
            case None:
                created = ev.HookCreated(
                    time=self.loop.now, id=hook.id, digest=digest, metadata=ev.Raw(metadata), webhook=webhook
                )
                self._new.append(created)
            case (position, ev.HookCreated(digest=recorded, webhook=terms)) if recorded == digest:
                hook.recorded_at, hook.webhook = position, terms
            case (position, event):
                self.differences.append(
                    f"{hook.id} (position {position}): the code makes a hook, the log has "
                    + ("a hook for another token" if isinstance(event, ev.HookCreated) else type(event).__name__)
                )
                self._stopped = True
        self.hooks[hook.id] = hook
        for event in self._early.pop(hook.id, ()):
            hook.put(event)
        return hook

    def next_of(self, hook: BodyHook) -> Coroutine[Any, Any, Any]:
        return self._named("hook", hook.next(self.loop, self.known, self.run_id))

    def dispose_hook(self, hook: BodyHook) -> None:
        if hook.disposed or self.loop.closed_inert:
            return
        hook.dispose()
        if hook.id not in self._left_already and hook.conflict is None:
            self._new.append(ev.HookDisposed(time=self.loop.now, id=hook.id))

    def unread(self) -> list[str]:
        """The keys of payloads that the log has and that the body has not taken: arrived, or not even delivered."""
        arrived = [key for hook in self.hooks.values() for key, _ in hook.arrived]
        later = [event for event in (*chain(*self._early.values()), *self._queue) if type(event) is ev.HookReceived]
        left = [event.key for event in later if (hook := self.hooks.get(event.id)) is None or not hook.disposed]
        return [key for key in (*arrived, *left) if key is not None]

    def awaits_hooks(self) -> bool:
        return any(hook.waiters for hook in self.hooks.values())

    # -- the end, labels and patches ----------------------------------------------------------------------------------

    def continue_as_new(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> NoReturn:
        """Leave the body: the run ends, and one with these arguments goes on. What does not fit raises here."""
        arguments = self.workflow.signature.bind(args, kwargs)
        try:
            data, digest = encode_arguments(arguments, known=self.known, annotations=self.workflow.annotations)
        except SerializationError as error:
            raise belonging_to(error, f"continue_as_new() of {self.workflow.id}") from error.__cause__
        self._will.leave(Successor(check_size(data, f"the input of {self.workflow.id}"), digest))

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
