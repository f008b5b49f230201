"""The deterministic event loop that a body runs on.

It has no I/O. Ready callbacks run first in, first out, inside slices of the host's thread; when none is left, the
engine delivers one completion and lets it run again. Timers are not the loop's business: each is handed to the engine,
which records it and fires it. So the order of everything follows from the log and the code.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
import math
import os
import zlib
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from wdk_cloud.codec.exceptions import message_of
from wdk_cloud.durations import LONGEST
from wdk_cloud.engine import closing, guard
from wdk_cloud.engine.guard import BodyGuard, active, refuse
from wdk_cloud.engine.slices import BodyInterrupted, Slice
from wdk_cloud.engine.tasks import INTERRUPTS, BodyFuture, BodyTask, describe
from wdk_cloud.engine.timers import DurableTimer, Ready
from wdk_cloud.errors import BUG, WorkflowSandboxError, WorkflowStalledError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import AsyncGeneratorType

T = TypeVar("T")

__all__ = ["BodyInterrupted", "BodyLoop", "DurableTimer"]

MAX_CALLBACKS = 100_000
"""Callbacks between two deliveries: enough to start 100,000 tasks at once, and soon reached by a loop that polls."""


class BodyLoop(asyncio.AbstractEventLoop):
    """The loop of one run's body."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.owner: object = None
        self.on_timer: Callable[[DurableTimer], None] = _ignore
        self.on_timer_cancelled: Callable[[DurableTimer], None] = _ignore
        self.now = 0.0
        self.guard = BodyGuard(os.urandom(32))  # until the engine gives it that of the run
        self.live = True
        self.closed_inert = False
        self.deliveries = 0
        self.visit: Slice | None = None
        self.streams: tuple[object, ...] = ()
        self.hash_base = zlib.crc32(run_id.encode()) << 24
        self.next_birth: Callable[[], int] = itertools.count(1).__next__
        self._ready: deque[Ready] = deque()
        self._callbacks = 0
        self._tasks: dict[int, BodyTask[Any]] = {}
        self._asyncgens: list[AsyncGeneratorType[Any, Any]] = []
        self._asyncgens_limit = 16
        self._exception_handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None = None

    # --- running ------------------------------------------------------------------------------------------------------

    def start(self, coro: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Make the root task; in an empty context, or the first delivery's would live on in the second."""
        return self.create_task(coro, context=contextvars.Context())

    def slice(self, live: bool) -> Slice:
        """What `run_until_rest` must happen inside; output of the body is dropped unless `live`."""
        return Slice(self, live)

    def delivered(self) -> None:
        """A completion was delivered: the limits of the slice begin anew."""
        self._callbacks = 0
        self.deliveries += 1

    def run_until_rest(self) -> None:
        """Run ready callbacks until none is left.

        Raises `BodyInterrupted` or `WorkflowStalledError`, also when the body has caught what was raised in it.
        """
        visit = self.visit
        if visit is None or active.get(get_ident()) is not self:
            raise RuntimeError(BUG + f"the body of run {self.run_id} was to run outside a slice")
        visit.run(self._run_ready)
        if isinstance(visit.trouble, WorkflowStalledError):
            raise visit.trouble
        if visit.trouble is not None:
            message = f"the body of run {self.run_id} was interrupted by {visit.trouble!r}"
            raise BodyInterrupted(message) from visit.trouble

    def _run_ready(self) -> None:
        ready, visit = self._ready, self.visit
        while ready:
            self._callbacks += 1
            if self._callbacks > MAX_CALLBACKS:
                raise WorkflowStalledError(_never_rests(self.run_id, self.waiting_for()))
            handle = ready.popleft()
            try:
                handle.run()
            except INTERRUPTS:
                raise
            except BaseException as exc:
                self._callback_failed(handle, exc)
            if visit is not None and visit.trouble is not None:
                break

    def _callback_failed(self, handle: Ready, exc: BaseException) -> None:
        if self.visit is None or self.visit.trouble is None:
            message = f"Exception in callback {handle!r}"
            self.call_exception_handler({"message": message, "exception": exc, "handle": handle})

    # --- tasks, futures, callbacks ------------------------------------------------------------------------------------

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]  # no generators: they left asyncio with 3.12
        self,
        coro: Coroutine[Any, Any, T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **eager: Any,
    ) -> asyncio.Task[T]:
        if context is None:
            context = contextvars.copy_context()
        task = BodyTask(coro, self, name, context, {key: value for key, value in eager.items() if value is not None})
        if not task.done():
            if not self._tasks:
                closing.open_loops[id(self)] = self
            self._tasks[task.birth] = task
        task.add_done_callback(_ended)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        future: BodyFuture[Any] = BodyFuture(loop=self)
        future.birth = self.hash_base + self.next_birth()
        return future

    def next_hash(self) -> int:
        """For what asyncio makes without asking the loop."""
        return self.hash_base + self.next_birth()

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if callback is _ended:  # at once: nothing of the body sees it
            return _ended(*args)
        if type(callback) is _FIRST_STEP and type(getattr(callback, "__self__", None)) is not BodyTask:
            refuse(self, "make a task with asyncio.Task()", "Use asyncio.create_task().")
        handle = Ready(callback, args, self, context)
        if not self.closed_inert:
            self._ready.append(handle)
        return handle

    def task_ended(self, task: BodyTask[Any]) -> None:
        self.disown(task)
        trouble = task.trouble
        if trouble is not None and self.visit is not None and self.visit.trouble is None:
            self.visit.trouble = trouble

    def tasks(self) -> list[BodyTask[Any]]:
        """The unfinished ones, in order of birth."""
        return list(self._tasks.values())

    def waiting_for(self) -> list[str]:
        """For each unfinished task a line that says where it stands and what it awaits."""
        return [describe(task) for task in self._tasks.values()]

    # --- timers -------------------------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.now

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        if math.isnan(delay):
            raise ValueError("Invalid delay: NaN (not a number)")
        timer = DurableTimer(delay, callback, args, self, context)
        if delay <= 0:
            timer.fire()
        elif delay <= LONGEST and not self.closed_inert:  # one that never comes is no wait at all
            self.on_timer(timer)
        return timer

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.now, callback, *args, context=context)

    def timer_cancelled(self, timer: DurableTimer) -> None:
        if timer.delay <= LONGEST and not self.closed_inert:
            self.on_timer_cancelled(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """`TimerHandle.cancel` calls this on every loop; ours say more, to `timer_cancelled`."""

    # --- async generators ---------------------------------------------------------------------------------------------

    def asyncgen_begun(self, agen: AsyncGeneratorType[Any, Any]) -> None:
        # Held strongly: a `finally` in one that is left early runs when the body returns, not when it is collected.
        if len(self._asyncgens) >= self._asyncgens_limit:
            self._asyncgens = self.live_asyncgens()
            self._asyncgens_limit = 2 * len(self._asyncgens) + 16
        self._asyncgens.append(agen)

    def asyncgen_dropped(self, agen: object) -> None:
        """Its frame goes without running a handler; only what a closed body left comes here."""

    def live_asyncgens(self) -> list[AsyncGeneratorType[Any, Any]]:
        """Those begun and not finished, in order of birth."""
        return [agen for agen in self._asyncgens if _unfinished(agen)]

    async def shutdown_asyncgens(self) -> None:
        """Close those that were left early, one after the other in order of birth; their `finally` may await."""
        closed: set[int] = set()
        while left := [agen for agen in self.live_asyncgens() if id(agen) not in closed]:
            closed.add(id(left[0]))
            if left[0].ag_running:  # a task that will be closed too is inside it
                continue
            try:
                await left[0].aclose()
            except Exception as exc:
                message = f"an error occurred during closing of asynchronous generator {left[0]!r}"
                self.call_exception_handler({"message": message, "exception": exc, "asyncgen": left[0]})

    # --- closing ------------------------------------------------------------------------------------------------------

    def close_body(self) -> None:
        """Close what is left of the body without any effect; calling it again does nothing."""
        if not self.closed_inert:
            self.closed_inert = True
            self._ready.clear()
            if self._tasks or self._asyncgens:
                closing.close(self)

    def disown(self, task: BodyTask[Any]) -> None:
        self._tasks.pop(task.birth, None)
        if not self._tasks:
            closing.open_loops.pop(id(self), None)

    def forget(self) -> None:
        self._ready.clear()
        self._tasks.clear()
        self._asyncgens.clear()

    # --- what asyncio asks its loop, and what goes wrong --------------------------------------------------------------

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Debug mode would measure and keep what no replay needs."""

    def is_running(self) -> bool:
        return self.visit is not None

    def is_closed(self) -> bool:
        return self.closed_inert

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None:
        return self._exception_handler

    def set_exception_handler(
        self, handler: Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object] | None
    ) -> None:
        self._exception_handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.closed_inert:
            return
        try:
            (self._exception_handler or BodyLoop.default_exception_handler)(self, context)
        except Exception:
            logging.getLogger("asyncio").exception("Unhandled error in exception handler")

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        lines = [str(context.get("message") or "Unhandled exception in event loop"), f"run: {self.run_id}"]
        lines += [f"{key}: {value!r}" for key, value in context.items() if key not in ("message", "exception")]
        logging.getLogger("asyncio").error("\n".join(lines), exc_info=context.get("exception"))

    def explain(self, exc: BaseException) -> BaseException:
        """What the body should be told instead of asyncio's "attached to a different loop"."""
        if type(exc) not in (RuntimeError, ValueError):  # the text of an exception of the app is code of the app
            return exc
        text = message_of(exc)
        if not any(sign in text for sign in _FOREIGN):
            return exc
        error = WorkflowSandboxError(
            f"the body of run {self.run_id} awaited something that belongs to another event loop, the host's for "
            f"example: {text}. No replay could wait for it again. Await it in a step, or make locks, queues and "
            "events inside the body"
        )
        error.__cause__ = exc
        return error

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        if active.get(get_ident()) is not self:
            refuse(
                self,
                "be called from another thread",
                "Bring in what comes from outside as a step's result or with a hook.",
            )
        return self.call_soon(callback, *args, context=context)


def _ignore(timer: DurableTimer) -> None:
    """Until the engine says what to do with timers."""


def _unfinished(agen: AsyncGeneratorType[Any, Any]) -> bool:
    frame: object = agen.ag_frame  # None at the end, whatever typeshed says
    return frame is not None


def _ended(task: BodyTask[Any]) -> Any:
    loop: Any = task.get_loop()
    return loop.task_ended(task)


def _never_rests(run_id: str, lines: list[str]) -> str:
    return (
        f"the body of run {run_id} ran {MAX_CALLBACKS:,} callbacks without waiting for a step, a sleep or a hook: it "
        "never rests. A loop that polls with `await asyncio.sleep(0)` should await what it waits for. "
        "It is at: " + "; ".join(lines)
    )


class _Probe(asyncio.AbstractEventLoop):
    """Notes the type of what a task gives to `call_soon` to begin; it has no public name."""

    kind: type[Any] | None = None

    def get_debug(self) -> bool:
        return False

    def call_soon(self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None) -> Any:
        self.kind = type(callback)


async def _nothing() -> None: ...


def _first_step_type() -> type[Any] | None:
    probe = _Probe()
    task: Any = asyncio.Task(_nothing(), loop=probe)
    task._log_destroy_pending = False
    task.get_coro().close()
    return probe.kind


_FIRST_STEP = _first_step_type()
_FOREIGN = ("attached to a different loop", "is bound to a different event loop", "belongs to a different loop")

_THREADS = "Make it a step: plain `def` steps run in a thread of their own."
_NETWORK = "Talk to the network in a step, or use wdk_cloud.fetch()."
_PROCESSES = "Run other programs in a step."
_SIGNALS = "Signals belong to the host; send a hook or cancel the run."
_DRIVING = "The engine runs this loop; await things instead."
_NEEDS_IO = ("sock_", "add_", "remove_", "connect_", "create_", "getaddr", "getname", "send", "start_")
_REFUSED = {
    **{name: _NETWORK for name in vars(asyncio.AbstractEventLoop) if name.startswith(_NEEDS_IO)},
    **dict.fromkeys(("run_in_executor", "set_default_executor", "shutdown_default_executor"), _THREADS),
    **dict.fromkeys(("subprocess_shell", "subprocess_exec"), _PROCESSES),
    **dict.fromkeys(("add_signal_handler", "remove_signal_handler"), _SIGNALS),
    **dict.fromkeys(("run_forever", "run_until_complete", "stop", "close"), _DRIVING),
    "set_task_factory": "Tasks of a body are the engine's; pass eager_start to create_task where Python has it.",
}


def _refusing(name: str, instead: str) -> Callable[..., object]:
    def method(self: BodyLoop, *_args: object, **_kwargs: object) -> object:
        refuse(self, f"use {name}() of its event loop", instead)

    method.__name__ = name
    return method


for _method, _instead in _REFUSED.items():
    if _method not in vars(BodyLoop):
        setattr(BodyLoop, _method, _refusing(_method, _instead))
guard.boundaries.add(BodyLoop.run_until_rest.__code__)
