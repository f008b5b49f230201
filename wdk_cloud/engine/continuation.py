"""Too little time is left in this delivery: a `continue` goes out before the release (docs/protocol.md, step 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.engine import outgoing, trouble
from wdk_cloud.engine.replay import RUNTIME_ERROR
from wdk_cloud.errors import WorkflowError

if TYPE_CHECKING:
    from wdk_cloud.engine.turn import Turn

MAX_CONTINUES = 100
"""Continuations in a row without growth of the log; after these the run ends with RUNTIME_ERROR (docs/protocol.md)."""


async def leave(turn: Turn) -> bool:
    """Send a continuation, then release; if something came in meanwhile, another with twice the delay."""
    message = turn.delivery.message
    grown = turn.history.position > message.length
    count = 1 if message.kind != "continue" or grown else message.count + 1
    if count > MAX_CONTINUES:
        error = WorkflowError(
            f"run {turn.head.run_id}: {MAX_CONTINUES} deliveries in a row had no time to begin its next step; give the "
            "function a longer limit, or the step a shorter timeout="
        )
        return await turn.end_now(trouble.failure(RUNTIME_ERROR, error, turn.now()))
    delay = outgoing.CONTINUE_DELAY
    while True:
        onward = outgoing.message(turn.engine, "continue", turn.head, count=count, length=turn.history.position)
        await turn.engine.world.queue.send([(onward, min(delay, turn.engine.world.queue.longest_delay))])
        if await turn.hold.release(turn, turn.schedule.next_due(turn.valid)):
            turn.put_aside()
            return True
        await turn.inbox.clear_dirty()
        delay *= 2
