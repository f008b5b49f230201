"""Canonical runs on the service while requests to Google Cloud fail: a whole call, or all of a service for a time.

The servers answer so, and Google's libraries repeat as they do, with pauses of a clock that is nobody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from google.api_core.retry import retry_base, retry_streaming, retry_unary

from tests.canonical import Canonical, journal
from tests.deaths import Shape, shape_of
from tests.e2e.test_death_at_every_call import judge
from tests.faults import Life
from tests.gcp.test_deaths import GcpPlay
from tests.histories import fixed_draws, watch
from tests.storm.answers import ClientsOf, Line, Requests
from wdk_cloud.world.clock import VirtualClock
from wdk_gcp import database, schema
from wdk_gcp.testing.stage import Stage
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Clock
    from wdk_gcp.testing.mischief import Fault

P = ParamSpec("P")
T = TypeVar("T")

Service = Literal["Firestore", "Cloud Tasks", "Cloud Storage"]

SETTINGS: dict[Service, str] = {
    "Firestore": "WDK_GCP_DATABASE",
    "Cloud Tasks": "WDK_GCP_FLOW_QUEUE",
    "Cloud Storage": "WDK_GCP_BUCKET",
}
"""What an error about each names."""


def service_of(operation: str) -> Service:
    """By the names that their servers count."""
    if operation.startswith("objects."):
        return "Cloud Storage"
    return "Cloud Tasks" if operation.endswith(("Task", "Tasks", "Queue", "Queues")) else "Firestore"


class Failing(Line):
    """Counts calls, and the requests that they make; some of them fail. Without a fault all go well."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.requests = 0
        self.met: list[tuple[str, Fault]] = []

    def begin(self) -> None:
        self.calls += 1

    def at(self, operation: str, among: tuple[Fault, ...]) -> Any:
        self.requests += 1
        fault = self.fault_of(operation)
        if fault is None or fault not in among:
            return None
        self.met.append((operation, fault))
        return fault

    def fault_of(self, operation: str) -> Fault | None:
        return None


class Single(Failing):
    """One request fails, and its repeat does not."""

    def __init__(self, number: int, fault: Fault) -> None:
        super().__init__()
        self._number = number
        self._fault: Fault = fault

    def fault_of(self, operation: str) -> Fault | None:
        return self._fault if self.requests == self._number else None


class Whole(Failing):
    """All requests of one call fail, until its library gives up."""

    def __init__(self, number: int, fault: Fault) -> None:
        super().__init__()
        self._number = number
        self._fault: Fault = fault

    def fault_of(self, operation: str) -> Fault | None:
        return self._fault if self.calls == self._number else None


class Outage(Failing):
    """From one of its requests on a service does nothing for a time, whoever asks."""

    def __init__(self, clock: Clock, service: Service, fault: Fault, at: int, seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._service: Service = service
        self._fault: Fault = fault
        self._at, self._seconds = at, seconds
        self._asked = 0
        self._until = 0.0

    def fault_of(self, operation: str) -> Fault | None:
        if service_of(operation) != self._service:
            return None
        self._asked += 1
        if self._asked == self._at:
            self._until = self._clock.now() + self._seconds
        return self._fault if self._clock.now() < self._until else None


class CountedClients(ClientsOf):
    """Of one instance; its line knows which requests are of one call."""

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        line = self._requests.line
        if isinstance(line, Failing):
            line.begin()
        return super().ask_now(setting, method, *args, **kwargs)


@contextmanager
def pausing_by_itself() -> Generator[None]:
    """The libraries' pauses pass at once, and count: so that they give up after their seconds, which nobody waits for."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: now)
    modules: tuple[Any, ...] = (retry_base, retry_unary, retry_streaming, database)
    with ExitStack() as stack:
        for module in modules:
            stack.callback(setattr, module, "time", module.time)
            module.time = clock
        yield


def played(stage: Stage, canonical: Canonical, failing: Callable[[Clock], Failing]) -> tuple[Failing, Shape]:
    """Play it while requests of the service fail: what became of them, and the logs that are left."""

    async def main() -> tuple[Failing, Shape]:
        journal.clear()
        clock = VirtualClock()
        settings = stage.begin(clock)
        for name in (settings.flow_queue, settings.step_queue):
            retries = stage.tasks.queues[name].queue.retry_config  # as deployed: what gets 503 comes back later
            retries.min_backoff.FromSeconds(schema.QUEUE.min_backoff)
            retries.max_backoff.FromSeconds(schema.QUEUE.max_backoff)
        requests = stage.mischief
        assert isinstance(requests, Requests)
        with ExitStack() as stack:
            stack.callback(stage.end)
            stack.enter_context(fixed_draws())
            stack.enter_context(pausing_by_itself())
            play = GcpPlay(canonical, GcpWorld(settings, clients=stage.clients, clock=clock), stage, settings)
            play.clients_of = CountedClients
            await play.begin()
            requests.line = line = failing(clock)
            try:
                await play.serve(Life(None, watch))
            finally:
                requests.line = None
            await judge(canonical, play, died=bool(line.met))
            assert stage.tasks.waiting() == 0
            return line, await shape_of(play.world, canonical.name)

    return asyncio.run(main())
