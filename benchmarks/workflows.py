"""The workflows that are measured. Their steps do nothing, so that only the engine's work is left."""

import asyncio
import os
import time
from collections.abc import AsyncIterator

from wdk_cloud import Hook, ReadableStream, Workflows, create_hook, create_webhook, get_writable, sleep

app = Workflows()


@app.step
async def echo(number: int) -> int:
    return number


@app.step(dispatch="inline")
async def echo_inline(number: int) -> int:
    return number


@app.step(dispatch="queue")
async def echo_elsewhere(number: int) -> int:
    return number


@app.step
async def moments() -> tuple[int, int]:
    """When this step began and ended: nanoseconds of the machine's monotonic clock, the same in every process."""
    return time.monotonic_ns(), time.monotonic_ns()


@app.workflow
async def in_a_row(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += await echo(number)
    return total


@app.workflow
async def gathered(steps: int) -> int:
    return sum(await asyncio.gather(*(echo(number) for number in range(steps))))


@app.workflow
async def gathered_inline(steps: int) -> int:
    return sum(await asyncio.gather(*(echo_inline(number) for number in range(steps))))


@app.workflow
async def first_step() -> int:
    began, _ = await moments()
    return began


@app.workflow
async def chain(steps: int) -> list[tuple[int, int]]:
    return [await moments() for _ in range(steps)]


@app.workflow
async def woken() -> int:
    """Sleeps until it is woken; then, when it went on."""
    await sleep("30 days")
    began, _ = await moments()
    return began


@app.workflow
async def resumed(token: str) -> int:
    """Waits for a payload; then, when it went on."""
    await create_hook(token)
    began, _ = await moments()
    return began


@app.workflow
async def one_payload(token: str) -> int:
    return await create_hook(token)


@app.workflow
async def many_payloads(prefix: str, hooks: int) -> list[int]:
    """One from each of so many hooks that are all open at once."""
    return await asyncio.gather(*(one_of(create_hook(f"{prefix}{number}")) for number in range(hooks)))


async def one_of(hook: Hook[int]) -> int:
    return await hook


@app.workflow
async def resting(steps: int) -> int:
    """Some steps, then a pause that nobody waits for: a run that a worker keeps, or replays when it is woken."""
    total = 0
    for number in range(steps):
        total += await echo(number)
    await sleep("30 days")
    return total


@app.workflow
async def elsewhere_in_a_row(steps: int) -> int:
    total = 0
    for number in range(steps):
        total += await echo_elsewhere(number)
    return total


@app.workflow
async def gathered_under_time_outs(steps: int) -> int:
    """Each step has a time-out of its own, and all of them are due at the same time."""
    return sum(await asyncio.gather(*(asyncio.wait_for(echo_inline(number), 1000) for number in range(steps))))


@app.step
async def write_chunks(chunks: int) -> int:
    writer = get_writable()
    for number in range(chunks):
        await writer.write({"number": number, "text": "a chunk"})
    return chunks


@app.workflow
async def writing(chunks: int) -> int:
    return await write_chunks(chunks)


@app.step
async def write_moments(chunks: int, pause: float) -> None:
    """A chunk every so often, each with the moment before it was written, by the machine's monotonic clock."""
    writer = get_writable(type=int)
    due = time.monotonic()
    for _ in range(chunks):
        await writer.write(time.monotonic_ns())
        due += pause
        await asyncio.sleep(due - time.monotonic())


@app.workflow
async def writing_slowly(chunks: int, pause: float) -> None:
    await write_moments(chunks, pause)


@app.step
async def blocks(size: int, count: int) -> AsyncIterator[bytes]:
    block = os.urandom(size)
    for _ in range(count):
        yield block


@app.step
async def forward(stream: ReadableStream[bytes]) -> AsyncIterator[bytes]:
    async for block in stream:
        yield block


@app.step
async def measured(stream: ReadableStream[bytes]) -> int:
    size = 0
    async for block in stream:
        size += len(block)
    return size


@app.workflow
async def piped(size: int, count: int) -> int:
    return await measured(await forward(await blocks(size, count)))


SHAPES = {
    "in a row": in_a_row,
    "gathered": gathered,
    "gathered inline": gathered_inline,
    "queue-dispatched in a row": elsewhere_in_a_row,
    "gathered under time-outs": gathered_under_time_outs,
}


@app.workflow
async def then_rest(shape: str, steps: int) -> int:
    """One of these, then a pause that nobody waits for."""
    total = await SHAPES[shape](steps)
    await sleep("30 days")
    return total


urls: list[str] = []
"""What `called` has told of its webhook."""


@app.step
async def tell(url: str) -> None:
    urls.append(url)


@app.workflow
async def called() -> int:
    """Takes requests for ever."""
    webhook = create_webhook()
    await tell(webhook.url)
    count = 0
    async for _ in webhook:
        count += 1
    return count
