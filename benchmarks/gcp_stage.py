"""A service on Cloud Run as it is billed: its handler and a meter, with servers that stand in for Google Cloud.

They are those of `wdk_gcp.testing`, with which the meter agrees call by call. What Cloud Tasks delivers comes by HTTP
to the part of the service that works on it; tokens are left out, which cost nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from benchmarks.cloud_scenes import SETTINGS
from benchmarks.cloud_workflows import app
from wdk_cloud.direct import obey
from wdk_cloud.telemetry import Silent
from wdk_cloud.world.clock import SystemClock, VirtualClock
from wdk_cloud.world.opening import use_world
from wdk_gcp import schema
from wdk_gcp.clients import Clients
from wdk_gcp.deliveries import Task
from wdk_gcp.queue import ROUTE
from wdk_gcp.serving import Instance, Parts
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing import CloudKmsServer, CloudStorageServer, CloudTasksServer, FirestoreServer, Index, Indexes
from wdk_gcp.testing.meter import Call, Meter, Tally
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.world.ports import Clock

LOCATION = "projects/wdk-benchmark/locations/us-central1"
KEY = f"{LOCATION}/keyRings/wdk/cryptoKeys/runs"
INVOKER = "queues@wdk-benchmark.iam.gserviceaccount.com"

LOOK_EVERY = 0.002
"""Seconds: the servers are in this process."""

FLOW, STEP = "/flow", "/step"
"""Where the two services are, below one address."""

_numbers = count(1)


@dataclass
class Part:
    """What happened while something was measured."""

    calls: Sequence[Call] = ()
    deliveries: int = 0
    """By Cloud Tasks: each is a request to the service."""
    turns: int = 0
    """Those of the flow queue among them."""
    left: int = 0
    """Documents that there are more than before: they expire one day."""

    @property
    def tally(self) -> Tally:
        return Tally.of(self.calls)


class Performance:
    """One deployment, fresh, and the bill of what it does."""

    def __init__(self, place: Place, instances: dict[str, Instance]) -> None:
        self._place = place
        self._instances = instances

    async def rest(self) -> None:
        """Until every task is dealt with: what follows a result belongs to its bill. A task that is due later is waited
        for where the clock goes on by itself."""
        while self._place.tasks.under_way() or self._is_due():
            await asyncio.sleep(LOOK_EVERY)  # nobody could say that all is done

    async def to_the_end(self) -> None:
        """Also beyond sleeps, on a clock that is moved."""
        clock = self._place.clock
        assert isinstance(clock, VirtualClock)
        await self.rest()
        while (due := self._place.tasks.next_due()) is not None:
            clock.advance_to(due)
            await self.rest()

    async def sweep(self) -> None:
        await obey(self._instances[FLOW].engines, Silent(), "sweep", {})

    @contextmanager
    def measured(self) -> Generator[Part]:
        part, tasks, firestore = Part(), self._place.tasks, self._place.firestore
        ended, stored = len(tasks.attempts), firestore.stored
        with self._place.meter.part() as calls:
            yield part
        part.calls = calls
        delivered = tasks.attempts[ended:]
        refused = [attempt for attempt in delivered if attempt.status != 200]
        if refused:
            raise AssertionError(f"{refused} is nothing that a service without trouble answers")
        part.deliveries = len(delivered)
        part.turns = sum(1 for attempt in delivered if f"{FLOW}{ROUTE}" in attempt.url)
        part.left = firestore.stored - stored

    def _is_due(self) -> bool:
        due = self._place.tasks.next_due()
        return due is not None and (not self._place.clock.still or due <= self._place.clock.now())


class Place:
    """One of each server, which go by one clock, while it is entered as a context."""

    def __init__(self, clock: Clock, meter: Meter) -> None:
        self.clock = clock
        self.meter = meter
        declared = [Index(index.collection, index.fields) for index in schema.COMPOSITE]
        self.firestore = FirestoreServer(clock=clock, indexes=Indexes(declared, schema.EXEMPT))
        self.storage = CloudStorageServer(clock=clock)
        self.tasks = CloudTasksServer(clock=clock)
        self.kms = CloudKmsServer()
        self._http = HttpServer(self._answer)
        self._stack = ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._instances: dict[str, Instance] = {}

    def __enter__(self) -> Place:
        for server in (self.firestore, self.storage, self.tasks, self.kms):
            self._stack.enter_context(server)
        self.kms.create(KEY)
        self._queues: Any = self.tasks.client()  # its methods have types in part
        self._stack.callback(self._queues.transport.close)
        self._http.start()
        self._stack.callback(self._http.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @asynccontextmanager
    async def performance(self, *, encrypted: bool, settings: Settings) -> AsyncGenerator[Performance]:
        async with AsyncExitStack() as stack:
            where, clients = self._deployment(stack)
            if encrypted:
                where = replace(where, kms_key=KEY)
            self._loop = asyncio.get_running_loop()
            # Steps have a service of their own, as in a deployment that is split.
            for path in (FLOW, STEP):
                world = GcpWorld(where, clients=clients, clock=self.clock)
                instance = Instance((app,), Parts(partial(_the, world), _silent, settings))
                await instance.prepare()
                stack.push_async_callback(instance.close)
                self._instances[path] = instance
            stack.enter_context(use_world(GcpWorld(where, clients=clients, clock=self.clock)))
            yield Performance(self, dict(self._instances))

    def _deployment(self, stack: AsyncExitStack) -> tuple[GcpSettings, Clients]:
        """One that nobody has used; what is left in its queues goes with it."""
        number = next(_numbers)
        settings = GcpSettings(
            project=f"wdk-benchmark-{number}",
            flow_queue=f"{LOCATION}/queues/flow-{number}",
            step_queue=f"{LOCATION}/queues/step-{number}",
            bucket=f"bucket-{number}",
            worker_url=f"{self._http.url}{FLOW}",
            step_url=f"{self._http.url}{STEP}",
            invoker=INVOKER,
        )
        for queue in (settings.flow_queue, settings.step_queue):
            self._queues.create_queue(parent=LOCATION, queue={"name": queue})
            stack.callback(self._queues.delete_queue, name=queue)
        storage: Any = self.storage.client()  # it has no types
        storage.create_bucket(settings.bucket)
        meter = self.meter
        clients = Clients(
            settings,
            firestore=lambda: meter.on_firestore(self.firestore.client(settings.project)),
            tasks=lambda: meter.on_tasks(self.tasks.client()),
            storage=lambda: meter.on_storage(storage),
            kms=lambda: meter.on_kms(self.kms.client()),
        )
        stack.callback(clients.close)
        return settings, clients

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        """In a thread of the server's; the work is done on the loop of the performance."""
        assert self._loop is not None
        working = self._instances[request.path.removesuffix(ROUTE)].deliveries.work(_task(request))
        done = asyncio.run_coroutine_threadsafe(working, self._loop).result()
        return HttpAnswer(200 if done else 503)


