"""Streams: what a run's steps write while they work, and others read live."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar, cast, overload

from wdk_cloud.app import check_namespace, current_body
from wdk_cloud.codec.extensions import register_extension
from wdk_cloud.codec.refusal import Refusal
from wdk_cloud.context import step_context
from wdk_cloud.errors import WorkflowContextError
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Generator, Iterable
    from types import TracebackType

    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.appender import Appender
    from wdk_cloud.engine.follower import Follower
    from wdk_cloud.engine.streaming import Place
    from wdk_cloud.engine.writers import Writers

T = TypeVar("T")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)

MAX_NAME = 128
"""Characters of a stream's name: it is part of URLs and of the names of objects."""


class StreamInfo(NamedTuple):
    """`tail_index` is the index of the last chunk, -1 before the first; `closed` whether no more can come."""

    tail_index: int
    closed: bool


class Handle(NamedTuple):
    """Where a stream lies. `run_id` is empty for the run whose input the handle is part of."""

    run_id: str
    stream: str
    namespace: str


def stream_name(namespace: str | None) -> str:
    """The name of a stream as users give it. Raises `TypeError` and `ValueError`."""
    from wdk_cloud.engine.streaming import DEFAULT, OF_A_VALUE

    if namespace is None:
        return DEFAULT
    if not isinstance(namespace, str):
        raise TypeError(f"the namespace of a stream is text, not {type(namespace).__name__}")
    if not 0 < len(namespace) <= MAX_NAME or not namespace.isprintable() or namespace.startswith(OF_A_VALUE):
        raise ValueError(
            f"the namespace of a stream is 1 to {MAX_NAME} printable characters and does not begin with "
            f"{OF_A_VALUE!r}, not {namespace!r}"
        )
    return namespace


def refuse_in_body(what: str) -> None:
    """Raises WorkflowSandboxError in a workflow body, whose run fails even if it catches that."""
    if (body := current_body()) is not None:
        from wdk_cloud.engine.guard import refuse

        refuse(body.loop, what, "Do it in a step: a stream can be passed there.")


# -- writing -----------------------------------------------------------------------------------------------------------


