"""A workbench for the engine's unit tests: a memory world on a virtual clock, and messages delivered by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from wdk_cloud import client
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.service import Engine
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wdk_cloud.app import Workflow, Workflows
    from wdk_cloud.world.ports import Delivery, Head, Message


class Bench:
    """One world and any number of engines, which stand for processes."""

    def __init__(self, app: Workflows, settings: Settings | None = None) -> None:
        self.app = app
        self.clock = VirtualClock()
        self.world = MemoryWorld(self.clock)
        self.settings = settings or Settings(code_version="1.test")
        self.engine = self.new_engine()

    def new_engine(self, settings: Settings | None = None, app: Workflows | None = None) -> Engine:
        return Engine(self.world, [app or self.app], settings or self.settings)

    async def start(self, workflow: Workflow[..., Any], *args: Any) -> client.Run[Any]:
        with use_world(self.world):
            return await client.start(workflow, *args)

    async def head(self, run: client.Run[Any]) -> Head:
        head = await self.world.runs.head(run.run_id)
        assert head is not None
        return head

    async def receive(self) -> Delivery:
        """The next visible message."""
        assert self.world.receiver is not None
        [delivery] = await asyncio.wait_for(self.world.receiver.receive(1), 5)
        return delivery

    async def receive_when_due(self) -> Delivery:
        """The next message; the clock moves to when it becomes visible."""
        receiving = asyncio.create_task(self.receive())
        while not receiving.done():
            await asyncio.sleep(0)
            due = self.clock.next_due()
            if not receiving.done() and due is not None:
                self.clock.advance_to(due)
        return await receiving

    async def work(self, delivery: Delivery, engine: Engine | None = None) -> bool:
        """Deliver, and do with the message what the answer says."""
        assert self.world.receiver is not None
        acknowledge = await deliver(engine or self.engine, delivery)
        if acknowledge:
            await self.world.receiver.acknowledge(delivery)
        return acknowledge

    async def work_all(self, engine: Engine | None = None) -> int:
        """Deliver until no message is visible; returns how many there were."""
        done = 0
        while self.visible():
            await self.work(await self.receive(), engine)
            done += 1
        return done

    def visible(self) -> bool:
        assert self.world.receiver is not None
        return self.world.receiver.busy()

    async def messages(self) -> list[Message]:
        """What lies in the queue, visible or not, in the order in which it was sent."""
        queue: Any = self.world.queue
        return [entry.message for entry in queue._entries.values()]

    async def types(self, run: client.Run[Any]) -> list[str]:
        with use_world(self.world):
            return [event.type async for event in run.events()]

    async def result(self, run: client.Run[Any]) -> Any:
        with use_world(self.world):
            return await run.return_value(timeout=1)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine, within a time that no test needs."""

    async def bounded() -> None:
        await asyncio.wait_for(test(), 30)

    asyncio.run(bounded())


async def until(condition: Callable[[], object]) -> None:
    """Let the loop go round until something has happened on it."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("what was waited for never came")
