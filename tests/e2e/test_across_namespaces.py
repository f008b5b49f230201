"""Handles on the runs of an app with a namespace."""

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import Run, WorkflowContextError, WorkflowRunNotFoundError, Workflows, get_run, list_runs, start
from wdk_cloud.testing.environment import WorkflowEnv

METHODS = ("status", "exists", "info", "attributes", "return_value", "cancel", "wake_up")


def nine(namespace: str | None = None) -> Workflows:
    app = Workflows(namespace)

    @app.workflow(name="nine")
    async def nine() -> int:
        return 9

    return app


def test_a_run_of_a_namespace_is_reached_by_its_id_and_the_namespace(play: Play) -> None:
    app = nine("billing")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(app.workflows["nine"])
        await finish(env, run)
        there = get_run(run.run_id, namespace="billing")
        assert await there.return_value() == 9
        assert [event.type async for event in there.events()] == [event.type async for event in run.events()]
        assert [info.run_id for info in await list_runs(namespace="billing")] == [run.run_id]

    play.scene(scenario, app)


def test_without_the_namespace_the_run_is_not_there(play: Play) -> None:
    app = nine("billing")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(app.workflows["nine"])
        assert not await get_run(run.run_id).exists()
        with pytest.raises(WorkflowRunNotFoundError, match=r"check the id, WDK_WORLD and the namespace"):
            await get_run(run.run_id, namespace="shipping").status()
        assert list(await list_runs()) == []

    play.scene(scenario, app)


@pytest.mark.parametrize("namespace", ["Upper", "with space", 7])
def test_what_cannot_be_a_namespace_is_refused(namespace: object, play: Play) -> None:
    with pytest.raises(ValueError, match="a namespace is 1 to 32 lower case letters"):
        get_run("a", namespace=namespace)  # type: ignore[arg-type]

    async def scenario(_: WorkflowEnv) -> None:
        with pytest.raises(ValueError, match="a namespace is 1 to 32 lower case letters"):
            await list_runs(namespace=namespace)  # type: ignore[arg-type]

    play.scene(scenario)


def test_a_body_reaches_the_runs_of_its_own_namespace_with_and_without_naming_it(play: Play) -> None:
    app = nine("billing")

    @app.workflow
    async def ask(run_id: str) -> list[int]:
        return [await get_run(run_id).return_value(), await get_run(run_id, namespace="billing").return_value()]

    async def scenario(env: WorkflowEnv) -> object:
        run = await env.start(app.workflows["nine"])
        return (await finish(env, await env.start(ask, run.run_id))).value

    assert play.scene(scenario, app) == [9, 9]


@pytest.mark.parametrize("method", METHODS)
def test_a_body_is_told_that_it_cannot_deal_with_a_run_of_another_namespace(method: str, play: Play) -> None:
    app = Workflows("billing")

    @app.workflow
    async def ask(namespace: str) -> None:
        await getattr(get_run("other", namespace=namespace), method)()

    error = play(ask, "shipping").error
    assert type(error) is WorkflowContextError
    assert str(error) == (
        "run other is in the namespace 'shipping' and the body that asks for it in 'billing'; a body deals with runs "
        "of its own namespace: do it in a step"
    )


def test_a_body_starts_no_run_in_another_namespace_but_its_step_does(play: Play) -> None:
    mine, theirs = Workflows("billing"), nine("shipping")

    @mine.step
    async def start_there() -> str:
        return (await start(theirs.workflows["nine"])).run_id

    @mine.workflow
    async def parent() -> str:
        try:
            await start(theirs.workflows["nine"])
        except WorkflowContextError as error:
            assert "do it in a step" in str(error)
            return await start_there()
        return "started from the body"

    async def scenario(env: WorkflowEnv) -> object:
        finished = await finish(env, await env.start(parent))
        child: Run[int] = get_run(finished.value, namespace="shipping")
        return (await finish(env, child)).value

    assert play.scene(scenario, mine, theirs) == 9
