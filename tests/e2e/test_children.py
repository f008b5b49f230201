"""Child workflows, awaited in line and started from a body as runs of their own."""

import asyncio
from typing import Any

import pytest

from tests.e2e.running import Play, describe, finish
from wdk_cloud import (
    FatalError,
    Run,
    StepFailedError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    Workflows,
    get_run,
    get_workflow_metadata,
    list_runs,
    sleep,
    start,
)
from wdk_cloud.testing.environment import WorkflowEnv

STEP = ["step_created", "step_started", "step_completed"]
OPERATION = ["operation_created", "operation_completed"]


class Family:
    """An app with workflows to be children; `begun` has what their steps were called with."""

    def __init__(self) -> None:
        self.app = app = Workflows()
        self.begun: list[int] = []
        begun = self.begun

        @app.step(name="work", max_retries=0)
        async def work(what: int) -> int:
            begun.append(what)
            if what < 0:
                raise ValueError(what)
            return what * 10

        @app.workflow(name="child")
        async def child(what: int) -> int:
            await sleep("1h")
            return await work(what)

        self.work = work
        self.child = child


# -- in line --------------------------------------------------------------------------------------------------------------


def test_a_workflow_in_line_writes_into_the_log_of_the_run_that_awaits_it(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def middle(n: int) -> int:
        return await family.child(n) + await family.work(n + 1)

    @family.app.workflow
    async def outer() -> int:
        return await middle(1) + await middle(n=5)

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(outer))
        assert finished.value == 140
        assert finished.types == [
            *["run_created", "run_started"],
            *["wait_created", "wait_completed", *STEP, *STEP] * 2,
            "run_completed",
        ]
        assert finished.times("wait_completed") == [3600, 7200]
        assert len({event.step_id for event in finished.events if event.type == "step_created"}) == 4
        assert family.begun == [1, 2, 5, 6]
        assert [info.run_id for info in await list_runs()] == [finished.run.run_id]

    play.scene(scenario, family.app)


def test_workflows_in_line_run_side_by_side_in_tasks(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def outer() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(family.child(n)) for n in range(3)]
        return [task.result() for task in tasks] + await asyncio.gather(*(family.child(n) for n in (3, 4)))

    finished = play(outer)
    assert finished.value == [0, 10, 20, 30, 40]
    assert finished.times("run_completed") == [7200]
    assert finished.count("wait_created") == finished.count("step_completed") == 5
    assert sorted(family.begun) == [0, 1, 2, 3, 4]


