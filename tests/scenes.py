"""A program that does all that workflows do, so that every request of a world is made: for the tests of rights."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

from wdk_cloud import (
    ReadableStream,
    Request,
    Response,
    StepFailedError,
    Workflows,
    create_hook,
    create_webhook,
    get_writable,
    remove_attributes,
    set_attributes,
    sleep,
    start,
)
from wdk_cloud.engine.settings import Settings

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
