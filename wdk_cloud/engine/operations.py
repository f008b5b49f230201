"""Operations: what a body asks of other runs. Carried out after they are in the log; all are harmless when repeated."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.values import decode_arguments, encode
from wdk_cloud.engine import erasure, requests, resuming, tokens
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.inbox import Watch, encode_item
from wdk_cloud.errors import (
    BUG,
    HookNotFoundError,
    RunExpiredError,
    WorkflowError,
    WorkflowRunNotFoundError,
    WorldConfigurationError,
    WorldUnavailableError,
)
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from wdk_cloud.engine.turn import Turn
    from wdk_cloud.world.ports import World

log = logging.getLogger("wdk_cloud")

Arguments = dict[str, Any]

WAITING = object()
"""The operation's completion will be announced through the inbox."""


class Operations:
    """Of one turn."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.running: dict[str, asyncio.Task[None]] = {}
        self.done: list[ev.OperationCompleted | ev.OperationFailed] = []
        self._again: set[str] = set()
        """What is announced to have come about, while the operation that waits for it looks."""
        self._over: set[str] = set()
        """What has completed, though its completion may not be committed yet."""
        self.trouble: WorldUnavailableError | WorldConfigurationError | NewerFormatError | None = None
        """Why one could not be carried out here: not the run's doing."""

    def start(self, created: Iterable[ev.OperationCreated]) -> None:
        for event in created:
            if event.id not in self.running and event.id not in self._over:
                self.running[event.id] = asyncio.create_task(self._run(event))

    def start_again(self, id: str) -> None:
        self._again.add(id)
        event = self._turn.history.operations.get(id)
        if event is not None:
            self.start([event])

    def take(self) -> list[ev.OperationCompleted | ev.OperationFailed]:
        """What has completed. Raises WorldUnavailableError, WorldConfigurationError or NewerFormatError if one could
        not be carried out: that is no fault of the run's."""
        if self.trouble is not None:
            raise self.trouble
        done, self.done = self.done, []
        return done

    def _end(self, event: ev.OperationCompleted | ev.OperationFailed) -> None:
        self._over.add(event.id)
        self.done.append(event)

    async def _run(self, event: ev.OperationCreated) -> None:
        turn = self._turn
        assert turn.body is not None  # operations come from a body
        known = turn.body.known
        try:
            arguments = decode_arguments(bytes(event.input), {}, known=known)
            self._again.discard(event.id)
            while (result := await HANDLERS[event.name](turn, event.id, arguments)) is WAITING:
                if event.id not in self._again:
                    break
                self._again.discard(event.id)  # it may have looked just before, and nobody will tell it once more
            if result is not WAITING:
                data = ev.Raw(encode(result, known=known))
                self._end(ev.OperationCompleted(time=turn.now(), id=event.id, result=data))
        except (WorldUnavailableError, WorldConfigurationError, NewerFormatError) as error:
            self.trouble = error
        except Exception as error:
            if not isinstance(error, WorkflowError):
                log.exception("run %s: %s failed. %s", turn.head.run_id, event.id, BUG)
            failed = ev.Raw(encode_error(error, known=known))
            self._end(ev.OperationFailed(time=turn.now(), id=event.id, error=failed))
        finally:
            del self.running[event.id]
            turn._wake()  # pyright: ignore[reportPrivateUsage] -- its own part


async def _start(turn: Turn, id: str, a: Arguments) -> object:
    head = turn.head
    root = head.root or head.run_id
    return await requests.start_child(turn.engine, parent=head, root=root, call=id, order=a)


async def _status(turn: Turn, _: str, a: Arguments) -> object:
    return requests.status_of(await requests.last_of(turn.engine.world, a["run_id"]), a["run_id"])


async def _exists(turn: Turn, _: str, a: Arguments) -> object:
    world = turn.engine.world
    head = await world.runs.head(a["run_id"])
    return head is not None and not requests.is_gone(world, head)


async def _info(turn: Turn, _: str, a: Arguments) -> object:
    return (await requests.info(turn.engine.world, a["run_id"]))[0]


async def _cancel(turn: Turn, id: str, a: Arguments) -> object:
    key = f"cancel:{turn.head.run_id}:{id}"
    await requests.cancel(turn.engine.world, a["run_id"], a.get("reason"), key)
    return None


async def _delete(turn: Turn, id: str, a: Arguments) -> object:
    me = turn.head.run_id
    await erasure.delete(turn.engine.world, a["run_id"], key=f"cancel:{me}:{id}", asked_by=me)
    return None


async def _wake_up(turn: Turn, id: str, a: Arguments) -> object:
    await requests.wake_up(turn.engine.world, a["run_id"], f"wake_up:{turn.head.run_id}:{id}")
    return None


async def _attributes(turn: Turn, _: str, a: Arguments) -> object:
    return await requests.attributes(turn.engine.world, a["run_id"])


async def _return_value(turn: Turn, id: str, a: Arguments) -> object:
    """Register as a watcher first, then look: so the end of the other run cannot fall between the two."""
    world, me = turn.engine.world, turn.head
    watch = encode_item(Watch(me.run_id, me.birth, id))
    item = InboxItem(key=f"watch:{me.run_id}:{me.birth}:{id}", kind="watch", data=watch, time=world.clock.now())
    other = await requests.watch(world, a["run_id"], item)
    if not other.ended:
        return WAITING
    return await requests.result(world, turn.engine.keys, other, known=_known(turn))


async def _get_conflict(turn: Turn, _: str, a: Arguments) -> object:
    """The hook is in the log before this; claiming twice is harmless."""
    id = a["hook"]
    owner = turn.history.conflicts.get(id) or next((found.run_id for found in turn.conflicts if found.id == id), None)
    created = turn.history.hooks.get(id)
    return owner if owner is not None or created is None else await tokens.claim_of(turn, created)


async def _resume(turn: Turn, id: str, a: Arguments) -> object:
    """Before the payload is put it is noted, where the end of a step would lie, which run it is for: that one may have
    taken it and ended, and its token may be another's, when this is done again."""
    me, engine = turn.head, turn.engine
    world, note = engine.world, f"resume:{id}"
    try:
        found = await resuming.find_for_payload(world, a["digest"])
    except HookNotFoundError:
        if await world.runs.step(me.run_id, me.birth, note) is None:
            raise
        return None
    noted = found.head.run_id.encode()
    if not await world.runs.end_step(me.run_id, me.birth, note, attempt=None, end=noted):
        there = await world.runs.step(me.run_id, me.birth, note)
        if there is None or not there.end or not await _is_last(world, found.head.run_id, there.end.decode()):
            return None
    key = a.get("key") or f"{me.run_id}:{me.birth}:{id}"
    await resuming.resume(world, engine.keys, a["digest"], a["payload"], key, found)
    return None


async def _is_last(world: World, last: str, run_id: str) -> bool:
    """Whether that is the last of the runs that go on for this one."""
    try:
        return (await requests.last_of(world, run_id)).run_id == last
    except (RunExpiredError, WorkflowRunNotFoundError):
        return False


def _known(turn: Turn) -> Any:
    assert turn.body is not None  # operations come from a body
    return turn.body.known


HANDLERS: dict[str, Callable[[Turn, str, Arguments], Awaitable[object]]] = {
    "start": _start,
    "run.status": _status,
    "run.exists": _exists,
    "run.info": _info,
    "run.cancel": _cancel,
    "run.delete": _delete,
    "run.wake_up": _wake_up,
    "run.attributes": _attributes,
    "run.return_value": _return_value,
    "hook.get_conflict": _get_conflict,
    "hook.resume": _resume,
}
