"""The Google Cloud world's resources on the servers of `wdk_gcp.testing`, fresh for each test, and what receives from
Cloud Tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import Client as FirestoreClient

from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.ports import Delivery
from wdk_gcp import messages, schema
from wdk_gcp.clients import Clients
from wdk_gcp.queue import ROUTE
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing import CloudStorageServer, CloudTasksServer, FirestoreServer, Index, Indexes
from wdk_gcp.testing.firestore import named_by_environment
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer

PROJECT = "wdk-testing"
LOCATION = f"projects/{PROJECT}/locations/europe-west1"
INVOKER = "queues@wdk-testing.iam.gserviceaccount.com"

LOOK_EVERY = 0.005
"""Seconds: the servers are in this process."""

_numbers = count(1)


def indexes() -> Indexes:
    """What a database that was made by `schema` has."""
    declared = [Index(index.collection, index.fields) for index in schema.COMPOSITE]
    return Indexes(declared, schema.EXEMPT)


@dataclass
class Servers:
    """One of each, with one clock, which goes on from test to test."""

    clock: VirtualClock
    firestore: FirestoreServer
    storage: CloudStorageServer


@contextmanager
def servers_standing() -> Iterator[Servers]:
    clock = VirtualClock()
    with FirestoreServer(clock=clock, indexes=indexes()) as firestore, CloudStorageServer(clock=clock) as storage:
        yield Servers(clock, firestore, storage)


@contextmanager
def tasks_standing(clock: VirtualClock) -> Iterator[tuple[CloudTasksServer, TaskReceiver]]:
    """A Cloud Tasks with the two queues and the service that it calls."""
    with CloudTasksServer(clock=clock) as tasks, TaskReceiver(tasks) as receiver:
        client = tasks.client()
        for name in ("flow", "step"):
            # Without back-off, so that what is put back is there when its receiver says.
            again = {"max_attempts": -1, "min_backoff": {"seconds": 0}, "max_backoff": {"seconds": 0}}
            client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/{name}", "retry_config": again})
        client.transport.close()
        try:
            yield tasks, receiver
        finally:
            receiver.let_go()


def fresh_settings(receiver_url: str = "http://127.0.0.1:1") -> GcpSettings:
    number = next(_numbers)
    return GcpSettings(
        project=PROJECT,
        location="europe-west1",
        database=f"database-{number}",
        flow_queue="flow",
        step_queue=f"{LOCATION}/queues/step",
        bucket=f"bucket-{number}",
        worker_url=receiver_url,
        invoker=INVOKER,
    )


def clients_of(
    settings: GcpSettings,
    firestore: str,
    storage: CloudStorageServer | None = None,
    tasks: CloudTasksServer | None = None,
) -> Clients:
    """`firestore` is an address."""

    def firestore_client() -> FirestoreClient:
        with named_by_environment(firestore):
            return FirestoreClient(settings.project, AnonymousCredentials(), settings.database)

    return Clients(
        settings,
        firestore=firestore_client,
        storage=None if storage is None else storage.client,
        tasks=None if tasks is None else tasks.client,
    )


@dataclass
class Call:
    """A delivery that waits for its answer."""

    delivery: Delivery
    namespace: str
    headers: dict[str, str]
    answered: threading.Event = field(default_factory=threading.Event)
    answer: HttpAnswer = field(default_factory=lambda: HttpAnswer(503))
    received_at: float | None = None


class TaskReceiver:
    """The service that Cloud Tasks calls, as the cases of the contract see a queue: a delivery waits here for its
    receiver, and is answered when that acknowledges it or puts it back. A receiver that is silent for `HOLD` seconds of
    the clock has lost its connection."""

    HOLD = 60.0

    def __init__(self, tasks: CloudTasksServer) -> None:
        self._tasks = tasks
        self._lock = threading.Lock()
        self._waiting: list[Call] = []
        self._held: dict[str, Call] = {}
        self._receipts = count(1)
        self._http = HttpServer(self._answer)
        self.url = self._http.url
        self.calls: list[Call] = []

    def __enter__(self) -> TaskReceiver:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        assert request.path == ROUTE
        message, order_at = messages.decode(request.body)
        assert order_at == ""
        delivery = Delivery(
            message=message,
            provider_id=request.headers["x-cloudtasks-taskname"],
            receipt=str(next(self._receipts)),
            again=request.headers["x-cloudtasks-taskretrycount"] != "0",
        )
        call = Call(delivery, request.query.get("namespace", ""), dict(request.headers))
        with self._lock:
            self.calls.append(call)
            self._waiting.append(call)
        call.answered.wait()
        return call.answer

    # -- as a receiver ------------------------------------------------------------------------------------------------

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            found = self._take(limit) if self._settled() else []
            if found:
                return found
            await asyncio.sleep(LOOK_EVERY)

    def _take(self, limit: int) -> list[Delivery]:
        with self._lock:
            # Deliveries come side by side: a mark that was sent last may be first.
            found = sorted(self._waiting, key=lambda call: call.delivery.message.run_id == "mark")[:limit]
            for call in found:
                self._waiting.remove(call)
                call.received_at = self._tasks.clock.now()
                self._held[call.delivery.receipt] = call
            return [call.delivery for call in found]

    async def acknowledge(self, delivery: Delivery) -> None:
        await asyncio.to_thread(self._end, delivery, HttpAnswer(200))

    async def put_back(self, delivery: Delivery, delay: float) -> None:
        await asyncio.to_thread(self._end, delivery, HttpAnswer(503, {"Retry-After": str(int(delay))}))

    def busy(self) -> bool:
        due = self._tasks.next_due()
        return self._tasks.under_way() > 0 or (due is not None and due <= self._tasks.clock.now())

    # -- as time goes by ----------------------------------------------------------------------------------------------

    async def advance(self, clock: VirtualClock, seconds: float) -> None:
        target = clock.now() + seconds
        while silent := [call for call in self._of_all() if self._silent_at(call) <= target]:
            first = min(silent, key=self._silent_at)
            clock.advance_to(self._silent_at(first))
            await asyncio.to_thread(self._end, first.delivery, HttpAnswer(503))
        clock.advance_to(target)
        while not self._settled():
            await asyncio.sleep(LOOK_EVERY)

    def _of_all(self) -> list[Call]:
        with self._lock:
            return list(self._held.values())

    def _silent_at(self, call: Call) -> float:
        assert call.received_at is not None
        return call.received_at + self.HOLD

    def let_go(self) -> None:
        """The test is over."""
        with self._lock:
            for call in [*self._waiting, *self._held.values()]:
                call.answered.set()

    def _end(self, delivery: Delivery, answer: HttpAnswer) -> None:
        """Answer, and wait until Cloud Tasks has it. Whoever has lost the connection answers nobody."""
        with self._lock:
            call = self._held.pop(delivery.receipt, None)
        if call is None:
            return
        ended = len(self._tasks.attempts)
        call.answer = answer
        call.answered.set()
        while len(self._tasks.attempts) == ended:
            threading.Event().wait(LOOK_EVERY)

    def _settled(self) -> bool:
        """Whether all that is due has arrived here."""
        due = self._tasks.next_due()
        if due is not None and due <= self._tasks.clock.now():
            return False
        with self._lock:
            return self._tasks.under_way() == len(self._waiting) + len(self._held)
