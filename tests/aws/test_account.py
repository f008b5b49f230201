"""The AWS world on a real account: deselected, and said so, unless `pytest -m aws` asks for it.

It needs credentials and a region as boto3 reads them, and the WDK_AWS_* variables of resources that are there or may be
made; what it starts it deletes. `AWS_ENDPOINT_URL` points it at a stand-in, as `test_the_suite_runs_on_a_stand_in` does.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.aws.installed import resources_as_variables
from tests.aws.stage import clients_of, fresh
from wdk_aws.polling import Poller
from wdk_aws.serving import Instance, Parts
from wdk_aws.settings import AwsSettings
from wdk_aws.testing import create_resources
from wdk_aws.world import AwsWorld
from wdk_cloud import (
    HookNotFoundError,
    RunExpiredError,
    WorkflowRunCancelledError,
    Workflows,
    create_hook,
    get_step_metadata,
    get_writable,
    resume_hook,
    sleep,
    start,
)
from wdk_cloud.telemetry import Silent
from wdk_cloud.world.opening import use_world

ROOT = Path(__file__).parents[2]
WITHIN = 120.0
"""Seconds of one scene: a cold table answers its first requests within a few."""

app = Workflows()


@app.step(max_retries=2)
async def second_try(value: str) -> str:
    if get_step_metadata().attempt == 1:
        raise RuntimeError("the first attempt fails")
    return value


@app.step(dispatch="queue")
async def square(number: int) -> int:
    return number * number


@app.step
async def say(words: list[str]) -> None:
    async with get_writable() as writer:
        for word in words:
            await writer.write(word)


@app.workflow
async def plain(value: str) -> str:
    await sleep(2)
    return await second_try(value)


@app.workflow
async def squares(count: int) -> list[int]:
    return list(await asyncio.gather(*map(square, range(count))))


@app.workflow
async def asking(token: str) -> str:
    return await create_hook(token=token)


@app.workflow
async def speaking(words: list[str]) -> None:
    await say(words)


@app.workflow
async def parent(value: str) -> str:
    return await (await start(plain, value)).return_value()


Scene = Callable[[], Awaitable[None]]


def on_account(scene: Scene) -> None:
    """With a function that serves the app on this machine while the scene plays."""

    async def main() -> None:
        world = AwsWorld()
        instance = Instance([app], Parts(lambda: world, Silent))
        await instance.prepare()
        stop = asyncio.Event()
        serving = asyncio.create_task(Poller(instance).run(stop))
        try:
            with use_world(world):
                async with asyncio.timeout(WITHIN):
                    await scene()
        finally:
            stop.set()
            await serving
            instance.close()
            await world.close()

    asyncio.run(main())


@pytest.fixture(scope="module", autouse=True)
def account(request: pytest.FixtureRequest) -> None:
    chosen = [item for item in request.session.items if item.get_closest_marker("aws")]
    if chosen:
        if AwsSettings.from_environment() == AwsSettings():
            pytest.fail("pytest -m aws needs the WDK_AWS_* variables, credentials and a region", pytrace=False)
        create_resources()


pytestmark = [pytest.mark.timeout(2 * WITHIN)]
on_a_real_one = pytest.mark.aws


@on_a_real_one
def test_a_run_sleeps_retries_and_ends():
    async def scene() -> None:
        run = await start(plain, "done")
        assert await run.return_value() == "done"
        await run.delete()
        with pytest.raises(RunExpiredError):
            await run.info()

    on_account(scene)


@on_a_real_one
def test_steps_of_deliveries_of_their_own_are_gathered():
    async def scene() -> None:
        run = await start(squares, 12)
        assert await run.return_value() == [number * number for number in range(12)]
        await run.delete()

    on_account(scene)


@on_a_real_one
def test_a_large_value_goes_through_the_bucket():
    async def scene() -> None:
        run = await start(plain, "x" * 200_000)
        assert await run.return_value() == "x" * 200_000
        await run.delete()

    on_account(scene)


@on_a_real_one
def test_a_hook_gets_its_payload():
    async def scene() -> None:
        token = f"account-{uuid4()}"
        run = await start(asking, token)
        while True:
            try:
                await resume_hook(token, "yes")
                break
            except HookNotFoundError:
                await asyncio.sleep(0.2)  # the run has not made it yet
        assert await run.return_value() == "yes"
        await run.delete()

    on_account(scene)


@on_a_real_one
def test_a_stream_is_read_to_its_end():
    async def scene() -> None:
        words = [f"word {number}" for number in range(50)]
        run = await start(speaking, words)
        assert [chunk async for chunk in run.readable()] == words
        await run.delete()

    on_account(scene)


@on_a_real_one
def test_a_child_gives_its_result_to_its_parent():
    async def scene() -> None:
        run = await start(parent, "child")
        assert await run.return_value() == "child"
        await run.delete()

    on_account(scene)


@on_a_real_one
def test_a_run_that_waits_is_cancelled():
    async def scene() -> None:
        run = await start(asking, f"account-{uuid4()}")
        await run.cancel()
        with pytest.raises(WorkflowRunCancelledError):
            await run.return_value()
        await run.delete()

    on_account(scene)


def test_the_suite_runs_on_a_stand_in(ministack: str, tmp_path: Path):
    """As somebody with an account would run it, here with ministack for the account."""
    clients = clients_of(ministack, ministack)
    variables = resources_as_variables(ministack, fresh(clients, ministack))
    clients.close()
    plain_environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "WDK_"))}
    command = [sys.executable, "-m", "pytest", __file__, "-m", "aws", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done: Any = subprocess.run(
        command, cwd=ROOT, env={**plain_environment, **variables}, capture_output=True, text=True, check=False
    )
    assert "7 passed, 1 deselected" in done.stdout, done.stdout
