"""Writing a batch: at the next free position, cut where it is too large for one item."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.engine.events import encode_batch
from wdk_cloud.world.ports import Batch

if TYPE_CHECKING:
    from wdk_cloud.engine.events import AnyEvent
    from wdk_cloud.engine.turn import Turn

LARGEST = 300_000
"""Bytes of one batch. An item of DynamoDB holds 400 KB, keys and attributes included."""


class AppendConflict(Exception):
    """The position is taken: somebody else wrote to the log."""


async def append(turn: Turn, events: list[AnyEvent]) -> None:
    """Write the events in order; each part is confirmed before the next.

    Our holder and its successor, or a zombie of a lost lease, may write at one position: the first one wins, and only
    the position decides. What is confirmed is folded into the turn's history; raises AppendConflict at the first part
    that lost.
    """
    sealed = events
    if any(map(turn.payloads.needs_sealing, events)):
        sealed = [await turn.payloads.seal_event(event) for event in events]
    await _append(turn, events, sealed)


async def _append(turn: Turn, events: list[AnyEvent], sealed: list[AnyEvent]) -> None:
    engine, history = turn.engine, turn.history
    data = encode_batch(sealed, engine.version)
    if len(data) > LARGEST and len(events) > 1:
        middle = len(events) // 2
        await _append(turn, events[:middle], sealed[:middle])
        await _append(turn, events[middle:], sealed[middle:])
        return
    at = history.position + 1
    batch = Batch(at=at, count=len(events), fence=turn.fence, nonce=f"{turn.hold.nonce}.{at}", data=data)
    if await engine.world.runs.append(*turn.key, batch) is not None:
        raise AppendConflict
    history.extend(events, engine.version)
    if turn.body is not None:
        turn.body.position = history.position