def test_what_a_workflow_in_line_raises_is_raised_where_it_is_awaited(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def outer() -> list[object]:
        try:
            await family.child(-1)
        except StepFailedError as error:
            told = [error.step_name, error.attempts, type(error.__cause__).__name__]
        return [*told, await family.child(1)]

    finished = play(outer)
    assert finished.value == ["work", 1, "ValueError", 10]
    assert finished.count("step_failed") == 1
    assert family.begun == [-1, 1]


def test_a_workflow_in_line_knows_the_run_that_it_is_in(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def inner() -> list[str]:
        info = get_workflow_metadata()
        return [info.run_id, info.workflow_name]

    @app.workflow(name="outer")
    async def outer() -> list[str]:
        return await inner()

    finished = play(outer)
    assert finished.value == [finished.run.run_id, "outer"]


def test_a_workflow_in_line_is_cancelled_with_its_task(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def outer() -> str:
        try:
            await asyncio.wait_for(family.child(1), 60)
        except TimeoutError:
            await sleep("2h")
            return "too slow"
        return "?"

    finished = play(outer)
    assert finished.value == "too slow"
    assert finished.times("run_completed") == [7260]
    assert family.begun == []


def test_a_workflow_in_line_may_call_itself(play: Play) -> None:
    app = Workflows()

    @app.step
    async def less(n: int) -> int:
        return n - 1

    @app.workflow
    async def count(n: int) -> int:
        return 0 if n == 0 else 1 + await count(await less(n))

    finished = play(count, 12)
    assert finished.value == 12
    assert finished.types == ["run_created", "run_started", *STEP * 12, "run_completed"]


# -- runs of their own ----------------------------------------------------------------------------------------------------


def test_a_body_waits_for_the_result_of_a_run_that_it_started(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> list[object]:
        child = await start(family.child, 1)
        return [child.run_id, await child.return_value()]

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(parent))
        child = await describe(get_run(finished.value[0]))
        assert finished.value[1] == child.value == 10
        assert finished.types == ["run_created", "run_started", *OPERATION, *OPERATION, "run_completed"]
        assert finished.times("run_completed") == child.times("run_completed") == [3600]
        assert child.types == ["run_created", "run_started", "wait_created", "wait_completed", *STEP, "run_completed"]
        assert child.info.parent == finished.run.run_id
        assert family.begun == [1]

    play.scene(scenario, family.app)


def test_the_result_of_a_child_that_has_ended_long_ago_is_there_at_once(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> int:
        child = await start(family.child, 1)
        await sleep("1 day")
        return await child.return_value() + await child.return_value()

    finished = play(parent)
    assert finished.value == 20
    assert finished.times("run_completed") == [86400]
    assert family.begun == [1]


def test_a_failed_child_raises_its_failure_into_the_body_with_the_original_as_cause(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> list[object]:
        child = await start(family.child.with_options(run_id="child"), -7)
        try:
            await child.return_value()
        except WorkflowRunFailedError as error:
            failed = error.__cause__
            assert isinstance(failed, StepFailedError)
            told = [error.error_code, failed.step_name, type(failed.__cause__).__name__, failed.__cause__.args[0]]  # type: ignore[union-attr]
        await sleep(1)
        return [*told, await child.status()]

    finished = play(parent)
    assert finished.value == ["USER_ERROR", "work", "ValueError", -7, "failed"]
    assert finished.info.status == "completed"
    assert (finished.count("operation_failed"), finished.count("operation_completed")) == (1, 2)
    assert family.begun == [-7]


def test_the_failure_of_a_child_that_nobody_catches_fails_the_parent(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> int:
        return await (await start(family.child, -1)).return_value()

    finished = play(parent)
    assert finished.info.error_code == "USER_ERROR"
    assert type(finished.error) is WorkflowRunFailedError
    assert finished.error.error_code == "USER_ERROR"
    assert type(finished.error.__cause__) is StepFailedError


def test_a_child_fails_without_a_parent_that_waits(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def child() -> None:
        raise FatalError("no")

    @app.workflow
    async def parent() -> str:
        run = await start(child)
        await sleep("1h")
        return await run.status()

    finished = play(parent)
    assert finished.value == "failed"


AT_ONCE = pytest.param(
    "the body", marks=pytest.mark.not_on_cloudrun("its cancel comes before the child's first delivery")
)


@pytest.mark.parametrize("who", [AT_ONCE, "somebody else"])
def test_a_cancelled_child_raises_its_cancellation_into_the_body(play: Play, who: str) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> list[object]:
        child = await start(family.child.with_options(run_id="child"), 1)
        if who == "the body":
            await child.cancel("changed my mind")
        try:
            await child.return_value()
        except WorkflowRunCancelledError as error:
            told = error.reason
        await sleep("1 day")
        return [told, await child.status()]

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(parent)
        await env.run_until_blocked()
        if who == "somebody else":
            await env.advance("10 min")
            await get_run("child").cancel("changed my mind")
        finished = await finish(env, run)
        assert finished.value == ["changed my mind", "cancelled"]
        child: Run[Any] = get_run("child")
        assert (await describe(child)).types == [
            *["run_created", "run_started", "wait_created"],
            *["cancel_requested", "run_cancelled"],
        ]
        assert family.begun == []

    play.scene(scenario, family.app)


@pytest.mark.parametrize("ends", ["returns", "raises"])
def test_children_go_on_when_their_parent_ends(play: Play, ends: str) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> None:
        await start(family.child.with_options(run_id="child"), 1)
        if ends == "raises":
            raise ValueError

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(parent))
        assert finished.info.status == ("completed" if ends == "returns" else "failed")
        assert finished.times("run_" + finished.info.status) == [0]
        child: Run[int] = get_run("child")
        assert await child.status() == "running"
        assert (await finish(env, child)).value == 10
        assert family.begun == [1]

    play.scene(scenario, family.app)


def test_a_body_that_waits_no_longer_leaves_its_child_alone(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> list[object]:
        child = await start(family.child, 1)
        try:
            await asyncio.wait_for(child.return_value(), 600)
        except TimeoutError:
            told = await child.status()
        return [told, await child.return_value()]

    finished = play(parent)
    assert finished.value == ["running", 10]
    assert finished.times("run_completed") == [3600]
    assert family.begun == [1]


def test_return_value_in_a_body_takes_a_time_out(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> list[object]:
        child = await start(family.child, 1)
        try:
            await child.return_value(timeout=600)
        except TimeoutError:
            told = await child.status()
        return [told, await child.return_value(timeout=36000)]

    finished = play(parent)
    assert finished.value == ["running", 10]
    assert finished.times("run_completed") == [3600]
    assert family.begun == [1]


def test_children_race(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def child(n: int) -> int:
        await sleep(n)
        return n

    @app.workflow
    async def parent() -> list[int]:
        runs = [await start(child, n) for n in (300, 100, 200)]
        return [await each for each in asyncio.as_completed([run.return_value() for run in runs])]

    finished = play(parent)
    assert finished.value == [100, 200, 300]
    assert finished.times("operation_completed") == [0, 0, 0, 100, 200, 300]


def test_a_wide_fan_out_starts_every_child_once_and_gathers_all_results(play: Play) -> None:
    family = Family()
    width = 60

    @family.app.workflow
    async def parent() -> list[int]:
        runs = await asyncio.gather(*(start(family.child, n) for n in range(width)))
        return await asyncio.gather(*(run.return_value() for run in runs))

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(parent))
        assert finished.value == [n * 10 for n in range(width)]
        assert finished.times("run_completed") == [3600]
        assert finished.count("operation_created") == finished.count("operation_completed") == 2 * width
        assert sorted(family.begun) == list(range(width))
        children = await list_runs(workflow=family.child, limit=1000)
        assert len(children) == width
        assert {info.status for info in children} == {"completed"}
        assert {info.parent for info in children} == {finished.run.run_id}

    play.scene(scenario, family.app)


def test_a_fan_out_in_which_some_fail_tells_of_each(play: Play) -> None:
    family = Family()

    @family.app.workflow
    async def parent() -> list[object]:
        runs = [await start(family.child, n) for n in (1, -1, 2, -2)]
        ends = await asyncio.gather(*(run.return_value() for run in runs), return_exceptions=True)
        return [type(end).__name__ if isinstance(end, BaseException) else end for end in ends]

    finished = play(parent)
    assert finished.value == [10, "WorkflowRunFailedError", 20, "WorkflowRunFailedError"]
    assert sorted(family.begun) == [-2, -1, 1, 2]


def test_generations_of_runs_wait_for_each_other(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def generation(n: int) -> list[int]:
        await sleep("1h")
        if n == 0:
            return [0]
        child = await start(generation, n - 1)
        return [n, *await child.return_value()]

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(generation, 4))
        assert finished.value == [4, 3, 2, 1, 0]
        assert finished.times("run_completed") == [5 * 3600]
        runs = await list_runs()
        assert len(runs) == 5
        roots = [(await get_run(info.run_id).attributes()).get("$rootRunId") for info in runs]
        assert roots == [finished.run.run_id] * 4 + [None]

    play.scene(scenario, app)
