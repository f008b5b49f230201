"""The streams of a run, as its handle shows them, and those among its arguments, which `start` uploads."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

from wdk_cloud.errors import RunExpiredError, StreamClosedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from wdk_cloud.app import Workflow
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.payloads import Payloads
    from wdk_cloud.streams import ReadableStream, StreamInfo
    from wdk_cloud.world.ports import Head, World

C = TypeVar("C")

_running: set[asyncio.Future[None]] = set()
"""Uploads, which nobody else may hold: the loop keeps only weak references to tasks."""


class RunStreams:
    """The part of `Run` that is about streams."""

    run_id: str
    _workflow: Workflow[..., Any] | None
    _namespace: str | None
    _uploads: tuple[asyncio.Future[None], ...] = ()

    @overload
    def readable(self, namespace: str | None = None, start_index: int | None = 0) -> ReadableStream[Any]: ...
    @overload
    def readable(self, namespace: str | None, start_index: int | None, type: type[C]) -> ReadableStream[C]: ...
    @overload
    def readable(
        self, namespace: str | None = None, start_index: int | None = 0, *, type: type[C]
    ) -> ReadableStream[C]: ...
    def readable(
        self, namespace: str | None = None, start_index: int | None = 0, type: type[Any] | None = None
    ) -> ReadableStream[Any]:
        """A stream of the run, from the chunk `start_index` on; `async for` follows it live until it is closed.

        `namespace` names one of several. A negative index counts back from the last chunk; one beyond either end is
        that end. Chunks are converted to `type`. Iterating raises StreamError when the producer failed or died,
        WorkflowRunNotFoundError, RunExpiredError, and in a body WorkflowSandboxError. Raises `TypeError` for an index
        that is no whole number, `ValueError` for what cannot be a name.
        """
        from wdk_cloud.streams import Handle, ReadableStream, stream_name

        if start_index is None:  # a client that has seen nothing yet
            start_index = 0
        if not isinstance(start_index, int):
            raise TypeError(f"start_index is a whole number, not {start_index!r}")
        handle = Handle(self.run_id, stream_name(namespace), self._namespace or "")
        annotation = Any if type is None else type
        known = None if self._workflow is None else self._known()
        return ReadableStream(handle, start_index=start_index, annotation=annotation, known=known)

    def readable_bytes(self, namespace: str | None = None, start_index: int | None = 0) -> AsyncIterator[bytes]:
        """The chunks of a stream as bytes: text in UTF-8, other values as lines of JSON. `namespace` and `start_index`
        are as in `readable`."""
        return _without_numbers(self.readable(namespace, start_index))

    async def stream_info(self, namespace: str | None = None) -> StreamInfo:
        """The index of the last chunk, and whether the stream is closed; `namespace` is as in `readable`. Raises
        WorkflowRunNotFoundError, RunExpiredError, and in a body WorkflowSandboxError."""
        from wdk_cloud.engine import streaming
        from wdk_cloud.streams import StreamInfo, refuse_in_body, stream_name

        name = stream_name(namespace)
        refuse_in_body("ask for a stream's info")
        return StreamInfo(*await streaming.info(await self._world(), await self._head(), name))

    async def list_streams(self) -> list[str]:
        """The names of the run's streams, in order; the one without a namespace is "default". Raises as
        `stream_info`."""
        from wdk_cloud.engine import streaming
        from wdk_cloud.streams import refuse_in_body

        refuse_in_body("list the streams of a run")
        head = await self._head()
        return streaming.named(await (await self._world()).runs.items(head.run_id, head.birth, ()))

    async def uploaded(self) -> None:
        """Wait until the streams among the run's arguments are uploaded; on the handle that `start` gave.

        Raises what producing or writing one failed with, of which its readers get StreamError.
        """
        if self._uploads:
            await asyncio.gather(*map(asyncio.shield, self._uploads))

    async def upload(self, streams: list[tuple[str, ReadableStream[Any]]], payloads: Payloads) -> None:
        """For `start`: begin with these `streams`. Each has its first mark when this returns. `payloads` are those of
        the run, from whoever has created it: it need not be able to unwrap the key."""
        from wdk_cloud.engine import producing
        from wdk_cloud.engine.streaming import Place

        world, known = await self._world(), self._known()
        uploads: list[asyncio.Future[None]] = []
        for name, stream in streams:
            try:
                upload = await producing.begin(Place(world, self.run_id, payloads.birth, name, payloads.sealer))
            except (StreamClosedError, RunExpiredError) as error:  # the run was quicker, and wants nothing more
                uploads.append(asyncio.get_running_loop().create_future())
                uploads[-1].set_exception(error)
            else:
                uploads.append(asyncio.create_task(upload.run(aiter(stream), known, "", tell=True)))
            _running.add(uploads[-1])
            uploads[-1].add_done_callback(_done)
        self._uploads = tuple(uploads)

    if TYPE_CHECKING:  # what `Run` has

        async def _world(self) -> World: ...
        async def _head(self) -> Head: ...
        def _known(self) -> KnownTypes: ...


async def _without_numbers(stream: ReadableStream[Any]) -> AsyncIterator[bytes]:
    async with aclosing(stream.raw()) as chunks:
        async for _, data in chunks:
            yield data


def _done(task: asyncio.Future[None]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # told by `uploaded()`, and to the stream's readers


@contextmanager
def uploads(*, allowed: bool) -> Generator[list[tuple[str, ReadableStream[Any]]]]:
    """While arguments are encoded: the streams among them that exist in this process only, with their new names."""
    found: list[tuple[str, ReadableStream[Any]]] = []
    if not allowed:
        yield found
        return
    from wdk_cloud.streams import collecting

    with collecting() as collected:
        yield found
    found.extend(collected)
