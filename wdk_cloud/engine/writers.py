"""The streams that one attempt of a step writes and reads: opened when first asked for, durable before it is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from wdk_cloud.engine import keyrings, requests
from wdk_cloud.engine.appender import Appender
from wdk_cloud.engine.streaming import Place

if TYPE_CHECKING:
    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.payloads import Payloads
    from wdk_cloud.world.ports import World


class Writers:
    """Of one attempt; `call` is the id of its step's call, the same for all attempts."""

    def __init__(
        self,
        world: World,
        keys: KeyService | None,
        run: tuple[str, str],
        payloads: Payloads,
        call: str,
        known: KnownTypes,
    ) -> None:
        self.known = known
        self.call = call
        self.run_id, self._birth = run
        self._world = world
        self._keys = keys
        self._payloads = payloads
        self._open: dict[tuple[str, str], Appender] = {}
        self.is_over = False
        self.loop = asyncio.get_running_loop()
        """Where its appenders write, for a step in a thread."""

    @property
    def are_open(self) -> bool:
        return bool(self._open)

    async def place(self, run_id: str, stream: str) -> Place:
        """Of this run, or of another of the same namespace. Raises WorkflowRunNotFoundError, RunExpiredError."""
        if run_id == self.run_id:
            return Place(self._world, run_id, self._birth, stream, self._payloads.sealer)
        return await place_of(self._world, self._keys, run_id, stream)

    async def appender(self, run_id: str, stream: str, *, resume: bool = False) -> Appender:
        """One for each stream, so that what a step writes stays in its order."""
        key = (run_id, stream)
        if key not in self._open:
            place = await self.place(run_id, stream)
            # The id of a call is that of its run's: a child that writes its parent's stream is somebody else.
            producer = self.call if run_id == self.run_id else f"{self.run_id}/{self.call}"
            self._open.setdefault(key, Appender(place, producer, resume=resume))
        return self._open[key]

    async def drain(self) -> None:
        """Everything that was written is durable when this returns. Raises what a stream could not take."""
        for appender in self._open.values():
            await appender.drain()

    def abandon(self) -> None:
        """The attempt is over as if its process had died."""
        for appender in self._open.values():
            appender.abandon()


async def place_of(world: World, keys: KeyService | None, run_id: str, stream: str) -> Place:
    head = await requests.require_head(world, run_id)
    payloads = await keyrings.payloads_of(world, keys, head)
    return Place(world, run_id, head.birth, stream, payloads.sealer)
