"""Streams: what steps write while they work, and others read live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.running import Play
from wdk_cloud import (
    ReadableStream,
    RetryPolicy,
    Run,
    SerializationError,
    StreamClosedError,
    StreamError,
    WorkflowContextError,
    WorkflowRunNotFoundError,
    Workflows,
    WorkflowSandboxError,
    WritableStream,
    get_run,
    get_step_metadata,
    get_writable,
    start,
    sync,
)
from wdk_cloud.engine import producing
from wdk_cloud.engine.streaming import Place
from wdk_cloud.testing.environment import WorkflowEnv


@dataclass
class Progress:
    done: int
    of: int


async def chunks_of(run: Run[Any], namespace: str | None = None, start_index: int = 0) -> list[Any]:
    return [chunk async for chunk in run.readable(namespace, start_index)]


async def pour(stream: ReadableStream[Any], into: list[Any]) -> None:
    """What came before an error stays there."""
    async for chunk in stream:
        into += [chunk]


async def finished(env: WorkflowEnv, workflow: Any, *args: Any, run_id: str = "run") -> Run[Any]:
    run = await env.start(workflow.with_options(run_id=run_id), *args)
    await env.run_to_end(run)
    return run


# -- writing and reading -----------------------------------------------------------------------------------------------


def test_a_reader_gets_what_a_step_writes_in_order_and_ends_with_the_run(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        writer = get_writable()
        for chunk in ("text", 1, None, [1.5, {"a": b"x"}], b"bytes"):
            await writer.write(chunk)

    @app.workflow
    async def body() -> str:
        await work()
        return "done"

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await chunks_of(run), await run.stream_info(), await run.list_streams()

    chunks, info, streams = play.scene(scenario, app)
    assert chunks == ["text", 1, None, [1.5, {"a": b"x"}], b"bytes"]
    assert (info.tail_index, info.closed) == (4, True)
    assert streams == ["default"]


def test_a_typed_stream_gives_instances_of_its_type(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        writer = get_writable(type=Progress)
        await writer.write_from(Progress(done, 2) for done in (1, 2))

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return [progress async for progress in run.readable(type=Progress)]

    assert play.scene(scenario, app) == [Progress(1, 2), Progress(2, 2)]


def test_a_reader_follows_live(play: Play) -> None:
    app = Workflows()
    go_on, seen = asyncio.Event(), []

    @app.step
    async def work() -> None:
        writer = get_writable(type=int)
        await writer.write(1)
        await go_on.wait()  # until the reader has it
        await writer.write(2)

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)

        async def read() -> None:
            async for chunk in run.readable():
                seen.append((chunk, await run.status(), (await run.stream_info()).closed))
                go_on.set()

        reading = asyncio.create_task(read())
        await env.run_to_end(run)
        await reading
        return seen

    assert play.scene(scenario, app)[0] == (1, "running", False)
    assert [chunk for chunk, _, _ in seen] == [1, 2]


def test_a_namespace_is_a_stream_of_its_own(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        await get_writable("logs").write("log")
        await get_writable().write("main")
        await get_writable("logs").write("more")

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return (
            await chunks_of(run),
            await chunks_of(run, "logs"),
            await chunks_of(run, "none"),
            await run.list_streams(),
        )

    assert play.scene(scenario, app) == (["main"], ["log", "more"], [], ["default", "logs"])


@pytest.mark.parametrize(
    ("start_index", "expected"),
    [
        (0, [0, 1, 2, 3, 4]),
        (2, [2, 3, 4]),
        (4, [4]),
        (5, []),
        (99, []),
        (-1, [4]),
        (-5, [0, 1, 2, 3, 4]),
        (-99, [0, 1, 2, 3, 4]),
    ],
)
def test_a_reader_begins_where_it_is_told_and_clamps_at_both_ends(
    play: Play, start_index: int, expected: list[int]
) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        writer = get_writable(type=int)
        for number in range(5):
            await writer.write(number)
            await writer.drain()  # an object each

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        numbered = [pair async for pair in run.readable(start_index=start_index).numbered()]
        return await chunks_of(run, None, start_index), numbered

    chunks, numbered = play.scene(scenario, app)
    assert chunks == expected
    assert numbered == [(number, number) for number in expected]


def test_bytes_are_text_in_utf_8_and_lines_of_json(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        await get_writable().write_from([b"\x00\xff", "grüß", {"a": 1}])

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return [chunk async for chunk in run.readable_bytes()]

    assert play.scene(scenario, app) == [b"\x00\xff", "grüß".encode(), b'{"a":1}\n']


@pytest.mark.in_any_order  # whichever of the four has written its last chunk first ends first
def test_several_steps_write_one_stream_and_all_readers_see_one_order(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work(name: str) -> None:
        writer = get_writable()
        for number in range(20):
            await writer.write(f"{name}{number}")
            await writer.drain()

    @app.workflow
    async def body() -> None:
        await asyncio.gather(*(work(name) for name in "abcd"))

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await chunks_of(run), await chunks_of(run)

    first, second = play.scene(scenario, app)
    assert first == second
    assert len(first) == 80
    for name in "abcd":
        assert [chunk for chunk in first if chunk.startswith(name)] == [f"{name}{number}" for number in range(20)]


def test_a_step_is_recorded_only_when_its_chunks_are_durable(play: Play) -> None:
    app = Workflows()

    @app.step
    async def work() -> None:
        await get_writable().write("written")

    @app.step
    async def look() -> list[str]:
        run = get_run(get_step_metadata().run_id)
        info = await run.stream_info()
        return [str(info.tail_index)]

    @app.workflow
    async def body() -> list[str]:
        await work()
        return await look()

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await env.start(body))

    assert play.scene(scenario, app) == ["0"]


def test_a_step_that_is_a_plain_function_writes_too(play: Play) -> None:
    app = Workflows()

    @app.step
    def work() -> str:
        writer = sync.get_writable(type=int)
        writer.write_from(range(3))
        writer.drain()
        with sync.get_writable("other") as other:
            other.write("text")
        return repr(writer)

    @app.step
    async def wrong() -> str:
        with pytest.raises(WorkflowContextError, match="in a step that is a plain `def` only"):
            sync.get_writable()
        return "refused"

    @app.workflow
    async def body() -> list[str]:
        return [await work(), await wrong()]

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await run.return_value(), await chunks_of(run), await chunks_of(run, "other")

    assert play.scene(scenario, app) == (
        ["<sync <WritableStream 'default' of run run>>", "refused"],
        [0, 1, 2],
        ["text"],
    )


# -- closing -----------------------------------------------------------------------------------------------------------


def test_a_closed_stream_takes_nothing_more_and_its_step_fails_without_retry(play: Play) -> None:
    app = Workflows()
    attempts: list[int] = []

    @app.step
    async def close() -> None:
        async with get_writable() as writer:
            await writer.write("last")

    @app.step
    async def late() -> None:
        attempts.append(get_step_metadata().attempt)
        await get_writable().write("late")

    @app.workflow
    async def body() -> str:
        await close()
        try:
            await late()
        except StreamClosedError as error:
            return str(error)
        return "written"

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await run.return_value(), await chunks_of(run)

    message, chunks = play.scene(scenario, app)
    assert message.startswith("stream 'default' of run run is closed")
    assert chunks == ["last"]
    assert attempts == [1]


def test_a_writer_that_is_kept_after_its_step_is_refused(play: Play) -> None:
    app = Workflows()
    kept: list[WritableStream[Any]] = []

    @app.step
    async def first() -> None:
        kept.append(get_writable())
        await kept[0].write("in time")

    @app.step
    async def second() -> str:
        with pytest.raises(WorkflowContextError, match="the step that opened it is over"):
            await kept[0].write("late")
        return "refused"

    @app.workflow
    async def body() -> str:
        await first()
        return await second()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await run.return_value(), await chunks_of(run)

    assert play.scene(scenario, app) == ("refused", ["in time"])


# -- attempts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("resume", "expected"), [(False, [0, 1, 2, 0, 1, 2, 3]), (True, [0, 1, 2, 3])])
def test_a_step_that_is_tried_again_writes_again_or_goes_on(play: Play, resume: bool, expected: list[int]) -> None:
    app = Workflows()

    @app.step(retry=RetryPolicy(delay="1s"))
    async def work() -> None:
        writer = get_writable(type=int, resume=resume)
        for number in range(4):
            if number == 3 and get_step_metadata().attempt == 1:
                raise RuntimeError("in the middle")
            await writer.write(number)

    @app.workflow
    async def body() -> None:
        await work()

    async def scenario(env: WorkflowEnv) -> Any:
        return await chunks_of(await finished(env, body))

    assert play.scene(scenario, app) == expected


def test_a_writer_that_a_body_passes_on_goes_on_where_the_step_was(play: Play) -> None:
    app = Workflows()

    @app.step(retry=RetryPolicy(delay="1s"))
    async def work(writer: WritableStream[int]) -> None:
        for number in range(3):
            if number == 2 and get_step_metadata().attempt == 1:
                raise RuntimeError("in the middle")
            await writer.write(number)

    @app.workflow
    async def body() -> None:
        await work(get_writable(type=int, resume=True))

    async def scenario(env: WorkflowEnv) -> Any:
        return await chunks_of(await finished(env, body))

    assert play.scene(scenario, app) == [0, 1, 2]


# -- in bodies ---------------------------------------------------------------------------------------------------------


def test_a_body_neither_writes_nor_reads(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def writes() -> None:
        await get_writable().write("x")

    @app.workflow
    async def reads() -> None:
        async for _ in get_run("other").readable():
            pass

    @app.workflow
    async def asks() -> None:
        await get_run("other").stream_info()

    for workflow in (writes, reads, asks):
        ended = play(workflow)
        assert isinstance(ended.error, WorkflowSandboxError)
        assert "Do it in a step" in str(ended.error)


def test_a_body_passes_a_writer_on_to_a_step_and_to_a_child(play: Play) -> None:
    app = Workflows()

    @app.step
    async def write(to: WritableStream[str], text: str) -> None:
        await to.write(text)

    @app.workflow
    async def child(to: WritableStream[str]) -> None:
        await write(to, "from the child")

    @app.workflow
    async def body() -> None:
        writer: WritableStream[str] = get_writable("log")
        await write(writer, "from a step")
        run = await start(child, writer)
        await run.return_value()

    async def scenario(env: WorkflowEnv) -> Any:
        return await chunks_of(await finished(env, body), "log")

    assert play.scene(scenario, app) == ["from a step", "from the child"]


# -- streams as values -------------------------------------------------------------------------------------------------


def test_an_async_generator_step_gives_a_stream_that_other_steps_read_and_transform(play: Play) -> None:
    app = Workflows()

    @app.step
    async def numbers(n: int) -> AsyncIterator[int]:
        for number in range(n):
            yield number

    @app.step
    async def doubled(stream: ReadableStream[int]) -> AsyncIterator[int]:
        async for number in stream:
            yield 2 * number

    @app.step
    async def collect(stream: ReadableStream[int]) -> list[int]:
        return [number async for number in stream]

    @app.workflow
    async def body() -> list[int]:
        return await collect(await doubled(await numbers(10)))

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await run.return_value(), await run.list_streams()

    assert play.scene(scenario, app) == ([0, 2, 4, 6, 8, 10, 12, 14, 16, 18], [])


def test_the_error_of_a_producer_reaches_its_consumer_after_its_chunks(play: Play) -> None:
    app = Workflows()
    produced: list[int] = []

    @app.step
    async def numbers() -> AsyncIterator[int]:
        produced.append(1)
        yield 1
        raise ValueError("no more")

    @app.step(max_retries=0)
    async def collect(stream: ReadableStream[int]) -> list[Any]:
        got: list[Any] = []
        try:
            async for number in stream:
                got += [number]
        except StreamError as error:
            got.append((str(error), type(error.__cause__).__name__))
        return got

    @app.workflow
    async def body() -> list[Any]:
        stream = await numbers()
        return [await collect(stream), await collect(stream)]

    async def scenario(env: WorkflowEnv) -> Any:
        return await env.run_to_end(await env.start(body.with_options(run_id="run")))

    once, again = play.scene(scenario, app)
    assert once[0] == 1
    assert "its producer failed with ValueError: no more" in once[1][0]
    assert once[1][1] == "ValueError"
    assert again == once
    assert produced == [1]


def test_a_stream_whose_run_ends_before_its_producer_is_cut_off_for_its_readers(play: Play) -> None:
    app = Workflows()
    read = asyncio.Event()
    handles: list[ReadableStream[int]] = []

    @app.step
    async def numbers() -> AsyncIterator[int]:
        yield 1
        await read.wait()
        for number in range(1000):
            yield number

    @app.workflow
    async def body() -> None:
        handles.append(await numbers())

    async def scenario(env: WorkflowEnv) -> Any:
        run = await env.start(body)
        await run.return_value()
        got: list[int] = []
        with pytest.raises(StreamError, match="has ended early, as its run did"):
            await pour(handles[0], got)
        read.set()
        return got

    assert play.scene(scenario, app) == [1]


def test_start_uploads_a_stream_in_the_background(play: Play) -> None:
    app = Workflows()

    @app.step
    async def collect(stream: ReadableStream[bytes]) -> bytes:
        return b"".join([chunk async for chunk in stream])

    @app.workflow
    async def body(upload: ReadableStream[bytes]) -> bytes:
        return await collect(upload)

    async def scenario(env: WorkflowEnv) -> Any:
        async def source() -> AsyncIterator[bytes]:
            for number in range(5):
                yield bytes([number])

        run = await env.start(body, ReadableStream.from_iterable(source()))
        await run.uploaded()
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == bytes(range(5))


def test_a_run_that_is_over_before_its_upload_begins_is_started_all_the_same(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Workflows()

    @app.workflow
    async def body(upload: ReadableStream[bytes]) -> str:
        return "without it"

    async def scenario(env: WorkflowEnv) -> Any:
        begin = producing.begin

        async def later(place: Place) -> producing.Upload:
            await env.run_to_end(get_run("run"))
            return await begin(place)

        monkeypatch.setattr(producing, "begin", later)
        run = await env.start(body.with_options(run_id="run"), ReadableStream.from_iterable([b"x"]))
        with pytest.raises(StreamClosedError):
            await run.uploaded()
        return await run.return_value()

    assert play.scene(scenario, app) == "without it"


def test_an_upload_that_fails_is_told_to_both_sides(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=0)
    async def collect(stream: ReadableStream[bytes]) -> str:
        try:
            return str([chunk async for chunk in stream])
        except StreamError as error:
            return f"{type(error.__cause__).__name__}: {error.__cause__}"

    @app.workflow
    async def body(upload: ReadableStream[bytes]) -> str:
        return await collect(upload)

    async def scenario(env: WorkflowEnv) -> Any:
        async def source() -> AsyncIterator[bytes]:
            yield b"one"
            raise OSError("the file is gone")

        run = await env.start(body, ReadableStream.from_iterable(source()))
        with pytest.raises(OSError, match="the file is gone"):
            await run.uploaded()
        return await env.run_to_end(run)

    assert play.scene(scenario, app) == "OSError: the file is gone"


def test_a_stream_of_this_process_cannot_be_a_result_nor_come_from_a_body(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=0)
    async def gives() -> ReadableStream[int]:
        return ReadableStream.from_iterable([1])

    @app.workflow
    async def returns() -> None:
        await gives()

    @app.workflow
    async def child(stream: ReadableStream[int]) -> None: ...

    @app.workflow
    async def starts() -> None:
        await start(child, ReadableStream.from_iterable([1]))

    for workflow in (returns, starts):
        ended = play(workflow)
        assert isinstance(ended.error, SerializationError)
        assert "exists in this process only" in str(ended.error)


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_elsewhere_there_is_no_stream_to_write_to() -> None:
    with pytest.raises(WorkflowContextError, match="works in a step or a workflow body only"):
        get_writable()


@pytest.mark.parametrize("namespace", ["", "@of a value", "a\nb", "x" * 129])
def test_a_strange_namespace_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="the namespace of a stream"):
        get_run("run").readable(namespace)


def test_an_unknown_run_has_no_streams(play: Play) -> None:
    async def scenario(env: WorkflowEnv) -> None:
        for asking in (
            chunks_of(get_run("unknown")),
            get_run("unknown").stream_info(),
            get_run("unknown").list_streams(),
        ):
            with pytest.raises(WorkflowRunNotFoundError):
                await asking

    play.scene(scenario, Workflows())


@pytest.mark.parametrize(
    ("chunk", "message"),
    [(object(), "chunk"), (b"x" * (8 * 1024 * 1024 + 1), "larger than the 8,388,608")],
    ids=["not serializable", "too large"],
)
def test_a_chunk_that_cannot_be_recorded_fails_its_write_and_nothing_else(
    play: Play, chunk: object, message: str
) -> None:
    app = Workflows()

    @app.step
    async def work() -> str:
        writer = get_writable()
        await writer.write("before")
        try:
            await writer.write(chunk)
        except SerializationError as error:
            await writer.write("after")
            return str(error)
        return "written"

    @app.workflow
    async def body() -> str:
        return await work()

    async def scenario(env: WorkflowEnv) -> Any:
        run = await finished(env, body)
        return await run.return_value(), await chunks_of(run)

    said, chunks = play.scene(scenario, app)
    assert message in said
    assert chunks == ["before", "after"]
