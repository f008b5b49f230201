"""What is wrong around a run on Google Cloud: each ends in a recorded error or comes again, and the log tells of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import pytest

from tests.canonical import CANONICALS, journal
from tests.faults import Life
from tests.gcp.handing import SETTINGS, Hands, handed
from tests.gcp.test_deaths import GcpPlay
from tests.histories import begun_by_name, fixed_draws, watch
from tests.storm.answers import ClientsOf
from tests.storm.ongcp import stage_standing
from wdk_cloud import Workflows, WorldConfigurationError, sleep, start
from wdk_cloud.engine.replay import MAX_DELIVERIES_EXCEEDED
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.records import Message
from wdk_gcp import messages
from wdk_gcp.queue import AUDIENCE
from wdk_gcp.schema import LOG
from wdk_gcp.settings import GcpSettings
from wdk_gcp.testing.environment import on_stage
from wdk_gcp.testing.firestore import FirestoreServer
from wdk_gcp.testing.stage import PROJECT, InlineClients, Stage
from wdk_gcp.world import GcpWorld

P = ParamSpec("P")
T = TypeVar("T")

ORDER = b'{"name":"s","input":{},"workflow":"w","run_started":0}'

MONTH = 31 * 86_400.0
"""Seconds that Cloud Tasks keeps a task."""

STRANGER = "queues@another-project.iam.gserviceaccount.com"


def app_of(begun: list[str]) -> Workflows:
    app = Workflows()

    @app.step
    async def here(name: str) -> str:
        begun.append(name)
        return name

    @app.step(dispatch="queue")
    async def there(name: str) -> str:
        begun.append(name)
        return name

    @app.workflow(name="work")
    async def work() -> str:
        return await here("a") + await there("b")

    @app.workflow(name="rest")
    async def rest() -> str:
        await sleep(10)
        return await here("late")

    return app


def workflow(hands: Hands, name: str) -> Any:
    return hands.instance.engines.apps()[0].workflows[name]


def settings_of(env: Any) -> GcpSettings:
    return env.world.settings


def later(hands: Hands, seconds: float) -> None:
    hands.env.clock.advance_to(hands.env.clock.now() + seconds)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """With what they tell of."""
    told = [one for one in caplog.records if one.levelno >= logging.ERROR]
    return [f"{one.getMessage()} {one.exc_info and one.exc_info[1]}" for one in told]


@contextmanager
def another(hands: Hands, world: GcpWorld) -> Generator[Hands]:
    """The same service with another world, which it was set up with by mistake."""
    other = Hands(hands.env, tuple(hands.instance.engines.apps()))
    other.instance.parts = other.instance.parts._replace(world=lambda: world)
    yield other


# -- a run that kills whoever works on it -----------------------------------------------------------------------------


class Poisoned(ClientsOf):
    """Death when the log is about to grow."""

    def ask_now(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if getattr(method, "__name__", "") == "_create" and f"/{LOG}/" in str(args[0]):
            self._life.end()
        return super().ask_now(setting, method, *args, **kwargs)


@pytest.mark.parametrize(("deaths", "status"), [(10, "completed"), (11, "failed")])
def test_a_run_that_kills_each_instance_fails_in_the_end(deaths: int, status: str) -> None:
    """The first lease, and ten that are taken over without growth of the log: the next turn runs no code of it."""
    canonical = next(one for one in CANONICALS if one.name == "sequence")

    async def main(stage: Stage) -> None:
        journal.clear()
        clock = VirtualClock()
        settings = stage.begin(clock)
        world = GcpWorld(settings, clients=stage.clients, clock=clock)
        play = GcpPlay(canonical, world, stage, settings)
        try:
            with fixed_draws():
                await play.begin()
                play.clients_of = Poisoned
                for _ in range(deaths):
                    life = Life(None, watch)
                    await play.serve(life)
                    assert life.dead
                play.clients_of = ClientsOf
                await play.serve(Life(None, watch))
            head = await world.runs.head(canonical.name)
            assert head is not None
            failed = status == "failed"
            assert (head.status, head.error_code) == (status, MAX_DELIVERIES_EXCEEDED if failed else None)
            assert begun_by_name() == ({} if failed else canonical.bodies)
            assert stage.tasks.waiting() == 0
        finally:
            stage.end()

    with stage_standing() as stage:
        asyncio.run(main(stage))


# -- tasks that come late, or for nobody --------------------------------------------------------------------------------


def test_a_task_that_is_a_month_old_goes_on_with_its_run(gcp_stage: Stage) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        for _ in range(2):
            later(hands, MONTH)
            (task,) = hands.tasks()
            await hands.deliver(task)
        await hands.work()
        assert await run.return_value(timeout=1) == "ab"

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["a", "b"]


@pytest.mark.parametrize("count", ["0", "7"])
def test_tasks_that_come_a_month_after_the_end_do_nothing(gcp_stage: Stage, count: str) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        kept = hands.tasks()
        await hands.deliver(kept[0])
        kept += hands.tasks()
        await hands.work()
        before = await hands.env.world.runs.head(run.run_id)
        assert before is not None and before.status == "completed"
        later(hands, MONTH)
        for task in kept:
            assert (await hands.deliver(task, X_CloudTasks_TaskRetryCount=count)).status_code == 200
        await hands.work()
        after = await hands.env.world.runs.head(run.run_id)
        assert {f for f in before.__struct_fields__ if getattr(before, f) != getattr(after, f)} <= {"retired"}
        assert hands.tasks() == []

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["a", "b"]


def test_a_timer_that_comes_a_month_late_is_proof_enough(gcp_stage: Stage) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "rest"))
        await hands.work()
        later(hands, MONTH)
        await hands.work()
        assert await run.return_value(timeout=1) == "late"

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["late"]


@pytest.mark.parametrize("kind", ["wake", "continue", "timer", "sweep", "step"])
def test_a_task_of_a_run_that_is_not_there_is_told_and_taken(
    gcp_stage: Stage, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(hands: Hands) -> None:
        more: dict[str, Any] = {"step_id": "s#1", "order": ORDER} if kind == "step" else {}
        if kind == "timer":
            more = {"due": hands.env.clock.now()}
        message = Message(kind=kind, run_id="wrun_unheardof", birth="b", identity="i", **more)
        answer = await hands.bring(messages.encode(message))
        assert (answer.status_code, hands.tasks()) == (200, [])

    handed(gcp_stage, scenario, app_of([]))
    told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len([line for line in told if "wrun_unheardof" in line]) == 1, told


def test_a_task_with_a_token_of_another_project_is_kept_by_its_queue(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        (task,) = hands.tasks()
        token = gcp_stage.tasks.signer.token(AUDIENCE, STRANGER)
        answer = await hands.deliver(task, Authorization=f"Bearer {token}")
        assert (answer.status_code, hands.telemetry.counts) == (401, {"RefusedCallers": 1})
        assert (await run.status(), hands.tasks(), begun) == ("pending", [task], [])
        await hands.work()
        assert await run.return_value(timeout=1) == "ab"

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["a", "b"]
    assert f"its token is in the name of '{STRANGER}'" in caplog.text


# -- resources that are not ours, and places that are wrong -------------------------------------------------------------


def test_a_database_in_datastore_mode_brings_tasks_back_until_it_is_another(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        (task,) = hands.tasks()
        settings = replace(settings_of(hands.env), database="legacy")
        with FirestoreServer(clock=hands.env.clock, datastore_mode=["legacy"]) as server:
            there = InlineClients(
                settings,
                firestore=lambda: server.client(PROJECT, "legacy"),
                tasks=gcp_stage.tasks.client,
                storage=gcp_stage.storage.client,
            )
            try:
                world = GcpWorld(settings, clients=there, clock=hands.env.clock)
                with another(hands, world) as other:
                    await other.service.prepare()
                    assert (await other.service.get("health")).status_code == 503
                    assert (await other.deliver(task)).status_code == 200
                    await other.service.leave()
                with use_world(world), pytest.raises(WorldConfigurationError, match=r"WDK_GCP_DATABASE.*native mode"):
                    await start(workflow(hands, "work"))
            finally:
                there.close()
        assert other.telemetry.counts == {"ReturnedMessages": 1}
        (copy,) = hands.tasks()
        assert copy.task.http_request.body == task.task.http_request.body
        assert copy.due == hands.env.clock.now() + SETTINGS.lease
        assert begun == []
        later(hands, SETTINGS.lease)
        await hands.work()
        assert await run.return_value(timeout=1) == "ab"

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["a", "b"]
    assert any("WDK_GCP_DATABASE" in line and "native mode" in line for line in errors(caplog)), errors(caplog)


@contextmanager
def elsewhere(hands: Hands, field: str) -> Generator[Hands]:
    """A service that looks for this queue in another location."""
    ours = settings_of(hands.env)
    there = replace(ours, **{field: getattr(ours, field).replace("europe-west1", "us-east1")})
    with another(hands, GcpWorld(there, clients=hands.env.stage.clients, clock=hands.env.clock)) as other:
        yield other


def test_a_queue_of_steps_in_another_location_is_recorded_and_its_run_goes_on_when_it_is_there(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        (task,) = hands.tasks()
        with elsewhere(hands, "step_queue") as other:
            await other.service.prepare()
            assert (await other.deliver(task)).status_code == 200
            await other.service.leave()
        (onward,) = hands.tasks()
        head = await hands.env.world.runs.head(run.run_id)
        assert head is not None and head.trouble is not None
        assert (head.status, head.trouble.count) == ("running", 1)
        assert "WDK_GCP_STEP_QUEUE" in head.trouble.reason
        assert begun == ["a"]
        hands.env.clock.advance_to(onward.due)
        await hands.work()
        assert await run.return_value(timeout=1) == "ab"

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["a", "b"]
    assert any("WDK_GCP_STEP_QUEUE" in line for line in errors(caplog)), errors(caplog)


def test_a_queue_of_runs_in_another_location_is_named_and_its_tasks_come_back_by_themselves(
    gcp_stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The queue itself is there, and only this service looks for it elsewhere: so it can send nothing again."""
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        (task,) = hands.tasks()
        with elsewhere(hands, "flow_queue") as other:
            await other.service.prepare()
            for number in ("1", "2"):  # what was delivered before is to be exchanged
                answer = await other.deliver(task, X_CloudTasks_TaskRetryCount=number)
                assert (answer.status_code, answer.json()["error"]) == (503, "not-acknowledged")
            with use_world(other.instance.world), pytest.raises(WorldConfigurationError, match="WDK_GCP_FLOW_QUEUE"):
                await start(workflow(hands, "work"))
            await other.service.leave()
        assert (await run.status(), hands.tasks(), begun) == ("pending", [task], [])
        assert (await hands.deliver(task, X_CloudTasks_TaskRetryCount="3")).status_code == 200
        await hands.work()
        assert await run.return_value(timeout=1) == "ab"

    handed(gcp_stage, scenario, app_of(begun))
    assert begun == ["a", "b"]
    assert any("WDK_GCP_FLOW_QUEUE" in line for line in errors(caplog)), errors(caplog)


@pytest.mark.parametrize("queue", ["flow_queue", "step_queue"])
def test_a_queue_that_is_paused_keeps_its_run_until_it_goes_on(gcp_stage: Stage, queue: str) -> None:
    begun: list[str] = []
    app = app_of(begun)

    async def main() -> None:
        async with on_stage(gcp_stage, (app,), SETTINGS) as env:
            client: Any = gcp_stage.clients.tasks
            name = getattr(settings_of(env), queue)
            client.pause_queue(name=name)
            run = await start(app.workflows["work"])
            for _ in range(3):
                await env.settle()
                env.clock.advance_to(env.clock.now() + 86_400)
            assert await run.status() == ("pending" if queue == "flow_queue" else "running")
            assert (begun, gcp_stage.tasks.waiting()) == ([] if queue == "flow_queue" else ["a"], 1)
            client.resume_queue(name=name)
            assert await env.run_to_end(run) == "ab"

    asyncio.run(main())
    assert begun == ["a", "b"]
