"""Writing to streams without asyncio, in steps that are a plain `def`; part of `wdk_cloud.sync`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from wdk_cloud import streams
from wdk_cloud.context import step_context
from wdk_cloud.errors import WorkflowContextError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable
    from types import TracebackType

T = TypeVar("T")
R = TypeVar("R")


class WritableStream(Generic[T]):
    """A stream to write to, whose methods are those of `wdk_cloud.WritableStream`, and block."""

    def __init__(self, stream: streams.WritableStream[T], loop: asyncio.AbstractEventLoop) -> None:
        self._stream = stream
        self._loop = loop

    def __repr__(self) -> str:
        return f"<sync {self._stream!r}>"

    def write(self, chunk: T) -> None:
        self._wait(self._stream.write(chunk))

    def write_from(self, chunks: Iterable[T]) -> None:
        for chunk in chunks:
            self.write(chunk)

    def drain(self) -> None:
        self._wait(self._stream.drain())

    def close(self) -> None:
        self._wait(self._stream.close())

    def __enter__(self) -> WritableStream[T]:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, unless the block failed: the step may be tried again, and go on."""
        if error is None:
            self.close()

    def _wait(self, call: Coroutine[Any, Any, R]) -> R:
        """On the loop of the step's worker, as this thread's step."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


@overload
def get_writable(namespace: str | None = None, *, resume: bool = False) -> WritableStream[Any]: ...
@overload
def get_writable(namespace: str | None, type: type[T], resume: bool = False) -> WritableStream[T]: ...
@overload
def get_writable(namespace: str | None = None, *, type: type[T], resume: bool = False) -> WritableStream[T]: ...
def get_writable(
    namespace: str | None = None, type: type[Any] | None = None, resume: bool = False
) -> WritableStream[Any]:
    """`wdk_cloud.get_writable`, which see, for a step that is a plain `def`. Raises WorkflowContextError elsewhere."""
    context = step_context.get()
    if context is None or asyncio._get_running_loop() is not None:
        raise WorkflowContextError(
            "wdk_cloud.sync.get_writable() works in a step that is a plain `def` only; in an `async def` use that of "
            "wdk_cloud, with await"
        )
    stream = streams.get_writable(namespace, Any if type is None else type, resume)
    return WritableStream(stream, context.streams.loop)
