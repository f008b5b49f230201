"""Bad circumstances: what the machine, the people and the deployment do to runs that are under way.

a clock that jumps back or forth                     here; of schedules test_schedules
a fork inside a step                                 here
an attached debugger                                 here; what counts as one unit/test_slices
a history edited by hand, newer, with a hole         here on a file; with an app of its own unit/test_turn
a code change of each kind                           test_code_changes
two apps with one id in a process                    here
code that is missing for an hour, or for good        here; what it costs unit/test_delivery
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pdb
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Play, until
from wdk_cloud import (
    CorruptedEventLogError,
    NondeterminismError,
    WorkflowRunFailedError,
    Workflows,
    WorldUnavailableError,
    get_run,
    sleep,
    start,
    use_world,
    worker,
)
from wdk_cloud.engine import service
from wdk_cloud.testing import WorkflowEnv
from wdk_cloud.world.clock import SystemClock, VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld

HOUR = 3600.0


# -- the clock --------------------------------------------------------------------------------------------------------


class SetClock(SystemClock):
    """The machine's clock, which somebody has set: it is off by so many seconds."""

    off = 0.0

    def now(self) -> float:
        return super().now() + self.off


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_clock_that_jumps_in_the_middle_of_a_step_begins_nothing_twice_and_orders_the_log(
    tmp_path: Path, jump: float, dispatch: Any
) -> None:
    app, clock, begun = Workflows(), SetClock(), list[str]()

    @app.step(dispatch=dispatch)
    async def set_the_clock() -> str:
        begun.append("set")
        clock.off = jump
        return "set"

    @app.step(dispatch=dispatch)
    async def go_on() -> str:
        begun.append("on")
        return "on"

    @app.workflow
    async def body() -> list[str]:
        first = await set_the_clock()
        return [first, *await asyncio.gather(go_on(), go_on())]

    async def run() -> None:
        world = LocalWorld(tmp_path / "wdk.db", clock=clock)
        await world.open()
        with use_world(world):
            # Two: whoever judged the other's lease by the clock that has jumped would take the run over.
            async with worker(app), worker(app):
                started = await start(body)
                assert await started.return_value(timeout=20) == ["set", "on", "on"]
                times = [event.time async for event in started.events()]
        await world.close()
        assert times == sorted(times)
        assert begun == ["set", "on", "on"]

    asyncio.run(run())


def test_a_sleep_ends_when_the_clock_that_was_set_back_shows_its_time(tmp_path: Path) -> None:
    app, clock, begun = Workflows(), SetClock(), list[str]()

    @app.step
    async def begin() -> None:
        begun.append("begun")

    @app.workflow
    async def body() -> str:
        await begin()
        await sleep(600)
        return "rested"

    async def run() -> None:
        world = LocalWorld(tmp_path / "wdk.db", clock=clock)
        await world.open()
        with use_world(world):
            async with worker(app) as (one,):
                started = await start(body)
                await until(lambda: begun == ["begun"] and one.idle)
                clock.off = -HOUR
                with pytest.raises(TimeoutError):
                    await started.return_value(timeout=1.5)  # longer than a look at a clock that was set
                clock.off = 601
                assert await started.return_value(timeout=20) == "rested"
        await world.close()

    asyncio.run(run())


# -- a fork -----------------------------------------------------------------------------------------------------------

