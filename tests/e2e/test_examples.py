"""The examples, run as their readers would run them."""

import asyncio
import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager

import pytest

from tests.e2e.pages import ROOT, environment, quiet
from wdk_cloud import FatalError, WorkflowRunFailedError, start, use_world, worker
from wdk_cloud.world.local import LocalWorld

SIGNUP = ROOT / "examples" / "signup"
WDK = [sys.executable, "-m", "wdk_cloud.cli"]

PATIENCE = 40
"""Seconds for a process that takes six."""


def demo(folder):
    """The lines of `make demo`, without the noise of a particular day."""
    command = [sys.executable, str(SIGNUP / "demo.py")]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    return demo(tmp_path_factory.mktemp("elsewhere"))


def test_the_demo_kills_a_worker_and_the_next_one_finishes_the_run(shown):
    assert quiet(shown.splitlines()) == [
        "$ wdk start signup ada@example.com",
        "RUN",
        "$ wdk worker &",
        "worker 1 | serving on local, .wdk/local.db",
        "worker 1 | creating a user for ada@example.com",
        "worker 1 | the mail server is busy: the welcome will be tried again",
        "worker 1 | welcome, ada@example.com",
        "",
        "The workflow sleeps, and its worker is killed with SIGKILL:",
        "",
        "$ kill -9 %1",
        "",
        "Another worker takes over. What is done is not done again:",
        "",
        "$ wdk worker &",
        "worker 2 | serving on local, .wdk/local.db",
        "worker 2 | how is it going, ada@example.com?",
        "worker 2 | stopping; runs go on when the next worker starts",
        "",
        "This is what happened:",
        "",
        "$ wdk inspect run RUN",
        "run RUN",
        "workflow workflow//workflows//signup",
        "status completed",
        "created DATE UTC",
        "ended DATE UTC, after TIME",
        "version VERSION",
        'input {"email":"ada@example.com"}',
        'result "user-ada@example.com"',
        "",
        "step attempt state started took",
        "create_user 1 completed +TIME TIME",
        "send_welcome_email 1 retried +TIME TIME RuntimeError: the mail server is busy",
        "send_welcome_email 2 completed +TIME TIME",
        "sleep TIME over +TIME TIME",
        "send_onboarding_email 1 completed +TIME TIME",
    ]


def test_the_readme_shows_what_the_demo_prints(shown):
    text = (ROOT / "README.md").read_text()
    pasted = text.partition("<!-- demo: begin -->")[2].partition("<!-- demo: end -->")[0].strip()
    assert pasted.startswith("```text\n")
    assert quiet(pasted.removeprefix("```text").removesuffix("```").splitlines()) == quiet(shown.splitlines())


def test_the_readme_shows_the_workflow_of_the_example():
    readme, example = (ROOT / "README.md").read_text(), (SIGNUP / "workflows.py").read_text()
    workflow = example[example.index("@app.workflow") :].strip()
    assert workflow in readme


@asynccontextmanager
async def local_world(path):
    world = LocalWorld(path)
    await world.open()
    try:
        with use_world(world):
            yield world
    finally:
        await world.close()


def test_the_signup_refuses_a_bad_address_for_good(tmp_path):
    from examples.signup.workflows import app, signup

    async def main():
        async with local_world(tmp_path / "local.db"), worker(app):
            run = await start(signup, "no address")
            while "wait_created" not in [event.type async for event in run.events()]:
                await asyncio.sleep(0.002)
            await run.wake_up()
            with pytest.raises(WorkflowRunFailedError) as caught:
                await run.return_value(timeout=20)
            onboarding = [
                e.type async for e in run.events() if e.step_name and e.step_name.endswith("onboarding_email")
            ]
            return caught.value, onboarding

    error, onboarding = asyncio.run(main())
    assert isinstance(error.__cause__, FatalError)
    assert (error.error_code, str(error.__cause__)) == ("USER_ERROR", "no address is not an address")
    assert onboarding == ["step_created", "step_started", "step_failed"]


# --- `wdk dev` in a process of its own --------------------------------------------------------------------------------

APP = """
import os
import time
from wdk_cloud import Workflows

app = Workflows()

@app.step
def seed() -> str:
    return os.environ["PYTHONHASHSEED"]

@app.step(max_retries=0)
def dawdle() -> None:
    print("dawdling")
    time.sleep(600)

@app.workflow
async def ask() -> str:
    return await seed()

@app.workflow
async def linger() -> None:
    await dawdle()
"""


@pytest.fixture
def served(tmp_path):
    """A folder with an app, and `wdk dev` serving it: the process, once it says so."""
    (tmp_path / "asking.py").write_text(APP)
    env = environment(WDK_APP="asking:app")
    process = subprocess.Popen(
        [*WDK, "dev"], cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process, tmp_path, env
    finally:
        process.kill()
        process.communicate()


def until(process, start_of_line):
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(start_of_line):
            return lines
    raise AssertionError(f"no line began with {start_of_line!r}: {lines}")


def test_wdk_dev_says_what_it_serves_where_and_what_to_do_next(served):
    process, _, _ = served
    said = until(process, "stop")
    http, token = said[2:4]
    assert re.fullmatch(r"http       http://127.0.0.1:\d+/.well-known/workflow/v1", http)
    assert re.fullmatch(r"token      [\w-]{32} \(for its API: Authorization: Bearer TOKEN\)", token)
    assert said[:2] + said[4:] == [
        "workflows  ask, linger (and 2 steps)",
        "world      local, .wdk/local.db",
        "start      wdk start ask",
        "inspect    wdk inspect runs",
        "stop       Ctrl-C; runs go on when the next worker starts",
    ]


def test_wdk_dev_runs_bodies_under_a_fixed_hash_seed_and_ends_at_once_by_ctrl_c(served):
    process, folder, env = served
    until(process, "stop")
    done = subprocess.run(
        [*WDK, "start", "ask", "--wait"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == '"0"\n'
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert (rest, process.returncode) == ("stopping; runs go on when the next worker starts\n", 0)


def test_wdk_dev_does_not_wait_for_a_step_in_a_thread_when_it_is_stopped(served):
    process, folder, env = served
    until(process, "stop")
    subprocess.run([*WDK, "start", "linger"], cwd=folder, env=env, capture_output=True, timeout=PATIENCE, check=True)
    until(process, "dawdling")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert (
        rest.splitlines()[-1]
        == "steps that still run in threads: 1. They are interrupted; their runs go on with the next worker"
    )
