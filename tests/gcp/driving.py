"""Runs on the servers of `tests/gcp/stage.py`, without a service: what Cloud Tasks delivers goes to an engine."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as changed

from tests.gcp.stage import LOOK_EVERY, documents_of
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.worker import engine_for
from wdk_cloud.world.opening import use_world
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.cloud.kms_v1 import KeyManagementServiceClient

    from tests.gcp.stage import Servers
    from wdk_cloud import Workflows
    from wdk_cloud.world.ports import Delivery


class Driver:
    """A fresh world, which is the open one, and an engine for it, while it is entered as a context."""

    def __init__(
        self,
        servers: Servers,
        app: Workflows,
        *,
        kms: Callable[[], KeyManagementServiceClient] | None = None,
        kms_key: str = "",
    ) -> None:
        self._servers = servers
        self._app = app
        self._stack = ExitStack()
        self._kms, self._kms_key = kms, kms_key
        self.delivered = 0

    def __enter__(self) -> Driver:
        settings, clients = self._stack.enter_context(self._servers.fresh(kms=self._kms))
        settings = replace(settings, kms_key=self._kms_key)
        self.world = GcpWorld(settings, clients=clients, clock=self._servers.clock)
        self._engine = engine_for(self.world, [self._app])
        self._stack.callback(self._engine.close)
        self._stack.enter_context(use_world(self.world))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def documents(self) -> dict[str, dict[str, Any]]:
        return documents_of(self.world.clients.firestore)

    async def until_quiet(self) -> None:
        """Deliver what comes, and move the clock to what comes later, until nothing is left."""
        tasks, receiver, clock = self._servers.tasks, self._servers.receiver, self._servers.clock
        working: set[asyncio.Task[None]] = set()
        while working or receiver.busy() or tasks.next_due() is not None:
            if receiver.arrived():
                for delivery in await receiver.receive(10):
                    working.add(asyncio.create_task(self._work(delivery)))
            elif working:
                done, working = await asyncio.wait(working, timeout=LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            elif not receiver.busy() and (due := tasks.next_due()) is not None:
                await receiver.advance(clock, due - clock.now())
            else:
                await asyncio.sleep(LOOK_EVERY)

    async def _work(self, delivery: Delivery) -> None:
        self.delivered += 1
        receiver = self._servers.receiver
        message = await self.world.message_of(receiver.body_of(delivery))
        done = message is None or await deliver(self._engine, changed(delivery, message=message))
        if done:
            await receiver.acknowledge(delivery)
        else:
            await receiver.put_back(delivery, 1)