FORKS: dict[str, tuple[Callable[[], object], int]] = {
    "returns": (lambda: None, 1),
    "raises": (lambda: 1 // 0, 1),
    "exits": (lambda: sys.exit(3), 3),
    "exits with a word": (lambda: sys.exit("done"), 1),
    "exits well": (sys.exit, 0),
    "ends itself": (lambda: os._exit(4), 4),
}
"""What the child does, and the code with which it ends."""


@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("name", FORKS)
def test_the_child_of_a_fork_ends_where_the_step_would_end_and_the_parent_goes_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    do, code = FORKS[name]
    app, begun = Workflows(), list[int]()

    def forking() -> int:
        begun.append(os.getpid())
        child = os.fork()
        if child == 0:
            do()
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    async def forking_async() -> int:
        return forking()

    step = app.step(name="forking")(forking_async if kind == "async" else forking)

    @app.workflow
    async def body() -> tuple[int, int]:
        return await step(), await step()

    async def run() -> None:
        world = LocalWorld(tmp_path / "wdk.db")
        await world.open()
        with use_world(world):
            async with worker(app):
                started = await start(body)
                assert tuple(await started.return_value(timeout=20)) == (code, code)
                types = [event.type async for event in started.events()]
                assert types.count("step_completed") == 2
        await world.close()

    asyncio.run(run())
    assert begun == [os.getpid()] * 2
    told = "step forking of run wrun_"
    assert capfd.readouterr().err.count(told) == (2 if name in ("returns", "raises") else 0)


def test_a_process_of_multiprocessing_works_in_a_step(tmp_path: Path) -> None:
    app = Workflows()

    @app.step
    async def counted() -> int:
        process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(5,))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    @app.workflow
    async def body() -> int:
        return await counted()

    async def run() -> None:
        world = LocalWorld(tmp_path / "wdk.db")
        await world.open()
        with use_world(world):
            async with worker(app):
                assert await (await start(body)).return_value(timeout=20) == 5
        await world.close()

    asyncio.run(run())


def test_the_child_of_a_fork_cannot_use_the_database_of_its_parent(tmp_path: Path) -> None:
    async def run() -> int:
        world = LocalWorld(tmp_path / "wdk.db")
        await world.open()
        child = os.fork()
        if child == 0:
            told = ""
            try:
                await world.runs.head("run")
            except WorldUnavailableError as error:
                told = str(error)
            os._exit(0 if told.endswith(f"this is its child {os.getpid()}; make a LocalWorld of its own for it") else 1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert await world.runs.head("run") is None
        await world.close()
        return code

    assert asyncio.run(run()) == 0


# -- a debugger -------------------------------------------------------------------------------------------------------

HALTED = """
    import asyncio, sys
    from pathlib import Path
    from wdk_cloud import Workflows, start, use_world, worker
    from wdk_cloud.world.local import LocalWorld

    app = Workflows()

    @app.step(name="halting")
    async def halting(n: int) -> int:
        breakpoint()
        return n + 1

    @app.workflow(name="debugged")
    async def debugged() -> int:
        n = 41
        breakpoint()
        return await halting(n)

    async def main():
        world = LocalWorld(Path(sys.argv[1]))
        await world.open()
        with use_world(world):
            async with worker(app):
                run = await start(debugged.with_options(run_id="halted"))
                print("yields", await run.return_value())
                print("turns", (await world.runs.head("halted")).fence)
        await world.close()

    asyncio.run(main())
"""


def test_a_body_and_a_step_that_a_debugger_halts_go_on_when_it_lets_them(tmp_path: Path) -> None:
    """What is typed reaches the debugger: in a body, too, which may otherwise read no file and ask nobody."""
    script = tmp_path / "halted.py"
    script.write_text(textwrap.dedent(HALTED))
    typed = "p n * 2\nimport time; time.time() > 0\nc\np n - 1\nc\n"
    env = {**os.environ, "PYTHONHASHSEED": "0", "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    (tmp_path / ".pdbrc").write_text("p 'from the settings'\n")
    (tmp_path / "here").mkdir()  # the settings there would be read as well
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "wdk.db")],
        input=typed,
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
        cwd=tmp_path / "here",
        check=False,
    )
    assert done.stderr == ""
    shown = [line.replace("(Pdb) ", "") for line in done.stdout.splitlines()]
    assert [line for line in shown if not line.startswith((">", "->"))] == [
        "'from the settings'",
        "82",
        "True",
        "'from the settings'",
        "40",
        "yields 42",
        "turns 1",
    ]


