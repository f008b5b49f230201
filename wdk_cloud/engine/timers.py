"""Handles: a callback that is ready, and one that waits for a durable timer."""

from __future__ import annotations

import asyncio
import asyncio.futures
import contextvars
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wdk_cloud.engine.loop import BodyLoop

_WAKES_A_SLEEPER: object = vars(asyncio.futures)["_set_result_unless_cancelled"]  # only asyncio.sleep uses it


class Ready(asyncio.Handle):
    """A callback whose turn comes; as asyncio's, without the questions about debug mode."""

    __slots__ = ()
    _context: contextvars.Context
    _callback: Callable[..., object]
    _args: Sequence[Any]
    _cancelled: bool

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[object, ...],
        loop: BodyLoop,
        context: contextvars.Context | None,
    ) -> None:
        self._callback = callback
        self._args = args
        self._loop = loop
        self._context = contextvars.copy_context() if context is None else context
        self._cancelled = False
        self._repr = None
        self._source_traceback = None

    def run(self) -> None:
        if not self._cancelled:
            self._context.run(self._callback, *self._args)


class DurableTimer(asyncio.TimerHandle):
    """What `call_later` and `call_at` return: a wait that the engine records, and fires when its completion comes."""

    __slots__ = ("delay", "fired", "kind", "record")
    _context: contextvars.Context
    _callback: Callable[..., object]
    _args: Sequence[Any]
    _loop: BodyLoop
    _cancelled: bool

    def __init__(
        self,
        delay: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        loop: BodyLoop,
        context: contextvars.Context | None,
    ) -> None:
        super().__init__(loop.now + delay, callback, args, loop, context)
        self.delay = delay
        self.kind = "sleep" if callback is _WAKES_A_SLEEPER else "timeout"
        self.fired = False
        self.record: str | None = None
        """The id under which the engine waits for it. Nothing keeps timers by themselves: those of one due time have
        one hash."""

    def cancel(self) -> None:
        """Never to be fired; the engine is told once."""
        pending = not self._cancelled and not self.fired
        loop = self._loop
        super().cancel()
        if pending:
            loop.timer_cancelled(self)

    def fire(self) -> None:
        """Schedule the callback, unless it was cancelled; the engine calls this inside a slice."""
        if not self._cancelled and not self.fired:
            self.fired = True
            self._loop.call_soon(self._callback, *self._args, context=self._context)
