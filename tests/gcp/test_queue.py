"""Cloud Tasks: what the contract cannot see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from google.cloud.tasks_v2 import types

from tests.gcp.stage import INVOKER, LOCATION, Servers, clients_of
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.errors import ThrottleError, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.ports import Message
from wdk_gcp import messages
from wdk_gcp.clients import Clients
from wdk_gcp.queue import LONGEST, TasksQueue
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing import CloudTasksServer, Mischief
from wdk_gcp.world import GcpWorld

SETTINGS = GcpSettings(
    project="wdk-testing",
    location="europe-west1",
    flow_queue="flow",
    step_queue="step",
    worker_url="https://worker.example/",
    invoker=INVOKER,
)


@dataclass
class Stage:
    server: CloudTasksServer
    clock: VirtualClock
    clients: Clients
    orders: dict[str, bytes] = field(default_factory=dict[str, bytes])
    buried: bool = False

    def queue(self, settings: GcpSettings = SETTINGS, namespace: str = "blue") -> TasksQueue:
        return TasksQueue(settings, self.clients, self.clock, namespace, self.put_order)

    async def put_order(self, run_id: str, birth: str, order: bytes) -> str | None:
        digest = f"{run_id}/{birth}/{len(order)}"
        self.orders[digest] = order
        return None if self.buried else digest

    def send(self, *sent: tuple[Message, float], settings: GcpSettings = SETTINGS, namespace: str = "blue") -> None:
        asyncio.run(self.queue(settings, namespace).send(sent))

    def tasks(self, queue: str = "flow") -> list[types.Task]:
        client = self.clients.tasks
        parent = f"{LOCATION}/queues/{queue}"
        return list(client.list_tasks(parent=parent))


@pytest.fixture
def stage() -> Iterator[Stage]:
    clock, mischief = VirtualClock(), Mischief()
    with CloudTasksServer(clock=clock, mischief=mischief) as server:
        clients = clients_of(SETTINGS, "127.0.0.1:1", tasks=server.client)
        for name in ("flow", "step"):
            queue = f"{LOCATION}/queues/{name}"
            clients.tasks.create_queue(parent=LOCATION, queue={"name": queue})
            clients.tasks.pause_queue(name=queue)
        yield Stage(server, clock, clients)
        clients.close()


def message(identity: str = "i", kind: Any = "wake", **fields: Any) -> Message:
    return Message(kind=kind, run_id="run-1", birth="b", identity=identity, **fields)


@dataclass
class Behind:
    """A clock that is behind that of the server."""

    clock: VirtualClock
    by: float
    still = True

    def now(self) -> float:
        return self.clock.now() - self.by


def due_in(stage: Stage, task: types.Task) -> float:
    """Seconds."""
    when: Any = task.schedule_time
    return round(when.timestamp() - stage.clock.now(), 3)


@pytest.mark.parametrize("by", [300.0, -300.0])
def test_a_clock_that_is_wrong_is_allowed_for_after_the_first_answer(stage: Stage, by: float) -> None:
    """Cloud Tasks is told when, and not how long: what is sent for later by a clock that is behind comes at once."""
    stage.clock.advance_to(round(stage.clock.now()) + 1.4)
    clock: Any = Behind(stage.clock, by)
    queue = TasksQueue(SETTINGS, stage.clients, clock, "blue", stage.put_order)
    asyncio.run(queue.send([(message("first"), 600.0)]))
    (first,) = stage.tasks()
    assert due_in(stage, first) == 600.0 - by
    asyncio.run(queue.send([(message("second"), 600.0)]))
    (second,) = [task for task in stage.tasks() if task.name != first.name]
    # A second too late at most: the server's answer has whole seconds.
    assert due_in(stage, second) == 600.6


def test_a_clock_that_agrees_with_the_whole_seconds_of_the_answer_is_believed(stage: Stage) -> None:
    queue = stage.queue()
    for name in ("first", "second"):
        stage.clock.advance_to(stage.clock.now() + 0.7)
        asyncio.run(queue.send([(message(name), 600.0)]))
    assert sorted(due_in(stage, task) for task in stage.tasks()) == [599.3, 600.0]


# -- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_is_the_message_in_json() -> None:
    odd = message("ä€\U0001f600\x00", trace="\u2028", order=b"\xff")
    assert json.loads(messages.encode(odd))["identity"] == "ä€\U0001f600\x00"
    assert messages.decode(messages.encode(odd)) == (odd, "")


@pytest.mark.parametrize("body", [b"", b"secret", b"[]", b"{}", b'{"kind":"wake"}', b'{"Records":[1]}', b"\xff"])
def test_a_body_that_is_not_ours_is_refused_without_its_content(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^the body is not a message of wdk-cloud$") as refused:
        messages.decode(body)
    assert refused.value.__cause__ is None


def test_a_message_of_a_newer_kind_is_not_taken_for_a_strangers() -> None:
    with pytest.raises(NewerFormatError):
        messages.decode(messages.encode(message()).replace(b'"wake"', b'"wonder"'))


def test_fields_that_a_newer_version_added_are_passed_over() -> None:
    body = json.dumps({**json.loads(messages.encode(message())), "colour": "red"}).encode()
    assert messages.decode(body) == (message(), "")


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_has_the_longest_deadline_and_a_token_for_our_audience(stage: Stage) -> None:
    stage.send((message(), 0.0))
    (task,) = stage.tasks()
    request: Any = task.http_request
    assert request.url == "https://worker.example/.well-known/workflow/v1/flow?namespace=blue"
    assert request.http_method == types.HttpMethod.POST
    assert dict(request.headers) == {"Content-Type": "application/json"}
    assert (request.oidc_token.service_account_email, request.oidc_token.audience) == (INVOKER, "wdk-cloud")
    assert task.dispatch_deadline.total_seconds() == 1800


def test_the_namespace_without_a_name_is_not_in_the_url(stage: Stage) -> None:
    stage.send((message(), 0.0), namespace="")
    assert [task.http_request.url for task in stage.tasks()] == ["https://worker.example/.well-known/workflow/v1/flow"]


def test_steps_have_a_queue_of_their_own_and_a_service_if_one_is_set(stage: Stage) -> None:
    stage.send((message("w"), 0.0), (message("s", "step"), 0.0), (message("c", "continue"), 0.0))
    assert (len(stage.tasks()), len(stage.tasks("step"))) == (2, 1)
    stage.send((message("s", "step"), 0.0), (message("w"), 0.0), settings=replace(SETTINGS, step_url="https://steps"))
    assert {task.http_request.url.partition("/.")[0] for task in stage.tasks("step")} == {
        "https://worker.example",
        "https://steps",
    }
    assert {task.http_request.url.partition("/.")[0] for task in stage.tasks()} == {"https://worker.example"}


def test_names_are_random_so_that_the_same_message_can_be_sent_again(stage: Stage) -> None:
    stage.send((message(), 0.0), (message(), 0.0))
    stage.send((message(), 0.0))
    names = [task.name.rpartition("/")[2] for task in stage.tasks()]
    assert len(set(names)) == 3
    assert all(len(name) == 32 and int(name, 16) for name in names)


def test_the_longest_delay_is_one_that_cloud_tasks_takes_with_a_clock_that_is_a_day_late(stage: Stage) -> None:
    stage.send((message(), LONGEST))
    (task,) = stage.tasks()
    assert task.schedule_time.timestamp() == stage.clock.now() + 28 * 86_400
    ahead = VirtualClock(stage.clock.now() + 86_400)
    asyncio.run(TasksQueue(SETTINGS, stage.clients, ahead, "", stage.put_order).send([(message(), LONGEST)]))
    assert len(stage.tasks()) == 2


def test_a_message_with_an_input_of_the_usual_size_is_whole(stage: Stage) -> None:
    stage.send((message("s", "step", order=b"x" * 6_000), 0.0))
    assert stage.orders == {}


def test_the_order_of_a_message_that_is_too_large_is_kept_beside_it(stage: Stage) -> None:
    bodies: list[bytes] = []
    create = stage.clients.tasks.create_task

    def recorded(**asked: Any) -> Any:
        bodies.append(asked["task"].http_request.body)
        return create(**asked)

    stage.clients.tasks.create_task = recorded
    large = message("s", "step", step_id="charge#1", order=b"x" * 200_000)
    stage.send((large, 0.0))
    (body,) = bodies
    assert len(body) < 1_000
    without, order_at = messages.decode(body)
    assert without == message("s", "step", step_id="charge#1")
    assert stage.orders[order_at] == large.order


def test_an_order_of_a_run_that_was_deleted_is_sent_nowhere(stage: Stage) -> None:
    stage.buried = True
    stage.send((message("s", "step", order=b"x" * 200_000), 0.0), (message("w"), 0.0))
    assert (len(stage.tasks()), len(stage.tasks("step"))) == (1, 0)


# -- what goes wrong ----------------------------------------------------------------------------------------------------


def test_a_send_whose_answer_was_lost_is_there_once(stage: Stage) -> None:
    stage.server.mischief.plan("CreateTask", "lost")
    stage.send((message(), 0.0))
    assert len(stage.tasks()) == 1
    assert stage.server.calls["CreateTask"] == 2


@pytest.mark.parametrize("fault", ["unavailable", "throttled"])
def test_a_send_that_is_refused_for_now_is_tried_again(stage: Stage, fault: Any) -> None:
    stage.server.mischief.plan("CreateTask", fault, fault)
    stage.send((message(), 0.0))
    assert len(stage.tasks()) == 1


@pytest.mark.parametrize(("fault", "kind"), [("unavailable", WorldUnavailableError), ("throttled", ThrottleError)])
def test_a_send_that_is_refused_for_long_says_so_and_the_others_are_sent(
    stage: Stage, fault: Any, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wdk_gcp import queue

    monkeypatch.setattr(queue, "RETRY", queue.RETRY.with_timeout(0.0))  # its pauses are drawn: any is too long
    stage.server.mischief.plan("CreateTask", fault)
    with pytest.raises(kind, match="WDK_GCP_FLOW_QUEUE"):
        stage.send((message("a"), 0.0), (message("b"), 0.0), (message("c"), 0.0))
    assert len(stage.tasks()) == 2


def test_a_queue_that_is_not_there_is_named_by_its_setting(stage: Stage) -> None:
    with pytest.raises(WorldConfigurationError, match=r"WDK_GCP_STEP_QUEUE .*Queue does not exist"):
        stage.send((message("s", "step"), 0.0), settings=replace(SETTINGS, step_queue="elsewhere"))


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("flow_queue", "WDK_GCP_FLOW_QUEUE"),
        ("location", "WDK_GCP_LOCATION"),
        ("project", "WDK_GCP_PROJECT"),
        ("worker_url", "WDK_GCP_WORKER_URL"),
        ("invoker", "WDK_GCP_INVOKER"),
    ],
)
def test_what_is_not_set_is_named(stage: Stage, name: str, variable: str) -> None:
    with pytest.raises(WorldConfigurationError, match=f"^{variable} is not set"):
        stage.send((message(), 0.0), settings=replace(SETTINGS, **{name: ""}))


def test_who_gets_a_message_finds_its_order_unless_the_run_was_erased(gcp_standing: Servers) -> None:
    async def story() -> None:
        with gcp_standing.fresh() as (settings, clients):
            world = GcpWorld(settings, clients=clients, clock=gcp_standing.clock).scoped("blue")
            bodies: list[bytes] = []
            create = clients.tasks.create_task

            def recorded(**asked: Any) -> Any:
                bodies.append(asked["task"].http_request.body)
                return create(**asked)

            clients.tasks.create_task = recorded
            large, small = message("s", "step", order=b"x" * 200_000), message("t", "step", order=b"x")
            await world.queue.send([(large, 60.0)])
            await world.queue.send([(small, 60.0)])
            assert [await world.message_of(body) for body in bodies] == [large, small]
            await world.runs.erase([(large.run_id, large.birth)])
            assert [await world.message_of(body) for body in bodies] == [None, small]

    asyncio.run(story())