def test_under_a_debugger_leases_and_claims_last_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    app, leases = Workflows(), list[float]()
    clock = VirtualClock()
    world = MemoryWorld(clock)

    @app.step(name="far", dispatch="queue")
    async def far() -> None:
        head = await world.runs.head("debugged")
        assert head is not None

        item = await world.runs.step("debugged", head.birth, "far#1")
        assert item is not None
        leases.append(item.until - clock.now())

    @app.step(dispatch="inline")
    async def near() -> None:
        head = await world.runs.head("debugged")
        assert head is not None
        assert head.until is not None
        leases.append(head.until - clock.now())

    @app.workflow
    async def body() -> None:
        await near()
        await far()

    async def run() -> None:
        await world.open()
        with use_world(world):
            async with worker(app) as workers:
                env = WorkflowEnv(world, clock)
                env.workers = workers
                await env.run_to_end(await start(body.with_options(run_id="debugged")))

    monkeypatch.setattr(sys, "gettrace", lambda: pdb.Pdb().trace_dispatch)
    asyncio.run(run())
    assert leases == [service.DEBUGGED_LEASE] * 2


# -- the file ---------------------------------------------------------------------------------------------------------


Change = Callable[[bytes], bytes]

EDITS: dict[str, tuple[Change | None, str]] = {
    "bytes that are nothing": (
        lambda data: data[:1] + b"nothing",
        "the record at position {} of its log cannot be read",
    ),
    "cut off": (lambda data: data[:-9], "the record at position {} of its log cannot be read"),
    "an unknown kind of event": (
        lambda data: data.replace(b"step_completed", b"step_completer"),
        "the record at position {} of its log cannot be read",
    ),
    "a hole": (None, "its log has a hole at position {}"),
    "another step": (
        lambda data: data.replace(b"first#1", b"other#1"),
        "the record at position {} of its log cannot be read (a record is damaged: its bytes do not have the sum",
    ),
}
"""What somebody does to the record of a step's end, and what is said of it; None: it is taken away."""


def edited(path: Path, change: Change | None) -> int:
    """The record's position."""
    with closing(sqlite3.connect(path)) as database, database:
        rows = database.execute("SELECT at, data FROM log").fetchall()
        [(at, data)] = [(at, data) for at, data in rows if b"step_completed" in data]
        if change is None:
            database.execute("DELETE FROM log WHERE at = ?", (at,))
        else:
            assert change(data) != data
            database.execute("UPDATE log SET data = ? WHERE at = ?", (change(data), at))
        return at


@pytest.mark.parametrize("name", EDITS)
def test_a_history_that_was_changed_by_hand_fails_its_run_with_the_place_and_nothing_begins(
    tmp_path: Path, name: str
) -> None:
    change, told = EDITS[name]
    app, begun, clock = Workflows(), list[str](), VirtualClock()

    @app.step(name="first")
    async def first() -> str:
        begun.append("first")
        return "first"

    @app.step(name="second")
    async def second() -> str:
        begun.append("second")
        return "second"

    @app.workflow
    async def body() -> str:
        await first()
        await sleep(60)
        return await second()

    async def part(do: Callable[[WorkflowEnv], Any]) -> Any:
        """A process of its own: it knows the run from the file alone."""
        world = LocalWorld(tmp_path / "wdk.db", clock=clock)
        await world.open()
        with use_world(world):
            async with worker(app) as workers:
                env = WorkflowEnv(world, clock)
                env.workers = workers
                found = await do(env)
        await world.close()
        return found

    async def until_it_sleeps(env: WorkflowEnv) -> None:
        await env.start(body.with_options(run_id="edited"))
        await env.run_until_blocked()

    async def after_its_sleep(env: WorkflowEnv) -> BaseException:
        await env.advance(60)
        await env.run_until_blocked()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await get_run("edited").return_value(timeout=5)
        return failed.value

    asyncio.run(part(until_it_sleeps))
    at = edited(tmp_path / "wdk.db", change)
    error = asyncio.run(part(after_its_sleep))
    assert error.run_id == "edited"
    assert told.format(at) in str(error.__cause__)
    assert type(error.__cause__) in (CorruptedEventLogError, NondeterminismError)
    assert begun == ["first"]


