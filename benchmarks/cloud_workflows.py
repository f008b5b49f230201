"""The workflows whose bills are made out. Inputs and results are small: what is counted is the engine's work."""

from __future__ import annotations

import asyncio
import time

from wdk_cloud import RetryPolicy, Workflows, create_hook, get_step_metadata, get_writable, sleep, start

app = Workflows()

DETAILS = "x" * 200
"""Input and result of a step together are below half a kilobyte: with this and its copy."""


@app.step(dispatch="inline")
async def inline(details: str) -> str:
    return details


@app.workflow
async def empty(details: str) -> str:
    return details


@app.workflow
async def in_a_row(steps: int, details: str) -> str:
    for _ in range(steps):
        details = await inline(details)
    return details


@app.workflow
async def sleeping(duration: str) -> None:
    await sleep(duration)


@app.step(dispatch="queue")
async def elsewhere(number: int, over: float) -> int:
    await asyncio.sleep(over)
    return number


@app.workflow
async def fan_out(steps: int, over: float) -> int:
    """Steps that end one after the other, over so many seconds."""
    calls = (elsewhere(number, over * (number + 1) / steps) for number in range(steps))
    return sum(await asyncio.gather(*calls))


@app.workflow
async def hooked(token: str) -> str:
    return await create_hook(token)


@app.workflow
async def parent(details: str) -> str:
    run = await start(empty, details)
    return await run.return_value()


@app.step(dispatch="inline", retry=RetryPolicy(delay=0))
async def failing(times: int) -> int:
    attempt = get_step_metadata().attempt
    if attempt <= times:
        raise ValueError("not yet")
    return attempt


@app.step(dispatch="inline", retry=RetryPolicy(delay=60))
async def failing_for_a_minute(times: int) -> int:
    attempt = get_step_metadata().attempt
    if attempt <= times:
        raise ValueError("not yet")
    return attempt


@app.workflow
async def retried(times: int) -> int:
    return await failing(times)


@app.workflow
async def retried_later(times: int) -> int:
    return await failing_for_a_minute(times)


@app.workflow
async def long_then_woken(steps: int) -> None:
    for number in range(steps):
        await inline(f"{number}")
    await sleep("1 hour")


@app.step(dispatch="inline")
async def write_chunks(chunks: int, over: float) -> None:
    """At an even pace, whatever a write takes."""
    began = time.monotonic()
    async with get_writable() as writable:
        for number in range(chunks):
            await writable.write({"token": number})
            await asyncio.sleep(began + over * (number + 1) / chunks - time.monotonic())


@app.workflow
async def streaming(chunks: int, over: float) -> None:
    await write_chunks(chunks, over)