class WritableStream(Generic[T]):
    """A stream to write to, which `get_writable` gives. In a body it can only be passed on, to steps and other runs."""

    def __init__(self, handle: Handle, *, annotation: object = Any, resume: bool = False) -> None:
        self._handle = handle
        self._annotation = annotation
        self._resume = resume
        self._appender: Appender | None = None
        self._writers: Writers | None = None
        self._encoded: Callable[[object, KnownTypes], bytes] = _not_opened

    def __repr__(self) -> str:
        return f"<WritableStream {self._handle.stream!r} of run {self._handle.run_id}>"

    async def write(self, chunk: T) -> None:
        """Returns when the chunk is buffered and there is room for more. The step is recorded only when all of its
        chunks are durable.

        Raises StreamClosedError once the stream is closed or its run has ended, SerializationError for a chunk that
        cannot be recorded or is larger than 8 MiB.
        """
        appender = self._appender or await self._opened()
        assert self._writers is not None  # opened
        if self._writers.is_over:
            raise self._too_late()
        await appender.write(self._encoded(chunk, self._writers.known))

    async def write_from(self, chunks: AsyncIterable[T] | Iterable[T]) -> None:
        """Write each of the `chunks`, of something to iterate over with `for` or `async for`. Raises as `write`."""
        if hasattr(chunks, "__aiter__"):
            async for chunk in cast("AsyncIterable[T]", chunks):
                await self.write(chunk)
        else:
            for chunk in cast("Iterable[T]", chunks):
                await self.write(chunk)

    async def drain(self) -> None:
        """Returns when everything written is durable, and whoever reads can see it."""
        await (self._appender or await self._opened()).drain()

    async def close(self) -> None:
        """Write what waits, and close the stream for all. Closing it again does nothing."""
        await (self._appender or await self._opened()).close()

    async def __aenter__(self) -> WritableStream[T]:
        await self._opened()
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, unless the block failed: the step may be tried again, and go on."""
        if error is None:
            await self.close()

    async def _opened(self) -> Appender:
        refuse_in_body("write to a stream")
        context = step_context.get()
        if context is None:
            raise WorkflowContextError(f"{self!r} is written by steps; call get_writable() in one, or pass it there")
        if context.streams.is_over:
            raise self._too_late()
        from wdk_cloud.engine.chunks import encoded

        self._writers, self._encoded = context.streams, encoded
        self._writers.known.learn_annotation(self._annotation)
        handle = self._handle
        self._appender = await context.streams.appender(handle.run_id, handle.stream, resume=self._resume)
        return self._appender

    def _too_late(self) -> WorkflowContextError:
        return WorkflowContextError(
            f"{self!r}: the step that opened it is over, and recorded; write in a step that still runs"
        )


def _not_opened(chunk: object, known: KnownTypes) -> bytes:
    raise AssertionError(f"{chunk!r} is written with {known!r} before the stream is open")


@overload
def get_writable(namespace: str | None = None, *, resume: bool = False) -> WritableStream[Any]: ...
@overload
def get_writable(namespace: str | None, type: type[T], resume: bool = False) -> WritableStream[T]: ...
@overload
def get_writable(namespace: str | None = None, *, type: type[T], resume: bool = False) -> WritableStream[T]: ...
def get_writable(
    namespace: str | None = None, type: type[Any] | None = None, resume: bool = False
) -> WritableStream[Any]:
    """A stream of this run: in a step to write to, in a body to pass on.

    `namespace` names one of several; `type` is that of its chunks. An attempt that follows another
    writes its chunks again; with `resume` those that the step has already written are left out, counted from its
    first `write`: for a step that writes the same again. Raises WorkflowContextError elsewhere.
    """
    name = stream_name(namespace)
    body, context = current_body(), step_context.get()
    if body is not None:
        handle = Handle(body.run_id, name, body.workflow.app.namespace)
        return WritableStream(handle, annotation=type or Any, resume=resume)
    if context is None:
        raise WorkflowContextError("get_writable() works in a step or a workflow body only; call it there")
    return WritableStream(Handle(context.run_id, name, ""), annotation=type or Any, resume=resume)


# -- reading -----------------------------------------------------------------------------------------------------------


class ReadableStream(Generic[T_co]):
    """A stream to read, which `run.readable()` gives: `async for` follows it live until it is closed, each time from
    its beginning (or from the index that `run.readable()` was given). In a body it can only be passed on.

    Raises StreamError when its producer failed or died, after the chunks that were durable before.
    """

    def __init__(
        self,
        handle: Handle,
        *,
        start_index: int = 0,
        annotation: object = Any,
        source: AsyncIterable[T_co] | Iterable[T_co] | None = None,
        known: KnownTypes | None = None,
    ) -> None:
        self._handle = handle
        self._known = known
        self._start_index = start_index
        self._annotation = annotation
        self._source = source

    @classmethod
    def from_iterable(cls, chunks: AsyncIterable[C] | Iterable[C]) -> ReadableStream[C]:
        """A stream of these chunks, for an argument of `start`: it returns when the run is durable, and uploads them
        in the background (`await run.uploaded()`). Raises `TypeError` for what cannot be iterated over."""
        if not hasattr(chunks, "__aiter__") and not hasattr(chunks, "__iter__"):
            raise TypeError(f"from_iterable() takes something to iterate over, not {type(chunks).__name__}")
        return ReadableStream(Handle("", "", ""), source=chunks)

    def __repr__(self) -> str:
        if self._source is not None:
            return "<ReadableStream of an iterable>"
        return f"<ReadableStream {self._handle.stream!r} of run {self._handle.run_id}>"

    async def __aiter__(self) -> AsyncIterator[T_co]:
        if self._source is not None:
            async for chunk in _each(self._source):
                yield chunk
            return
        async with aclosing(self.numbered()) as chunks:
            async for _, chunk in chunks:
                yield chunk

    async def numbered(self) -> AsyncGenerator[tuple[int, T_co], None]:
        """The chunks with their indexes, from 0: what a reader that comes back gives as `start_index`, plus one."""
        from wdk_cloud.codec.values import decode
        from wdk_cloud.engine.follower import Follower

        place, known = await self._opened()
        annotation = self._annotation
        # Whoever stops in the middle ends the subscription at once, and not when the garbage is collected.
        async with aclosing(Follower(place, known, self._start_index).batches()) as batches:
            async for batch in batches:
                for number, data, is_value in batch:
                    path = f"{place}, chunk {number}"
                    chunk = decode(data, annotation, known=known, path=path) if is_value else data
                    yield number, cast("T_co", chunk)

    async def raw(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """The chunks as bytes, with their indexes: text in UTF-8, other values as lines of JSON."""
        async with aclosing((await self.follower()).batches()) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk.number, chunk.as_bytes()

    async def follower(self) -> Follower:
        """One reader, for whoever passes the chunks on as they lie in the stream. Raises as iterating does."""
        from wdk_cloud.engine.follower import Follower

        return Follower(*await self._opened(), self._start_index)

    def starting_at(self, index: int) -> ReadableStream[T_co]:
        """The same stream, from the chunk with this `index` on."""
        return ReadableStream(self._handle, start_index=index, annotation=self._annotation, known=self._known)

    async def _opened(self) -> tuple[Place, KnownTypes]:
        from wdk_cloud.encryption import keys_of
        from wdk_cloud.engine.writers import place_of
        from wdk_cloud.references import types_known_to

        if self._source is not None:
            raise TypeError("a stream of an iterable is read where it was made; pass on one of a run, run.readable(…)")
        refuse_in_body("read a stream")
        handle, context = self._handle, step_context.get()
        if context is not None:
            place, known = await context.streams.place(handle.run_id, handle.stream), context.streams.known
        else:
            world = await current_world(check_namespace(handle.namespace) if handle.namespace else "")
            place = await place_of(world, keys_of(world), handle.run_id, handle.stream)
            known = self._known if self._known is not None else types_known_to(None)
        known.learn_annotation(self._annotation)
        return place, known


async def _each(chunks: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    if hasattr(chunks, "__aiter__"):
        async for chunk in cast("AsyncIterable[T]", chunks):
            yield chunk
    else:
        for chunk in cast("Iterable[T]", chunks):
            yield chunk


# -- streams as values -------------------------------------------------------------------------------------------------

_to_upload: ContextVar[dict[int, ReadableStream[Any]] | None] = ContextVar("wdk_to_upload", default=None)
"""What is collected while arguments are encoded, by identity: a stream may stand in them twice, or be encoded again."""


@contextmanager
def collecting() -> Generator[list[tuple[str, ReadableStream[Any]]]]:
    """Let streams that exist in this process only be encoded; the list has them, with their names, after the block."""
    found: dict[int, ReadableStream[Any]] = {}
    named: list[tuple[str, ReadableStream[Any]]] = []
    token = _to_upload.set(found)
    try:
        yield named
    finally:
        _to_upload.reset(token)
    named.extend((_input_stream(number), stream) for number, stream in enumerate(found.values(), 1))


def _input_stream(number: int) -> str:
    from wdk_cloud.engine.streaming import OF_A_VALUE

    return f"{OF_A_VALUE}input#{number}"


def _parts_of_readable(stream: ReadableStream[Any]) -> dict[str, object]:
    if stream._source is None:  # pyright: ignore[reportPrivateUsage] -- its own module
        return stream._handle._asdict()  # pyright: ignore[reportPrivateUsage]
    collected = _to_upload.get()
    if collected is None:
        raise Refusal(
            "is a stream that exists in this process only; pass it to start() outside of a workflow, or make the step "
            "that gives it an async generator"
        )
    collected.setdefault(id(stream), stream)
    return Handle("", _input_stream(list(collected).index(id(stream)) + 1), "")._asdict()


def _handle_from(parts: Any) -> Handle:
    handle = Handle(**parts)
    body = current_body()
    if not handle.run_id and body is not None:  # part of the input of this run
        return Handle(body.run_id, handle.stream, body.workflow.app.namespace)
    return handle


def _readable_from(parts: Any) -> ReadableStream[Any]:
    return ReadableStream(_handle_from(parts))


def _parts_of_writable(stream: WritableStream[Any]) -> dict[str, object]:
    parts = stream._handle._asdict()  # pyright: ignore[reportPrivateUsage] -- its own module
    return {**parts, "resume": True} if stream._resume else parts  # pyright: ignore[reportPrivateUsage]


def _writable_from(parts: Any) -> WritableStream[Any]:
    resume = parts.pop("resume", False)
    return WritableStream(_handle_from(parts), resume=resume)


register_extension(ReadableStream, "stream", _parts_of_readable, _readable_from)
register_extension(WritableStream, "writable", _parts_of_writable, _writable_from)
