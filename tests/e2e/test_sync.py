"""`wdk_cloud.sync`: the client for code that has no event loop."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading

import pytest

import wdk_cloud
from tests.e2e.running import finish
from wdk_cloud import (
    HookNotFoundError,
    RunExistsError,
    WorkflowContextError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    WorkflowRunNotFoundError,
    Workflows,
    WorldConfigurationError,
    create_hook,
    sleep,
    sync,
    use_world,
)
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld

app = Workflows()


@app.step
async def double(n: int) -> int:
    return 2 * n


@app.step
def start_another(n: int) -> tuple[str, int]:
    """A plain step, in a thread of its own, that starts a run and waits for it."""
    run = sync.start(doubled, n)
    return run.run_id, run.return_value(timeout=20)


@app.workflow
async def doubled(n: int) -> int:
    if n < 0:
        raise ValueError(f"{n} is negative")
    return await double(n)


@app.workflow
async def rests() -> str:
    await sleep("30 days")
    return "rested"


@app.workflow
async def collects() -> list[int]:
    hook = create_hook("token", schema=int)
    return [await hook, await hook]


@app.workflow
async def starts_in_a_step(n: int) -> tuple[str, int]:
    return await start_another(n)


class Thread:
    """A thread without a loop, which does one thing; the loop of the test goes on meanwhile."""

    def __init__(self, work):
        self.over = asyncio.get_running_loop().create_future()
        self._loop = asyncio.get_running_loop()
        self._work = work
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        try:
            result = self._work()
        except BaseException as error:
            self._loop.call_soon_threadsafe(self.over.set_exception, error)
        else:
            self._loop.call_soon_threadsafe(self.over.set_result, result)


async def in_a_thread(work):
    return await Thread(work).over


def scene(scenario):
    async def main():
        async with workflow_env("memory", app) as env:
            return await scenario(env)

    return asyncio.run(main())


def test_a_thread_starts_a_run_and_waits_for_its_result():
    def work():
        run = sync.start(doubled, 21)
        return run.return_value(timeout=20), run.status(), run.exists(), run.info().workflow_name

    assert scene(lambda env: in_a_thread(work)) == (42, "completed", True, doubled.id)


def test_all_that_a_run_can_be_asked_for_is_what_await_gives():
    async def scenario(env):
        run = await env.start(doubled.with_options(attributes={"a": "1"}), 4)
        await finish(env, run)
        events = [event async for event in run.events()]
        page = await wdk_cloud.list_runs()

        def work():
            there = sync.get_run(run.run_id)
            return list(there.events()), there.attributes(), there.info(), list(sync.list_runs()), there

        theirs = await in_a_thread(work)
        assert theirs[:4] == (events, {"a": "1"}, await run.info(), list(page))
        assert theirs[4] == sync.get_run(run.run_id)
        assert len({theirs[4], sync.get_run(run.run_id)}) == 1
        assert repr(theirs[4]) == f"<sync run {run.run_id}>"

    scene(scenario)


def test_errors_are_those_that_await_raises():
    def failed():
        sync.start(doubled, -1).return_value(timeout=20)

    def unknown():
        sync.get_run("nothing").status()

    def twice():
        for _ in range(2):
            sync.start(doubled.with_options(run_id="one"), 1)

    async def scenario(env):
        with pytest.raises(WorkflowRunFailedError) as caught:
            await in_a_thread(failed)
        assert str(caught.value.__cause__) == "-1 is negative"
        with pytest.raises(WorkflowRunNotFoundError):
            await in_a_thread(unknown)
        with pytest.raises(RunExistsError):
            await in_a_thread(twice)
        with pytest.raises(TypeError, match="n"):
            await in_a_thread(lambda: sync.start(doubled))

    scene(scenario)


def test_a_run_is_cancelled_and_woken_from_a_thread():
    async def scenario(env):
        woken, cancelled = await env.start(rests), await env.start(rests)
        await env.run_until_blocked()
        await in_a_thread(sync.get_run(woken.run_id).wake_up)
        await in_a_thread(lambda: sync.get_run(cancelled.run_id).cancel("enough"))
        assert await woken.return_value(timeout=20) == "rested"
        with pytest.raises(WorkflowRunCancelledError, match="enough"):
            await cancelled.return_value(timeout=20)
        with pytest.raises(TimeoutError):
            await in_a_thread(lambda: sync.start(rests).return_value(timeout=0.01))

    scene(scenario)


def test_a_thread_resumes_a_hook_and_one_payload_with_its_key_once():
    async def scenario(env):
        run = await env.start(collects)
        await env.run_until_blocked()

        def work():
            sync.resume_hook("token", 1, key="a")
            sync.resume_hook("token", 1, key="a")
            sync.resume_hook("token", 2)
            with pytest.raises(HookNotFoundError):
                sync.resume_hook("token", 3, namespace="other")

        await in_a_thread(work)
        assert await run.return_value(timeout=20) == [1, 2]

    scene(scenario)


def test_a_plain_step_starts_runs_of_its_own():
    async def scenario(env):
        finished = await finish(env, await env.start(starts_in_a_step, 4))
        run_id, value = finished.value
        assert value == 8
        assert await wdk_cloud.get_run(run_id).return_value() == 8

    scene(scenario)


# --- where it may not be used -----------------------------------------------------------------------------------------


def test_a_coroutine_is_told_to_await_instead():
    async def scenario(env):
        with pytest.raises(WorkflowContextError, match=r"start\(\) blocks, and this thread runs an event loop.*await"):
            sync.start(doubled, 1)
        run = sync.get_run("some")
        for method in (run.status, run.exists, run.info, run.attributes, run.return_value, run.events, run.wake_up):
            with pytest.raises(WorkflowContextError, match=rf"{method.__name__}\(\) blocks"):
                method()
        with pytest.raises(WorkflowContextError, match=r"list_runs\(\) blocks"):
            sync.list_runs()
        assert list(await wdk_cloud.list_runs()) == []  # nothing was started

    scene(scenario)


def test_a_workflow_body_is_told_so_too():
    other = Workflows()

    @other.workflow(name="blocks")
    async def blocks() -> str:
        sync.start(doubled, 1)
        return "never"

    async def main():
        async with workflow_env("memory", other) as env:
            with pytest.raises(WorkflowRunFailedError) as caught:
                await env.run_to_end(await env.start(blocks))
            assert isinstance(caught.value.__cause__, WorkflowContextError)
            return len(await wdk_cloud.list_runs())

    assert asyncio.run(main()) == 1


def test_a_world_whose_loop_does_not_run_is_refused(tmp_path):
    with (
        use_world(LocalWorld(tmp_path / "wdk.db", clock=VirtualClock())),
        pytest.raises(WorldConfigurationError, match=r"the world local of use_world\(\) has no running event loop"),
    ):
        sync.list_runs()


# --- programs ---------------------------------------------------------------------------------------------------------


def run_program(tmp_path, text):
    (tmp_path / "program.py").write_text(textwrap.dedent(text))
    environment = {**os.environ, "PYTHONHASHSEED": "0", "WDK_LOCAL_PATH": str(tmp_path / "wdk.db")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_script_without_a_loop_uses_the_world_of_its_environment_and_ends(tmp_path):
    said = run_program(
        tmp_path,
        """
        import threading
        from wdk_cloud import Workflows, start_sync, sync

        app = Workflows()

        @app.workflow(name="waits")
        async def waits(n: int) -> int:
            return n

        for n in range(3):
            print(start_sync(waits.with_options(run_id=f"run-{n}"), n).status())
        print([info.run_id for info in sync.list_runs()])
        print([thread.name for thread in threading.enumerate()].count("wdk-sync"))
        """,
    )
    assert said.splitlines() == ["pending"] * 3 + ["['run-2', 'run-1', 'run-0']", "1"]


def test_a_child_of_a_fork_makes_a_loop_of_its_own(tmp_path):
    said = run_program(
        tmp_path,
        """
        import os
        from wdk_cloud import sync, Workflows

        app = Workflows()

        @app.workflow(name="waits")
        async def waits() -> None: ...

        sync.start(waits.with_options(run_id="before"))
        if (child := os.fork()) == 0:
            sync.start(waits.with_options(run_id="in-the-child"))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(sorted(info.run_id for info in sync.list_runs()))
        """,
    )
    assert said == "['before', 'in-the-child']\n"
