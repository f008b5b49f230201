"""The end of a run, and what follows it: each call harmless when done twice, by whoever finds it undone."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.engine import events as ev
from wdk_cloud.engine import passing, requests, streaming, succession
from wdk_cloud.engine.inbox import Watch
from wdk_cloud.engine.replay import CORRUPTED_EVENT_LOG
from wdk_cloud.world.ports import HeadFields, InboxItem, Labels, Message, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wdk_cloud.engine.history import History
    from wdk_cloud.engine.replay import Body, Outcome
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.turn import Turn
    from wdk_cloud.errors import CorruptedEventLogError
    from wdk_cloud.world.ports import Head, World

log = logging.getLogger("wdk_cloud")


def end_event(head: Head, outcome: Outcome, now: float) -> ev.End:
    if outcome.successor is not None:
        return succession.end_event(head, outcome.successor, outcome.unread, now)
    if outcome.result is not None:
        return ev.RunCompleted(time=now, result=ev.Raw(outcome.result))
    return ev.RunFailed(time=now, code=outcome.code, error=ev.Raw(outcome.error))


async def write_labels(engine: Engine, head: Head, history: History) -> None:
    """The labels as the log has them; the position decides between two writers."""
    labels = Labels(values=dict(history.labels), position=history.labels_at)
    await engine.world.runs.put_labels(head.run_id, head.birth, labels)


async def follow(engine: Engine, head: Head, history: History | None = None) -> None:
    """What follows the end; `history` saves reading the end again."""
    if head.status == "failed":
        # For who counts failed runs by their log: the code, apart from the text.
        failed = {"wdk_failed": head.error_code or ""}
        log.warning("run %s of %s has failed with %s", head.run_id, head.workflow, head.error_code, extra=failed)
    items = await engine.world.runs.items(head.run_id, head.birth, ())
    if head.continued_to is not None:
        end = None if history is None else history.end
        await passing.pass_on(engine.world, engine.keys, head, items, end)
    await streaming.close_all(engine.world, head, items)
    await tell_watchers(engine.world, engine.identity, head, items)


async def tell_watchers(
    world: World, identity: Callable[[], str], head: Head, items: Sequence[InboxItem] | None = None
) -> None:
    """Whoever watches the run is told, or goes over to the run that continues it. The status is in the head before the
    inbox is read, and a watcher registers before it reads the head: so one of the two sees the other."""
    messages: list[tuple[Message, float]] = []
    for item in await world.runs.items(head.run_id, head.birth, ()) if items is None else items:
        if await succession.passed_on(world, head, item) or item.kind != "watch":
            continue
        watch = msgspec.json.decode(item.data, type=Watch)
        if world.clock.now() - item.time >= requests.TOMBSTONES_KEPT and not await _is_there(world, watch):
            continue  # it was deleted so long ago that not even its tombstone would turn this away
        told = InboxItem(
            key=f"ended:{head.run_id}:{head.birth}:{watch.operation}",
            kind="operation",
            data=watch.operation.encode(),
            time=world.clock.now(),
        )
        await world.runs.put_item(watch.run_id, watch.birth, told)
        wake = Message(kind="wake", run_id=watch.run_id, birth=watch.birth, identity=identity())
        messages.append((wake, 0.0))
    if messages:
        await world.queue.send(messages)


async def _is_there(world: World, watch: Watch) -> bool:
    head = await world.runs.head(watch.run_id)
    return head is not None and head.birth == watch.birth


async def cancel_queued_steps(engine: Engine, head: Head, history: History) -> None:
    """Cancellable steps that run elsewhere are told when the body has left them, or when the run was cancelled."""
    run_cancelled = isinstance(history.end, ev.RunCancelled)
    for id, state in history.steps.items():
        step = engine.step(state.created.name) if state.created.queued else None
        if state.cancelled or (run_cancelled and step is not None and step.options.cancellable):
            await engine.world.runs.cancel_step(head.run_id, head.birth, id)


async def close_corrupted(turn: Turn, error: CorruptedEventLogError) -> bool:
    """A log that cannot be read cannot be written to either: the head alone says that the run failed, and how."""
    log.error("%s", error)
    now = turn.engine.world.clock.now()
    note = Trouble(reason=str(error)[:500], since=now)
    fields = HeadFields(
        status="failed", ended_at=now, end_at=0, error_code=CORRUPTED_EVENT_LOG, armed=None, trouble=note
    )
    head = await turn.hold.change(fields)
    assert head is not None  # without `unless_dirty` a change is done or the lease is lost
    await follow(turn.engine, head)
    return True


def warn_forgotten(head: Head, body: Body) -> None:
    """Name the calls that were made and never awaited: they did nothing."""
    for name in body.forgotten():
        text = f"run {head.run_id}: the call of {name}() in {body.workflow.id} was never awaited and did nothing"
        try:
            warnings.warn_explicit(
                text, RuntimeWarning, body.workflow.fn.__code__.co_filename, body.workflow.fn.__code__.co_firstlineno
            )
        except RuntimeWarning:
            log.warning("%s", text)  # a filter made it an error; a warning must not end the turn
