"""Removing runs: because somebody asks for it, and because they have ended longer ago than the retention.

A run goes in three writes: its head becomes a tombstone, which nothing can claim and under which nothing is written;
whoever watches it is told; then everything of it is erased. A death before the first leaves the run as it was; one
after it leaves a tombstone that says so, and whoever deletes again, or the sweep, does the rest.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from wdk_cloud.engine import ending, requests
from wdk_cloud.engine.inbox import CancelItem, encode_item
from wdk_cloud.errors import RunExpiredError, WorkflowContextError
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.world.ports import Head, World

PATIENCE = 60.0
"""Real seconds for which a deletion lets the holder of the run end it, so that its steps hear of it (DESIGN.md 6)."""

LOOK_EVERY = 1.0
"""Seconds between two looks at a run that is held: a holder that dies gives no notice."""

TOMBSTONES_KEPT = 60 * 86_400.0
"""Seconds, and twice the retention if that is longer, for which a tombstone stays: longer than any message or worker of
the run may come late."""

PAGE = 100
"""Runs that one sweep removes; the next sweep goes on."""


async def delete(world: World, run_id: str, *, key: str = "cancel", asked_by: str | None = None) -> None:
    """End the run if needed and erase it, with those that go on for it. One that is gone already stays so.

    Raises WorkflowRunNotFoundError; WorkflowContextError if the run `asked_by` is itself to go.
    """
    until = asyncio.get_running_loop().time() + PATIENCE
    while True:
        chain = await _chain(world, run_id)
        if asked_by is not None and any(head.run_id == asked_by and head.status != "deleted" for head in chain):
            raise WorkflowContextError(f"run {asked_by} cannot delete itself: let it end, and delete it from outside")
        if not chain:
            return
        last = chain[-1]
        left = until - asyncio.get_running_loop().time()
        if left > 0 and not last.ended and not last.free_at(world.clock.now()):
            await _let_end(world, last, key, left)
        # From the end backwards: what is left of a chain after a death still leads to what is left.
        elif (
            await remove(world, last)
            and last.continued_to == await _goes_on(world, last)
            and await _remove_all(world, chain[-2::-1])
        ):
            return


async def _remove_all(world: World, heads: Sequence[Head]) -> bool:
    for head in heads:
        if not await remove(world, head):
            return False
    return True


async def _chain(world: World, run_id: str) -> list[Head]:
    """The head and those that go on for it, as far as they are there; none for a run that has expired."""
    head = await world.runs.head(run_id)
    if head is None:
        error = requests.gone(world, run_id)
        if isinstance(error, RunExpiredError):
            return []
        raise error
    chain = [head]
    while (after := await _goes_on(world, head)) is not None:
        head = await world.runs.head(after)
        if head is None:
            break
        chain.append(head)
    return chain


async def _goes_on(world: World, head: Head) -> str | None:
    """The run that goes on for this one: also if only the log says so yet, or a death keeps it from ever being said."""
    if head.continued_to is not None:
        return head.continued_to
    successor = requests.successor_id(head)
    return None if await world.runs.head(successor) is None else successor


async def _let_end(world: World, head: Head, key: str, left: float) -> None:
    """Somebody works on it: it is asked to end, and whoever waits for it hears of the end."""
    subscription = world.subscribe(head.run_id)
    try:
        item = InboxItem(key=key, kind="cancel", data=encode_item(CancelItem(None)), time=world.clock.now())
        if await world.runs.put_item(head.run_id, head.birth, item):
            await requests.wake(world, head)
        now = await world.runs.head(head.run_id)
        if now is not None and not now.ended and not now.free_at(world.clock.now()):
            await subscription.wait(min(left, LOOK_EVERY))
    finally:
        subscription.close()


async def remove(world: World, head: Head) -> bool:
    """Tombstone, word to the watchers, erasure. False: it is not as this head says any more; look again."""
    if head.status != "deleted":
        now = world.clock.now()
        there = await world.runs.bury(head.run_id, head.birth, holder=head.holder, fence=head.fence, now=now)
        if there is None:
            return True
        if there.status != "deleted":
            return False
        head = there
    await ending.tell_watchers(world, lambda: os.urandom(12).hex(), head)
    await world.runs.erase(head.run_id, head.birth)
    return True


async def remove_expired(world: World, retention: float) -> int:
    """Remove what has ended longer ago than the retention, finish what a death left, and forget old tombstones;
    returns how many runs were removed."""
    now, seen, removed = world.clock.now(), 0, 0
    kept = max(TOMBSTONES_KEPT, 2 * retention)
    while seen < PAGE:
        found = await world.runs.removable(ended_before=now - retention, buried_before=now - kept, limit=PAGE - seen)
        if not found:
            break
        for head in found:
            if head.status == "deleted" and not head.wake_by:
                await world.runs.erase(head.run_id, head.birth)
                await world.runs.forget(head.run_id, head.birth)
            else:
                removed += await remove(world, head)
        seen += len(found)  # removing the last of a chain brings the one before it: look again
    return removed
