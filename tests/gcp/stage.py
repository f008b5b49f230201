"""The Google Cloud world's resources on the servers of `wdk_gcp.testing`, fresh for each test, and what receives from
Cloud Tasks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud.firestore import Client as FirestoreClient

from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.ports import Delivery
from wdk_gcp import messages, schema
from wdk_gcp.clients import Clients
from wdk_gcp.queue import ROUTE
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing import CloudStorageServer, CloudTasksServer, Fault, FirestoreServer, Index, Indexes, Mischief
from wdk_gcp.testing.firestore import named_by_environment
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer

if TYPE_CHECKING:
    from google.cloud.kms_v1 import KeyManagementServiceClient
    from google.cloud.tasks_v2 import CloudTasksClient

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
    tasks: CloudTasksServer
    receiver: TaskReceiver

    @contextmanager
    def fresh(
        self, firestore: str | None = None, kms: Callable[[], KeyManagementServiceClient] | None = None
    ) -> Iterator[tuple[GcpSettings, Clients]]:
        """Settings of resources that nobody has used, which exist or are made at first use; and clients for them.
        `firestore`: the address of another one."""
        number = next(_numbers)
        queues = f"{LOCATION}/queues/flow-{number}", f"{LOCATION}/queues/step-{number}"
        settings = GcpSettings(
            project=f"{PROJECT}-{number}",  # no documents of others
            flow_queue=queues[0],
            step_queue=queues[1],
            bucket=f"bucket-{number}",
            worker_url=self.receiver.begin(number),
            invoker=INVOKER,
        )

        def tasks() -> CloudTasksClient:
            client = self.tasks.client()
            for name in queues:
                # Without back-off, so that what is put back is there when its receiver says.
                again = {"max_attempts": -1, "min_backoff": {"seconds": 0}, "max_backoff": {"seconds": 0}}
                client.create_queue(parent=LOCATION, queue={"name": name, "retry_config": again})
            return client

        def storage() -> Any:
            client = self.storage.client()
            with suppress(Conflict):  # the answer to the first request was lost
                client.create_bucket(settings.bucket)
            return client

        clients = clients_of(settings, firestore or self.firestore.address, storage, tasks, kms)
        try:
            yield settings, clients
        finally:
            self.receiver.let_go()
            if "tasks" in vars(clients):
                for name in queues:
                    clients.tasks.delete_queue(name=name)
            clients.close()


@contextmanager
def servers_standing(rates: Mapping[Fault, float] | None = None) -> Iterator[Servers]:
    """`rates` are those of faults of the two that keep something."""
    clock = VirtualClock()
    mischief = [Mischief(seed, rates) for seed in range(2)]
    with (
        FirestoreServer(clock=clock, indexes=indexes(), mischief=mischief[0]) as firestore,
        CloudStorageServer(clock=clock, mischief=mischief[1]) as storage,
        CloudTasksServer(clock=clock) as tasks,
        TaskReceiver(tasks) as receiver,
    ):
        yield Servers(clock, firestore, storage, tasks, receiver)


def clients_of(
    settings: GcpSettings,
    firestore: str,
    storage: Callable[[], Any] | None = None,
    tasks: Callable[[], CloudTasksClient] | None = None,
    kms: Callable[[], KeyManagementServiceClient] | None = None,
) -> Clients:
    """`firestore` is an address."""

    def firestore_client() -> FirestoreClient:
        with named_by_environment(firestore):
            return FirestoreClient(settings.project, AnonymousCredentials(), settings.database)

    return Clients(settings, firestore=firestore_client, storage=storage, tasks=tasks, kms=kms)


def documents_of(client: FirestoreClient) -> dict[str, dict[str, Any]]:
    """All documents of a project, by their paths."""
    found: dict[str, dict[str, Any]] = {}
    collections = list(client.collections())
    for collection in collections:
        for document in collection.list_documents():
            collections += document.collections()
            snapshot = document.get()
            if snapshot.exists:
                found[document.path] = snapshot.to_dict() or {}
    return found


@dataclass
class Call:
    """A delivery that waits for its answer."""

    delivery: Delivery
    body: bytes
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
        self._base = ""
        self.calls: list[Call] = []

    def __enter__(self) -> TaskReceiver:
        self._http.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.stop()

    def begin(self, number: int) -> str:
        """The URL of a service for one test: what comes for earlier ones is not taken."""
        with self._lock:
            self._base = f"/{number}"
            self.calls = []
        return f"{self._http.url}{self._base}"

    def _answer(self, request: HttpRequest) -> HttpAnswer:
        if request.path != f"{self._base}{ROUTE}":
            return HttpAnswer(404)
        message, _ = messages.decode(request.body)
        delivery = Delivery(
            message=message,
            provider_id=request.headers["x-cloudtasks-taskname"],
            receipt=str(next(self._receipts)),
            again=request.headers["x-cloudtasks-taskretrycount"] != "0",
        )
        call = Call(delivery, request.body)
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

    def arrived(self) -> bool:
        """Whether one waits to be received."""
        with self._lock:
            return bool(self._waiting)

    def body_of(self, delivery: Delivery) -> bytes:
        """Of one that is being worked on."""
        with self._lock:
            return self._held[delivery.receipt].body

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
            self._base, self._waiting, self._held = "", [], {}

    def _end(self, delivery: Delivery, answer: HttpAnswer) -> None:
        """Answer, and wait until Cloud Tasks has it. Whoever has lost the connection answers nobody."""
        with self._lock:
            call = self._held.pop(delivery.receipt, None)
        if call is None:
            return
        ended = self._ended(delivery)
        call.answer = answer
        call.answered.set()
        while self._ended(delivery) == ended:
            threading.Event().wait(LOOK_EVERY)

    def _ended(self, delivery: Delivery) -> int:
        """How many deliveries of its task have ended."""
        return sum(attempt.task.endswith(delivery.provider_id) for attempt in self._tasks.attempts)

    def _settled(self) -> bool:
        """Whether all that is due has arrived here."""
        due = self._tasks.next_due()
        if due is not None and due <= self._tasks.clock.now():
            return False
        with self._lock:
            return self._tasks.under_way() == len(self._waiting) + len(self._held)
