"""What `wdk rehearse` does with a run on any cloud: prints its result, or all that there is to say of its failure."""

import asyncio
import re

import pytest

from wdk_cloud import Workflows, create_hook, worker
from wdk_cloud.cli import rehearsing
from wdk_cloud.cli.console import FAILED, CommandError, exit_code
from wdk_cloud.errors import WorkflowRunFailedError
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world

app = Workflows()


@app.workflow
async def double(number: int) -> int:
    return 2 * number


@app.workflow
async def lose() -> None:
    raise RuntimeError("it is lost")


@app.workflow
async def wait() -> None:
    await create_hook()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rehearse(workflow, *args, timeout=20.0):
    """As the command does, beside a worker with a world of its own; gives how often the log was shown."""
    shown = []

    async def main():
        served, asked = LocalWorld(), LocalWorld()
        await served.open()
        try:
            with use_world(served):
                async with worker(app):
                    await asked.open()
                    await rehearsing.run_on(asked, workflow, args, timeout, lambda: shown.append("log"))
        finally:
            await served.close()

    try:
        asyncio.run(main())
    except (CommandError, WorkflowRunFailedError) as error:
        assert exit_code(error) == FAILED == 1
        return str(error), len(shown)
    return None, len(shown)


def test_a_run_that_completes_is_its_result(capsys):
    assert rehearse(double, 21) == (None, 0)
    said = capsys.readouterr()
    assert said.out == "42\n" and re.fullmatch(r"started   wrun_\w{26}\n", said.err)


def test_a_run_that_fails_is_shown_with_its_log(capsys):
    error, shown = rehearse(lose)
    assert "failed with USER_ERROR" in error and shown == 1
    said = capsys.readouterr().out
    assert re.match(r"run wrun_\w{26}\n", said) and re.search(r"^  status +failed$", said, re.MULTILINE)
    assert "RuntimeError: it is lost" in said


def test_a_run_that_does_not_end_is_shown_with_what_it_waits_for(capsys):
    error, shown = rehearse(wait, timeout=0.5)
    assert re.fullmatch(
        r"run wrun_\w{26} has not ended after 0\.5 s; a longer time is --timeout, and with --keep somebody can answer "
        r"what it waits for",
        error,
    )
    assert shown == 1
    assert re.search(r"^waits for\n  \w+ ", capsys.readouterr().out, re.MULTILINE)  # its hook, or first its worker
