"""Code that changes while a run is in the middle, and code that is not there."""

from typing import Any

import pytest

from tests.e2e.running import Finished, Play, finish
from wdk_cloud import (
    NondeterminismError,
    RetryPolicy,
    Run,
    StepNotRegisteredError,
    WorkflowNotRegisteredError,
    Workflows,
    get_step_metadata,
    sleep,
    start,
    worker,
)
from wdk_cloud.testing.environment import WorkflowEnv

BEFORE = """
@app.step(name="one")
async def one(n, to="a"):
    begun.append(f"one {n}")
    return n

@app.step(name="two")
async def two(n):
    begun.append(f"two {n}")
    return n

@app.workflow(name="flow")
async def flow():
    first = await one(1)
    second = await two(2)
    await sleep("1 day")
    return [first, second, await one(3)]
"""
"""What is deployed when the run starts; the code changes while it sleeps."""

BEGUN_BEFORE = ["one 1", "two 2"]


def deployed(code: str, begun: list[str]) -> Workflows:
    app = Workflows()
    exec(code, {"app": app, "begun": begun, "sleep": sleep})
    return app


def changed(*changes: tuple[str, str]) -> str:
    code = BEFORE
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    return code


def change(play: Play, *changes: tuple[str, str]) -> tuple[Finished, list[str]]:
    """Change the code in the middle of a run; how the run ended, and which bodies were begun, in order."""
    begun: list[str] = []
    before, after = deployed(BEFORE, begun), deployed(changed(*changes), begun)

    async def scenario(env: WorkflowEnv) -> Finished:
        async with worker(before, settings=play.settings) as env.workers:
            run = await start(before.workflows["flow"])
            await env.advance("1h")
        assert begun == BEGUN_BEFORE
        async with worker(after, settings=play.settings) as env.workers:
            return await finish(env, run)

    return play.scene(scenario, start_worker=False), begun


ALLOWED: list[tuple[str, list[tuple[str, str]], list[object], list[str]]] = [
    ("nothing", [], [1, 2, 3], ["one 3"]),
    (
        "added behind",
        [("return [first, second, ", "return [await two(4), first, second, ")],
        [4, 1, 2, 3],
        ["two 4", "one 3"],
    ),
    (
        "added between",
        [
            ('await sleep("1 day")\n', 'third = await two(4)\n    await sleep("1 day")\n'),
            ("second, await", "second, third, await"),
        ],
        [1, 2, 4, 3],
        ["two 4", "one 3"],
    ),
    ("removed before it was reached", [(", await one(3)]", "]")], [1, 2], []),
    ("changed before it was reached", [("await one(3)", "await one(5)")], [1, 2, 5], ["one 5"]),
    ("a parameter with a default", [("async def two(n)", "async def two(n, more=0)")], [1, 2, 3], ["one 3"]),
    ("another default", [('to="a"', 'to="b"')], [1, 2, 3], ["one 3"]),
    ("by name", [("await two(2)", "await two(n=2)")], [1, 2, 3], ["one 3"]),
    (
        "moved under its name",
        [("async def two", "async def moved"), ("await two", "await moved")],
        [1, 2, 3],
        ["one 3"],
    ),
]


