"""Messages that the queue has given up: their runs are woken again. What ends a run is decided by its log alone."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from wdk_cloud.world.records import Message

if TYPE_CHECKING:
    from wdk_cloud.world.ports import World

log = logging.getLogger("wdk_cloud")


async def revive(world: World, message: Message) -> bool:
    """Send it on; then it may be acknowledged.

    A step message carries what its worker needs, so it goes to its queue again as it is: its claim decides whether
    there is anything left to do. All others only say that a run should be looked at, and a `sweep` has a turn send
    whatever the log leaves open.
    """
    log.error("run %s: its message of kind %s was a dead letter; the run is woken again", message.run_id, message.kind)
    if message.kind != "step":
        identity = os.urandom(12).hex()
        message = Message(kind="sweep", run_id=message.run_id, birth=message.birth, identity=identity)
    await world.queue.send([(message, 0.0)])
    return True
