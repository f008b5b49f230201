"""Streams that are misused, by those who write and by those who read: what they are told, and that the run is unharmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.running import Play, finish
from tests.e2e.test_streams import chunks_of, pour
from wdk_cloud import (
    ReadableStream,
    Run,
    RunExpiredError,
    SerializationError,
    StreamClosedError,
    StreamError,
    WorkflowRunNotFoundError,
    Workflows,
    WorkflowSandboxError,
    WritableStream,
    get_run,
    get_writable,
)
from wdk_cloud.testing.environment import WorkflowEnv

TOO_LARGE = bytes(8 * 1024 * 1024 + 1)


@dataclass
class Progress:
    done: int


def reading(app: Workflows) -> Any:
    """A step of the app that gives what it has read, and what the stream broke off with."""

    @app.step(max_retries=0)
    async def collect(stream: ReadableStream[Any]) -> list[Any]:
        got: list[Any] = []
        try:
            await pour(stream, got)
        except StreamError as error:
            got.append(error.__cause__ or error)
        return got

    return collect


# -- chunks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunk", "message"),
    [(object(), "a value of type object cannot be recorded"), (TOO_LARGE, "a chunk of 8,388,609 bytes")],
    ids=["not serializable", "too large"],
)
def test_a_generator_that_yields_what_cannot_be_recorded_has_failed_and_its_run_goes_on(
    play: Play, chunk: object, message: str
) -> None:
    app = Workflows()
    collect = reading(app)
    closed: list[str] = []

    @app.step
    async def produce() -> AsyncIterator[object]:
        try:
            yield 1
            yield chunk
            yield 2
        finally:
            closed.append("the generator")

    @app.workflow
    async def body() -> Any:
        return await collect(await produce())

    ended = play(body)
    first, error = ended.value
    assert (first, type(error)) == (1, SerializationError)
    assert message in str(error)
    assert closed == ["the generator"]


def test_an_upload_of_what_cannot_be_recorded_is_told_to_both_sides(play: Play) -> None:
    app = Workflows()
    collect = reading(app)

    @app.workflow
    async def body(upload: ReadableStream[Any]) -> Any:
        return await collect(upload)

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body, ReadableStream.from_iterable([b"first", object()]))
        with pytest.raises(SerializationError, match="a value of type object cannot be recorded"):
            await run.uploaded()
        return await env.run_to_end(run)

    first, error = play.scene(scenario, app)
    assert (first, type(error)) == (b"first", SerializationError)


def test_a_chunk_of_another_type_is_refused_to_its_reader_by_stream_and_index(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        await get_writable(type=Progress).write_from([Progress(1), "done"])  # type: ignore[list-item]

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body.with_options(run_id="run"))
        await env.run_to_end(run)
        got: list[Any] = []
        with pytest.raises(SerializationError) as caught:
            await pour(run.readable(type=Progress), got)
        return got, str(caught.value), await chunks_of(run)

    got, message, all_of_it = play.scene(scenario, app)
    assert got == [Progress(1)]
    assert message.startswith("stream 'default' of run run, chunk 1: 'done' (str) does not fit its annotation")
    assert all_of_it == [Progress(1), "done"]


def test_what_is_no_iterable_is_neither_written_nor_uploaded(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> str:
        with pytest.raises(TypeError, match="'int' object is not iterable"):
            await get_writable().write_from(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="takes something to iterate over, not int"):
            ReadableStream.from_iterable(7)  # type: ignore[arg-type]
        return "refused"

    @app.workflow
    async def body() -> str:
        return await work()

    assert play(body).value == "refused"


def test_a_source_that_raises_fails_the_attempt_that_writes_from_it(play: Play) -> None:
    app = Workflows()

    def source() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    @app.step(max_retries=0)
    async def work() -> None:
        await get_writable().write_from(source())

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        ended = await finish(env, await env.start(body))
        return ended.error.__cause__, await chunks_of(ended.run)

    cause, chunks = play.scene(scenario, app)
    assert (type(cause), str(cause)) == (OSError, "the file is gone")
    assert chunks == [1]


# -- where to begin ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start_index", ["1", 1.0, [1]])
@pytest.mark.parametrize("method", ["readable", "readable_bytes"])
def test_an_index_that_is_no_whole_number_is_refused_before_anything_is_read(method: str, start_index: object) -> None:
    with pytest.raises(TypeError, match="start_index is a whole number, not"):
        getattr(get_run("run"), method)(start_index=start_index)


@pytest.mark.parametrize("method", ["readable", "readable_bytes"])
def test_a_name_that_no_stream_can_have_is_refused_before_anything_is_read(method: str) -> None:
    with pytest.raises(ValueError, match="the namespace of a stream is 1 to 128 printable characters"):
        getattr(get_run("run"), method)("")
    with pytest.raises(TypeError, match="the namespace of a stream is text, not int"):
        getattr(get_run("run"), method)(7)


def test_a_reader_that_has_seen_nothing_yet_begins_at_the_beginning(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        await get_writable().write_from(["a", "b"])

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        await env.run_to_end(run)
        as_bytes = [chunk async for chunk in run.readable_bytes(start_index=None)]
        return [chunk async for chunk in run.readable(start_index=None)], as_bytes

    assert play.scene(scenario, app) == (["a", "b"], [b"a", b"b"])


# -- readers -----------------------------------------------------------------------------------------------------------


def test_readers_that_stop_or_go_away_hold_nobody_up(play: Play) -> None:
    app = Workflows()
    both_have_begun = asyncio.Event()

    @app.step
    async def work() -> None:
        writer = get_writable(type=int)
        await writer.write(0)
        await both_have_begun.wait()
        for number in range(1, 50):
            await writer.write(number)
            await writer.drain()

    @app.workflow
    async def body() -> str:
        await work()
        return "done"

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        slow, gone = aiter(run.readable(type=int)), aiter(run.readable(type=int))
        begun = [await anext(slow), await anext(gone)]
        await gone.aclose()  # type: ignore[attr-defined]
        both_have_begun.set()
        result = await env.run_to_end(run)
        return begun, result, [number async for number in slow]

    assert play.scene(scenario, app) == ([0, 0], "done", list(range(1, 50)))


def test_a_reader_whose_task_is_cancelled_leaves_the_run_and_the_other_readers_alone(play: Play) -> None:
    app = Workflows()
    go_on = asyncio.Event()

    @app.step
    async def work() -> None:
        writer = get_writable()
        await writer.write("before")
        await go_on.wait()
        await writer.write("after")

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        seen: list[Any] = []
        impatient, patient = asyncio.create_task(pour(run.readable(), seen)), asyncio.create_task(chunks_of(run))
        await env.settle()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        go_on.set()
        await env.run_to_end(run)
        return await patient

    assert play.scene(scenario, app) == ["before", "after"]


def test_a_run_that_is_deleted_meanwhile_is_told_to_its_readers(play: Play) -> None:
    app = Workflows()
    release = asyncio.Event()

    @app.step
    async def work() -> None:
        await get_writable().write("before")
        await get_writable().drain()
        await release.wait()

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        reader = aiter(run.readable())
        assert await anext(reader) == "before"
        await run.delete()
        with pytest.raises(RunExpiredError):
            await anext(reader)
        with pytest.raises(RunExpiredError):
            await run.stream_info()
        release.set()

    play.scene(scenario, app)


def test_the_readers_of_a_cancelled_run_end_and_who_still_writes_is_told(play: Play) -> None:
    app = Workflows()
    release, told = asyncio.Event(), []

    @app.step
    async def work() -> None:
        writer = get_writable()
        await writer.write("before")
        await writer.drain()
        await release.wait()
        try:
            await writer.write("after")
            await writer.drain()
        except StreamClosedError as error:
            told.append(str(error))

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body.with_options(run_id="run"))
        reading = asyncio.create_task(chunks_of(run))
        await env.settle()
        await run.cancel()
        await env.settle()
        chunks = await reading
        release.set()
        await env.run_until_blocked()
        return chunks, await run.status(), await chunks_of(run)

    assert play.scene(scenario, app) == (["before"], "cancelled", ["before"])
    assert [message.partition(";")[0] for message in told] == [
        "stream 'default' of run run is closed: somebody closed it, or its run has ended"
    ]


def test_a_step_that_reads_a_stream_of_a_run_that_is_not_there_fails_alone(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=0)
    async def read() -> Any:
        return await chunks_of(get_run("unknown"))

    @app.workflow
    async def body() -> str:
        try:
            await read()
        except Exception as error:
            return type(error.__cause__).__name__
        return "read"

    assert play(body).value == WorkflowRunNotFoundError.__name__


# -- in bodies ---------------------------------------------------------------------------------------------------------


async def leave_open() -> None:
    async with get_writable() as writer:
        await writer.write("x")


async def read_as_bytes() -> None:
    async for _ in get_run("other").readable_bytes():
        pass


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: get_writable().drain(),
        lambda: get_writable().close(),
        lambda: get_writable().write_from(["x"]),
        leave_open,
        read_as_bytes,
        lambda: get_run("other").list_streams(),
    ],
    ids=["drain", "close", "write_from", "async with", "readable_bytes", "list_streams"],
)
def test_a_body_that_catches_what_it_is_told_about_a_stream_fails_all_the_same_and_has_done_nothing(
    play: Play, attempt: Callable[[], Awaitable[object]]
) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        try:
            await attempt()
        except WorkflowSandboxError:
            return "caught"
        return "done"

    async def scenario(env: WorkflowEnv) -> Any:
        ended = await finish(env, await env.start(body))
        return ended, await ended.run.list_streams()

    ended, streams = play.scene(scenario, app)
    assert isinstance(ended.error, WorkflowSandboxError)
    assert "Do it in a step" in str(ended.error)
    assert (ended.types, streams) == (["run_created", "run_started", "run_failed"], [])


def test_a_generator_that_is_passed_on_is_read_by_no_body(play: Play) -> None:
    app = Workflows()

    @app.step
    async def produce() -> AsyncIterator[int]:
        yield 1

    @app.workflow
    async def body() -> None:
        async for _ in await produce():
            pass

    error = play(body).error
    assert isinstance(error, WorkflowSandboxError)
    assert "tried to read a stream" in str(error)


# -- the wrong stream --------------------------------------------------------------------------------------------------


def test_a_stream_to_read_is_none_to_write_to_nor_the_other_way_round(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=0)
    async def write(stream: WritableStream[int]) -> None:
        await stream.write(1)

    @app.step(max_retries=0)
    async def read(stream: ReadableStream[int]) -> list[int]:
        return [number async for number in stream]

    @app.workflow
    async def writes(stream: Any) -> None:
        await write(stream)

    @app.workflow
    async def reads() -> None:
        await read(get_writable())  # type: ignore[arg-type]

    first = play(writes, get_run("other").readable()).error
    second = play(reads).error
    for error, wanted in ((first, "WritableStream"), (second, "ReadableStream")):
        assert isinstance(error, SerializationError)
        assert str(error).endswith(f"does not fit its annotation {wanted}")


def test_a_plain_generator_is_no_step() -> None:
    app = Workflows()
    with pytest.raises(TypeError, match="is a generator; a step returns its result as one value, or is an async"):

        @app.step
        def numbers() -> Iterator[int]:
            yield 1


def test_streams_are_values_that_a_result_may_have(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> WritableStream[str]:
        writer = get_writable("given", type=str)
        await writer.write("first")
        return writer

    @app.step
    async def write(to: WritableStream[str]) -> None:
        await to.write("second")

    @app.workflow
    async def body() -> ReadableStream[str]:
        await write(await work())
        return get_run("run").readable("given")

    async def scenario(env: WorkflowEnv) -> Any:
        run: Run[ReadableStream[str]] = await env.start(body.with_options(run_id="run"))
        return [text async for text in await env.run_to_end(run)]

    assert play.scene(scenario, app) == ["first", "second"]
