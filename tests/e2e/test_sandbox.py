"""What a body may not open, what it may, its output, its `finally` blocks, and bodies that never go on."""

import asyncio
import contextlib
import importlib.resources
import inspect
import logging
import os
import pathlib
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.e2e.running import Finished, Play, describe, finish, types
from wdk_cloud import (
    Workflow,
    WorkflowDeadlockError,
    Workflows,
    WorkflowSandboxError,
    WorkflowStalledError,
    sleep,
    start,
    use_world,
    worker,
)
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.memory import MemoryWorld

log = logging.getLogger("tests.sandbox")

FAILED_AT_ONCE = ["run_created", "run_started", "run_failed"]


def write(folder: pathlib.Path) -> object:
    return (folder / "written").write_text("x")


def read(folder: pathlib.Path) -> object:
    return (folder / "there").read_text()


def open_database(folder: pathlib.Path) -> object:
    with contextlib.closing(sqlite3.connect(folder / "written")) as database:
        return database.execute("create table t (x)").fetchall()


def open_socket(_folder: pathlib.Path) -> object:
    with socket.socket() as opened:
        return opened.fileno()


def look_up(_folder: pathlib.Path) -> object:
    return socket.getaddrinfo("localhost", 80)


def run_program(folder: pathlib.Path) -> object:
    return subprocess.run([sys.executable, "-c", "open('written', 'w')"], cwd=folder, check=True).returncode


def run_command(_folder: pathlib.Path) -> object:
    return os.system("true")


def start_thread(folder: pathlib.Path) -> object:
    thread = threading.Thread(target=write, args=(folder,))
    thread.start()
    thread.join()
    return 1


def rest(_folder: pathlib.Path) -> object:
    return time.sleep(0)


def ask(_folder: pathlib.Path) -> object:
    return input("? ")


FORBIDDEN: dict[str, tuple[Callable[[pathlib.Path], object], str, str]] = {
    "write": (write, "open the file", "step"),
    "read": (read, "open the file", "step"),
    "database": (open_database, "open the database", "step"),
    "socket": (open_socket, "open a socket", "step"),
    "host name": (look_up, "look up the host 'localhost'", "step"),
    "program": (run_program, "run the program", "step"),
    "command": (run_command, "run the command", "step"),
    "thread": (start_thread, "start a thread", "step"),
    "time.sleep": (rest, "call time.sleep()", "await sleep("),
    "input": (ask, "call input()", "hook"),
}

FORBIDDEN_NAMES = pytest.mark.parametrize("name", FORBIDDEN)


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working directory, so that errors name the same files in every way to play a test."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("there").write_text("there")
    return pathlib.Path()


