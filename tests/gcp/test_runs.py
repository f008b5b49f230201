"""Whole runs on the Google Cloud world: each program comes to what it comes to on every world."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gcp.driving import Driver
from tests.gcp.stage import Servers
from wdk_cloud import (
    HookNotFoundError,
    RetryPolicy,
    RunExpiredError,
    Workflows,
    create_hook,
    get_run,
    get_writable,
    list_runs,
    resume_hook,
    sleep,
    start,
)
from wdk_gcp.testing import CloudKmsServer

app = Workflows()

tries: list[str] = []


@app.step(dispatch="queue")
async def doubled(number: int, *rest: str) -> int:
    return 2 * number + sum(map(len, rest))


@app.step
async def said(words: list[str]) -> int:
    async with get_writable() as writable:
        for word in words:
            await writable.write(word)
    return len(words)


@app.step(dispatch="queue", max_retries=2, retry=RetryPolicy(delay="1 min"))
async def failing_twice(seen: str) -> str:
    tries.append(seen)
    if len(tries) < 3:
        raise ValueError("not yet")
    return seen


@app.workflow
async def spread(numbers: int) -> list[int]:
    return list(await asyncio.gather(*(doubled(number) for number in range(numbers))))


@app.workflow
async def large(text: str) -> int:
    return await doubled(1, *[text] * 8)


@app.workflow
async def patient() -> str:
    await sleep("40 days")
    return await failing_twice("seen")


@app.workflow
async def parent() -> list[Any]:
    run = await start(spread, 3)
    return [await said(["a", "b"]), await run.return_value()]


@app.workflow
async def asking() -> str:
    return await create_hook("token", schema=str)


@pytest.fixture(params=["gcp_standing", "gcp_failing"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """With faults, too: answers are lost, and refusals pass."""
    servers: Servers = request.getfixturevalue(request.param)
    before = servers.firestore.mischief.met.total()
    yield servers
    met = servers.firestore.mischief.met.total() - before
    assert (met > 0) is (request.param == "gcp_failing")


async def result(driver: Driver, workflow: Any, *arguments: Any) -> Any:
    run = await start(workflow, *arguments)
    await driver.until_quiet()
    return await run.return_value()


def test_steps_that_the_queue_dispatches_end_beside_each_other(servers: Servers) -> None:
    with Driver(servers, app) as driver:
        assert asyncio.run(result(driver, spread, 20)) == [2 * number for number in range(20)]


def test_a_step_with_a_large_order_finds_it_in_the_database(servers: Servers) -> None:
    with Driver(servers, app) as driver:
        assert asyncio.run(result(driver, large, "x" * 400)) == 2 + 8 * 400
        assert asyncio.run(result(driver, large, "".join(map(chr, range(200, 1600))))) == 2 + 8 * 1400


def test_a_run_sleeps_for_forty_days_and_tries_again_after_minutes(servers: Servers) -> None:
    tries.clear()
    begun = servers.clock.now()
    with Driver(servers, app) as driver:
        assert asyncio.run(result(driver, patient)) == "seen"
    assert len(tries) == 3
    assert 40 * 86_400 <= servers.clock.now() - begun < 40 * 86_400 + 600


def test_a_child_is_waited_for_and_a_stream_is_read(servers: Servers) -> None:
    async def story() -> None:
        run = await start(parent)
        await driver.until_quiet()
        assert await run.return_value() == [2, [0, 2, 4]]
        assert [word async for word in run.readable()] == ["a", "b"]
        assert sorted(found.workflow_name.rpartition("/")[2] for found in await list_runs(status="completed")) == [
            "parent",
            "spread",
        ]

    with Driver(servers, app) as driver:
        asyncio.run(story())


def test_a_hook_is_resumed_once_and_a_deleted_run_is_gone(servers: Servers) -> None:
    async def story() -> None:
        run = await start(asking)
        await driver.until_quiet()
        await resume_hook("token", "answer")
        await driver.until_quiet()
        assert await run.return_value() == "answer"
        with pytest.raises(HookNotFoundError):
            await resume_hook("token", "again")
        await run.delete()
        with pytest.raises(RunExpiredError):
            await get_run(run.run_id).return_value()

    with Driver(servers, app) as driver:
        asyncio.run(story())


def test_payloads_are_encrypted_under_keys_of_cloud_kms(servers: Servers) -> None:
    key = "projects/wdk-testing/locations/europe-west1/keyRings/wdk/cryptoKeys/runs"
    secret = "nobody-may-read-this"
    with CloudKmsServer() as kms, Driver(servers, app, kms=kms.client, kms_key=key) as driver:
        kms.create(key)
        assert asyncio.run(result(driver, large, secret)) == 2 + 8 * len(secret)
        assert kms.calls["Encrypt"] >= 1
        documents = driver.documents()
    assert len(documents) == 4  # the head, two batches, the step
    assert secret not in repr(documents)
