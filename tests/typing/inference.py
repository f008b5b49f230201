"""What editors infer for users' code. Read by pyright strict and mypy strict; never run."""

from __future__ import annotations

import asyncio
from typing import assert_type

from wdk_cloud import Run, Workflows, start, start_sync, sync

app = Workflows()


@app.step
async def square(number: int) -> int:
    return number * number


@app.step
def shout(text: str) -> str:
    return text.upper()


@app.step(max_retries=0)
async def once(text: str) -> bytes:
    return text.encode()


class Shop:
    @app.step
    @staticmethod
    async def price(name: str) -> float:
        return float(len(name))


@app.workflow
async def order(number: int, name: str) -> str:
    assert_type(await square(number), int)
    assert_type(await shout(name), str)
    assert_type(await once(name), bytes)
    assert_type(await once.with_options(max_retries=2)(name), bytes)
    assert_type(await asyncio.gather(square(1), shout("a")), tuple[int, str])
    assert_type(await asyncio.wait_for(square(2), 1), int)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(square(3))
    assert_type(task.result(), int)
    return name


async def outside() -> None:
    run = await start(order, 1, name="a")
    assert_type(run, Run[str])
    assert_type(await run.return_value(), str)
    assert_type(await (await start(order.with_options(run_id="x"), 1, "a")).return_value(), str)


def without_asyncio() -> None:
    run = start_sync(order, 1, name="a")
    assert_type(run, sync.Run[str])
    assert_type(run.return_value(timeout=1), str)
