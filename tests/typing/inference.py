"""What editors infer for users' code. Read by pyright strict and mypy strict; never run."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, assert_type

from wdk_cloud import (
    RetryPolicy,
    Run,
    RunInfo,
    RunPage,
    Step,
    StepInfo,
    Workflow,
    Workflows,
    get_run,
    get_step_metadata,
    list_runs,
    patched,
    start,
    start_sync,
    sync,
)
from wdk_cloud.testing import WorkflowEnv, workflow_env

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


@app.step(dispatch="queue", timeout="1 min", retry=RetryPolicy(delay="1 s"))
def measure(text: str, *, unit: str = "cm") -> float:
    return float(len(text))


class Shop:
    @app.step
    @staticmethod
    async def price(name: str) -> float:
        return float(len(name))

    @staticmethod
    @app.step
    def tax(price: float) -> float:
        return price / 5


# -- in a body ---------------------------------------------------------------------------------------------------------


@app.workflow
async def order(number: int, name: str) -> str:
    await assert_type(square(number), Coroutine[object, None, int])
    assert_type(await square(number), int)
    assert_type(await shout(name), str)
    assert_type(await once(name), bytes)
    assert_type(await measure(name, unit="m"), float)
    assert_type(await Shop.price(name), float)
    assert_type(await Shop.tax(1.5), float)
    assert_type(patched("change"), bool)
    return name


@app.workflow(name="side-by-side")
async def side_by_side(name: str = "a") -> int:
    assert_type(await asyncio.gather(square(1), shout("a")), tuple[int, str])
    assert_type(await asyncio.gather(square(1), shout("a"), once("b"), measure("c")), tuple[int, str, bytes, float])
    assert_type(await asyncio.gather(*(square(n) for n in range(3))), list[int])
    either = await asyncio.gather(square(1), shout("a"), return_exceptions=True)
    assert_type(either, tuple[int | BaseException, str | BaseException])
    assert_type(await asyncio.wait_for(square(2), 1), int)
    assert_type(await asyncio.shield(shout("a")), str)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(square(3))
        threaded = group.create_task(shout("b"))
        child = group.create_task(order(1, "a"))
    assert_type(task, asyncio.Task[int])
    assert_type(task.result(), int)
    assert_type(threaded.result(), str)
    assert_type(child.result(), str)
    assert_type(await asyncio.create_task(once("c")), bytes)
    for first in asyncio.as_completed([square(1), square(2)]):
        assert_type(await first, int)
    done, _ = await asyncio.wait([asyncio.create_task(square(4))])
    assert_type(done.pop().result(), int)
    return 1


@app.workflow
async def inside(number: int) -> int:
    assert_type(await order(number, "a"), str)
    run = await start(order, number, "a")
    assert_type(run, Run[str])
    return await square(number)


# -- options -----------------------------------------------------------------------------------------------------------


@app.workflow(schedule="0 9 * * 1-5", timezone="Europe/Berlin")
async def daily(limit: int = 10) -> list[int]:
    assert_type(await once.with_options(max_retries=2)("a"), bytes)
    assert_type(await shout.with_options(timeout="5 s", dispatch="inline").with_options(cancellable=True)("a"), str)
    assert_type(await square.with_options(retry=RetryPolicy(delay=1, jitter=0.5))(number=1), int)
    assert_type(await daily.with_options(attributes={"of": "today"}, delay="1 h")(1), list[int])
    return [limit]


# -- outside -----------------------------------------------------------------------------------------------------------


async def outside() -> None:
    run = await start(order, 1, name="a")
    assert_type(run, Run[str])
    assert_type(await run.return_value(), str)
    assert_type(await run.return_value(timeout=1.5), str)
    assert_type(await (await start(order.with_options(run_id="x"), 1, "a")).return_value(), str)
    assert_type(await (await start(daily)).return_value(), list[int])
    assert_type(await (await start(daily.with_options(idempotency_key="k"), limit=1)).return_value(), list[int])
    assert_type(await run.info(), RunInfo)
    assert_type(await run.attributes(), dict[str, str])
    assert_type([event.position async for event in run.events()], list[int])
    assert_type(get_run("x"), Run[Any])
    assert_type(await list_runs(workflow=order, status="failed"), RunPage)
    assert_type(await square(1), int)
    assert_type(await shout("a"), str)
    assert_type(shout.fn("a"), Any)
    assert_type(get_step_metadata(), StepInfo)


def without_asyncio() -> None:
    run = start_sync(order, 1, name="a")
    assert_type(run, sync.Run[str])
    assert_type(run.return_value(timeout=1), str)
    assert_type(sync.start(daily.with_options(run_id="x"), 3).return_value(), list[int])
    assert_type(sync.get_run("x").info(), RunInfo)
    assert_type([event.position for event in run.events()], list[int])


async def in_a_test() -> None:
    async with workflow_env("memory", app) as env:
        assert_type(env, WorkflowEnv)
        run = await env.start(order, 1, name="a")
        assert_type(run, Run[str])
        assert_type(await env.run_to_end(run), str)


async def any_workflow(workflow: Workflow[[int], str]) -> str:
    """Workflows and steps are values with types."""
    return await (await start(workflow, 1)).return_value()


async def any_step(step: Step[..., str]) -> str:
    return await step("a", number=1)


async def given() -> None:
    await any_workflow(order_by_number)
    await any_step(shout)


@app.workflow
async def order_by_number(number: int) -> str:
    return await order(number, name="a")
