"""The registry, workflows and their ids."""

import asyncio
import inspect

import pytest

from tests.e2e.running import Play, describe, finish
from wdk_cloud import StepNotRegisteredError, Workflows, get_run, sleep, start, worker
from wdk_cloud.testing.environment import WorkflowEnv

# -- ids ------------------------------------------------------------------------------------------------------------------


def test_a_workflow_is_known_by_its_module_and_qualified_name() -> None:
    app = Workflows()

    @app.workflow
    async def checkout() -> None: ...

    here = "test_a_workflow_is_known_by_its_module_and_qualified_name.<locals>.checkout"
    assert checkout.id == f"workflow//{__name__}//{here}"


def test_a_step_is_known_by_its_module_and_qualified_name() -> None:
    app = Workflows()

    @app.step
    async def charge() -> None: ...

    here = "test_a_step_is_known_by_its_module_and_qualified_name.<locals>.charge"
    assert charge.id == f"step//{__name__}//{here}"


def test_a_name_takes_the_place_of_the_id(play: Play) -> None:
    app = Workflows()

    @app.step(name="charge-card")
    async def charge() -> int:
        return 9

    @app.workflow(name="checkout")
    async def body() -> int:
        return await charge()

    finished = play(body)
    assert finished.value == 9
    assert finished.info.workflow_name == body.id == "checkout"
    assert [event.step_name for event in finished.events if event.type == "step_created"] == ["charge-card"]


def test_a_named_step_can_move_while_runs_are_alive(play: Play) -> None:
    before, after = Workflows(), Workflows()
    calls: list[str] = []

    @before.step(name="charge")
    async def charge_in_its_old_place(amount: int) -> int:
        calls.append("old")
        return amount

    @before.workflow(name="checkout")
    async def old() -> int:
        first = await charge_in_its_old_place(1)
        await sleep("1 day")
        return first + await charge_in_its_old_place(2)

    @after.step(name="charge")
    async def charge_elsewhere(amount: int) -> int:
        calls.append("new")
        return amount

    @after.workflow(name="checkout")
    async def new() -> int:
        first = await charge_elsewhere(1)
        await sleep("1 day")
        return first + await charge_elsewhere(2)

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(before, settings=play.settings):
            run = await start(old)
            await env.advance(0)
        async with worker(after, settings=play.settings) as env.workers:
            finished = await finish(env, run)
        assert finished.value == 3
        assert calls == ["old", "new"]

    play.scene(scenario, before, start_worker=False)


def test_a_decorated_function_keeps_its_name_docstring_and_signature() -> None:
    app = Workflows()

    @app.step
    async def charge(order: str, amount: int = 1) -> int:
        """Take the money."""
        return amount

    @app.workflow
    async def checkout(order: str) -> int:
        """Sell."""
        return await charge(order)

    assert (charge.__name__, charge.__doc__) == ("charge", "Take the money.")
    assert (checkout.__name__, checkout.__doc__) == ("checkout", "Sell.")
    assert list(inspect.signature(charge).parameters) == ["order", "amount"]
    assert list(inspect.signature(checkout).parameters) == ["order"]


# -- apps -----------------------------------------------------------------------------------------------------------------


def test_a_step_of_another_app_fails_with_an_error_that_the_body_can_catch(play: Play) -> None:
    app, other = Workflows(), Workflows()
    calls: list[str] = []

    @other.step
    async def foreign() -> None:
        calls.append("foreign")

    @app.step
    async def own() -> str:
        return "own"

    @app.workflow
    async def body() -> str:
        try:
            await foreign()
        except StepNotRegisteredError as error:
            text = str(error)
        await sleep(1)
        return await own() + ": " + text

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(body))
        assert finished.value.startswith("own: ")
        assert f"{foreign.id} is not registered" in finished.value
        assert calls == []

    play.scene(scenario, app, other)


def test_a_step_of_another_app_fails_the_run_that_does_not_catch_it(play: Play) -> None:
    app, other = Workflows(), Workflows()

    @other.step
    async def foreign() -> None: ...

    @app.workflow
    async def body() -> None:
        await foreign()

    finished = play(body)
    assert isinstance(finished.error, StepNotRegisteredError)
    assert finished.info.error_code == "USER_ERROR"


