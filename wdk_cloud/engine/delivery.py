"""A message arrives for a run: exchanged if it was received before, then the lease is taken or its holder is told.

docs/protocol.md, "A message for a run", steps 0 to 2. `deliver` returns whether to acknowledge;
False leaves the message with the provider, which brings it back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from wdk_cloud.engine import ending, outgoing, step
from wdk_cloud.engine.turn import Turn
from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.ports import Head, Lease

if TYPE_CHECKING:
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Delivery, Message

log = logging.getLogger("wdk_cloud")


async def deliver(engine: Engine, delivery: Delivery) -> bool:
    """Work on one message. An unavailable world leaves it to come back. What else escapes (a world that is not set up,
    a bug) is for the host to log with the run's id; the message comes back then, too."""
    try:
        if delivery.message.kind == "step":
            return await step.deliver(engine, delivery)
        return await _deliver_to_run(engine, delivery)
    except WorldUnavailableError as error:
        log.warning("run %s: the world is unavailable, its message comes back: %s", delivery.message.run_id, error)
        return False


async def _deliver_to_run(engine: Engine, delivery: Delivery) -> bool:
    message = delivery.message
    if message.kind == "timer" and message.hop:
        await engine.world.queue.send([outgoing.hop(engine, message)])
        return True
    if delivery.again:
        return await _exchange(engine, delivery)
    while True:
        turn = engine.live.get((message.run_id, message.birth))
        if turn is not None and turn.lapsed():
            return False  # our own turn still works under a lease that ran out: two of them would be one too many
        answer = await _acquire(engine, delivery)
        if answer is None:
            warn_of_absence(message)
            return True
        if isinstance(answer, Lease):
            return await Turn(engine, delivery, answer).run()
        acknowledge = await _refused(engine, delivery, answer)
        if acknowledge is not None:
            return acknowledge


def warn_of_absence(message: Message) -> None:
    log.warning(
        "run %s: a message (%s) has come for a run that is not here, and is dropped: the run was deleted or has "
        "expired, or the message is of another place",
        message.run_id,
        message.kind,
    )


async def _exchange(engine: Engine, delivery: Delivery) -> bool:
    """So no acknowledgement by an earlier receiver can take away what a later turn relies on."""
    message, clock = delivery.message, engine.world.clock
    head = await engine.world.runs.retire(message.run_id, message.birth, delivery.provider_id)
    if head is not None and head.status != "deleted":
        holds = not head.ended and head.holder == message.identity
        await outgoing.send_copy(engine, message, head.until - clock.now() if holds else 0.0)
    return True


async def _acquire(engine: Engine, delivery: Delivery) -> Lease | Head | None:
    message, clock = delivery.message, engine.world.clock
    now = clock.now()
    return await engine.world.runs.acquire(
        message.run_id,
        message.birth,
        identity=message.identity,
        provider_id=delivery.provider_id,
        now=now,
        until=round(now + engine.lease, 6),
        due=message.due,
        unclean=message.kind == "sweep",
    )


async def _refused(engine: Engine, delivery: Delivery, head: Head) -> bool | None:
    """What a refused acquire means; None: look again."""
    message, now = delivery.message, engine.world.clock.now()
    if delivery.provider_id in head.retired:
        return False  # exchanged, in the hands of an earlier receiver; the copy may not have been sent yet
    if head.ended:
        if head.holder == message.identity:
            await ending.follow(engine, head)
        return True
    if head.holder is None:
        return True if head.last == message.identity else None
    over = head.until <= now and (message.run_id, message.birth) not in engine.live
    if head.holder == message.identity and not over:
        # The answer may have come late: our own turn has renewed the lease meanwhile.
        await outgoing.send_copy(engine, message, head.until - now if head.until > now else engine.lease)
        return True
    if over:
        return None
    return await _tell_holder(engine, delivery, head)


async def _tell_holder(engine: Engine, delivery: Delivery, head: Head) -> bool | None:
    message = delivery.message
    due = message.due if message.kind == "timer" and head.armed == message.due else None
    if not head.dirty or due is not None:
        assert head.holder is not None  # the caller looked
        told = await engine.world.runs.mark_dirty(
            head.run_id, head.birth, holder=head.holder, fence=head.fence, due=due
        )
        if not told:
            return None
    turn = engine.live.get((head.run_id, head.birth))
    if turn is not None and turn.fence == head.fence:
        turn.told()
    return True