# -- the code ---------------------------------------------------------------------------------------------------------


def declaring(app: Workflows, name: str, log: list[str]) -> Any:
    @app.step(name="work")
    async def work() -> str:
        log.append(name)
        return name

    @app.workflow(name="twin")
    async def twin() -> str:
        await sleep(60)
        return await work()

    return twin


def test_two_apps_with_one_id_are_not_served_together_and_their_runs_wait(warm: Play) -> None:
    log: list[str] = []
    one, other = Workflows(), Workflows()
    workflow = declaring(one, "one", log)
    declaring(other, "other", log)

    async def scenario(env: WorkflowEnv) -> str:
        run = await env.start(workflow)
        with pytest.raises(ValueError, match="work is declared twice") as refused:
            async with worker(one, other):
                pass
        assert "of two apps: a worker could not tell whose runs are whose; give one of them another name=" in str(
            refused.value
        )
        assert await run.status() == "pending"
        async with worker(one, one) as workers:  # the same app twice is one
            env.workers = workers
            return await env.run_to_end(run)

    assert warm.scene(scenario, one, start_worker=False) == "one"
    assert log == ["one"]


def test_two_apps_with_one_id_lie_beside_each_other_in_two_namespaces(warm: Play) -> None:
    log: list[str] = []
    one, other = Workflows(), Workflows(namespace="other")
    first, second = declaring(one, "one", log), declaring(other, "other", log)

    async def scenario(env: WorkflowEnv) -> list[str]:
        runs = [await env.start(first), await env.start(second)]
        return [await env.run_to_end(run) for run in runs]

    assert warm.scene(scenario, one, other) == ["one", "other"]


def test_a_run_whose_code_is_missing_for_an_hour_goes_on_when_it_comes_back(warm: Play) -> None:
    log: list[str] = []
    app = Workflows()
    workflow = declaring(app, "back", log)

    async def scenario(env: WorkflowEnv) -> str:
        async with worker(app) as env.workers:
            run = await env.start(workflow)
            await env.run_until_blocked()
        async with worker(Workflows()) as env.workers:
            await env.advance(60 + HOUR)
            assert (await run.info()).status == "running"
            head = await env.world.runs.head(run.run_id)
            assert head is not None
            assert head.trouble is not None
            assert head.trouble.reason.startswith(f"run {run.run_id}: workflow twin is not registered")
            assert log == []
        async with worker(app) as env.workers:
            found = await env.run_to_end(run)
            head = await env.world.runs.head(run.run_id)
            assert head is not None
            assert head.trouble is None
            return found

    assert warm.scene(scenario, app, start_worker=False) == "back"
    assert log == ["back"]


def test_a_step_whose_code_is_missing_for_an_hour_runs_once_when_it_comes_back(warm: Play) -> None:
    log: list[str] = []
    whole, part = Workflows(), Workflows()

    @whole.step(name="work", dispatch="queue")
    async def work() -> str:
        log.append("work")
        return "done"

    @whole.workflow(name="working")
    async def working() -> str:
        return await work()

    @part.workflow(name="other")
    async def other() -> None: ...

    async def scenario(env: WorkflowEnv) -> str:
        run = await env.start(working)
        async with worker(part) as env.workers:
            await env.advance(HOUR)
        assert log == []
        async with worker(whole) as env.workers:
            return await env.run_to_end(run)

    assert warm.scene(scenario, whole, start_worker=False) == "done"
    assert log == ["work"]
