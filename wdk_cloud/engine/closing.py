"""Closing a body that will not go on: without an effect, a warning or a trace.

A suspended coroutine is never just dropped: collecting it would run its `finally` blocks with no body around them, and
a step that is called there would really run. Nothing ends a frame without running its handlers, so they are made
harmless: the loop is marked closed, durable calls suspend and record nothing, output is dropped, and every coroutine
is closed in its own context until it gives in. Ordinary Python statements in a `finally` do run.
"""

from __future__ import annotations

import atexit
import ctypes
from typing import TYPE_CHECKING, Any

from wdk_cloud.engine import guard
from wdk_cloud.engine.guard import logger
from wdk_cloud.engine.slices import active, swap_current_task
from wdk_cloud.errors import WorkflowStalledError

if TYPE_CHECKING:
    from types import AsyncGeneratorType

    from wdk_cloud.engine.loop import BodyLoop
    from wdk_cloud.engine.tasks import BodyTask

PATIENCE = 50
"""How often a coroutine is closed while it answers that it ignored it; nested `finally` blocks each take one."""

parked: list[object] = []
"""What never gave in. Kept for the life of the process."""

open_loops: dict[int, BodyLoop] = {}
"""Every loop that has unfinished tasks, held here so that nobody can drop one."""

exited = False
"""The interpreter is going down and all bodies are closed: durable calls do nothing any more."""


def close(loop: BodyLoop) -> None:
    """Close what is left of the loop's body; raises nothing but what a signal raised meanwhile."""
    open_loops.pop(id(loop), None)
    reported = len(parked)
    with loop.slice(live=False) as visit:
        visit.run(lambda: _close_everything(loop))
        if loop.tasks():  # the watch has struck between two of them
            _close_everything(loop)
    if len(parked) > reported:
        logger.warning(
            "the body of run %s catches BaseException and goes on waiting, so it cannot be closed; it stays in memory "
            "until this process ends. Catch Exception instead, or raise again",
            loop.run_id,
        )
    if visit.trouble is not None and not isinstance(visit.trouble, WorkflowStalledError):
        raise visit.trouble


def _close_everything(loop: BodyLoop) -> None:
    _close_tasks(loop)
    for agen in reversed(loop.live_asyncgens()):
        if not _close_inside(agen):
            _park(agen)
    _close_tasks(loop)  # those that were begun meanwhile
    loop.forget()


def _close_tasks(loop: BodyLoop) -> None:
    while tasks := loop.tasks():
        for task in reversed(tasks):  # the youngest first: children before the groups that wait for them
            task.forget_pending()
            loop.disown(task)
            if not _close_task(loop, task):
                _park(task)


def _close_task(loop: BodyLoop, task: BodyTask[Any]) -> bool:
    coroutine: Any = task.get_coro()
    swap_current_task(loop, task)
    try:
        return coroutine is None or any(task.context.run(_gives_in, coroutine) for _ in range(PATIENCE))
    finally:
        swap_current_task(loop, None)


def _gives_in(coroutine: Any) -> bool:
    try:
        coroutine.close()
    except BaseException:  # "ignored GeneratorExit", or something of the body's own
        return _is_over(coroutine)
    return True


def _is_over(coroutine: object) -> bool:
    return getattr(coroutine, "cr_frame", getattr(coroutine, "gi_frame", None)) is None


def _close_inside(agen: AsyncGeneratorType[Any, Any]) -> bool:
    # Its own frame may be dropped: our finalizer does nothing, and then no handler runs. The coroutine it awaits would
    # run its handlers; and before 3.13 closing the task above does not reach it.
    awaited: Any = agen.ag_await
    return not hasattr(awaited, "close") or any(_gives_in(awaited) for _ in range(PATIENCE))


def _park(what: object) -> None:
    parked.append(what)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(what))  # the end of the interpreter must not run its handlers either


@atexit.register
def close_all() -> None:
    """At the interpreter's end, before it tears its modules down."""
    global exited
    for loop in list(open_loops.values()):
        if loop in active.values():  # another thread is in it, and stays there for ever
            _park(loop)
        else:
            loop.close_body()
    exited = True


guard.boundaries.add(_gives_in.__code__)
