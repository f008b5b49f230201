"""The sweep: a safety net that re-wakes runs which show no progress. Any number above 0 is a bug, or lost messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from wdk_cloud.engine.service import Engine

PAGE = 100
"""Runs that one sweep wakes: the next sweep goes on, and a disaster does not become a stampede."""


async def sweep(engine: Engine) -> int:
    """Send a `sweep` to each overdue run that nobody holds; returns how many were sent."""
    world, now = engine.world, engine.world.clock.now()
    overdue = [head for head in await world.runs.overdue(now, PAGE) if head.free_at(now)]
    if overdue:
        await world.queue.send(
            [
                (Message(kind="sweep", run_id=head.run_id, birth=head.birth, identity=engine.identity()), 0.0)
                for head in overdue
            ]
        )
    return len(overdue)
