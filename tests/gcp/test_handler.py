"""The handler: which requests it answers, and what becomes of each task."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.gcp.handing import SETTINGS, Hands, handed
from wdk_cloud import Workflows, get_run, sleep, start
from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.records import Message
from wdk_gcp import messages
from wdk_gcp.deliveries import MARGIN
from wdk_gcp.queue import DEADLINE
from wdk_gcp.routes import PATIENCE
from wdk_gcp.testing.environment import on_stage
from wdk_gcp.testing.stage import Stage

Scenario = Callable[[Hands], Any]

STRANGER = Message(kind="wake", run_id="wrun_stranger", birth="b", identity="i")


def greeting() -> Workflows:
    app = Workflows()

    @app.workflow(name="greet")
    async def greet(name: str) -> str:
        return f"hello {name}"

    return app


def working(begun: list[str]) -> Workflows:
    app = Workflows()

    @app.step
    async def here(text: str) -> str:
        begun.append(text)
        return text

    @app.step(dispatch="queue")
    async def there(text: str) -> int:
        begun.append(text[:5])
        return len(text)

    @app.workflow(name="work")
    async def work(size: int) -> int:
        await here("here")
        length = await there("there" * size)
        await sleep(10)
        return length

    return app


# -- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3000])
def test_a_run_with_steps_in_both_queues(gcp_stage: Stage, size: int) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["work"], size)
        await hands.work()
        (timer,) = hands.tasks()
        assert timer.due - hands.env.clock.now() == 10
        hands.env.clock.advance_to(timer.due)
        await hands.work()
        assert await run.return_value(timeout=1) == 5 * size
        assert hands.tasks() == []
        assert not hands.telemetry.counts

    handed(gcp_stage, scenario, working(begun))
    assert begun == ["here", "there"]


def test_the_engine_is_told_of_the_time_that_is_left(gcp_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (task,) = hands.tasks()
        told: list[Any] = []

        async def deliver(namespace: str, delivery: Any) -> bool:
            told.append(delivery)
            return True

        monkeypatch.setattr(hands.instance.engines, "deliver", deliver)
        hands.env.clock.advance_to(hands.env.clock.now() + 5)
        await hands.deliver(task)
        (delivery,) = told
        assert (delivery.message.run_id, delivery.again) == (run.run_id, False)
        assert task.name.endswith(f"/{delivery.provider_id}")
        assert delivery.sent_at == hands.env.clock.now() - 5
        assert delivery.limit == DEADLINE - MARGIN == delivery.deadline - hands.env.clock.monotonic()

    handed(gcp_stage, scenario, greeting())


# -- bodies that are not ours -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"card": "4000 0000"}', "flow"),
        (b"4000 0000", "flow"),
        (b"", "flow"),
        (b"\xff\xfe4000", "flow"),
        (messages.encode(STRANGER), "flow?namespace=4000%200000%20A"),
    ],
)
def test_a_body_of_nobody_is_dropped_without_its_content(
    gcp_stage: Stage, body: bytes, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(hands: Hands) -> None:
        answer = await hands.bring(body, path, X_CloudTasks_QueueName="flow")
        assert (answer.status_code, answer.json()) == (200, {"acknowledged": True})
        assert hands.telemetry.counts == {"ForeignMessages": 1}
        assert hands.tasks() == []

    handed(gcp_stage, scenario, greeting())
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.getMessage().startswith("task handed of flow is none of ours and is dropped: ")
    if path == "flow":
        assert "4000" not in caplog.text


def test_an_order_of_a_step_in_the_queue_of_runs_is_dropped(gcp_stage: Stage) -> None:
    """Or whoever may put tasks there, as the public receiver may, could have steps called with arguments of theirs."""
    order = messages.encode(msgspec.structs.replace(STRANGER, kind="step", step_id="say#1"))

    async def scenario(hands: Hands) -> None:
        flow, steps = (
            name.rpartition("/")[2]
            for name in (hands.env.world.settings.flow_queue, hands.env.world.settings.step_queue)
        )
        told: list[str] = []

        async def deliver(_namespace: str, delivery: Any) -> bool:
            told.append(delivery.message.kind)
            return True

        hands.instance.engines.deliver = deliver  # type: ignore[method-assign]
        answer = await hands.bring(order, X_CloudTasks_QueueName=flow)
        assert (answer.status_code, told, hands.telemetry.counts) == (200, [], {"ForeignMessages": 1})
        answer = await hands.bring(order, X_CloudTasks_QueueName=steps)
        assert (answer.status_code, told, hands.telemetry.counts) == (200, ["step"], {"ForeignMessages": 1})

    handed(gcp_stage, scenario, greeting())


def test_what_names_no_task_comes_from_no_queue(gcp_stage: Stage) -> None:
    async def scenario(hands: Hands) -> None:
        answer = await hands.service.post("flow", messages.encode(STRANGER))
        assert (answer.status_code, answer.json()["error"]) == (400, "bad-request")

    handed(gcp_stage, scenario, greeting())


def test_a_message_of_newer_code_is_sent_again_as_it_is(gcp_stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    newer = json.dumps({**json.loads(messages.encode(STRANGER)), "kind": "dream", "more": [1]}).encode()

    async def scenario(hands: Hands) -> None:
        queue = hands.env.world.settings.step_queue.rpartition("/")[2]
        answer = await hands.bring(newer, X_CloudTasks_QueueName=queue)
        assert answer.status_code == 200
        (task,) = hands.tasks()
        assert task.name.startswith(hands.env.world.settings.step_queue)
        assert task.task.http_request.body == newer
        assert task.due == hands.env.clock.now() + SETTINGS.lease
        assert hands.telemetry.counts == {"ReturnedMessages": 1}

    handed(gcp_stage, scenario, greeting())
    assert "is of a kind that this version of wdk-cloud does not know" in caplog.text


# -- runs and code that are not here ----------------------------------------------------------------------------------


def test_a_task_for_an_unknown_run_is_dropped(gcp_stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    step = Message(kind="step", run_id="wrun_stranger", birth="b", identity="j", step_id="s#1", order=ORDER)

    async def scenario(hands: Hands) -> None:
        for message in (STRANGER, step):
            assert (await hands.bring(messages.encode(message))).status_code == 200
        assert hands.tasks() == []

    handed(gcp_stage, scenario, greeting())
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text.partition(": ")[0] for text in told] == ["run wrun_stranger"] * 2
    assert all("not here" in text for text in told)


ORDER = b'{"name":"s","input":{},"workflow":"w","run_started":0}'


def test_a_run_whose_workflow_is_not_here_is_handed_on_and_goes_on_where_it_is(gcp_stage: Stage) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(greeting().workflows["greet"], "a")
        await hands.work()
        (onward,) = hands.tasks()
        assert (messages.decode(onward.task.http_request.body)[0].kind, onward.due) == (
            "continue",
            hands.env.clock.now() + 1,
        )
        head = await hands.env.world.runs.head(run.run_id)
        assert head is not None and head.trouble is not None and "is not registered" in head.trouble.reason
        hands.env.clock.advance_to(onward.due)
        other = Hands(hands.env, (greeting(),))
        await other.service.prepare()
        await other.work()
        await other.service.leave()
        assert await run.return_value(timeout=1) == "hello a"

    handed(gcp_stage, scenario, Workflows())


def test_code_that_cannot_be_imported_is_told_and_tried_again(
    gcp_stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = tmp_path / "later_app.py"
    module.write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("WDK_APP", "later_app:app")
    monkeypatch.setenv("WDK_API_TOKEN", "a-secret-of-sixteen-and-more")

    async def scenario(hands: Hands) -> None:
        run = await start(greeting().workflows["greet"], "a")
        await hands.work()
        assert await run.status() == "running"  # handed on, to whoever can import it
        asked = [
            await hands.service.get("health"),
            await hands.service.get("api/runs", Authorization="Bearer a-secret-of-sixteen-and-more"),
        ]
        assert [answer.status_code for answer in asked] == [503, 503]
        assert hands.telemetry.counts == {"MissingCode": 3}
        module.write_text("from tests.gcp.test_handler import greeting\napp = greeting()\n")
        (onward,) = hands.tasks()
        hands.env.clock.advance_to(onward.due)
        await hands.work()
        assert await run.return_value(timeout=1) == "hello a"
        asked = [
            await hands.service.get("health"),
            await hands.service.get("api/runs", Authorization="Bearer a-secret-of-sixteen-and-more"),
        ]
        assert [answer.status_code for answer in asked] == [200, 200]

    handed(gcp_stage, scenario)
    assert "the code of WDK_APP cannot be imported" in caplog.text


# -- tasks that come again --------------------------------------------------------------------------------------------


def test_a_task_with_a_retry_count_is_exchanged_by_a_new_one(gcp_stage: Stage) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (task,) = hands.tasks()
        short = task.name.rpartition("/")[2]
        assert (await hands.deliver(task, X_CloudTasks_TaskRetryCount="1")).status_code == 200
        (other,) = hands.tasks()
        assert other.name != task.name
        assert other.task.http_request.body == task.task.http_request.body
        head = await hands.env.world.runs.head(run.run_id)
        assert head is not None
        assert (head.status, list(head.retired)) == ("pending", [short])
        await hands.work()
        assert await run.return_value(timeout=1) == "hello a"
        # What the first receiver was given, and comes to only now, does nothing.
        assert (await hands.deliver(task)).status_code == 200

    handed(gcp_stage, scenario, greeting())


@pytest.mark.parametrize("said", ["", "many", "-1"])
def test_a_task_that_does_not_say_how_often_it_came_counts_as_one_that_came_before(gcp_stage: Stage, said: str) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (task,) = hands.tasks()
        await hands.deliver(task, X_CloudTasks_TaskRetryCount=said)
        assert (await run.status(), len(hands.tasks())) == ("pending", 1)

    handed(gcp_stage, scenario, greeting())


def test_a_task_that_is_delivered_twice_at_once_has_its_effects_once(gcp_stage: Stage) -> None:
    begun: list[str] = []
    app = working(begun)

    async def main() -> int:
        async with on_stage(gcp_stage, (app,), SETTINGS) as env:
            gcp_stage.tasks.mischief.rates = {"duplicated": 1.0}
            try:
                return await env.run_to_end(await start(app.workflows["work"], 1))
            finally:
                gcp_stage.tasks.mischief.rates = {}

    before = gcp_stage.tasks.mischief.met["dispatch", "duplicated"]
    assert asyncio.run(main()) == 5
    assert gcp_stage.tasks.mischief.met["dispatch", "duplicated"] - before >= 3
    assert begun == ["here", "there"]


def test_a_delivery_that_fails_is_sent_again_a_lease_later(gcp_stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        runs = hands.env.world.runs
        acquire = runs.acquire

        async def failing(*_: Any, **__: Any) -> Any:
            raise RuntimeError("a bug")

        runs.acquire = failing  # type: ignore[method-assign]
        (task,) = hands.tasks()
        assert (await hands.deliver(task)).status_code == 200
        runs.acquire = acquire  # type: ignore[method-assign]
        (copy,) = hands.tasks()
        assert copy.task.http_request.body == task.task.http_request.body
        assert copy.due == hands.env.clock.now() + SETTINGS.lease
        assert hands.telemetry.counts == {"ReturnedMessages": 1}
        hands.env.clock.advance_to(copy.due)
        await hands.work()
        assert await run.return_value(timeout=1) == "hello a"

    handed(gcp_stage, scenario, greeting())
    assert "the delivery failed, its message comes back" in caplog.text


@pytest.mark.parametrize("body", [messages.encode(STRANGER), messages.encode(STRANGER).replace(b"wake", b"dream")])
def test_only_what_cannot_be_sent_again_slows_the_queue(gcp_stage: Stage, body: bytes) -> None:
    async def scenario(hands: Hands) -> None:
        async def unavailable(*_: Any, **__: Any) -> Any:
            raise WorldUnavailableError("Cloud Tasks is away")

        hands.env.world.runs.acquire = unavailable  # type: ignore[method-assign]
        hands.env.world.queue.send = unavailable  # type: ignore[method-assign]
        hands.env.world.pass_on = unavailable  # type: ignore[method-assign]
        answer = await hands.bring(body)
        assert (answer.status_code, answer.json()["error"]) == (503, "not-acknowledged")

    handed(gcp_stage, scenario, greeting())


# -- time -------------------------------------------------------------------------------------------------------------


def test_a_delivery_that_outlasts_its_task_is_cut_off_counted_and_begun_again(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    app, attempts = Workflows(), 0

    @app.step(max_retries=1)
    async def long() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await asyncio.Event().wait()
        return attempts

    @app.workflow(name="wait")
    async def wait() -> int:
        return await long()

    async def scenario(hands: Hands) -> None:
        run = await start(wait)
        hands.instance.deliveries.limit = 0.2
        (task,) = hands.tasks()
        assert (await hands.deliver(task)).status_code == 200
        assert hands.telemetry.counts == {"OverdueDeliveries": 1}
        hands.instance.deliveries.limit = 60.0
        await hands.work()
        assert await run.return_value(timeout=1) == 2

    handed(gcp_stage, scenario, app)
    assert "its delivery takes longer than the 1800 s of a task" in caplog.text


def test_a_step_that_outlasts_its_task_each_time_fails_its_run(gcp_stage: Stage) -> None:
    app, attempts = Workflows(), 0

    @app.step(max_retries=1, dispatch="queue")
    async def endless() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.Event().wait()

    @app.workflow(name="wait")
    async def wait() -> None:
        await endless()

    async def scenario(hands: Hands) -> None:
        run = await start(wait)
        hands.instance.deliveries.limit = 0.2
        await hands.work()
        info = await run.info()
        assert (info.status, attempts) == ("failed", 2)
        assert hands.telemetry.counts["OverdueDeliveries"] == 2

    handed(gcp_stage, scenario, app)


def test_a_lease_is_not_renewed_for_longer_than_its_task_lasts(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """A process whose loop hangs renews from its thread: without an end to that its run would hang with it."""
    app, attempts, free = Workflows(), 0, asyncio.Event()

    @app.step(max_retries=1)
    async def hang() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await free.wait()
        return attempts

    @app.workflow(name="wait")
    async def wait() -> int:
        return await hang()

    async def scenario(hands: Hands) -> None:
        run = await start(wait)
        (task,) = hands.tasks()
        first = asyncio.create_task(hands.deliver(task))
        while not attempts:
            await asyncio.sleep(0)
        clock = hands.env.clock
        for _ in range(int(DEADLINE / 10)):  # its thread goes on
            clock.advance_to(clock.now() + 10)
        head = await hands.env.world.runs.head(run.run_id)
        assert head is not None and head.until > clock.now() - SETTINGS.lease
        for _ in range(5):
            clock.advance_to(clock.now() + 10)
        head = await hands.env.world.runs.head(run.run_id)
        assert head is not None and head.until <= clock.now()
        # Cloud Tasks has ended the connection, and brings the task to another instance.
        other = Hands(hands.env, (app,))
        await other.service.prepare()
        await other.deliver(task, X_CloudTasks_TaskRetryCount="1")
        await other.work()
        assert await run.return_value(timeout=1) == 2
        free.set()
        await first
        await other.service.leave()
        assert attempts == 2

    handed(gcp_stage, scenario, app)
    assert "its delivery is past the 1800 s of a task" in caplog.text


def test_what_is_under_way_has_time_to_end_and_to_be_handed_over_within_the_ten_seconds_of_cloud_run() -> None:
    from wdk_gcp.deliveries import HAND_OVER

    assert PATIENCE + HAND_OVER + 2 < 10


# -- roles ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "answered"),
    [
        ("all", {"flow": 200, "tick": 200, "sweep": 200, "webhook/t": 404, "api/runs": 401, "health": 200}),
        ("worker", {"flow": 200, "tick": 200, "sweep": 200, "webhook/t": 404, "api/runs": 401, "health": 200}),
        ("receiver", {"flow": 404, "tick": 404, "sweep": 404, "webhook/t": 404, "api/runs": 404, "health": 200}),
    ],
)
def test_each_role_answers_its_requests_and_no_others(
    gcp_stage: Stage, role: str, answered: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WDK_ROLE", role)

    async def scenario(hands: Hands) -> None:
        body = messages.encode(STRANGER)
        got = {path: (await hands.bring(body, path)).status_code for path in ("flow",)}
        for path in ("tick", "sweep"):
            got[path] = (await hands.service.post(path)).status_code
        for path in ("webhook/t", "api/runs", "health"):
            got[path] = (await hands.service.get(path)).status_code
        assert got == answered

    handed(gcp_stage, scenario, greeting())


# -- schedules and the sweep ------------------------------------------------------------------------------------------


def hourly() -> Workflows:
    app = Workflows()

    @app.workflow(name="report", schedule="0 * * * *")
    async def report() -> str:
        return "reported"

    return app


def test_cloud_scheduler_says_which_tick_it_calls_for_and_each_is_started_once(gcp_stage: Stage) -> None:
    async def scenario(hands: Hands) -> None:
        body = msgspec.json.encode({"workflow": "report"})
        named = {"Content_Type": "application/json", "X_CloudScheduler_ScheduleTime": "2026-01-01T07:00:00Z"}
        for _ in range(2):
            answer = await hands.service.post("tick", body, **named)
            assert (answer.status_code, answer.json()) == (200, {"tick": 1767250800})
        (task,) = {messages.decode(task.task.http_request.body)[0].run_id: task for task in hands.tasks()}.values()
        await hands.work()
        run = get_run(messages.decode(task.task.http_request.body)[0].run_id)
        assert await run.return_value(timeout=1) == "reported"

    handed(gcp_stage, scenario, hourly())


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"workflow": "nobody"}', "cannot run 'nobody'"),
        (b'{"workflow": "greet"}', "has no schedule"),
        (b'{"workflow": 7}', "this event is not what is wanted here"),
        (b'{"workfow": "greet"}', "this event is not what is wanted here"),
        (b"[]", "the JSON document is not what is wanted here"),
    ],
)
def test_a_tick_that_means_nothing_is_told_to_its_caller(gcp_stage: Stage, body: bytes, said: str) -> None:
    async def scenario(hands: Hands) -> None:
        answer = await hands.service.post("tick", body, Content_Type="application/json")
        assert answer.status_code in (400, 500)
        assert said in answer.json()["message"]

    handed(gcp_stage, scenario, greeting())


def test_the_sweep_wakes_a_run_that_has_lost_its_message(gcp_stage: Stage) -> None:
    async def scenario(hands: Hands) -> None:
        run = await start(hands.instance.engines.apps()[0].workflows["greet"], "a")
        (task,) = hands.tasks()
        queue = hands.env.stage.tasks.queues[task.name.partition("/tasks/")[0]]
        queue.remove(task, hands.env.clock.now())
        hands.env.clock.advance_to(hands.env.clock.now() + 3600)
        answer = await hands.service.post("sweep")
        assert (answer.status_code, answer.json()) == (200, {"woken": 1})
        assert hands.telemetry.counts == {"SweptRuns": 1}
        await hands.work()
        assert await run.return_value(timeout=1) == "hello a"

    handed(gcp_stage, scenario, greeting())
