"""Tasks and futures that hash by birth, so that everything in asyncio that keeps them in a set iterates alike.

Stock tasks hash by address: `asyncio.wait` over ten of them then gives another order in every process. The hash is
the birth number within the run, above a base made from the run id; without the base the first task of every run would
have the same hash, and asyncio keeps the tasks of all runs in one set.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar

from wdk_cloud.engine.guard import active

if TYPE_CHECKING:
    import contextvars
    from collections.abc import Coroutine, Iterable
    from types import CodeType, FrameType

    from wdk_cloud.engine.loop import BodyLoop

T = TypeVar("T")

INTERRUPTS = (KeyboardInterrupt, SystemExit, MemoryError, RecursionError)
"""Exceptions that are not the body's doing: the machine, or whoever runs it, wants it to stop."""


class BodyFuture(asyncio.Future[T]):
    """A future with a birth number, which `BodyLoop.create_future` gives it."""

    __slots__ = ("birth",)
    birth: int

    def __hash__(self) -> int:
        return self.birth


class BodyTask(asyncio.Task[T]):
    """A task with a birth number and, for closing it, its context (`get_context` came with 3.12)."""

    __slots__ = ("birth", "context")

    def __init__(
        self,
        coro: Coroutine[Any, Any, T],
        loop: BodyLoop,
        name: str | None,
        context: contextvars.Context,
        eager: dict[str, bool],
    ) -> None:
        birth = loop.next_birth()
        self.birth = loop.hash_base + birth  # before anything of asyncio asks for the hash
        self.context = context
        super().__init__(coro, loop=loop, name=name or f"Task-{birth}", context=context, **eager)

    def __hash__(self) -> int:
        return self.birth

    @property
    def trouble(self) -> BaseException | None:
        """The interrupt that ended this task, if one did; looking does not count as retrieving the exception."""
        exception = self._exception
        return exception if isinstance(exception, INTERRUPTS) else None

    @property
    def waits_on(self) -> asyncio.Future[Any] | None:
        task: Any = self
        return task._fut_waiter  # what asyncio's own debuggers read

    def forget_pending(self) -> None:
        """Keep quiet when it is dropped unfinished."""
        self._log_destroy_pending = False


_GatheringFuture: Any = vars(asyncio.tasks)["_GatheringFuture"]


class Gathering(_GatheringFuture):
    """What `asyncio.gather` returns inside a body; it is made by its class, not by `create_future`."""

    def __init__(self, children: list[asyncio.Future[Any]], *, loop: asyncio.AbstractEventLoop) -> None:
        self.birth = birth() if (birth := getattr(loop, "next_hash", None)) else object.__hash__(self)
        super().__init__(children, loop=loop)  # pyright: ignore[reportUnknownMemberType]  # the base has no public name

    def __hash__(self) -> int:
        return self.birth


def as_completed(loop: BodyLoop, fs: Iterable[Any], *, timeout: float | None = None) -> Any:
    """`asyncio.as_completed`, with the tasks made in the order of the arguments.

    The original puts coroutines into a set before it makes tasks of them; coroutines hash by address.
    """
    if not asyncio.isfuture(fs) and not asyncio.iscoroutine(fs):
        fs = [asyncio.ensure_future(f, loop=loop) for f in dict.fromkeys(fs)]
    return _as_completed(fs, timeout=timeout)


def all_tasks(body: BodyLoop, loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
    """`asyncio.all_tasks` without a walk over the tasks of all runs, whose number would steer the order."""
    return set(body.tasks()) if loop is None or loop is body else _all_tasks(loop)


_as_completed = asyncio.as_completed
_all_tasks = asyncio.all_tasks


def current_loop() -> BodyLoop | None:
    """The loop whose slice this thread is in."""
    return active.get(get_ident())


# --- what a task waits for --------------------------------------------------------------------------------------------


def describe(task: BodyTask[Any]) -> str:
    """One line for a person: the task, where it stands in the user's code, and what it awaits."""
    line, awaits = f"{task.get_name()}", ""
    for code, frame in _chain(task.get_coro()):
        module = frame.f_globals.get("__name__", "") if frame else ""
        if module.partition(".")[0] == "asyncio":
            awaits = awaits or f"{module.partition('.')[0]}.{code.co_qualname}()"
        elif module.partition(".")[0] != "wdk_cloud":
            number = frame.f_lineno if frame else code.co_firstlineno
            line = f"{task.get_name()} at {code.co_filename}:{number} in {code.co_qualname}"
            awaits = ""
    waiter = task.waits_on
    return f"{line}, awaiting {awaits or _name(waiter)}"


def _chain(awaited: object) -> list[tuple[CodeType, FrameType | None]]:
    """The frames from the task's own coroutine down to where it is suspended."""
    found: list[tuple[CodeType, FrameType | None]] = []
    while awaited is not None:
        for kind in ("cr", "ag", "gi"):
            code = getattr(awaited, f"{kind}_code", None)
            if code is not None:
                found.append((code, getattr(awaited, f"{kind}_frame")))
                following = "gi_yieldfrom" if kind == "gi" else f"{kind}_await"
                awaited = getattr(awaited, following)
                break
        else:
            break
    return found


def _name(waiter: asyncio.Future[Any] | None) -> str:
    if waiter is None:
        return "its turn"
    if isinstance(waiter, asyncio.Task):
        return f"the task {waiter.get_name()}"
    if isinstance(waiter, Gathering):
        return "asyncio.gather()"
    return "a future that nobody completes"
