"""The Cloud Tasks of `wdk_gcp.testing`, asked by the library's own clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from google.api_core import exceptions
from google.auth.transport import requests as transport
from google.cloud import tasks_v2
from google.oauth2 import id_token

from wdk_cloud.world.clock import VirtualClock
from wdk_gcp.testing import CloudTasksServer, Mischief, TokenSigner
from wdk_gcp.testing.serving import HttpAnswer, HttpRequest, HttpServer

LOCATION = "projects/p/locations/l"
QUEUE = f"{LOCATION}/queues/flow"


class Receiver:
    """What tasks are posted to; answers with the statuses given, one each, and after them with 200."""

    def __init__(self, *statuses: int, before: Callable[[], None] | None = None) -> None:
        self.got: list[HttpRequest] = []
        self.statuses = list(statuses)
        self.most = 0
        self._now = 0
        self._before = before
        self._lock = threading.Lock()
        self._server = HttpServer(self.answer)
        self.url = f"{self._server.url}/tasks"

    def answer(self, request: HttpRequest) -> HttpAnswer:
        with self._lock:
            self.got.append(request)
            self._now += 1
            self.most = max(self.most, self._now)
            status = self.statuses.pop(0) if self.statuses else 200
        if self._before is not None:
            self._before()
        with self._lock:
            self._now -= 1
        return HttpAnswer(status)

    def header(self, name: str) -> list[str | None]:
        return [request.headers.get(name) for request in self.got]

    def bodies(self) -> list[bytes]:
        return [request.body for request in self.got]

    def __enter__(self) -> Receiver:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()


class Place:
    def __init__(self, server: CloudTasksServer, client: tasks_v2.CloudTasksClient, clock: VirtualClock) -> None:
        self.server = server
        self.client = client
        self.clock = clock

    def send(self, url: str, body: bytes = b"{}", *, after: float = 0.0, name: str = "", **task: Any) -> tasks_v2.Task:
        if name:
            task["name"] = f"{QUEUE}/tasks/{name}"
        if after:
            task["schedule_time"] = datetime.fromtimestamp(self.clock.now() + after, UTC)
        request = {"url": url, "body": body, **task.pop("http_request", {})}
        return self.client.create_task(parent=QUEUE, task={"http_request": request, **task})

    def move(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now() + seconds)
        self.server.idle()


@contextmanager
def serving(mischief: Mischief | None = None, **queue: Any) -> Iterator[Place]:
    clock = VirtualClock()
    with CloudTasksServer(clock=clock, mischief=mischief) as server:
        client = server.client()
        client.create_queue(parent=LOCATION, queue={"name": QUEUE, **queue})
        yield Place(server, client, clock)
        client.transport.close()


@pytest.fixture
def place() -> Iterator[Place]:
    with serving() as place:
        yield place


def test_a_task_is_posted_to_its_url_with_the_documented_headers(place: Place) -> None:
    with Receiver() as receiver:
        sent = place.send(
            receiver.url,
            b'{"run":1}',
            name="one",
            http_request={"headers": {"Content-Type": "application/json", "X-CloudTasks-TaskName": "forged"}},
        )
        place.server.idle()
    assert sent.name == f"{QUEUE}/tasks/one"
    [got] = receiver.got
    assert (got.method, got.path, got.body) == ("POST", "/tasks", b'{"run":1}')
    headers = {name: value for name, value in got.headers.items() if name.startswith("x-cloudtasks-")}
    assert headers == {
        "x-cloudtasks-queuename": "flow",
        "x-cloudtasks-taskname": "one",
        "x-cloudtasks-taskretrycount": "0",
        "x-cloudtasks-taskexecutioncount": "0",
        "x-cloudtasks-tasketa": "1767225600.000000",
    }
    assert got.headers["content-type"] == "application/json"
    assert got.headers["user-agent"] == "Google-Cloud-Tasks"
    assert place.server.waiting() == 0


def test_a_task_waits_for_its_schedule_time(place: Place) -> None:
    with Receiver() as receiver:
        place.send(receiver.url, b"later", after=60.0)
        place.send(receiver.url, b"now")
        place.server.idle()
        assert receiver.bodies() == [b"now"]
        assert place.server.next_due() == place.clock.now() + 60.0
        place.move(59.999)
        assert receiver.bodies() == [b"now"]
        place.move(0.001)
        assert receiver.bodies() == [b"now", b"later"]
        assert receiver.header("x-cloudtasks-tasketa")[1] == "1767225660.000000"
        assert place.server.next_due() is None


def test_a_refused_delivery_comes_back_after_the_back_off_of_its_queue() -> None:
    retries = {"min_backoff": {"seconds": 10}, "max_backoff": {"seconds": 300}, "max_doublings": 3}
    with serving(retry_config=retries) as place, Receiver(*[500] * 8) as receiver:
        place.send(receiver.url)
        place.server.idle()
        waits: list[float] = []
        while (due := place.server.next_due()) is not None:
            waits.append(round(due - place.clock.now(), 6))
            place.clock.advance_to(due)
            place.server.idle()
    assert waits == [10, 20, 40, 80, 160, 240, 300, 300]  # the documentation's own example
    assert receiver.header("x-cloudtasks-taskretrycount") == [str(number) for number in range(9)]
    assert receiver.header("x-cloudtasks-taskexecutioncount") == [str(number) for number in range(9)]
    assert receiver.header("x-cloudtasks-taskpreviousresponse") == [None] + ["500"] * 8
    assert [attempt.status for attempt in place.server.attempts] == [500] * 8 + [200]
    assert place.server.slowing == 8


def test_a_queue_gives_a_task_up_after_its_attempts() -> None:
    with serving(retry_config={"max_attempts": 2}) as place, Receiver(404, 404, 404) as receiver:
        place.send(receiver.url, name="one")
        place.move(1.0)
        place.move(1.0)
        assert len(receiver.got) == 2
        assert place.server.waiting() == 0
        assert place.server.slowing == 0


def test_attempts_go_on_until_the_retry_duration_has_passed_too() -> None:
    retries = {"max_attempts": 2, "max_retry_duration": {"seconds": 30}, "min_backoff": {"seconds": 10}}
    with serving(retry_config=retries) as place, Receiver(*[400] * 9) as receiver:
        place.send(receiver.url)
        for _ in range(9):
            place.move(10.0)
    assert len(receiver.got) == 3  # at 0, 10 and 30 seconds


def test_a_receiver_that_is_not_there_gives_no_answer(place: Place) -> None:
    with Receiver() as receiver:
        pass
    place.send(receiver.url)
    place.server.idle()
    [attempt] = place.server.attempts
    assert (attempt.status, attempt.retry_count) == (None, 0)
    assert place.server.waiting() == 1
    with pytest.raises(exceptions.NotFound, match="Requested entity was not found"):
        place.client.get_task(name=f"{QUEUE}/tasks/never")


def test_a_used_name_is_refused_for_an_hour(place: Place) -> None:
    with Receiver() as receiver:
        place.send(receiver.url, name="one", after=5.0)
        with pytest.raises(exceptions.AlreadyExists, match="already exists"):
            place.send(receiver.url, name="one")
        place.move(5.0)
        place.move(3599.0)
        with pytest.raises(exceptions.AlreadyExists, match="existed too recently"):
            place.send(receiver.url, name="one")
        with pytest.raises(exceptions.NotFound, match="either successfully completed or was deleted"):
            place.client.get_task(name=f"{QUEUE}/tasks/one")
        place.move(1.0)
        place.send(receiver.url, name="one")
        place.server.idle()
    assert receiver.header("x-cloudtasks-taskname") == ["one", "one"]


def test_a_deleted_task_does_not_come_and_its_name_stays_used(place: Place) -> None:
    with Receiver() as receiver:
        sent = place.send(receiver.url, name="one", after=5.0)
        place.client.delete_task(name=sent.name)
        place.move(10.0)
        assert receiver.got == []
        with pytest.raises(exceptions.NotFound):
            place.client.delete_task(name=sent.name)
        with pytest.raises(exceptions.AlreadyExists):
            place.send(receiver.url, name="one")


def test_a_paused_queue_takes_tasks_and_delivers_none(place: Place) -> None:
    with Receiver() as receiver:
        assert place.client.pause_queue(name=QUEUE).state == tasks_v2.Queue.State.PAUSED
        place.send(receiver.url)
        place.move(100.0)
        assert (receiver.got, place.server.next_due(), place.server.waiting()) == ([], None, 1)
        assert place.client.resume_queue(name=QUEUE).state == tasks_v2.Queue.State.RUNNING
        place.server.idle()
        assert len(receiver.got) == 1


def test_no_more_deliveries_are_under_way_than_the_queue_allows() -> None:
    together = threading.Barrier(3)
    with (
        serving(rate_limits={"max_concurrent_dispatches": 3}) as place,
        Receiver(before=lambda: together.wait(20) and None) as receiver,
    ):
        place.client.pause_queue(name=QUEUE)
        for _ in range(12):
            place.send(receiver.url)
        place.client.resume_queue(name=QUEUE)
        place.server.idle()
    assert (len(receiver.got), receiver.most) == (12, 3)


def test_a_connection_that_is_cut_brings_its_task_back(place: Place) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        assert go_on.wait(20)

    with Receiver(before=stuck) as receiver:
        place.send(receiver.url)
        assert begun.wait(20)
        assert place.server.cut() == 1
        go_on.set()
        place.move(0.1)
    assert receiver.header("x-cloudtasks-taskretrycount") == ["0", "1"]
    assert receiver.header("x-cloudtasks-taskexecutioncount") == ["0", "0"]
    assert [attempt.status for attempt in place.server.attempts] == [None, 200]


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ({"schedule_time": datetime.fromtimestamp(1_767_225_600 + 30 * 86_400 + 1, UTC)}, "30d"),
        ({"dispatch_deadline": {"seconds": 14}}, "15s, 30m"),
        ({"dispatch_deadline": {"seconds": 1801}}, "15s, 30m"),
        ({"body": b"x" * 102_400}, "too large"),
        ({"name": f"{LOCATION}/queues/other/tasks/one"}, "Task name"),
        ({"name": f"{QUEUE}/tasks/not.this"}, "Task name"),
        ({"url": "ftp://127.0.0.1"}, "http://"),
    ],
)
def test_a_task_that_breaks_a_limit_is_refused(place: Place, task: dict[str, Any], said: str) -> None:
    request = {key: task.pop(key) for key in ("url", "body") if key in task}
    asked = {"http_request": {"url": "http://127.0.0.1:1", **request}, **task}
    with pytest.raises(exceptions.InvalidArgument, match=said):
        place.client.create_task(parent=QUEUE, task=asked)
    assert place.server.waiting() == 0


def test_the_limits_themselves_are_allowed(place: Place) -> None:
    at = datetime.fromtimestamp(place.clock.now() + 30 * 86_400, UTC)
    for deadline in (15, 1800):
        task = {
            "http_request": {"url": "http://127.0.0.1:1"},
            "schedule_time": at,
            "dispatch_deadline": {"seconds": deadline},
        }
        place.client.create_task(parent=QUEUE, task=task)
    assert place.server.waiting() == 2


def test_a_queue_that_is_not_there_is_not_found(place: Place) -> None:
    with pytest.raises(exceptions.NotFound, match="Queue does not exist"):
        place.client.create_task(
            parent="projects/p/locations/elsewhere/queues/flow", task={"http_request": {"url": "http://127.0.0.1:1"}}
        )
    with pytest.raises(exceptions.AlreadyExists):
        place.client.create_queue(parent=LOCATION, queue={"name": QUEUE})


def test_tasks_and_queues_are_listed_in_pages(place: Place) -> None:
    sent = [place.send("http://127.0.0.1:1", after=60.0).name for _ in range(5)]
    pages = list(place.client.list_tasks(request={"parent": QUEUE, "page_size": 2}).pages)
    assert [len(page.tasks) for page in pages] == [2, 2, 1]
    assert sorted(task.name for page in pages for task in page.tasks) == sorted(sent)
    assert [queue.name for queue in place.client.list_queues(parent=LOCATION)] == [QUEUE]


def test_tokens_are_verified_by_the_library_through_the_certificates(place: Place) -> None:
    with Receiver() as receiver:
        oidc = {"service_account_email": "flow@p.iam.gserviceaccount.com", "audience": "wdk-cloud"}
        place.send(receiver.url, http_request={"oidc_token": oidc})
        place.server.idle()
    scheme, _, token = receiver.got[0].headers["authorization"].partition(" ")
    assert scheme == "Bearer"
    with transport.requests.Session() as session:
        ask = transport.Request(session)
        claims = id_token.verify_token(token, ask, "wdk-cloud", certs_url=place.server.certs_url)
        assert claims["email"] == "flow@p.iam.gserviceaccount.com"
        assert (claims["iss"], claims["aud"], claims["email_verified"]) == (
            "https://accounts.google.com",
            "wdk-cloud",
            True,
        )
        signer = place.server.signer
        for wrong, said in (
            (TokenSigner().token("wdk-cloud", "flow@p"), "signature"),
            (signer.token("other", "flow@p"), "audience"),
            (signer.token("wdk-cloud", "flow@p", issued=time.time() - 7200), "expired"),
            (signer.token("wdk-cloud", "flow@p", issued=time.time() + 600), "too early"),
        ):
            with pytest.raises(Exception, match=said):
                id_token.verify_token(wrong, ask, "wdk-cloud", certs_url=place.server.certs_url)


def test_an_audience_that_is_not_given_is_the_url(place: Place) -> None:
    with Receiver() as receiver:
        place.send(receiver.url, http_request={"oidc_token": {"service_account_email": "flow@p"}})
        place.server.idle()
        token = receiver.got[0].headers["authorization"].removeprefix("Bearer ")
    with transport.requests.Session() as session:
        claims = id_token.verify_token(
            token, transport.Request(session), receiver.url, certs_url=place.server.certs_url
        )
    assert claims["aud"] == receiver.url


def test_a_duplicated_task_is_delivered_twice_as_if_for_the_first_time() -> None:
    mischief = Mischief()
    mischief.plan("dispatch", "duplicated")
    with serving(mischief) as place, Receiver() as receiver:
        place.send(receiver.url, name="one")
        place.move(3600.0)
    assert receiver.header("x-cloudtasks-taskretrycount") == ["0", "0"]
    assert receiver.header("x-cloudtasks-taskname") == ["one", "one"]
    assert mischief.left() == {}


@pytest.mark.parametrize(("statuses", "counts"), [((500, 200), ["0", "0"]), ((500, 500), ["0", "0", "1"])])
def test_a_duplicated_task_comes_back_once_unless_one_of_the_two_is_acknowledged(
    statuses: tuple[int, ...], counts: list[str]
) -> None:
    mischief = Mischief()
    mischief.plan("dispatch", "duplicated")
    with serving(mischief) as place, Receiver(*statuses) as receiver:
        place.send(receiver.url)
        place.move(0.1)
        place.move(3600.0)
    assert receiver.header("x-cloudtasks-taskretrycount") == counts


def test_a_task_whose_acknowledgement_is_lost_comes_back() -> None:
    mischief = Mischief()
    mischief.plan("dispatch", "unacknowledged")
    with serving(mischief) as place, Receiver() as receiver:
        place.send(receiver.url)
        place.move(0.1)
        place.move(3600.0)
    assert receiver.header("x-cloudtasks-taskretrycount") == ["0", "1"]
    assert [attempt.status for attempt in place.server.attempts] == [None, 200]


def test_a_task_that_is_reordered_comes_after_those_that_are_due_later() -> None:
    mischief = Mischief()
    mischief.plan("dispatch", "reordered")
    with serving(mischief, rate_limits={"max_concurrent_dispatches": 1}) as place, Receiver() as receiver:
        place.client.pause_queue(name=QUEUE)
        for number in range(3):
            place.send(receiver.url, b"%d" % number, after=float(number + 1))
        place.move(10.0)
        place.client.resume_queue(name=QUEUE)
        place.server.idle()
    assert receiver.bodies() == [b"1", b"2", b"0"]
    assert receiver.header("x-cloudtasks-tasketa")[2] == "1767225601.000000"


def test_a_request_may_be_refused_or_lose_its_answer() -> None:
    mischief = Mischief()
    with serving(mischief) as place, Receiver() as receiver:
        mischief.plan("CreateTask", "throttled", "unavailable", "lost", None)
        with pytest.raises(exceptions.ResourceExhausted):
            place.send(receiver.url, name="one")
        with pytest.raises(exceptions.ServiceUnavailable):
            place.send(receiver.url, name="one")
        assert place.server.waiting() == 0
        with pytest.raises(exceptions.ServiceUnavailable):
            place.send(receiver.url, name="one")  # done, and nobody knows
        with pytest.raises(exceptions.AlreadyExists):
            place.send(receiver.url, name="one")
        mischief.plan("CreateTask", "lost")
        with pytest.raises(exceptions.ServiceUnavailable):
            place.send(receiver.url, name="one")  # refused, and nobody knows
        place.server.idle()
        assert len(receiver.got) == 1
    assert place.server.calls["CreateTask"] == 5


def test_chance_goes_by_its_seed() -> None:
    def faults(seed: int) -> list[str | None]:
        mischief = Mischief(seed, {"lost": 0.2, "throttled": 0.2})
        return [mischief.draw("CreateTask", ("throttled", "lost")) for _ in range(200)]

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)
    assert 30 < faults(1).count("throttled") < 50
    assert 20 < faults(1).count("lost") < 50


def test_the_asyncio_client_is_served_too() -> None:
    async def story(server: CloudTasksServer, url: str) -> None:
        client = server.async_client()
        await client.create_queue(parent=LOCATION, queue={"name": QUEUE})
        tasks = [client.create_task(parent=QUEUE, task={"http_request": {"url": url}}) for _ in range(50)]
        names = {task.name for task in await asyncio.gather(*tasks)}
        assert len(names) == 50
        await client.transport.close()

    with CloudTasksServer() as server, Receiver() as receiver:  # on the machine's clock
        asyncio.run(story(server, receiver.url))
        server.idle()
        assert len(receiver.got) == 50


def test_a_schedule_time_comes_by_the_machines_clock() -> None:
    arrived = threading.Event()
    with CloudTasksServer() as server, Receiver(before=arrived.set) as receiver:
        client = server.client()
        client.create_queue(parent=LOCATION, queue={"name": QUEUE})
        at = time.time() + 0.2
        request = {"url": receiver.url}
        client.create_task(
            parent=QUEUE, task={"http_request": request, "schedule_time": datetime.fromtimestamp(at, UTC)}
        )
        assert arrived.wait(20)
        assert time.time() >= at
        client.transport.close()