class Theatre:
    """The servers of a process and the meter of its clients, for one performance after the other."""

    def __init__(self, stack: ExitStack, meter: Meter | None = None) -> None:
        self.meter = Meter() if meter is None else meter
        self._stack = stack
        self._places: dict[bool, Place] = {}

    def performance(
        self, *, real: bool = False, encrypted: bool = False, settings: Settings = SETTINGS
    ) -> AbstractAsyncContextManager[Performance]:
        """`real`: on the clock of the machine, else on one that jumps from one thing that is due to the next.
        `encrypted`: with data keys wrapped by Cloud KMS, which each process of a performance asks for anew."""
        return self.place(real=real).performance(encrypted=encrypted, settings=settings)

    def place(self, *, real: bool = False) -> Place:
        if real not in self._places:
            place = Place(SystemClock() if real else VirtualClock(), self.meter)
            self._places[real] = self._stack.enter_context(place)
        return self._places[real]


@contextmanager
def theatre(meter: Meter | None = None) -> Generator[Theatre]:
    with ExitStack() as stack:
        yield Theatre(stack, meter)


def _the(world: GcpWorld) -> GcpWorld:
    return world


def _silent(world: GcpWorld) -> Silent:
    return Silent()


def _task(request: HttpRequest) -> Task:
    headers: Any = request.headers
    return Task(
        name=headers["x-cloudtasks-taskname"],
        queue=headers["x-cloudtasks-queuename"],
        retry_count=int(headers["x-cloudtasks-taskretrycount"]),
        sent_at=float(headers["x-cloudtasks-tasketa"]),
        namespace=request.query.get("namespace", ""),
        body=request.body,
    )
