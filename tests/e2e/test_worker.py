"""`async with worker(app)` and `use_world`."""

import asyncio
import importlib
import threading
from pathlib import Path

import pytest

from tests.e2e.running import Play, finish, until
from wdk_cloud import (
    StepInterruptedError,
    Workflows,
    get_run,
    get_step_metadata,
    list_runs,
    sleep,
    start,
    use_world,
    worker,
)
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld

STEP = ["step_created", "step_started", "step_completed"]


def telling(name: str, begun: list[str], namespace: str | None = None) -> Workflows:
    """An app whose workflow `tell-<name>` sleeps for an hour and then has a step tell its name."""
    app = Workflows(namespace)

    @app.step(name=f"say-{name}")
    async def say() -> str:
        begun.append(name)
        return name

    @app.workflow(name=f"tell-{name}")
    async def tell() -> str:
        await sleep("1h")
        return await say()

    return app


class Slow:
    """An app whose workflow awaits a step that lasts until it is released; `lines` has what became of each attempt."""

    def __init__(self, *, dispatch: str = "inline", max_retries: int = 3, cancellable: bool = False) -> None:
        self.app = app = Workflows()
        self.lines: list[str] = []
        self.released = False
        self.fast = False
        lines = self.lines

        @app.step(name="first")
        async def first() -> str:
            lines.append("first")
            return "first"

        @app.step(name="slow", dispatch=dispatch, max_retries=max_retries, cancellable=cancellable)
        async def slow() -> str:
            attempt = get_step_metadata().attempt
            lines.append(f"begin {attempt}")
            try:
                if not self.fast:
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                lines.append(f"interrupted {attempt}")
                raise
            lines.append(f"end {attempt}")
            return "slow"

        @app.workflow(name="body")
        async def body() -> list[str]:
            return [await first(), await slow()]

        self.body = body


# -- which apps -----------------------------------------------------------------------------------------------------------


def test_one_worker_serves_several_apps(play: Play) -> None:
    begun: list[str] = []
    one, two, three = telling("one", begun), telling("two", begun), telling("three", begun, "elsewhere")

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(one, two, three, settings=play.settings) as env.workers:
            runs = [await start(app.workflows[name]) for app in (one, two, three) for name in app.workflows]
            values = [(await finish(env, run)).value for run in runs]
        assert values == ["one", "two", "three"]
        assert sorted(begun) == ["one", "three", "two"]

    play.scene(scenario, start_worker=False)


@pytest.fixture(params=["warm", "cold"])
def either(request: pytest.FixtureRequest) -> Play:
    """Instead of `play`, where logs of two ways need not be the same: what is in them is up to the machine."""
    return request.getfixturevalue(request.param)


def test_workers_of_different_apps_hand_each_others_runs_on(either: Play) -> None:  # whoever is the first to receive
    begun: list[str] = []
    one, two = telling("one", begun), telling("two", begun)

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(one, settings=either.settings) as left, worker(two, settings=either.settings) as right:
            env.workers = [*left, *right]
            runs = [await start(app.workflows[name]) for app in (one, two) for name in app.workflows]
            values = [(await finish(env, run)).value for run in runs]
        assert values == ["one", "two"]
        assert sorted(begun) == ["one", "two"]

    either.scene(scenario, start_worker=False)


def test_what_is_declared_after_the_worker_has_started_is_served_too(play: Play) -> None:
    app = Workflows()
    begun: list[str] = []

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(app, settings=play.settings) as env.workers:
            await env.run_until_blocked()

            @app.step
            async def late() -> str:
                begun.append("late")
                return "late"

            @app.workflow
            async def body() -> str:
                await sleep("1h")
                return await late()

            assert (await finish(env, await start(body))).value == "late"
        assert begun == ["late"]

    play.scene(scenario, start_worker=False)


MODULE = """
from wdk_cloud import sleep
from {base} import app

class Refused(Exception): ...

@app.step(max_retries=0, dispatch="queue")
def refuse():
    raise Refused("no")

@app.workflow(name="late")
async def late():
    await sleep("1h")
    try:
        await refuse()
    except Exception as error:
        return [type(error.__cause__) is Refused, str(error.__cause__)]
"""


