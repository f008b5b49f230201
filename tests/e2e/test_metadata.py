"""`get_step_metadata` and `get_workflow_metadata`."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import (
    RetryableError,
    StepInfo,
    WorkflowContextError,
    WorkflowInfo,
    Workflows,
    get_step_metadata,
    get_workflow_metadata,
    sleep,
)
from wdk_cloud.testing.environment import WorkflowEnv

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_step_knows_its_run_its_id_and_its_attempt(play: Play, plain: bool, dispatch: str) -> None:
    app = Workflows()
    seen: list[StepInfo] = []

    def look() -> None:
        seen.append(get_step_metadata())
        if len(seen) < 3:
            raise RetryableError("again", retry_after=60)

    async def look_async() -> None:
        look()

    step = app.step(dispatch=dispatch, name="look")(look if plain else look_async)

    @app.workflow
    async def body() -> None:
        await sleep("1h")
        await step()

    finished = play(body)
    assert finished.value is None
    assert [info.attempt for info in seen] == [1, 2, 3]
    assert {info.run_id for info in seen} == {finished.run.run_id}
    assert {info.step_name for info in seen} == {step.id} == {"look"}
    assert len({info.step_id for info in seen}) == 1
    assert {info.step_started_at for info in seen} == {START + timedelta(hours=1)}
    assert {event.step_id for event in finished.events if event.step_id} == {seen[0].step_id}


def test_step_ids_are_unique_within_a_run_and_across_runs(play: Play) -> None:
    app = Workflows()
    ids: list[str] = []

    @app.step
    async def look() -> None:
        ids.append(get_step_metadata().step_id)

    @app.workflow
    async def body() -> None:
        await look()
        await look()

    async def scenario(env: WorkflowEnv) -> None:
        for _ in range(3):
            await finish(env, await env.start(body))
        assert len(ids) == len(set(ids)) == 6

    play.scene(scenario, app)


def test_a_body_and_its_steps_know_their_workflow(play: Play) -> None:
    app = Workflows()

    @app.step
    async def look() -> WorkflowInfo:
        return get_workflow_metadata()

    @app.step(dispatch="queue")
    def look_elsewhere() -> WorkflowInfo:
        return get_workflow_metadata()

    found: list[WorkflowInfo] = []

    @app.workflow
    async def body() -> None:
        await sleep("1h")
        found[:] = [get_workflow_metadata(), await look(), await look_elsewhere()]

    finished = play.tuned(public_url="https://shop.example")(body)
    assert finished.value is None
    assert found == [WorkflowInfo(finished.run.run_id, body.id, START, "https://shop.example")] * 3


def test_the_start_of_a_delayed_run_is_when_its_body_began(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> datetime:
        await sleep(5)
        return get_workflow_metadata().started_at

    assert play(body.with_options(delay="1h")).value == START + timedelta(hours=1)


def test_step_metadata_elsewhere_is_a_context_error(play: Play) -> None:
    with pytest.raises(WorkflowContextError, match="step"):
        get_step_metadata()

    app = Workflows()

    @app.step
    async def plain() -> StepInfo:
        return get_step_metadata()

    @app.workflow
    async def body() -> str:
        try:
            get_step_metadata()
        except WorkflowContextError as error:
            return str(error)
        return "?"

    assert "get_step_metadata" in play(body).value
    with pytest.raises(WorkflowContextError):
        asyncio.run(plain())


def test_workflow_metadata_elsewhere_is_a_context_error() -> None:
    with pytest.raises(WorkflowContextError, match="get_workflow_metadata"):
        get_workflow_metadata()


def test_a_step_inside_a_step_sees_the_outer_ones_metadata(play: Play) -> None:
    app = Workflows()

    @app.step
    def inner() -> str:
        return get_step_metadata().step_name

    @app.step
    async def outer() -> str:
        return await inner()

    @app.workflow
    async def body() -> str:
        return await outer()

    assert play(body).value == outer.id
