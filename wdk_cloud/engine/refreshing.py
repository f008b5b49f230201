"""Where what was written goes by itself after a while, what a live run needs is kept from going.

An ended run then costs nothing to remove, and a run that sleeps for years loses nothing. The sweep calls it, each day
once: `keeps` is 60 days at least and two thirds of it pass before a run is refreshed, so that a store, or a worker, may
be out of order for 20 days.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from wdk_cloud.engine import requests
from wdk_cloud.engine.runids import derived_run_id
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError
from wdk_cloud.world.ports import Labels

if TYPE_CHECKING:
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Head, World

log = logging.getLogger("wdk_cloud")

DAY = 86_400.0

EARLY = 1 / 3
"""Of the time for which things are kept: a run of which something would go within that is refreshed."""

PAGE = 100
"""Runs that are asked for at a time."""

AT_ONCE = 8
"""Runs: each has several requests under way, and a worker has its renewals to send meanwhile."""

SECONDS = 20.0
"""Real seconds that one sweep gives to it, since it may run in a function of short life; the next one goes on."""

NOTE = "refreshed"
"""The birth under which lies when all was refreshed last, in a run that never is: labels, whose position only grows."""


async def refresh_daily(engine: Engine) -> int:
    """Refresh what is due, unless that was done today; returns how many runs were refreshed.

    Two may do it at once, which is harmless. A run that ends meanwhile is kept longer than it need be.
    """
    world = engine.world
    if world.runs.keeps is None:
        return 0
    note, today = derived_run_id("refresh"), int(world.clock.now() // DAY)
    if (await world.runs.labels(note, NOTE)).position >= today:
        return 0
    done, all_of_them = await _refresh(world, world.runs.keeps)
    if all_of_them:
        await world.runs.put_labels(note, NOTE, Labels(values={}, position=today))
    return done


async def _refresh(world: World, keeps: float) -> tuple[int, bool]:
    """How many, and whether none is left."""
    loop = asyncio.get_running_loop()
    until, done = loop.time() + SECONDS, 0
    last: Head | None = None
    while True:
        aging = await world.runs.aging(world.clock.now() + keeps * EARLY, PAGE, last)
        for start in range(0, len(aging), AT_ONCE):
            if loop.time() >= until:
                return done, False
            done += sum(await asyncio.gather(*(_refresh_one(world, head) for head in aging[start : start + AT_ONCE])))
        if len(aging) < PAGE:
            return done, True
        last = aging[-1]


async def _refresh_one(world: World, head: Head) -> bool:
    """Whether it was: a run that has continued as another is kept as long as that one."""
    if head.ended:
        try:
            await requests.last_of(world, head.run_id)
        except (RunExpiredError, WorkflowRunNotFoundError):
            return False
    await world.runs.refresh(head.run_id, head.birth)
    return True