def test_a_module_that_is_imported_after_the_worker_has_started_is_served_too(
    either: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # the version in the log is that of files which were written just now
    way = "cold" if either.cold else "warm"
    base, late = f"base_of_a_shop_{way}", f"late_part_of_a_shop_{way}"
    (tmp_path / f"{base}.py").write_text("from wdk_cloud import Workflows\napp = Workflows()\n")
    (tmp_path / f"{late}.py").write_text(MODULE.format(base=base))
    monkeypatch.syspath_prepend(tmp_path)
    app = importlib.import_module(base).app

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(app, settings=either.settings) as env.workers:
            await env.run_until_blocked()
            importlib.import_module(late)
            assert (await finish(env, await start(app.workflows["late"]))).value == [True, "no"]

    either.scene(scenario, start_worker=False)


@pytest.mark.not_on_cloudrun(
    "a service is given the messages of every namespace, and hands on the runs that it does not serve"
)
@pytest.mark.not_on_lambda(
    "a function is given the messages of every namespace, and hands on the runs that it does not serve"
)
def test_a_worker_leaves_runs_of_namespaces_alone_that_it_does_not_serve(play: Play) -> None:
    begun: list[str] = []
    here, there = telling("here", begun), telling("there", begun, "elsewhere")

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(there.workflows["tell-there"])
        async with worker(here, settings=play.settings) as env.workers:
            await env.advance("1 day")
            await env.run_until_blocked()
            assert await run.status() == "pending"
        async with worker(there, settings=play.settings) as env.workers:
            assert (await finish(env, run)).value == "there"
        assert begun == ["there"]

    play.scene(scenario, start_worker=False)


# -- starting and leaving -------------------------------------------------------------------------------------------------


def test_a_worker_finishes_what_was_started_before_it_came(play: Play) -> None:
    begun: list[str] = []
    app = telling("early", begun)

    async def scenario(env: WorkflowEnv) -> None:
        runs = [await start(app.workflows["tell-early"]) for _ in range(3)]
        await env.advance("1 day")
        async with worker(app, settings=play.settings) as env.workers:
            assert [(await finish(env, run)).value for run in runs] == ["early"] * 3
        assert begun == ["early"] * 3

    play.scene(scenario, start_worker=False)


def test_without_a_worker_nothing_runs(play: Play) -> None:
    begun: list[str] = []
    app = telling("idle", begun)

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(app, settings=play.settings) as env.workers:
            run = await start(app.workflows["tell-idle"])
            await env.run_until_blocked()
        await env.advance("1 day")
        assert await run.status() == "running"
        assert begun == []
        async with worker(app, settings=play.settings) as env.workers:
            assert (await finish(env, run)).value == "idle"
        assert begun == ["idle"]

    play.scene(scenario, start_worker=False)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_run_in_the_middle_of_a_step_is_finished_by_the_next_worker_at_once(play: Play, dispatch: str) -> None:
    shop = Slow(dispatch=dispatch)

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(shop.app, settings=play.settings) as env.workers:
            run = await start(shop.body)
            await env.settle()
            assert shop.lines == ["first", "begin 1"]
        assert shop.lines == ["first", "begin 1", "interrupted 1"]
        assert await run.status() == "running"
        shop.fast = True
        async with worker(shop.app, settings=play.settings) as env.workers:
            await env.run_until_blocked()  # the clock stands still
            assert await run.status() == "completed"
            finished = await finish(env, run)
        assert finished.value == ["first", "slow"]
        assert finished.times("run_completed") == [0]
        assert shop.lines == ["first", "begin 1", "interrupted 1", "begin 2", "end 2"]
        if dispatch == "inline":
            assert finished.types == [
                *["run_created", "run_started", *STEP],
                *["step_created", "step_started", "step_interrupted", "step_started", "step_completed"],
                "run_completed",
            ]

    play.scene(scenario, start_worker=False)


def test_a_worker_that_is_there_already_takes_over_what_another_leaves(play: Play) -> None:
    shop = Slow()

    async def scenario(env: WorkflowEnv) -> None:
        leaving = worker(shop.app, settings=play.settings)
        workers = await leaving.__aenter__()
        run = await start(shop.body)
        await env.settle()
        assert shop.lines == ["first", "begin 1"]
        async with worker(shop.app, settings=play.settings) as staying:
            await env.settle()
            shop.fast = True
            await leaving.__aexit__(None, None, None)
            assert all(one.idle for one in workers)
            env.workers = staying
            await env.run_until_blocked()
            assert await run.return_value(timeout=10) == ["first", "slow"]
        assert shop.lines == ["first", "begin 1", "interrupted 1", "begin 2", "end 2"]

    play.scene(scenario, start_worker=False)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_step_without_retries_that_was_interrupted_by_leaving_is_not_begun_again(play: Play, dispatch: str) -> None:
    shop = Slow(dispatch=dispatch, max_retries=0)

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(shop.app, settings=play.settings) as env.workers:
            run = await start(shop.body)
            await env.settle()
        shop.fast = True
        async with worker(shop.app, settings=play.settings) as env.workers:
            finished = await finish(env, run)
        cause = finished.error
        assert isinstance(cause, StepInterruptedError)
        assert finished.times("run_failed") == [0]
        assert shop.lines == ["first", "begin 1", "interrupted 1"]

    play.scene(scenario, start_worker=False)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_leaving_does_not_wait_for_a_step_in_a_thread(play: Play, dispatch: str) -> None:
    app = Workflows()
    release = threading.Event()
    lines: list[str] = []

    @app.step(dispatch=dispatch)
    def thread() -> str:
        attempt = get_step_metadata().attempt
        lines.append(f"begin {attempt}")
        if attempt == 1:
            release.wait(20)
        return f"attempt {attempt}"

    @app.workflow
    async def body() -> str:
        return await thread()

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(app, settings=play.settings) as env.workers:
            run = await start(body)
            await until(lambda: lines == ["begin 1"])
        assert not release.is_set()
        try:
            async with worker(app, settings=play.settings) as env.workers:
                finished = await finish(env, run)
        finally:
            release.set()
        assert finished.value == "attempt 2"
        assert finished.times("run_completed") == [0]
        assert lines == ["begin 1", "begin 2"]

    play.scene(scenario, start_worker=False)


def test_an_error_in_the_block_leaves_it_in_the_same_way(play: Play) -> None:
    shop = Slow()

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(shop.body)

        async def fail_meanwhile() -> None:
            async with worker(shop.app, settings=play.settings):
                await env.settle()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail_meanwhile()
        shop.fast = True
        async with worker(shop.app, settings=play.settings) as env.workers:
            finished = await finish(env, run)
        assert finished.value == ["first", "slow"]
        assert finished.times("run_completed") == [0]
        assert shop.lines == ["first", "begin 1", "interrupted 1", "begin 2", "end 2"]

    play.scene(scenario, start_worker=False)


def test_many_workers_one_after_another_bring_a_run_to_its_end(play: Play) -> None:
    begun: list[int] = []
    app = Workflows()

    @app.step
    async def work(n: int) -> int:
        begun.append(n)
        return n

    @app.workflow
    async def body() -> list[int]:
        done = []
        for n in range(5):
            done.append(await work(n))
            await sleep("1h")
        return done

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(body)
        for _ in range(6):
            async with worker(app, settings=play.settings) as env.workers:
                await env.run_until_blocked()
                await env.advance("30 min")
            await env.advance("30 min")
        async with worker(app, settings=play.settings) as env.workers:
            finished = await finish(env, run)
        assert finished.value == [0, 1, 2, 3, 4]
        assert finished.types == [
            *["run_created", "run_started"],
            *[*STEP, "wait_created", "wait_completed"] * 5,
            "run_completed",
        ]
        assert begun == [0, 1, 2, 3, 4]

    play.scene(scenario, start_worker=False)


# -- worlds ---------------------------------------------------------------------------------------------------------------


def test_two_worlds_lie_beside_each_other(play: Play) -> None:
    begun: list[str] = []
    app = telling("told", begun)
    tell = app.workflows["tell-told"]

    async def scenario(env: WorkflowEnv) -> None:
        other = MemoryWorld(VirtualClock())
        await other.open()
        other_env = WorkflowEnv(other, other.clock)  # type: ignore[arg-type]
        with use_world(other):
            async with worker(app, settings=play.settings) as other_env.workers:
                there = await start(tell.with_options(run_id="r"))
                with use_world(env.world):
                    assert not await get_run("r").exists()
                    assert list(await list_runs()) == []
                    async with worker(app, settings=play.settings) as env.workers:
                        here = await start(tell.with_options(run_id="r"))
                        assert (await finish(env, here)).value == "told"
                        assert begun == ["told"]
                assert await there.status() == "running"  # the clock of its world has not moved
                assert (await finish(other_env, there)).value == "told"
        assert begun == ["told"] * 2
        assert await here.status() == "completed"
        await other.close()

    play.scene(scenario, start_worker=False)


def test_use_world_holds_inside_its_block_and_the_world_before_it_comes_back(play: Play) -> None:
    app = telling("told", [])
    tell = app.workflows["tell-told"]

    async def scenario(env: WorkflowEnv) -> None:
        other = MemoryWorld(VirtualClock())
        await other.open()
        await start(tell.with_options(run_id="here"))
        with use_world(other):
            assert not await get_run("here").exists()
            await start(tell.with_options(run_id="there"))
        with pytest.raises(ZeroDivisionError), use_world(other):
            raise ZeroDivisionError
        assert await get_run("here").exists()
        assert not await get_run("there").exists()
        with use_world(other):
            assert [info.run_id for info in await list_runs()] == ["there"]
        await other.close()

    play.scene(scenario, start_worker=False)


def test_steps_and_bodies_see_the_world_of_their_worker(play: Play) -> None:
    app = Workflows()

    @app.workflow(name="child")
    async def child() -> str:
        return "child"

    @app.step
    async def ask() -> list[str]:
        (await start(child.with_options(run_id="from-step"))).run_id  # noqa: B018
        return sorted(info.run_id for info in await list_runs())

    @app.step
    def ask_in_a_thread() -> str:
        return asyncio.run(get_run("parent").status())

    @app.workflow
    async def parent() -> list[object]:
        run = await start(child.with_options(run_id="from-body"))
        return [await run.return_value(), await ask(), await ask_in_a_thread()]

    async def scenario(env: WorkflowEnv) -> None:
        other = MemoryWorld(VirtualClock())
        await other.open()
        with use_world(other):
            run = await start(parent.with_options(run_id="parent"))
        async with worker(app, world=other, settings=play.settings):
            with use_world(other):
                value = await run.return_value(timeout=20)
        assert value == ["child", ["from-body", "from-step", "parent"], "running"]
        assert list(await list_runs()) == []
        await other.close()

    play.scene(scenario, start_worker=False)
