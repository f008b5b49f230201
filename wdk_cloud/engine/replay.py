"""Events in, commands out: one workflow body, driven from its log. No await, no clock, no I/O.

A `Body` is given the events of its run. It runs the body on a deterministic loop, delivers one completion per rest, in
log order, and collects what the body asks for that the log does not hold yet. How a recorded call and a made one are
matched, what is kept and what is a difference is in `_deliver`, `check` and, for the call, in calls.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wdk_cloud.codec.errors import decode_error, encode_error
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.values import decode, decode_arguments
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.calls import Calls
from wdk_cloud.engine.results import encode_result
from wdk_cloud.engine.succession import Successor, besides_the_will
from wdk_cloud.errors import (
    CorruptedEventLogError,
    NondeterminismError,
    SerializationError,
    WorkflowDeadlockError,
    WorkflowStalledError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_cloud.app import Workflow
    from wdk_cloud.engine.history import History

USER_ERROR = "USER_ERROR"
REPLAY_DIVERGENCE = "REPLAY_DIVERGENCE"
CORRUPTED_EVENT_LOG = "CORRUPTED_EVENT_LOG"
MAX_DELIVERIES_EXCEEDED = "MAX_DELIVERIES_EXCEEDED"
MAX_EVENTS_EXCEEDED = "MAX_EVENTS_EXCEEDED"
RUNTIME_ERROR = "RUNTIME_ERROR"


class Outcome:
    """How a body ended: a result (JSON text), an error with its code, or the run that goes on for it, with the keys of
    what its hooks have received for that."""

    __slots__ = ("code", "error", "result", "successor", "unread")

    def __init__(
        self,
        *,
        result: bytes | None = None,
        code: str = "",
        error: bytes = b"",
        successor: Successor | None = None,
        unread: list[str] | None = None,
    ) -> None:
        self.result = result
        self.successor = successor
        self.unread = unread or []
        self.code = code
        self.error = error


class Body(Calls):
    """One workflow body between its log and its loop."""

    def __init__(self, workflow: Workflow[..., Any], history: History, url: str) -> None:
        super().__init__(workflow, history)
        self.url = url
        self.position = 0
        self.outcome: Outcome | None = None
        self._root: asyncio.Task[object] | None = None

    # -- driving ----------------------------------------------------------------------------------------------------

    def load(self, events: Iterable[ev.AnyEvent]) -> None:
        """Take in events of the log, in order, before they are replayed."""
        for event in events:
            self.position += 1
            if isinstance(event, ev.StepCreated | ev.WaitCreated | ev.OperationCreated | ev.HookCreated):
                self._recorded[event.id] = (self.position, event)
            elif isinstance(event, ev.WaitCancelled | ev.StepCancelled | ev.HookDisposed):
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
        if self._recorded:  # of what new calls stood in front of, something may turn out to be gone
            self._check_unasked()

    def take(self) -> list[ev.AnyEvent]:
        """The commands that the body has made since the last call."""
        new, self._new = self._new, []
        self._new_waits.clear()
        if self._unwaited:
            new = [event for event in new if type(event) is not ev.WaitCreated or event.id not in self._unwaited]
            self._unwaited.clear()
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
            if self._will.unheard():
                self.outcome = Outcome(successor=self._will.successor, unread=self.unread())
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
        if isinstance(event, ev.HookReceived | ev.HookConflict):
            if (hook := self.hooks.get(id)) is not None:
                hook.put(event)
            else:
                self._early.setdefault(id, []).append(event)
            return
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
                    waiter.record = None
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
        if self._will.successor is not None and (error := besides_the_will(error)) is None:
            self.outcome = Outcome(successor=self._will.successor, unread=self.unread())
            return
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
        """Compare the log with what was asked, now that it is used up and the body rests or has ended."""
        self._check_unasked()
        if self.outcome is None and not self.differences:
            self._check_deadlock()

    def _check_unasked(self) -> None:
        """Note what the log holds and the body has not asked for.

        A recorded id that was never asked is a difference, unless the body still waits for something that was
        recorded later or is new: then steps were added in front of it, and it may yet ask. Nor is it one where a task
        was stopped by a difference: calls may have changed places, so whatever is left may stand behind that one.
        """
        if self._recorded and not self._stopped:
            waits = [self._asked_at.get(id, 1 << 62) for id in (*self._waiting, *self.timers)]
            waits += [1 << 62 if h.recorded_at is None else h.recorded_at for h in self.hooks.values() if h.waiters]
            latest = max(waits, default=0) if self.outcome is None else 0
            for id, (position, _) in self._recorded.items():
                if latest < position:
                    self.differences.append(
                        f"{id} is in the log at position {position}, and the code never asks for it"
                    )

    def _check_deadlock(self) -> None:
        if self._root is None or self._waiting or self.timers or self.awaits_hooks() or self._made_later():
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