def test_a_queued_step_that_the_deployed_code_does_not_have_fails_without_retry(play: Play) -> None:
    before, after = Workflows(), Workflows()
    calls: list[str] = []

    @before.step(name="gone", dispatch="queue")
    async def gone() -> None:
        calls.append("gone")

    @before.workflow
    async def body() -> str:
        try:
            await gone()
        except StepNotRegisteredError as error:
            return str(error)
        return "?"

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(body)
        engines = worker(before, settings=play.settings)
        workers = await engines.__aenter__()
        try:
            del before.steps["gone"]  # a deployment of code without it
            env.workers = workers
            finished = await finish(env, run)
        finally:
            await engines.__aexit__(None, None, None)
        assert "gone is not registered" in finished.value
        assert calls == []
        assert finished.count("step_retrying") == 0

    play.scene(scenario, before, after, start_worker=False)


def test_apps_of_different_namespaces_share_a_world_without_seeing_each_other(play: Play) -> None:
    one, two = Workflows("one"), Workflows("two")

    @one.workflow(name="same")
    async def first() -> str:
        await sleep(1)
        return "first"

    @two.workflow(name="same")
    async def second() -> str:
        await sleep(1)
        return "second"

    async def scenario(env: WorkflowEnv) -> None:
        left = await env.start(first.with_options(run_id="r"))
        right = await env.start(second.with_options(run_id="r"))
        await env.advance("1s")
        await env.run_until_blocked()
        assert await left.return_value(timeout=10) == "first"
        assert await right.return_value(timeout=10) == "second"
        assert not await get_run("r").exists()

    play.scene(scenario, one, two)


@pytest.mark.parametrize("namespace", ["", "Upper", "with space", "a" * 33, "1st", "ä", "under_score", 7])
def test_a_namespace_that_cannot_be_one_is_refused(namespace: object) -> None:
    with pytest.raises((TypeError, ValueError), match="namespace"):
        Workflows(namespace)  # type: ignore[arg-type]


# -- calling workflows --------------------------------------------------------------------------------------------------------


def test_a_workflow_awaited_in_a_body_runs_inside_the_same_run(play: Play) -> None:
    app = Workflows()

    @app.step
    async def add(a: int, b: int) -> int:
        return a + b

    @app.workflow
    async def inner(n: int) -> int:
        await sleep("1h")
        return await add(n, 1)

    @app.workflow
    async def outer() -> int:
        return await inner(1) + await inner(n=10)

    async def scenario(env: WorkflowEnv) -> None:
        from wdk_cloud import list_runs

        finished = await finish(env, await env.start(outer))
        assert finished.value == 13
        assert finished.count("step_completed") == 2
        assert finished.count("operation_created") == 0
        assert [info.run_id for info in await list_runs()] == [finished.run.run_id]

    play.scene(scenario, app)


def test_a_workflow_called_outside_is_the_plain_coroutine_function() -> None:
    app = Workflows()

    @app.step
    def double(n: int) -> int:
        return n * 2

    @app.workflow
    async def body(n: int) -> int:
        return await double(n) + 1

    coroutine = body(3)
    assert inspect.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == 7


def test_a_body_is_executed_once_when_warm_and_once_a_delivery_when_cold(play: Play) -> None:
    app = Workflows()
    executions = 0

    @app.workflow
    async def body() -> str:
        nonlocal executions
        executions += 1
        await sleep("1 day")
        await sleep("1 day")
        return "rested"

    assert play(body).value == "rested"
    assert executions == (3 if play.cold else 1)


def test_a_workflow_without_a_wait_completes_in_its_first_delivery(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body(n: int, *rest: int, sign: int = 1, **named: int) -> list[object]:
        return [n, rest, sign, named]

    finished = play(body, 1, 2, 3, sign=-1, extra=4)
    assert finished.value == [1, (2, 3), -1, {"extra": 4}]
    assert finished.types == ["run_created", "run_started", "run_completed"]


def test_two_steps_of_one_body_are_recorded_in_the_order_of_their_ends(play: Play) -> None:
    app = Workflows()

    @app.step
    async def one(n: int) -> int:
        return n

    @app.workflow
    async def body() -> list[int]:
        return [await one(1), await one(2)]

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.run_until_blocked()
        finished = await describe(run)
        assert finished.value == [1, 2]
        assert finished.types == [
            "run_created",
            "run_started",
            *["step_created", "step_started", "step_completed"] * 2,
        ] + ["run_completed"]

    play.scene(scenario, app)
