"""Every test of this folder runs on every world.

A test is a coroutine that asks for `place`. A world joins by one entry in `FACTORIES`: an async context manager that
gives a fresh, open world with what the tests need beside it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.gcp import emulator
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import BlobStore, Clock, Delivery, Message, Queue, Receiver, RunStore, World

TIME_LIMIT = 30.0  # seconds for one test; a test that waits for what never comes fails with its own traceback

_marks = count(1)


def own_receiver(world: World) -> Receiver:
    assert world.receiver is not None
    return world.receiver


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
    grain: float = 0.0
    """Seconds to which the queue rounds its delays up."""
    erases_messages: bool = True
    """An erasure takes the messages of the run along."""
    receiver_of: Callable[[World], Receiver] = own_receiver

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


@dataclass(frozen=True)
class Ground:
    """What a world may stand on."""

    folder: Path
    fixture: Callable[[str], Any]
    """A fixture by its name, started when it is asked for."""
    racing: bool
    """Whether writers of one item race: nothing may keep them apart."""


Factory = Callable[[Ground], AbstractAsyncContextManager[WorldUnderTest]]


@asynccontextmanager
async def memory(_ground: Ground) -> AsyncIterator[WorldUnderTest]:
    clock = VirtualClock()
    world = MemoryWorld(clock)

    @asynccontextmanager
    async def second() -> AsyncIterator[World]:
        yield world.scoped(world.namespace)

    assert world.receiver is not None
    yield WorldUnderTest(world, clock, advancing(clock), second, world.receiver)


@asynccontextmanager
async def local(ground: Ground) -> AsyncIterator[WorldUnderTest]:
    from wdk_cloud.world.local import LocalWorld

    clock = VirtualClock()

    @asynccontextmanager
    async def connect() -> AsyncIterator[LocalWorld]:
        world = LocalWorld(ground.folder / "contract.db", clock=clock)
        await world.open()
        try:
            yield world
        finally:
            await world.close()

    async with connect() as world:
        yield WorldUnderTest(world, clock, advancing(clock), connect, world.receiver)


@asynccontextmanager
async def aws(ground: Ground) -> AsyncIterator[WorldUnderTest]:
    """DynamoDB at dynoxide; SQS, S3 and EventBridge Scheduler at a ministack whose clock goes with the virtual one.
    Every test has resources of its own. What it asks of DynamoDB must cost what our meter says."""
    from tests.aws.stage import SqsReceiver, fresh, scheduled_before, shared_clients, weighed_clients
    from wdk_aws.testing.resources import VISIBILITY
    from wdk_aws.world import AwsWorld

    standing = ground.fixture("ministack_standing")
    servers = ground.fixture("dynoxide"), standing.url
    clients, scales = (shared_clients(*servers), None) if ground.racing else weighed_clients(*servers)
    settings = fresh(clients, standing.url)
    clock = VirtualClock(math.ceil(standing.now()))  # schedules are for whole seconds
    standing.move_to(clock.now())

    async def advance(seconds: float) -> None:
        clock.advance_to(clock.now() + seconds)
        standing.move_to(clock.now())
        while scheduled_before(clock.now(), settings, clients):
            await asyncio.sleep(0.02)

    @asynccontextmanager
    async def connect() -> AsyncIterator[World]:
        world = AwsWorld(settings, clients=clients, clock=clock)
        await world.open()
        yield world

    def receiver_of(world: World) -> Receiver:
        return SqsReceiver(settings, clients, world.namespace)

    try:
        async with connect() as world:
            yield WorldUnderTest(
                world,
                clock,
                advance,
                connect,
                receiver_of(world),
                visibility=VISIBILITY,
                grain=1.0,
                erases_messages=False,
                receiver_of=receiver_of,
            )
    finally:
        clients.close()
    if scales is not None:
        scales.finish()


def gcp(ground: Ground) -> AbstractAsyncContextManager[WorldUnderTest]:
    """Firestore, Cloud Tasks and Cloud Storage as they answer in this process, with the indexes and exemptions of the
    schema."""
    return gcp_on(ground.fixture("gcp_standing"))


def gcp_failing(ground: Ground) -> AbstractAsyncContextManager[WorldUnderTest]:
    """The same, with faults: what comes of a call is what comes of it without."""
    return gcp_on(ground.fixture("gcp_failing"))


def gcp_emulator(ground: Ground) -> AbstractAsyncContextManager[WorldUnderTest]:
    """The same, with Google's emulator for Firestore, where this machine has it."""
    return gcp_on(ground.fixture("gcp_standing"), ground.fixture("firestore_emulator"))


@asynccontextmanager
async def gcp_on(standing: Any, firestore: str | None = None) -> AsyncIterator[WorldUnderTest]:
    """Every test has a project, queues and a bucket of its own."""
    from wdk_gcp.world import GcpWorld

    clock, receiver = standing.clock, standing.receiver
    with standing.fresh(firestore) as (settings, clients):

        async def advance(seconds: float) -> None:
            await receiver.advance(clock, seconds)

        @asynccontextmanager
        async def connect() -> AsyncIterator[World]:
            world = GcpWorld(settings, clients=clients, clock=clock)
            await world.open()
            yield world

        async with connect() as world:
            yield WorldUnderTest(
                world,
                clock,
                advance,
                connect,
                receiver,
                visibility=receiver.HOLD,
                erases_messages=False,
                receiver_of=lambda _world: receiver,
            )


FACTORIES: dict[str, Factory] = {"memory": memory}
if find_spec("wdk_cloud.world.local"):
    FACTORIES["local"] = local
if find_spec("wdk_aws.store"):
    FACTORIES["aws"] = aws
if find_spec("wdk_gcp.store"):
    FACTORIES["gcp"] = gcp

LONG: dict[str, Factory] = {"gcp-failing": gcp_failing}
"""Worlds of `make storm`."""

OF_THE_STORE: dict[str, Factory] = {"gcp-emulator": gcp_emulator}
"""Worlds that differ from others in their store only, and cannot race: Google's emulator takes some twenty writes a
second when they meet."""

ABOUT_THE_STORE = frozenset(
    ["head", "inbox", "lease", "listing", "log", "namespaces", "refresh", "removal", "steps", "tokens_labels"]
)


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
    ground: Ground


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "place" in metafunc.fixturenames:
        about = metafunc.module.__name__.rpartition("test_")[2]
        long = [pytest.param(name, marks=pytest.mark.long) for name in LONG]
        absent = [] if emulator.found() else [pytest.mark.skip("not run here: Google's Firestore emulator")]
        of_the_store = [pytest.param(name, marks=absent) for name in OF_THE_STORE if about in ABOUT_THE_STORE]
        metafunc.parametrize("place", [*FACTORIES, *of_the_store, *long], indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    for exception in request.node.iter_markers("not_on"):
        if request.param.partition("-")[0] == exception.args[0]:
            pytest.skip("not run on {}: {}".format(*exception.args))
    if request.param in OF_THE_STORE:
        request.getfixturevalue("firestore_emulator")  # it takes seconds to start, which are not the test's
    return Opening(
        {**FACTORIES, **LONG, **OF_THE_STORE}[request.param],
        Ground(tmp_path, request.getfixturevalue, "races" in request.node.path.name),
    )


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
        async with opening.factory(opening.ground) as world:
            await pyfuncitem.obj(**{**wanted, "place": world})

    run(story())
    return True
