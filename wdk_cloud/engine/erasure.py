"""Removing runs: because somebody asks for it, and because they have ended longer ago than the retention.

A run goes in these steps: its head becomes a tombstone, which nothing can claim and under which nothing is written;
it is made sure that nothing goes on for it; whoever watches it is told; then everything of it is erased. A death before
the first leaves the run as it was; one after it leaves a tombstone that says so, and whoever deletes again, or the
sweep, does the rest.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.engine import ending, requests, runids
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.inbox import CancelItem, encode_item
from wdk_cloud.errors import CorruptedEventLogError, RunExpiredError, WorkflowContextError
from wdk_cloud.world.ports import Head, InboxItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.world.ports import World

PATIENCE = 60.0
"""Real seconds for which a deletion lets the holder of the run end it, so that its steps hear of it."""

LOOK_EVERY = 1.0
"""Seconds between two looks at a run that is held: a holder that dies gives no notice."""

PAGE = 100
"""Runs that one sweep removes; the next sweep goes on."""


async def delete(
    world: World, run_id: str, *, key: str = "cancel", asked_by: str | None = None, patience: float | None = None
) -> None:
    """End the run if needed and erase it, with those that go on for it. One that is gone already stays so. `patience`:
    real seconds that its holder has to end it, PATIENCE if not given.

    Raises WorkflowRunNotFoundError; WorkflowContextError if the run `asked_by` is itself to go.
    """
    until = asyncio.get_running_loop().time() + (PATIENCE if patience is None else patience)
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
        elif await _remove_all(world, chain[::-1]):
            return


async def _remove_all(world: World, heads: Sequence[Head]) -> bool:
    """False: one is not as its head says any more, or something goes on for it."""
    for head in heads:
        if head.status == "deleted" and not head.wake_by:
            continue  # nothing is left of it
        if (grave := await _bury(world, head)) is None:
            return False
        await world.runs.erase([(grave.run_id, grave.birth)])
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
    successor = runids.successor_id(head)
    return None if await world.runs.head(successor) is None else successor


async def _let_end(world: World, head: Head, key: str, left: float) -> None:
    """Somebody works on it: it is asked to end, and whoever waits for it hears of the end."""
    subscription = world.subscribe(head.run_id)
    try:
        item = InboxItem(key=key, kind="cancel", data=encode_item(CancelItem(None)), time=world.clock.now())
        if await world.runs.put_item(head.run_id, head.birth, item):
            await world.queue.send([(requests.wake_of(head), 0.0)])
        now = await world.runs.head(head.run_id)
        if now is not None and not now.ended and not now.free_at(world.clock.now()):
            await subscription.wait(min(left, LOOK_EVERY))
    finally:
        subscription.close()


async def _bury(world: World, head: Head) -> Head | None:
    """All but the erasure; returns the tombstone. None: it is not as this head says any more, or another run goes on
    for it; look again."""
    grave = head
    if head.status != "deleted":
        now = world.clock.now()
        there = await world.runs.bury(head.run_id, head.birth, holder=head.holder, fence=head.fence, now=now)
        if there is None:
            return head  # somebody else has done it all, and forgotten it
        if there.status != "deleted":
            return None
        grave = there
    ended = head.ended and head.status != "deleted"
    if not await _nothing_goes_on(world, grave, ended=ended):
        return None
    await ending.tell_watchers(world, lambda: os.urandom(12).hex(), grave)
    return grave


async def _nothing_goes_on(world: World, grave: Head, *, ended: bool) -> bool:
    """Whether no run goes on for this one, now and for ever.

    Races with a holder that was overruled between the end event of `continue_as_new` and the head of the successor.
    Under the tombstone its log does not grow any more; so if the event is there, a tombstone takes the successor's
    place. Whichever of the two heads is created first, the other one sees it.
    """
    if grave.continued_to is not None:
        after = await world.runs.head(grave.continued_to)
    elif ended or not await _may_continue(world, grave):
        return True
    else:
        now = world.clock.now()
        place = Head(
            run_id=runids.successor_id(grave),
            birth=os.urandom(12).hex(),
            workflow="",
            created_at=now,
            seed=b"",
            input_digest="",
            status="deleted",
            ended_at=now,
        )
        after = await world.runs.create(place)
    return after is None or after.status == "deleted"


async def _may_continue(world: World, grave: Head) -> bool:
    for batch in await world.runs.read(grave.run_id, grave.birth, grave.length):
        try:
            events = ev.decode_batch(batch.data, grave.run_id, batch.at).events
        except (CorruptedEventLogError, NewerFormatError):
            return True  # who can tell; a tombstone too many does no harm
        if any(isinstance(event, ev.RunContinued) for event in events):
            return True
    return False


async def remove_expired(world: World, retention: float) -> int:
    """Remove what has ended longer ago than the retention, finish what a death left, and forget old tombstones;
    returns how many runs were removed."""
    now, seen, removed = world.clock.now(), 0, 0
    ended_before, buried_before = now - retention, now - max(requests.TOMBSTONES_KEPT, 2 * retention)
    if world.runs.keeps is not None:  # both go by themselves, but for what a deletion that died has left
        ended_before = buried_before = 0.0
    while seen < PAGE:
        found = await world.runs.removable(ended_before=ended_before, buried_before=buried_before, limit=PAGE - seen)
        if not found:
            break
        old = [head for head in found if head.status == "deleted" and not head.wake_by]
        graves = [*old]
        for head in found:
            if head in old:
                continue
            grave = await _bury(world, head)
            if grave is not None:
                graves.append(grave)
            elif head.status == "deleted":  # the deletion that died has not come to the run that goes on for this one
                await delete(world, head.run_id, patience=0.0)
        await world.runs.erase([(head.run_id, head.birth) for head in graves])
        for head in old:
            await world.runs.forget(head.run_id, head.birth)
        removed += len(graves) - len(old)
        seen += len(found)  # removing the last of a chain brings the one before it: look again
    return removed