@pytest.mark.parametrize(("changes", "value", "later"), [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_a_run_goes_on_through_a_change_that_leaves_its_recorded_calls(
    play: Play, changes: list[tuple[str, str]], value: list[object], later: list[str]
) -> None:
    finished, begun = change(play, *changes)
    assert finished.value == value
    assert begun == BEGUN_BEFORE + later


REFUSED: list[tuple[str, list[tuple[str, str]], list[list[str]], list[str]]] = [
    ("an argument", [("await two(2)", "await two(7)")], [["two#1", "argument n was 2 and is now 7"]], []),
    ("a type", [("await two(2)", 'await two("2")')], [["two#1", "argument n was 2 and is now '2'"]], []),
    (
        "an argument more",
        [("await one(1)", 'await one(1, to="a")')],
        [["one#1", "argument to was left out and is now 'a'"]],
        [],
    ),
    (
        "removed",
        [("second = await two(2)", "second = 2"), ('await sleep("1 day")', 'return "early"')],
        [["two#1 is in the log at position 6", "never asks for it"], ["sleep#1 is in the log at position 9"]],
        [],
    ),
    (
        "removed, and something new is awaited first",
        [("second = await two(2)", "second = 2")],
        [["two#1 is in the log at position 6", "never asks for it"]],
        ["one 3"],
    ),
    (
        "a sleep removed, and something new is awaited first",
        [('await sleep("1 day")', "pass")],
        [["sleep#1 is in the log at position 9", "never asks for it"]],
        ["one 3"],
    ),
    (
        "renamed",
        [('@app.step(name="two")', '@app.step(name="another")')],
        [["two#1 is in the log at position 6", "never asks for it"]],
        ["two 2", "one 3"],
    ),
]


@pytest.mark.parametrize(("changes", "parts", "later"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_change_of_what_is_recorded_fails_the_run_and_names_what_differs(
    play: Play, changes: list[tuple[str, str]], parts: list[list[str]], later: list[str]
) -> None:
    finished, begun = change(play, *changes)
    error = finished.error
    assert type(error) is NondeterminismError
    assert finished.info.error_code == "REPLAY_DIVERGENCE"
    assert len(error.differences) == len(parts)
    for difference, named in zip(error.differences, parts, strict=True):
        for part in named:
            assert part in difference
            assert part in str(error)
    assert begun == BEGUN_BEFORE + later


def test_two_calls_of_one_step_that_change_places_are_both_named(play: Play) -> None:
    begun: list[str] = []
    old = BEFORE.replace("second = await two(2)", "second = await one(2)")
    new = old.replace("await one(1)", "await one(X)").replace("await one(2)", "await one(1)").replace("X", "2")
    before, after = deployed(old, begun), deployed(new, begun)

    async def scenario(env: WorkflowEnv) -> Finished:
        async with worker(before, settings=play.settings) as env.workers:
            run = await start(before.workflows["flow"])
            await env.advance("1h")
        async with worker(after, settings=play.settings) as env.workers:
            return await finish(env, run)

    finished = play.scene(scenario, start_worker=False)
    assert type(finished.error) is NondeterminismError
    assert "one#1" in finished.error.differences[0]
    assert "argument n was 1 and is now 2" in finished.error.differences[0]
    assert begun == ["one 1", "one 2"]


# -- steps that are not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caught", [True, False], ids=["caught", "not caught"])
def test_a_queued_step_that_is_gone_when_it_is_retried_raises_into_the_body(play: Play, caught: bool) -> None:
    begun: list[str] = []
    app = Workflows()

    @app.step(name="gone", dispatch="queue", max_retries=5, retry=RetryPolicy(delay="2h"))
    async def gone() -> None:
        begun.append("gone")
        raise ValueError

    @app.workflow(name="flow")
    async def flow() -> str:
        try:
            await gone()
        except StepNotRegisteredError as error:
            if not caught:
                raise
            await sleep(1)
            return str(error)
        return "?"

    async def scenario(env: WorkflowEnv) -> Finished:
        async with worker(app, settings=play.settings) as env.workers:
            run = await start(flow)
            await env.advance("1h")
        del app.steps["gone"]  # a deployment of code without it
        async with worker(app, settings=play.settings) as env.workers:
            return await finish(env, run)

    finished = play.scene(scenario, start_worker=False)
    if caught:
        assert "gone is not registered" in finished.value
    else:
        assert type(finished.error) is StepNotRegisteredError
        assert finished.info.error_code == "USER_ERROR"
    assert begun == ["gone"]


def busy_once(begun: list[str]) -> Workflows:
    app = Workflows()

    @app.step(name="added", dispatch="queue", retry=RetryPolicy(delay="2h"))
    async def added() -> str:
        begun.append("added")
        if len(begun) == 1:
            raise ValueError("busy")
        return f"attempt {get_step_metadata().attempt}"

    @app.workflow(name="flow")
    async def flow() -> str:
        return await added()

    return app


def test_a_queued_step_of_newer_code_waits_where_older_code_receives_it(play: Play) -> None:
    """Both have workers in a rolling deployment."""
    begun: list[str] = []
    older, newer = (play.tuned(code_version=version).settings for version in ("0000000001.a", "0000000002.b"))
    without, app = busy_once(begun), busy_once(begun)
    del without.steps["added"]

    async def scenario(env: WorkflowEnv) -> Finished:
        async with worker(app, settings=newer) as env.workers:
            run = await start(app.workflows["flow"])
            await env.advance("1h")
        async with worker(without, settings=older) as env.workers:
            await env.advance("2h")
            assert await run.status() == "running"
        async with worker(app, settings=newer) as env.workers:
            return await finish(env, run)

    assert play.scene(scenario, start_worker=False).value == "attempt 2"  # what the older code saw was none
    assert begun == ["added", "added"]


def test_a_queued_step_of_newer_code_that_does_not_come_fails_after_code_wait(play: Play) -> None:
    begun: list[str] = []
    older, newer = (play.tuned(code_version=v, code_wait=600.0).settings for v in ("0000000001.a", "0000000002.b"))
    without, app = busy_once(begun), busy_once(begun)
    del without.steps["added"]

    async def scenario(env: WorkflowEnv) -> Finished:
        async with worker(app, settings=newer) as env.workers:
            run = await start(app.workflows["flow"])
            await env.advance("1h")
        async with worker(without, settings=older) as env.workers:
            return await finish(env, run)

    finished = play.scene(scenario, start_worker=False)
    assert type(finished.error) is StepNotRegisteredError
    [end] = finished.times("step_failed")
    assert 600 <= end - 7200 <= 1200
    assert begun == ["added"]


# -- workflows that are not there -----------------------------------------------------------------------------------------


DAY = 86400.0


def without_flow() -> Workflows:
    app = Workflows()

    @app.workflow(name="another")
    async def another() -> None: ...

    return app


def test_a_run_whose_workflow_is_not_registered_waits_for_a_deployment_that_has_it(play: Play) -> None:
    begun: list[str] = []
    app = deployed(BEFORE, begun)

    async def scenario(env: WorkflowEnv) -> Finished:
        run = await start(app.workflows["flow"])
        async with worker(without_flow(), settings=play.settings) as env.workers:
            await env.advance("23h")
            await env.run_until_blocked()
            assert await run.status() == "running"
            assert begun == []
        async with worker(app, settings=play.settings) as env.workers:
            return await finish(env, run)

    assert play.scene(scenario, start_worker=False).value == [1, 2, 3]
    assert begun == [*BEGUN_BEFORE, "one 3"]


@pytest.mark.parametrize("begun_before", [False, True], ids=["not begun", "in the middle"])
def test_a_run_whose_workflow_stays_away_fails_after_a_day(play: Play, begun_before: bool) -> None:
    begun: list[str] = []
    app = deployed(BEFORE, begun)

    async def scenario(env: WorkflowEnv) -> Finished:
        run: Run[Any] = await start(app.workflows["flow"])
        if begun_before:
            async with worker(app, settings=play.settings) as env.workers:
                await env.run_until_blocked()
        async with worker(without_flow(), settings=play.settings) as env.workers:
            return await finish(env, run)

    finished = play.scene(scenario, start_worker=False)
    assert finished.info.error_code == "RUNTIME_ERROR"
    assert type(finished.error) is WorkflowNotRegisteredError
    assert "flow is not registered" in str(finished.error)
    [end] = finished.times("run_failed")
    first_missed = DAY if begun_before else 0.0
    assert first_missed + DAY <= end <= first_missed + DAY + 900  # asked again at least every quarter of an hour
    assert begun == (BEGUN_BEFORE if begun_before else [])


def test_how_long_a_run_waits_for_its_workflow_can_be_set(play: Play) -> None:
    app = deployed(BEFORE, [])

    async def scenario(env: WorkflowEnv) -> Finished:
        run = await start(app.workflows["flow"])
        async with worker(without_flow(), settings=play.tuned(code_wait=60.0).settings) as env.workers:
            return await finish(env, run)

    finished = play.scene(scenario, start_worker=False)
    assert type(finished.error) is WorkflowNotRegisteredError
    [end] = finished.times("run_failed")
    assert 60 <= end <= 120


def test_a_run_that_waits_for_its_workflow_can_be_cancelled(play: Play) -> None:
    begun: list[str] = []
    app = deployed(BEFORE, begun)

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(app.workflows["flow"])
        async with worker(without_flow(), settings=play.settings) as env.workers:
            await env.advance("1h")
            await run.cancel()
            finished = await finish(env, run)
        assert finished.info.status == "cancelled"
        assert begun == []

    play.scene(scenario, start_worker=False)
