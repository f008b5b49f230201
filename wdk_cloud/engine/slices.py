"""Slices: the short stretches in which a body runs inside the host's thread.

Entering a slice swaps what the body must not share with its host, and leaving puts it back: the running loop, the
current task, the async-generator hooks, the cyclic collector, the guarded names and, in the main thread, the handlers
of the signals that stop a program. A second thread watches that no slice computes for ever.
"""

from __future__ import annotations

import _signal  # pyright: ignore[reportMissingImports]  # `signal` without its enums, which cost more than the calls
import asyncio
import asyncio.tasks
import ctypes
import os
import sys
import threading
import time
from threading import get_ident
from typing import TYPE_CHECKING, Any

from wdk_cloud.engine import guard, names
from wdk_cloud.engine.guard import active
from wdk_cloud.errors import WorkflowStalledError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

    from wdk_cloud.engine.loop import BodyLoop

__all__ = ["BodyInterrupted", "Slice", "active", "hash_seed_fixed", "interrupt_stalled", "under_debugger"]


class BodyInterrupted(BaseException):
    """Something stopped the body that is not its doing; the cause is the interrupt.

    You met it because the engine let it pass: it discards the body, records nothing and ends the delivery as if the
    process had died. What the engine cannot see is a body that catches a `MemoryError` or `RecursionError` itself,
    in the task in which it came up, and goes on: that is taken for the body's own decision.
    """


