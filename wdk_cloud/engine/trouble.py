"""What stops a turn: code that is not here, divergence, interrupts, a log that cannot be read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import outgoing
from wdk_cloud.engine.inbox import cancel_request
from wdk_cloud.engine.leasing import LeaseLost
from wdk_cloud.engine.replay import CORRUPTED_EVENT_LOG, REPLAY_DIVERGENCE, RUNTIME_ERROR
from wdk_cloud.engine.slices import BodyInterrupted
from wdk_cloud.engine.version import written_by_newer
from wdk_cloud.errors import NondeterminismError, WorkflowNotRegisteredError, WorldUnavailableError
from wdk_cloud.world.ports import HeadFields, Trouble

if TYPE_CHECKING:
    from wdk_cloud.engine.turn import Turn

log = logging.getLogger("wdk_cloud")

FIRST_DELAY, LONGEST_DELAY = 1.0, 900.0
"""Seconds until a run that was handed on is tried again: doubled each time up to 15 minutes (docs/protocol.md 7b)."""


class HandOn(Exception):
    """This process cannot go on with the run. `error` fails it after a day; without one the log could not be read, and
    the run is handed on for ever."""

    def __init__(self, reason: str, error: Exception | None) -> None:
        super().__init__(reason)
        self.error = error


class Diverged(Exception):
    """The body asked for something else than the log recorded."""


def not_registered(turn: Turn) -> HandOn:
    workflow = turn.head.workflow
    error = WorkflowNotRegisteredError(
        f"run {turn.head.run_id}: workflow {workflow} is not registered; this code does not declare it. Start or "
        "deploy a worker that does, or keep its old id with @app.workflow(name=…)"
    )
    return HandOn(str(error), error)


def encoded(error: BaseException) -> ev.Raw:
    """One of our own errors as a payload."""
    return ev.Raw(encode_error(error, known=KnownTypes()))


def failure(code: str, error: BaseException, time: float = 0.0) -> ev.RunFailed:
    return ev.RunFailed(time=time, code=code, error=encoded(error))


async def verdict(turn: Turn, error: NondeterminismError) -> ev.RunFailed:
    """A run that diverged twice: failed, or handed on if newer code wrote its log."""
    if written_by_newer(turn.history.last_version, turn.engine.version):
        raise HandOn(f"the log was written by newer code ({turn.history.last_version}): {error}", error)
    return failure(REPLAY_DIVERGENCE, error, turn.now())


async def hand_on(turn: Turn, reason: HandOn) -> bool:
    """docs/protocol.md 7b: note why, send a `continue` unless one is on its way, release, acknowledge."""
    now = turn.engine.world.clock.now()
    before = turn.hold.head.trouble
    if before is None or before.interrupt:
        before = Trouble(reason="", since=now, count=0)
    if reason.error is not None:
        if (cancel := await _cancel_asked(turn)) is not None:  # to end, it needs no code
            return await turn.end_now(cancel, ev.RunCancelled(time=turn.now(), reason=cancel.reason))
        if now - before.since >= turn.engine.settings.code_wait:
            return await turn.end_now(_failed(turn, reason.error))
    count = before.count + 1
    log.error("run %s is handed on (%s. time): %s", turn.head.run_id, count, reason)
    onward = before.onward
    if turn.doubtful or onward in ("", turn.delivery.message.identity):
        onward = await _send_onward(turn, count)
    while True:
        note = Trouble(reason=str(reason)[:500], since=before.since, count=count, onward=onward)
        if await turn.hold.let_go(note):
            return True
        # What set `dirty` may have been that very `continue`: it is acknowledged, and another has to look.
        await turn.hold.change(HeadFields(dirty=False))
        onward = await _send_onward(turn, count)


def onward_delay(count: int) -> float:
    """Seconds until what was handed on for the `count`th time is tried again."""
    return min(FIRST_DELAY * 2 ** min(count - 1, 20), LONGEST_DELAY)


def handed_on_for(count: int) -> float:
    """Seconds that a message has been on its way that was handed on so often."""
    return sum(onward_delay(each) for each in range(1, count + 1))


async def _send_onward(turn: Turn, count: int) -> str:
    """A message for the next try; its identity. An earlier one that still comes finds another named, and sends none."""
    delay = onward_delay(count)
    again = outgoing.message(turn.engine, "continue", turn.head)
    await turn.engine.world.queue.send([(again, min(delay, turn.engine.world.queue.longest_delay))])
    return again.identity


async def _cancel_asked(turn: Turn) -> ev.CancelRequested | None:
    for item in await turn.engine.world.runs.items(*turn.key, ()):
        if item.kind == "cancel":
            return cancel_request(item, turn.now())
    return None


def _failed(turn: Turn, error: Exception) -> ev.RunFailed:
    code = REPLAY_DIVERGENCE if isinstance(error, NondeterminismError) else RUNTIME_ERROR
    return failure(code, error, turn.now())


async def interrupted(turn: Turn, interrupt: BodyInterrupted) -> None:
    """As if the process had died, but for a note of why and a lease that ends soon."""
    cause = interrupt.__cause__
    reason = f"{type(cause).__name__}: {cause}"[:500]
    log.error("run %s: interrupted in this process, nothing was recorded: %s", turn.head.run_id, reason)
    now = turn.engine.world.clock.now()
    delay = min(FIRST_DELAY * 2 ** min(turn.hold.head.stalls, 20), turn.engine.settings.lease)
    note = Trouble(reason=reason, since=now, interrupt=True)
    try:
        await turn.hold.change(HeadFields(trouble=note, until=round(now + delay, 6)))
    except (LeaseLost, WorldUnavailableError) as error:
        log.warning("run %s: its lease runs out by itself: %s", turn.head.run_id, error or "it is lost")


def warn_of_length(run_id: str, length: int, limit: int) -> None:
    log.warning(
        "run %s: its log has %s events, and a run that exceeds %s (WDK_MAX_EVENTS) fails; end it in time: let one step "
        "do many things at once, do the work of a loop in child workflows, or raise WDK_MAX_EVENTS",
        run_id,
        f"{length:,}",
        f"{limit:,}",
    )


def interrupt_of(cause: BaseException | None) -> BodyInterrupted:
    """An attempt was interrupted in this process: the turn ends like one whose body was."""
    interrupt = BodyInterrupted("a step was interrupted")
    interrupt.__cause__ = cause
    return interrupt


def corrupted(error: Exception, now: float) -> ev.RunFailed:
    return failure(CORRUPTED_EVENT_LOG, error, now)