def files(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# -- what is refused --------------------------------------------------------------------------------------------------------


@FORBIDDEN_NAMES
def test_opening_something_fails_the_run_and_says_what_to_do_instead(
    play: Play, folder: pathlib.Path, name: str
) -> None:
    app = Workflows()
    attempt, tried, instead = FORBIDDEN[name]

    @app.workflow
    async def body() -> str:
        return str(attempt(folder))

    finished = play(body)
    assert isinstance(finished.error, WorkflowSandboxError)
    assert f"run {finished.run.run_id} tried to {tried}" in str(finished.error)
    assert instead in str(finished.error).partition(tried)[2]
    assert finished.info.error_code == "USER_ERROR"
    assert finished.types == FAILED_AT_ONCE
    assert files(folder) == ["there"]


@FORBIDDEN_NAMES
def test_opening_something_fails_the_run_even_if_the_body_catches_it(
    play: Play, folder: pathlib.Path, name: str
) -> None:
    app = Workflows()
    attempt, tried, _ = FORBIDDEN[name]
    caught: list[type] = []

    @app.step
    async def one() -> int:
        return 1

    @app.workflow
    async def body() -> str:
        await one()
        try:
            attempt(folder)
        except BaseException as error:
            caught.append(type(error))
        return "as if nothing had happened"

    finished = play(body)
    assert isinstance(finished.error, WorkflowSandboxError)
    assert tried in str(finished.error)
    assert caught == [WorkflowSandboxError]
    assert finished.types == [
        *["run_created", "run_started", "step_created", "step_started", "step_completed", "run_failed"]
    ]
    assert files(folder) == ["there"]


def test_the_first_refusal_is_the_one_that_is_told_and_no_step_begins_after_it(
    play: Play, folder: pathlib.Path
) -> None:
    app = Workflows()
    begun: list[int] = []

    @app.step
    async def one() -> None:
        begun.append(1)

    @app.workflow
    async def body() -> None:
        await sleep("1h")
        for path in ("first", "second"):
            with contextlib.suppress(WorkflowSandboxError):
                (folder / path).write_text("x")
        await one()

    finished = play(body)
    assert isinstance(finished.error, WorkflowSandboxError)
    assert "open the file 'first'" in str(finished.error)
    assert begun == []
    assert finished.count("step_started") == 0
    assert finished.types[-1] == "run_failed"


@FORBIDDEN_NAMES
@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
def test_a_step_may_do_all_that_a_body_may_not(
    play: Play, folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch, name: str, plain: bool
) -> None:
    app = Workflows()
    attempt, _, _ = FORBIDDEN[name]
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: SIM115 - closed below
    done: list[str] = []

    def work() -> None:
        with contextlib.suppress(EOFError):  # of the question to nobody
            attempt(folder)
        done.append(name)

    async def work_async() -> None:
        work()

    step: Any = app.step(work if plain else work_async)  # type: ignore[arg-type]

    @app.workflow
    async def body() -> None:
        await step()

    with sys.stdin:
        assert play(body).value is None
    assert done == [name]


def test_the_host_may_open_what_it_likes_while_runs_are_alive(play: Play, folder: pathlib.Path) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        await sleep("1 day")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.run_until_blocked()
        for name, (attempt, _, _) in FORBIDDEN.items():
            if name != "input":
                attempt(folder)
        assert (await finish(env, run)).value is None

    play.scene(scenario, app)
    assert files(folder) == ["there", "written"]


# -- what works -------------------------------------------------------------------------------------------------------------


def import_something() -> object:
    sys.modules.pop("colorsys", None)
    import colorsys

    return colorsys.rgb_to_hsv(0, 0, 1)


def packaged_data() -> object:
    return importlib.resources.files("json").joinpath("decoder.py").read_text().splitlines()[0]


def time_zone() -> object:
    ZoneInfo.clear_cache()
    return datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")).utcoffset()


ALLOWED: dict[str, Callable[[], object]] = {
    "import": import_something,
    "packaged data": packaged_data,
    "time zone": time_zone,
    "logging": lambda: log.info("%s", "line"),
    "environment": lambda: os.environ.get("HOME"),
    "lock": lambda: threading.Lock().acquire(),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_steers_nothing_works_in_a_body(play: Play, name: str) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> object:
        first = ALLOWED[name]()
        await sleep("1 day")
        return [first, ALLOWED[name]()]

    assert play(body).value == [ALLOWED[name]()] * 2


def test_what_was_opened_before_is_not_seen(play: Play, folder: pathlib.Path) -> None:
    app = Workflows()

    with (folder / "opened").open("w") as opened, contextlib.closing(sqlite3.connect(":memory:")) as database:

        @app.workflow
        async def body() -> int:
            opened.write("from a body")
            return int(database.execute("select 41 + 1").fetchone()[0])

        assert play(body).value == 42
    assert (folder / "opened").read_text() == "from a body"


# -- output -----------------------------------------------------------------------------------------------------------------


def test_what_a_body_prints_and_logs_appears_once_when_it_first_gets_there(
    play: Play, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = Workflows()

    def say(word: str) -> None:
        print(word)
        print(word, file=sys.stderr)
        log.warning(word)

    @app.step
    async def speak(word: str) -> None:
        say(word)

    @app.workflow
    async def body() -> None:
        say("first")
        await sleep("1 day")
        say("second")
        await speak("step")
        say("third")
        await sleep("1 day")
        say("fourth")

    async def scenario(env: WorkflowEnv) -> list[str]:
        run = await env.start(body)
        await env.run_until_blocked()
        so_far = [record.getMessage() for record in caplog.records if record.name == log.name]
        assert (await finish(env, run)).value is None
        return so_far

    with caplog.at_level(logging.INFO, log.name):
        assert play.scene(scenario, app) == ["first"]
    expected = ["first", "second", "step", "third", "fourth"]
    output = capsys.readouterr()
    assert output.out.split() == expected
    assert output.err.split() == expected
    assert [record.getMessage() for record in caplog.records if record.name == log.name] == expected


# -- finally ----------------------------------------------------------------------------------------------------------------


def test_a_finally_block_has_no_effects_when_a_body_is_put_aside(
    play: Play, folder: pathlib.Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = Workflows()
    passes: list[int] = []
    steps: list[str] = []
    putting_aside = [True]

    @app.step
    async def give_back() -> str:
        steps.append("given back")
        return "given back"

    @app.workflow
    async def body() -> str:
        try:
            await sleep("1 day")
        finally:
            passes.append(1)
            print("printed")
            log.warning("logged")
            if putting_aside[0]:
                with contextlib.suppress(Exception):
                    (folder / "written").write_text("x")
            await sleep("1h")
            given = await give_back()
        return given

    async def scenario(env: WorkflowEnv) -> Finished:
        async with worker(app, settings=play.settings):
            run = await start(body)
            await env.advance(0)
        assert passes == [1]
        assert await types(run) == ["run_created", "run_started", "wait_created"]
        assert (steps, files(folder), capsys.readouterr().out, caplog.records) == ([], ["there"], "", [])
        putting_aside[0] = False
        async with worker(app, settings=play.settings) as env.workers:
            return await finish(env, run)

    with caplog.at_level(logging.WARNING, log.name):
        finished = play.scene(scenario, app, start_worker=False)
    assert finished.value == "given back"
    assert steps == ["given back"]
    assert finished.types == [
        *["run_created", "run_started", "wait_created", "wait_completed", "wait_created", "wait_completed"],
        *["step_created", "step_started", "step_completed", "run_completed"],
    ]
    assert finished.times("run_completed") == [86400 + 3600]
    assert files(folder) == ["there"]
    assert capsys.readouterr().out == "printed\n"
    assert [record.getMessage() for record in caplog.records if record.name == log.name] == ["logged"]


# -- bodies that never go on ----------------------------------------------------------------------------------------------------


def line_of(workflow: Workflow[..., Any], text: str) -> int:
    """The line of this file where a body has this text."""
    lines, first = inspect.getsourcelines(workflow.fn)
    (number,) = [number for number, line in enumerate(lines) if text in line]
    return first + number


async def wait_for_an_event() -> None:
    await asyncio.Event().wait()


async def wait_for_a_queue() -> None:
    await asyncio.Queue[int]().get()


async def wait_for_a_lock_that_is_its_own() -> None:
    async with (lock := asyncio.Lock()):
        await lock.acquire()


async def wait_for_each_other() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def wait_for(other: int) -> None:
        await asyncio.sleep(0)
        await tasks[other]

    tasks.extend([asyncio.create_task(wait_for(1)), asyncio.create_task(wait_for(0))])
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    "wait",
    [wait_for_an_event, wait_for_a_queue, wait_for_a_lock_that_is_its_own, wait_for_each_other],
    ids=lambda wait: wait.__name__,
)
def test_a_body_that_waits_for_nothing_fails_at_once_and_says_where(play: Play, wait: Callable[[], Any]) -> None:
    app = Workflows()

    @app.step
    async def one() -> int:
        return 1

    @app.workflow
    async def body() -> None:
        await one()
        await sleep("1h")
        await wait()  # here

    finished = play(body)
    assert isinstance(finished.error, WorkflowDeadlockError)
    assert finished.info.error_code == "USER_ERROR"
    assert finished.run.run_id in str(finished.error)
    assert body.id in str(finished.error)
    assert re.search(rf"{re.escape(__file__)}:\d+ in {wait.__name__}\b", str(finished.error))
    assert finished.types[-2:] == ["wait_completed", "run_failed"]
    assert finished.times("run_failed") == [3600]


def test_a_body_that_waits_for_nothing_is_told_its_line(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        event = asyncio.Event()
        await event.wait()

    finished = play(body)
    assert isinstance(finished.error, WorkflowDeadlockError)
    assert f"{__file__}:{line_of(body, 'event.wait()')} in {body.fn.__qualname__}" in str(finished.error)
    assert finished.types == FAILED_AT_ONCE


def test_a_body_that_catches_its_cancellation_is_no_way_out_of_a_deadlock(play: Play) -> None:
    app = Workflows()
    after: list[int] = []

    @app.workflow
    async def body() -> str:
        try:
            await asyncio.Event().wait()
        except BaseException:
            after.append(1)
        return "alive"

    finished = play(body)
    assert isinstance(finished.error, WorkflowDeadlockError)
    assert finished.types == FAILED_AT_ONCE


def test_a_task_that_waits_for_ever_is_no_deadlock_while_something_is_outstanding(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        waiting = asyncio.create_task(asyncio.Event().wait())
        await sleep("1 day")
        return f"done: {waiting.done()}"

    finished = play(body)
    assert finished.value == "done: False"
    assert finished.times("run_completed") == [86400]


def test_a_body_that_goes_round_without_waiting_fails_and_says_where(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        while True:
            await asyncio.sleep(0)

    finished = play(body)
    assert isinstance(finished.error, WorkflowStalledError)
    assert finished.run.run_id in str(finished.error)
    assert f"{__file__}:{line_of(body, 'sleep(0)')} in {body.fn.__qualname__}" in str(finished.error)
    assert finished.info.error_code == "USER_ERROR"
    assert finished.types == FAILED_AT_ONCE


def test_a_body_that_computes_for_too_long_fails_and_says_where() -> None:
    """In a world whose clock goes on by itself, as in production."""
    app = Workflows()
    begun: list[int] = []

    @app.workflow
    async def body(stubborn: bool) -> None:
        begun.append(1)
        for _ in range(3):  # one that suppresses it for ever can be ended by nobody but the system
            with contextlib.suppress(Exception if stubborn else ZeroDivisionError):
                while True:
                    pass  # round and round

    async def main() -> list[Finished]:
        world = MemoryWorld()
        await world.open()
        with use_world(world):
            async with worker(app, settings=Settings(slice_seconds=0.1)):
                runs = [await start(body, stubborn) for stubborn in (False, True)]
                ended = [await describe(run) for run in runs]
        await world.close()
        return ended

    for finished in asyncio.run(main()):
        assert isinstance(finished.error, WorkflowStalledError)
        assert finished.run.run_id in str(finished.error)
        assert re.search(rf"{re.escape(__file__)}:\d+ in \S+\.body$", str(finished.error))
        assert finished.info.error_code == "USER_ERROR"
        assert finished.types == FAILED_AT_ONCE
    assert begun == [1, 1]


def test_a_body_that_computes_for_ever_fails_in_a_world_whose_clock_stands_still(play: Play) -> None:
    app = Workflows()
    begun: list[int] = []

    @app.step
    async def one() -> int:
        return 1

    @app.workflow
    async def body() -> None:
        begun.append(1)
        await one()
        while True:
            pass  # for ever

    finished = play.tuned(slice_seconds=0.2)(body)
    assert isinstance(finished.error, WorkflowStalledError)
    assert "has computed for more than 0.2 s of CPU time" in str(finished.error)
    assert re.search(rf"{re.escape(__file__)}:\d+ in \S+\.body$", str(finished.error))
    assert finished.info.error_code == "USER_ERROR"
    assert finished.types[-2:] == ["step_completed", "run_failed"]
    assert finished.times("run_failed") == [0]
