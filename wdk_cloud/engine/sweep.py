"""The sweep: a safety net that re-wakes runs which show no progress, and the removal of what has expired.

Where what was written goes by itself, ended runs go so, and the sweep refreshes live ones instead (`refreshing.py`).

Any number of runs woken above 0 is a bug, or lost messages. What a live run needs never expires: only runs that have
ended, and that lead to none which is kept, are removed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wdk_cloud.engine import erasure, refreshing
from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from wdk_cloud.engine.service import Engine

log = logging.getLogger("wdk_cloud")

PAGE = 100
"""Runs that one sweep wakes: the next sweep goes on, and a disaster does not become a stampede."""


async def sweep(engine: Engine) -> int:
    """Send a `sweep` to each overdue run that nobody holds; returns how many were sent. Then remove what has ended
    longer ago than the retention, and refresh what has not ended."""
    world, now = engine.world, engine.world.clock.now()
    overdue = [head for head in await world.runs.overdue(now, PAGE) if head.free_at(now)]
    if overdue:
        await world.queue.send(
            [
                (Message(kind="sweep", run_id=head.run_id, birth=head.birth, identity=engine.identity()), 0.0)
                for head in overdue
            ]
        )
    if refreshed := await refreshing.refresh_daily(engine):
        log.info("the sweep refreshed %s runs, so that nothing of them goes while they live", refreshed)
    removed = await erasure.remove_expired(world, engine.settings.retention)
    if removed:
        log.info("the sweep removed %s runs that ended longer ago than the retention or were deleted", removed)
    return len(overdue)
