"""`continue_as_new`: how a body leaves, the run that goes on for it, and who goes over from one to the other.

The end of such a run is written in this order, each write harmless when done twice: the end event, which holds the
successor's id and input; the successor, whose id is derived, with its first message; the head's status, which names
it; then what lies in the inbox and concerns the successor. So a head that names a successor has one that is there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, cast

import msgspec

from wdk_cloud.engine import events as ev
from wdk_cloud.engine import requests, runids
from wdk_cloud.engine.inbox import CancelItem
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError

if TYPE_CHECKING:
    from wdk_cloud.engine.history import History
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Head, InboxItem, World


class ContinueAsNew(BaseException):
    """What `continue_as_new()` raises: it ends a body as SystemExit ends a program."""

    def __init__(self) -> None:
        super().__init__(
            "continue_as_new() ends this run. Let this exception pass: catch Exception instead of BaseException, and "
            "do not keep it among the results of asyncio.gather(return_exceptions=True)"
        )


class Successor(msgspec.Struct, frozen=True):
    """The run that is to go on: its input (JSON text) and the digest of that."""

    input: bytes
    digest: str


class Will:
    """What a body has said of the run after it."""

    def __init__(self) -> None:
        self.successor: Successor | None = None
        self._tasks: list[asyncio.Task[Any] | None] = []
        """Those that said so, held so that none of them complains when it is collected; None: a callback of no task."""

    def leave(self, successor: Successor) -> NoReturn:
        self.successor = successor
        self._tasks.append(asyncio.current_task())
        raise ContinueAsNew

    def unheard(self) -> bool:
        """Whether it was said where nobody listens: in a callback, or in a task that has ended and nobody awaits."""
        return any(task is None or _left_alone(task) for task in self._tasks)


def _left_alone(task: Any) -> bool:
    return task.done() and not task.cancelled() and task._log_traceback and besides_the_will(task._exception) is None


def besides_the_will(error: BaseException | None) -> BaseException | None:
    """The error of its own that the body has met, if it has; a group, as of TaskGroup, may hold both."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return group.split(ContinueAsNew)[1]
    return None if isinstance(error, ContinueAsNew) else error


def end_event(head: Head, successor: Successor, unread: list[str], now: float) -> ev.RunContinued:
    return ev.RunContinued(
        time=now,
        run_id=runids.successor_id(head),
        next_input=ev.Raw(successor.input),
        digest=successor.digest,
        unread=unread,
    )


async def create(engine: Engine, head: Head, history: History, end: ev.RunContinued) -> None:
    """The successor and its first message. The idempotency key stays with the first run: it led to that one."""
    order = requests.Order(
        workflow=head.workflow,
        input=bytes(end.next_input),
        digest=end.digest,
        run_id=end.run_id,
        version=engine.version,
        attributes=history.labels,
        parent=head.parent,
        root=head.root,
        trace=head.trace,
        continued_from=head.run_id,
    )
    await requests.create(engine.world, engine.keys, order)


async def passed_on(world: World, head: Head, item: InboxItem) -> bool:
    """Whether this item of the inbox of an ended run is the business of its successor now.

    A watcher that came to it too late, because the successor has ended meanwhile, is told by whoever asks. A request to
    wake up is not passed on: the sleeps that it meant are over.
    """
    if head.continued_to is None:
        return False
    try:
        if item.kind == "watch":
            return not (await requests.watch(world, head.continued_to, item)).ended
        if item.kind == "cancel":
            reason = msgspec.json.decode(item.data, type=CancelItem).reason
            await requests.cancel(world, head.continued_to, reason, item.key)
    except (RunExpiredError, WorkflowRunNotFoundError):
        return False  # erased; a watcher learns it when it looks
    return item.kind == "cancel"
