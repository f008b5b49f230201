"""Every test of this folder runs on every world.

A test is a coroutine that asks for `place`. A world joins by one entry in `FACTORIES`: an async context manager that
gives a fresh, open world with what the tests need beside it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import BlobStore, Clock, Delivery, Message, Queue, Receiver, RunStore, World

TIME_LIMIT = 30.0  # seconds for one test; a test that waits for what never comes fails with its own traceback

_marks = count(1)


@dataclass(frozen=True)
class WorldUnderTest:
    world: World
    clock: Clock
    advance: Callable[[float], Awaitable[None]]
    """Let so many seconds pass on the world's clock."""
    second: Callable[[], AbstractAsyncContextManager[World]]
    """Another connection to the same place, as another process would have it."""
    receiver: Receiver
    visibility: float = 60.0
    """Seconds after which a message that was received becomes visible again."""

    @property
    def runs(self) -> RunStore:
        return self.world.runs

    @property
    def blobs(self) -> BlobStore:
        return self.world.blobs

    @property
    def queue(self) -> Queue:
        return self.world.queue

    async def visible(self) -> list[Delivery]:
        """Receive what is visible now, without waiting for what is not: a message of our own, sent last, is the mark
        up to which we receive."""
        mark = f"mark-{next(_marks)}"
        await self.queue.send([(Message(kind="wake", run_id="mark", birth="mark", identity=mark), 0.0)])
        found: list[Delivery] = []
        seen = False
        while not seen:
            for delivery in await self.receiver.receive(10):
                if delivery.message.identity == mark:
                    seen = True
                    await self.receiver.acknowledge(delivery)
                else:
                    found.append(delivery)
        return found


Factory = Callable[[Path], AbstractAsyncContextManager[WorldUnderTest]]


@asynccontextmanager
async def memory(_folder: Path) -> AsyncIterator[WorldUnderTest]:
    clock = VirtualClock()
    world = MemoryWorld(clock)

    @asynccontextmanager
    async def second() -> AsyncIterator[World]:
        yield world.scoped(world.namespace)

    assert world.receiver is not None
    yield WorldUnderTest(world, clock, advancing(clock), second, world.receiver)


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[WorldUnderTest]:
    from wdk_cloud.world.local import LocalWorld

    clock = VirtualClock()

    @asynccontextmanager
    async def connect() -> AsyncIterator[LocalWorld]:
        world = LocalWorld(folder / "contract.db", clock=clock)
        await world.open()
        try:
            yield world
        finally:
            await world.close()

    async with connect() as world:
        yield WorldUnderTest(world, clock, advancing(clock), connect, world.receiver)


FACTORIES: dict[str, Factory] = {"memory": memory}
if find_spec("wdk_cloud.world.local"):
    FACTORIES["local"] = local


def advancing(clock: VirtualClock) -> Callable[[float], Awaitable[None]]:
    async def advance(seconds: float) -> None:
        clock.advance_to(clock.now() + seconds)

    return advance


def run(story: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(TIME_LIMIT):
            await story

    asyncio.run(limited())


@dataclass(frozen=True)
class Opening:
    """What the fixture `place` gives; the test itself gets the world, opened on the loop it runs on."""

    factory: Factory
    folder: Path


@pytest.fixture(params=list(FACTORIES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    return Opening(FACTORIES[request.param], tmp_path)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine, with its world open around it."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}

    async def story() -> None:
        opening = wanted.get("place")
        if not isinstance(opening, Opening):
            await pyfuncitem.obj(**wanted)
            return
        async with opening.factory(opening.folder) as world:
            await pyfuncitem.obj(**{**wanted, "place": world})

    run(story())
    return True
