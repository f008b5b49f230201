"""What editors must refuse, each line with the code of its error for pyright and for mypy. Read by both; never run.

Neither checker lets an `ignore` stand that it does not need: a line that is accepted one day fails the check, and so
does an error of another kind. Awaiting what blocks, and not awaiting what does not, is refused as well.
"""

from __future__ import annotations

import asyncio

from wdk_cloud import RetryPolicy, Run, Step, Workflows, get_run, list_runs, sleep, start, start_sync, sync

app = Workflows()


@app.step
async def square(number: int) -> int:
    return number * number


@app.step
def shout(text: str, *, twice: bool = False) -> str:
    return text.upper()


@app.workflow
async def order(number: int, name: str = "a") -> str:
    return await shout(name)


# -- declaring ---------------------------------------------------------------------------------------------------------


@app.workflow  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def not_async(number: int) -> int:
    return number


@app.workflow(name="plain")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
def not_async_either(number: int) -> int:
    return number


@app.workflow(schedule=60)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
async def too_often() -> None: ...


@app.workflow(schedule="every 1 hour", timezone=1)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
async def somewhere() -> None: ...


@app.workflow(every="1 hour")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
async def every_hour() -> None: ...


@app.step(retries=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportCallIssue, reportUntypedFunctionDecorator]
async def retried() -> None: ...


@app.step(max_retries="3")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
async def retried_as_text() -> None: ...


@app.step(dispatch="later")  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
async def dispatched() -> None: ...


@app.step(retry=3)  # type: ignore[call-overload, untyped-decorator]  # pyright: ignore[reportArgumentType]
async def retried_by_number() -> None: ...


RetryPolicy(delay=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
RetryPolicy(tries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Workflows(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


# -- steps -------------------------------------------------------------------------------------------------------------


@app.workflow
async def body(number: int) -> int:
    square(1)  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await square("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await square()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await square(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await square(count=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await shout(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await shout("a", True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await shout("a", twice="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    text: str = await square(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    other: int = await shout("a")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    direct: str = shout("a")  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    pair: tuple[str, int] = await asyncio.gather(square(1), shout("a"))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    async with asyncio.TaskGroup() as group:
        task: asyncio.Task[str] = group.create_task(square(1))  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
        group.create_task(square)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await sleep(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await asyncio.gather(square)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await square.with_options(retries=3)(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await square.with_options(max_retries="3")(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await square.with_options(dispatch="later")(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await square.with_options(name="cube")(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await square.with_options(max_retries=3)("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await square.with_options(run_id="x")(1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(text, other, direct, pair, task)
    return await shout("a")  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


narrow: Step[[str], int] = square  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]


# -- starting ----------------------------------------------------------------------------------------------------------


async def outside() -> None:
    await start(order)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await start(order, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await start(order, 1, 2)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await start(order, 1, title="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await start(square, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await start(order.fn, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await start(order(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    await start(order.with_options(run_id=1), 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await start(order.with_options(key="k"), 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportUnknownArgumentType]
    await start(order.with_options(max_retries=1), 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue, reportUnknownArgumentType]
    await start(order.with_options(attributes={"n": 1}), 1)  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    await start(order.with_options(run_id="x"), "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    number: int = await (await start(order, 1)).return_value()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    run: Run[int] = await start(order, 1)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    blocking: sync.Run[str] = await start(order, 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    unawaited: Run[str] = start(order, 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    await run.return_value("1 s")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run.cancel(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await list_runs(status="done")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await list_runs(workflow=square)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    get_run(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(number, blocking, unawaited)
    print(run.result)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownArgumentType, reportUnknownMemberType]


async def awaits_what_blocks() -> None:
    await start_sync(order, 1)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    await sync.get_run("x").status()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


def without_asyncio() -> None:
    start_sync(order, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.start(square, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
    awaitable: Run[str] = sync.start(order, 1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    number: int = sync.start(order, 1).return_value()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(awaitable, number)
