"""What editors infer and refuse for streams. Read by pyright strict and mypy strict; never run.

Refused lines carry the code of their error for both, as in `refusal.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

from wdk_cloud import (
    ReadableStream,
    Run,
    StreamInfo,
    Workflows,
    WritableStream,
    get_run,
    get_writable,
    start,
    sync,
)

app = Workflows()


@dataclass
class Progress:
    done: int
    of: int


class Entry(TypedDict):
    level: str


# -- writing -----------------------------------------------------------------------------------------------------------


@app.step
async def write() -> None:
    writer = get_writable(type=Progress)
    assert_type(writer, WritableStream[Progress])
    await writer.write(Progress(1, 2))
    await writer.write_from(Progress(done, 2) for done in (1, 2))
    await writer.write_from([Progress(1, 2)])
    await writer.drain()
    await writer.close()
    assert_type(get_writable("logs", type=Entry), WritableStream[Entry])
    await get_writable("logs", type=Entry).write({"level": "info"})
    assert_type(get_writable("numbers", type=list[int], resume=True), WritableStream[list[int]])
    async with get_writable("texts", type=str) as texts:
        assert_type(texts, WritableStream[str])
        await texts.write("text")


@app.step
async def write_anything() -> None:
    assert_type(get_writable(), WritableStream[Any])
    await get_writable("mixed").write("text")
    await get_writable("mixed", resume=True).write(1)
    writer: WritableStream[bytes] = get_writable()
    await writer.write(b"bytes")


@app.step
async def write_to(stream: WritableStream[str], text: str) -> None:
    await stream.write(text)


@app.workflow
async def passes_on() -> None:
    await write_to(get_writable(type=str), "text")
    await write_to(get_writable(), "text")


# -- reading -----------------------------------------------------------------------------------------------------------


async def outside(run: Run[str]) -> None:
    assert_type(run.readable(type=Progress), ReadableStream[Progress])
    assert_type(run.readable("progress", None, Progress), ReadableStream[Progress])
    async for progress in run.readable("progress", start_index=-1, type=Progress):
        assert_type(progress, Progress)
    async for index, text in run.readable(type=str).numbered():
        assert_type(index, int)
        assert_type(text, str)
    assert_type([number async for number in run.readable(type=int)], list[int])
    assert_type(run.readable(type=list[int]), ReadableStream[list[int]])
    assert_type(run.readable(), ReadableStream[Any])
    assert_type(run.readable(start_index=None), ReadableStream[Any])
    async for chunk in get_run("run").readable("logs", 3):
        assert_type(chunk, Any)
    async for data in run.readable_bytes("logs", start_index=2):
        assert_type(data, bytes)
    assert_type(await run.stream_info("logs"), StreamInfo)
    assert_type((await run.stream_info()).tail_index, int)
    assert_type((await run.stream_info()).closed, bool)
    assert_type(await run.list_streams(), list[str])
    await run.uploaded()


# -- streams as values -------------------------------------------------------------------------------------------------


@app.step
async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@app.step(timeout="1 m")
async def texts() -> AsyncGenerator[str]:
    yield "text"


@app.step
async def texts_of_3_11() -> AsyncGenerator[str, None]:
    yield "text"


@app.step
async def doubled(stream: ReadableStream[int]) -> AsyncIterator[int]:
    async for number in stream:
        yield 2 * number


@app.step
async def collected(stream: ReadableStream[int]) -> list[int]:
    return [number async for number in stream]


@app.step
async def joined(stream: AsyncIterable[str]) -> str:
    return "".join([text async for text in stream])


@app.step
async def size(stream: ReadableStream[bytes]) -> int:
    return sum([len(chunk) async for chunk in stream])


@app.workflow
async def pipeline() -> int:
    stream = await numbers(10)
    assert_type(stream, ReadableStream[int])
    assert_type(await doubled(stream), ReadableStream[int])
    assert_type(await texts(), ReadableStream[str])
    assert_type(await texts_of_3_11(), ReadableStream[str])
    assert_type(await asyncio.gather(numbers(1), texts()), tuple[ReadableStream[int], ReadableStream[str]])
    await joined(await texts())
    return sum(await collected(await doubled(stream)))


@app.workflow
async def measure(upload: ReadableStream[bytes]) -> int:
    return await size(upload)


def as_what_it_is_a_kind_of(booleans: ReadableStream[bool]) -> ReadableStream[int]:
    return booleans


def blocks() -> Iterator[bytes]:
    yield b"block"


async def uploads(body: AsyncIterator[bytes]) -> None:
    assert_type(ReadableStream.from_iterable(blocks()), ReadableStream[bytes])
    assert_type(ReadableStream.from_iterable(body), ReadableStream[bytes])
    assert_type(await start(measure, ReadableStream.from_iterable(body)), Run[int])
    await start(measure, ReadableStream.from_iterable([b"block"]))


@app.step
def in_a_thread() -> None:
    writer = sync.get_writable("logs", type=Progress)
    assert_type(writer, sync.WritableStream[Progress])
    writer.write(Progress(1, 2))
    writer.write_from([Progress(1, 2)])
    with sync.get_writable(type=str) as texts:
        assert_type(texts, sync.WritableStream[str])
        texts.write("text")
    assert_type(sync.get_writable(), sync.WritableStream[Any])


# -- refused -----------------------------------------------------------------------------------------------------------


@app.step
async def refused() -> None:
    writer = get_writable(type=Progress)
    await writer.write("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await writer.write_from(["text"])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    writer.write(Progress(1, 2))  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    await get_writable("logs", type=Entry).write({"levels": "info"})  # type: ignore[typeddict-item, typeddict-unknown-key]  # pyright: ignore[reportArgumentType]
    get_writable(7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    get_writable(type="Progress")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    get_writable("logs", Progress, 1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    get_writable(start_index=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    with get_writable() as closed:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        print(closed)  # pyright: ignore[reportUnknownArgumentType]
    for chunk in get_run("run").readable():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        print(chunk)  # pyright: ignore[reportUnknownArgumentType]
    texts: WritableStream[str] = get_writable(type=int)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    async for text in writer:  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        print(text)  # pyright: ignore[reportUnknownArgumentType]
    print(texts)


@app.workflow
async def refused_in_a_body() -> None:
    await write_to(get_writable(type=int), "text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await collected(await texts())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await collected(numbers(10))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await collected(get_writable(type=int))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await collected([1, 2, 3])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async for number in numbers(10):  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType]
        print(number)  # pyright: ignore[reportUnknownArgumentType]
    stream: AsyncIterator[int] = await numbers(10)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    (await numbers(10)).write(1)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    print(stream)


async def refused_outside(run: Run[str]) -> None:
    run.readable(7)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    run.readable(start_index="7")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    run.readable(type="Progress")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    run.readable(resume=True)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    run.readable_bytes(type=str)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await run.readable()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    progress: ReadableStream[Progress] = run.readable(type=str)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    await run.stream_info(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    (await run.stream_info()).closed = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    await start(measure, blocks())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await start(measure, ReadableStream.from_iterable(["text"]))  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    ReadableStream.from_iterable(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    narrower: ReadableStream[bool] = run.readable(type=int)  # type: ignore[arg-type]  # pyright: ignore[reportAssignmentType]
    print(progress, narrower)


@app.step
def refused_in_a_thread() -> None:
    sync.get_writable(type=str).write(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    sync.get_writable().close(True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    async def main() -> None:
        await sync.get_writable(type=str).write("text")  # type: ignore[func-returns-value, misc]  # pyright: ignore[reportGeneralTypeIssues]

    print(main)
