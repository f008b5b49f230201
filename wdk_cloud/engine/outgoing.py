"""What a turn sends: messages with identities of our own, and timers in hops of the queue's longest delay."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

import msgspec

from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Head, MessageKind

CONTINUE_DELAY = 1.0
"""Seconds before a continuation is delivered: it should not meet the lease that its sender is about to release."""


class MessageFields(TypedDict, total=False):
    """What only some kinds of message carry."""

    due: float
    step_id: str
    order: bytes
    count: int
    length: int


def message(engine: Engine, kind: MessageKind, head: Head, **fields: Unpack[MessageFields]) -> Message:
    """A new message for the run of this head."""
    return Message(
        kind=kind, run_id=head.run_id, birth=head.birth, identity=engine.identity(), trace=head.trace, **fields
    )


def timer(engine: Engine, head: Head, due: float) -> tuple[Message, float]:
    """A timer message with its delay; a hop when the queue cannot delay that far."""
    return hop(engine, message(engine, "timer", head, due=due))


def hop(engine: Engine, timer: Message) -> tuple[Message, float]:
    """The rest of the way to a timer's due time, or as much of it as the queue can delay."""
    assert timer.due is not None  # only timer messages come here
    left = max(0.0, timer.due - engine.world.clock.now())
    longest = engine.world.queue.longest_delay
    return msgspec.structs.replace(timer, hop=left > longest), min(left, longest)


async def send_copy(engine: Engine, original: Message, delay: float) -> None:
    """A copy keeps the identity; the provider gives it an id of its own."""
    await engine.world.queue.send([(original, min(max(0.0, delay), engine.world.queue.longest_delay))])
