"""A program that does all that workflows do, so that every request of a world is made: for the tests of rights."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from wdk_cloud import (
    ReadableStream,
    Request,
    Response,
    Run,
    StepFailedError,
    WorkflowRunCancelledError,
    Workflows,
    create_hook,
    create_webhook,
    get_hook_by_token,
    get_run,
    get_writable,
    list_runs,
    remove_attributes,
    set_attributes,
    sleep,
    start,
)
from wdk_cloud.engine.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

LARGE = random.Random(0).randbytes(20_000).hex()
"""Beside the log, also compressed."""

PAYLOADS = 6

SETTINGS = Settings(code_version="1", public_url="https://example.com")

app = Workflows()

tokens: list[str] = []


@app.step
async def told(text: str) -> str:
    return text + text


@app.step(dispatch="queue")
async def told_elsewhere(text: str) -> str:
    return text + text


@app.step(dispatch="queue", max_retries=1)
async def failing() -> None:
    raise ValueError("always")


@app.step
async def writing() -> None:
    async with get_writable() as writable:
        await writable.write({"token": 1})


@app.step
async def counting() -> Any:
    for number in range(3):
        yield number


@app.step
async def reading(numbers: ReadableStream[int]) -> int:
    return sum([number async for number in numbers])


@app.step
async def replying(request: Request) -> None:
    await request.respond_with(Response(201, LARGE))


@app.step
async def publishing(token: str) -> None:
    tokens.append(token)


@app.workflow
async def child(text: str) -> str:
    return text


@app.workflow
async def everything(text: str) -> str:
    await told(text)
    await told_elsewhere(text)
    await set_attributes(color="red")
    await remove_attributes("color")
    await sleep("10 minutes")
    await sleep("3 days")
    with suppress(StepFailedError):
        await failing()
    await writing()
    await reading(await counting())
    await (await start(child, text)).return_value()
    with create_hook("a token") as hook:
        for _ in range(PAYLOADS):
            await hook
    webhook = create_webhook("manual")
    await publishing(webhook.token)
    await replying(await webhook)
    unanswered = create_webhook("manual", timeout=20)
    await publishing(unanswered.token)
    await unanswered
    return text


@app.workflow
async def waiting() -> None:
    await create_hook("another token")


@app.workflow
async def staying(token: str, text: str) -> str:
    await create_hook(token)
    return text


async def operate(
    acting: Callable[[], AbstractContextManager[Any]],
    settle: Callable[[], Awaitable[Any]],
    run: Run[Any],
    waits: Run[Any],
) -> None:
    """What people and their programs do with runs: one of `everything` that has ended, and one that is `waiting`.
    `acting` is the world of an operator, `settle` has all be done that can be."""
    with acting():
        assert await run.return_value() == LARGE
        await run.info()
        assert [event async for event in run.events()]
        assert [chunk async for chunk in run.readable()] == [{"token": 1}]
        await run.list_streams()
        assert (await list_runs(workflow=child)).cursor is None
        assert (await get_hook_by_token("another token")).run_id == waits.run_id
        await waits.wake_up()
        await waits.cancel()
    await settle()
    with acting(), pytest.raises(WorkflowRunCancelledError):
        await waits.return_value()
    with acting():
        await get_run(run.run_id).delete()
