"""Processes that end, or hang, in the middle: what they worked on goes on elsewhere, and nothing of it happens unseen."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from time import monotonic

import pytest

from tests.gcp.service import API_TOKEN, Cloud, serving
from tests.gcp.stopping_app import long
from wdk_cloud import Run, start
from wdk_cloud.world.opening import close_worlds
from wdk_gcp import routes
from wdk_gcp.testing import create_resources
from wdk_gcp.testing.containers import PATIENCE, Container, free_port
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer

CLOUD_RUN_WAITS = 10.0
"""Seconds from SIGTERM to SIGKILL."""


class Place:
    """A deployment, of which this process is a client."""

    def __init__(self, cloud: Cloud, environment: dict[str, str], folder: Path) -> None:
        self.cloud = cloud
        self.environment = environment
        self.effects = folder / "effects"
        self.go = folder / "go"
        self.folder = folder

    def service(self, port: int | None = None) -> AbstractContextManager[Container]:
        """A process, which listens on another port than that to which tasks go if one is given."""
        return serving(self.environment, Path(__file__).parent, port=port)

    def begun(self) -> list[str]:
        return self.effects.read_text().splitlines() if self.effects.exists() else []

    def until(self, done: Callable[[], bool]) -> None:
        deadline = monotonic() + PATIENCE
        while not done():
            assert monotonic() < deadline, self.begun()
            threading.Event().wait(0.02)


@pytest.fixture
def place(gcp_service: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    environment = gcp_service.environment(free_port())
    place = Place(gcp_service, environment, tmp_path)
    environment |= {
        "WDK_APP": "stopping_app:app",
        "WDK_LEASE": "3 s",
        "EFFECTS": str(place.effects),
        "GO": str(place.go),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    create_resources()
    yield place
    place.go.touch()  # whatever still waits for it


def begin(kind: str) -> str:
    async def client() -> str:
        try:
            return (await start(long, kind)).run_id
        finally:
            await close_worlds()

    return asyncio.run(client())


def ended(run_id: str) -> tuple[object, Counter[str]]:
    """Its result, and how many events of each type it has."""

    async def client() -> tuple[object, Counter[str]]:
        run: Run[str] = Run(run_id)
        try:
            return await run.return_value(timeout=PATIENCE), Counter([event.type async for event in run.events()])
        finally:
            await close_worlds()

    return asyncio.run(client())


KINDS = ("inline", "thread", "queued")


def test_what_cannot_end_before_the_process_does_is_handed_over(place: Place) -> None:
    before = len(place.cloud.tasks.attempts)
    with place.service() as service:
        service.until_healthy()
        ids = {kind: begin(kind) for kind in KINDS}
        place.until(lambda: Counter(place.begun()) == {"before": 3, **{f"{kind} 1": 1 for kind in KINDS}})
        connection, answer = followed(service, ids["inline"])
        assert answer.readline() == b"retry: 1000\n"
        asked = monotonic()
        assert service.terminate() == -signal.SIGTERM
        assert routes.PATIENCE <= monotonic() - asked < CLOUD_RUN_WAITS
        with pytest.raises(
            IncompleteRead
        ) as cut:  # whoever follows a stream is hung up on, and comes back for the rest
            answer.read()
        assert cut.value.partial == b"\n"
        connection.close()
    answered = [attempt.status for attempt in place.cloud.tasks.attempts[before:]]
    assert answered.count(200) >= 3  # what was under way has its answer
    assert not [status for status in answered if status not in (200, None)]
    with place.service() as service:
        service.until_healthy()
        place.until(lambda: Counter(place.begun()[6:]) == {f"{kind} 2": 1 for kind in KINDS})
        place.go.touch()
        for run_id in ids.values():
            result, events = ended(run_id)
            assert (result, events["step_completed"], events["run_completed"]) == ("done", 3, 1)
    assert Counter(place.begun()[9:]) == {"after": 3}


def followed(service: Container, run_id: str) -> tuple[HTTPConnection, HTTPResponse]:
    """The default stream of a run, live."""
    connection = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    path = f"/.well-known/workflow/v1/api/runs/{run_id}/streams/default"
    connection.request("GET", path, headers={"Authorization": f"Bearer {API_TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 200
    return connection, answer


def test_what_ends_in_time_is_not_begun_again(place: Place) -> None:
    with place.service() as service:
        service.until_healthy()
        run_id = begin("inline")
        place.until(lambda: place.begun() == ["before", "inline 1"])
        service.process.send_signal(signal.SIGTERM)
        place.until(lambda: any("Shutting down" in line for line in service.lines))
        place.go.touch()
        assert service.process.wait(PATIENCE) == -signal.SIGTERM
    with place.service() as service:
        service.until_healthy()
        result, _ = ended(run_id)
    assert (result, place.begun()) == ("done", ["before", "inline 1", "after"])


class Balancer:
    """Gives each request to the instance that is the one now, as the front end of Cloud Run does."""

    def __init__(self) -> None:
        self.port = 0
        self._server = HttpServer(self._answer)
        self.url = self._server.url

    def __enter__(self) -> Balancer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def _answer(self, request: HttpRequest) -> HttpAnswer | None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(request.method, request.path, request.body, dict(request.headers))
            answer = connection.getresponse()
            return HttpAnswer(answer.status, {}, answer.read())
        except OSError:
            return None
        finally:
            connection.close()


def test_a_container_that_hangs_without_dying_costs_its_run_a_lease(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Balancer() as balancer:
        monkeypatch.setenv("WDK_GCP_WORKER_URL", balancer.url)
        place.environment["WDK_GCP_WORKER_URL"] = balancer.url
        ports = free_port(), free_port()
        with place.service(ports[0]) as first, place.service(ports[1]) as second:
            first.until_healthy()
            second.until_healthy()
            balancer.port = ports[0]
            run_id = begin("inline")
            place.until(lambda: place.begun() == ["before", "inline 1"])
            first.process.send_signal(signal.SIGSTOP)
            balancer.port = ports[1]
            assert place.cloud.tasks.cut() == 1  # the deadline of the task
            place.until(lambda: place.begun()[2:] == ["inline 2"])
            place.go.touch()
            result, events = ended(run_id)
            # It comes to itself, and finds that its run is somebody else's.
            first.process.send_signal(signal.SIGCONT)
            place.until(lambda: any("the lease passed to somebody else" in line for line in first.lines))
    assert result == "done"
    assert place.begun() == ["before", "inline 1", "inline 2", "after"]
    assert (events["step_completed"], events["run_completed"]) == (3, 1)
