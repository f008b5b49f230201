"""The servers of a process, on which one environment after the other is played, each empty and on a clock of its own.

Starting servers and making clients takes a second, so they are made once.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

from wdk_cloud.world.clock import VirtualClock
from wdk_gcp import schema
from wdk_gcp.clients import Clients
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing.dispatching import Dispatcher
from wdk_gcp.testing.firestore import FirestoreServer
from wdk_gcp.testing.indexes import Index, Indexes
from wdk_gcp.testing.mischief import Mischief
from wdk_gcp.testing.storage import CloudStorageServer
from wdk_gcp.testing.tasks import CloudTasksServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.world.ports import Clock, Handle

P = ParamSpec("P")
T = TypeVar("T")

PROJECT = "wdk-testing"
LOCATION = f"projects/{PROJECT}/locations/europe-west1"
INVOKER = "queues@wdk-testing.iam.gserviceaccount.com"

AT_ONCE = {"max_attempts": -1, "min_backoff": {"seconds": 0}, "max_backoff": {"seconds": 0}}
"""Of queues whose tasks come back without a pause: what a service that is taken away has worked on."""


class ClockOfNow:
    """That of the environment which is played now."""

    still = True

    def __init__(self) -> None:
        self.clock = VirtualClock()

    def now(self) -> float:
        return self.clock.now()

    def monotonic(self) -> float:
        return self.clock.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        return self.clock.call_at(when, callback)

    def every(self, seconds: float, callback: Callable[[], object]) -> Handle:
        return self.clock.every(seconds, callback)


class InlineClients(Clients):
    """Requests are made in the thread of the loop that asks. So a test that lets the loop run until nothing is ready
    has also waited for every answer, and comes out the same each time."""

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask_now(setting, method, *args, **kwargs)


class Stage:
    """Servers on 127.0.0.1, while it is entered as a context, and the clients of a process. `mischief` is what goes
    wrong at the servers that keep something, by default nothing."""

    def __init__(self, mischief: Mischief | None = None) -> None:
        self.mischief = mischief or Mischief()
        self._clock = ClockOfNow()
        clock: Clock = self._clock
        declared = [Index(index.collection, index.fields) for index in schema.COMPOSITE]
        self.firestore = FirestoreServer(clock=clock, indexes=Indexes(declared, schema.EXEMPT), mischief=self.mischief)
        self.storage = CloudStorageServer(clock=clock, mischief=self.mischief)
        self.tasks = CloudTasksServer(clock=clock, mischief=self.mischief, deliveries=self._made_dispatcher)
        made: dict[str, Any] = {
            "firestore": lambda: self.firestore.client(PROJECT),
            "tasks": self.tasks.client,
            "storage": self.storage.client,
        }
        self.clients: Clients = InlineClients(GcpSettings(project=PROJECT), **made)
        self._numbers = count(1)
        self._queues: list[str] = []
        self._open = ExitStack()

    def __enter__(self) -> Self:
        for server in (self.firestore, self.storage, self.tasks):
            self._open.enter_context(server)
        self._open.callback(self.clients.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _made_dispatcher(self, *parts: Any) -> Dispatcher:
        self.dispatcher = Dispatcher(*parts)
        return self.dispatcher

    def begin(self, clock: VirtualClock) -> GcpSettings:
        """A database, queues and a bucket, all empty, on this clock; the settings that name them."""
        self._clock.clock = clock
        number = next(self._numbers)
        self.firestore.clear()
        self._queues = [f"{LOCATION}/queues/{name}-{number}" for name in ("flow", "step")]
        tasks: Any = self.clients.tasks  # the types of its methods are partly unknown
        for name in self._queues:
            tasks.create_queue(parent=LOCATION, queue={"name": name, "retry_config": AT_ONCE})
        self.clients.storage.create_bucket(f"bucket-{number}")
        return GcpSettings(
            project=PROJECT,
            flow_queue=self._queues[0],
            step_queue=self._queues[1],
            bucket=f"bucket-{number}",
            worker_url="http://service",
            invoker=INVOKER,
        )

    def end(self) -> None:
        tasks: Any = self.clients.tasks
        for name in self._queues:
            tasks.delete_queue(name=name)