def swap_current_task(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    """Make `task` the current one of the running loop `loop`, and return the one before."""
    previous = asyncio.current_task(loop)
    if previous is not None:
        asyncio.tasks._leave_task(loop, previous)
    if task is not None:
        asyncio.tasks._enter_task(loop, task)
    return previous


class Slice:
    """One stay of a body in a thread; `with loop.slice(live=...)`."""

    __slots__ = (
        *("_host_hooks", "_host_loop", "_host_task", "_loop", "_outer", "_own", "_quiet", "_wraps_signals"),
        *("baseline", "cpu_at", "late", "outer_signalled", "settled", "thread", "trouble", "watched"),
    )

    def __init__(self, loop: BodyLoop, live: bool) -> None:
        self._loop = loop
        self._quiet = not live
        self.late: tuple[int, FrameType | None] | None = None
        self.outer_signalled: Slice | None = None
        self.settled = False
        """Neither being entered nor being left: a signal may raise."""
        self.trouble: BaseException | None = None
        """Why the body must stop, also if it catches what was raised in it."""
        self.watched = False
        self.baseline = -1
        self.cpu_at = 0.0

    def __enter__(self) -> Slice:
        guard.install()
        loop = self._loop
        self.thread = thread = get_ident()
        self._wraps_signals = _take_signals(self, thread)
        self._own = loop.guard.module_globals
        loop.live = not self._quiet
        self._host_loop = host = asyncio._get_running_loop()
        self._host_task = None if host is None else swap_current_task(host, None)
        asyncio._set_running_loop(loop)
        self._host_hooks = sys.get_asyncgen_hooks()
        begun: Any = loop.asyncgen_begun
        sys.set_asyncgen_hooks(begun, loop.asyncgen_dropped)
        if self._quiet:
            loop.streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
        names.enter(self._own, self._quiet)
        self._outer = (active.get(thread), loop.visit)
        loop.visit = self
        active[thread] = loop
        self.settled = True
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.settled = False
        loop = self._loop
        outer, loop.visit = self._outer
        if outer is None:
            active.pop(self.thread, None)
        else:
            active[self.thread] = outer
        names.leave(self._own, self._quiet)
        sys.set_asyncgen_hooks(*self._host_hooks)
        asyncio._set_running_loop(self._host_loop)
        if self._host_loop is not None and self._host_task is not None:
            swap_current_task(self._host_loop, self._host_task)
        if self._wraps_signals:
            _give_signals_back(self)

    def run(self, work: Callable[[], None]) -> None:
        """Run the body under the eyes of the stall watch; whatever ends it from outside becomes the trouble."""
        self.watched = True
        try:
            try:
                work()
            finally:
                self._unwatch()
        except BaseException as exc:
            self.trouble = self.trouble or exc
        if self.watched:  # the watch struck while it was being called off; it strikes once in a while only
            self._unwatch()

    def _unwatch(self) -> None:
        with _watch:  # from here on nothing is thrown into this thread
            self.watched = False
        if isinstance(self.trouble, WorkflowStalledError):
            _meet_what_is_under_way(self.thread)


# --- signals ----------------------------------------------------------------------------------------------------------

_raw: Any = _signal
_STOPPING: tuple[int, int] = (_raw.SIGINT, _raw.SIGTERM)
_host_handlers: dict[int, Callable[[int, FrameType | None], object]] = {}
_signalled: Slice | None = None


def _take_signals(visit: Slice, thread: int) -> bool:
    """In the main thread: what the host's handlers raise inside the slice is remembered as an interrupt."""
    global _signalled
    if thread != threading.main_thread().ident:
        return False
    visit.outer_signalled, _signalled = _signalled, visit
    for number in _STOPPING:
        handler = _raw.getsignal(number)
        if callable(handler) and handler is not _on_signal:
            _host_handlers[number] = handler
            _raw.signal(number, _on_signal)
    return True


def _give_signals_back(visit: Slice) -> None:
    global _signalled
    _signalled = visit.outer_signalled
    if _signalled is None:
        for number, handler in _host_handlers.items():
            if _raw.getsignal(number) is _on_signal:  # else the body, or a handler, has set another
                _raw.signal(number, handler)
        if visit.late is not None:
            number, frame = visit.late
            _host_handlers[number](number, frame)
    elif visit.late is not None:
        _on_signal(*visit.late)


def _on_signal(number: int, frame: FrameType | None) -> object:
    visit = _signalled
    if visit is None:
        return _host_handlers[number](number, frame)
    if not visit.settled:  # half of the names are swapped: later
        visit.late = (number, frame)
        return None
    loop = active.pop(visit.thread, None)  # a handler belongs to the host: it meets the world as it is
    try:
        return _host_handlers[number](number, frame)
    except BaseException as exc:
        visit.trouble = exc
        raise
    finally:
        if loop is not None:
            active[visit.thread] = loop


# --- the stall watch --------------------------------------------------------------------------------------------------

_watch = threading.Lock()
_DEBUGGERS = ("debugpy", "pydevd", "_pydevd_bundle")


def interrupt_stalled(limit_seconds: float) -> None:
    """Raise `WorkflowStalledError` inside every slice that computes too long; called about once a second.

    What counts is the CPU time of the slice's thread since the last delivery, from the first call here that finds it
    there: so nothing is measured where bodies run. Where threads have no CPU clock, it is the time on the wall.
    """
    with _watch:  # a slice takes the lock before it ends, so those seen here are still there
        for thread, loop in list(active.items()):
            visit = loop.visit
            if visit is None or not visit.watched:
                continue
            used = _cpu(thread)
            if visit.baseline != loop.deliveries:
                visit.baseline, visit.cpu_at = loop.deliveries, used
            elif used - visit.cpu_at > limit_seconds and not under_debugger() and not _is_traced(thread):
                visit.trouble = WorkflowStalledError(
                    f"the body of run {loop.run_id} has computed for more than {limit_seconds:g} s of CPU time without "
                    "waiting for anything; do long computations in a step, or raise WDK_SLICE_SECONDS. "
                    f"It is at: {_place(thread)}"
                )
                visit.cpu_at = used  # a body that catches it gets the next one after as long again
                _raise_in(thread, WorkflowStalledError)


def _cpu(thread: int) -> float:
    if hasattr(time, "pthread_getcpuclockid"):
        return time.clock_gettime(time.pthread_getcpuclockid(thread))
    return time.monotonic()


def _raise_in(thread: int, exception: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(exception))


class _Met(BaseException):
    """Takes the place of an exception that may still be under way to this thread."""


def _meet_what_is_under_way(thread: int) -> None:
    """Call off what was thrown into this thread. To take it back is not enough: CPython 3.11 then looks for it for ever
    (`handle_eval_breaker` in ceval.c), which is slow, and makes it repeat one instruction without end under a profiler.
    """
    came: BaseException | None = None
    try:
        while True:
            try:
                _raise_in(thread, _Met)  # it comes as this call returns, or between any two instructions after it
                while True:
                    pass
            except WorkflowStalledError:  # it came before ours could take its place
                continue
            except _Met:
                break
            except BaseException as other:  # of a signal: it is raised when ours has come
                came = other
    except _Met:  # on the way to another attempt
        pass
    if came is not None:
        raise came


def _place(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # as in `_is_traced`
    return "?" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"


def _is_traced(thread: int) -> bool:
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]  # what faulthandler uses too
    while frame is not None:
        if frame.f_trace is not None:
            return True
        frame = frame.f_back
    return False


def under_debugger() -> bool:
    """Someone may be looking at a halted body: no limit then, and a long lease."""
    if _steps_through(sys.gettrace()) or any(name in sys.modules for name in _DEBUGGERS):
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None


def _steps_through(tracer: object) -> bool:
    # coverage measures, it halts nothing
    return tracer is not None and not str(getattr(tracer, "__module__", type(tracer).__module__)).startswith("coverage")


def hash_seed_fixed() -> bool:
    """Whether sets of strings iterate alike in every process that was started with this environment."""
    if not sys.flags.hash_randomization:
        return True
    return not sys.flags.ignore_environment and os.environ.get("PYTHONHASHSEED", "random").isdigit()
