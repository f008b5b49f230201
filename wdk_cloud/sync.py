"""The client without asyncio: `start`, `get_run`, `list_runs`, `resume_hook` and the methods of `Run`, which block.

For Flask, Django, scripts and plain `def` steps. One thread of the process has an event loop on which all of it
happens; where a world was opened by `use_world` it happens on that world's loop. A coroutine's thread has a loop of its
own, which would stand still meanwhile: there these functions refuse.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from wdk_cloud import client, hooks, streams
from wdk_cloud.errors import WorkflowContextError
from wdk_cloud.syncwriting import WritableStream, get_writable
from wdk_cloud.world import opening

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
    from datetime import datetime

    from wdk_cloud.app import Workflow
    from wdk_cloud.client import EventRecord, RunInfo, RunPage, Status
    from wdk_cloud.streams import StreamInfo

__all__ = [
    "ReadableStream",
    "Run",
    "WritableStream",
    "get_run",
    "get_writable",
    "list_runs",
    "resume_hook",
    "start",
    "start_sync",
]

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
T_co = TypeVar("T_co", covariant=True)

LAST_WORDS = 5.0
"""Seconds that the interpreter waits at its end for the worlds to close; they close in milliseconds."""


class Run(Generic[T_co]):
    """A handle on a run; its methods are those of `wdk_cloud.Run`, and block."""

    def __init__(self, run: client.Run[T_co]) -> None:
        self._run = run

    def __repr__(self) -> str:
        return f"<sync run {self.run_id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other._run == self._run  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash(self._run)

    @property
    def run_id(self) -> str:
        return self._run.run_id

    def status(self) -> Status:
        return wait("status", self._run.status)

    def exists(self) -> bool:
        return wait("exists", self._run.exists)

    def info(self) -> RunInfo:
        return wait("info", self._run.info)

    def attributes(self) -> dict[str, str]:
        return wait("attributes", self._run.attributes)

    def return_value(self, timeout: float | None = None) -> T_co:
        return wait("return_value", lambda: self._run.return_value(timeout))

    def events(self) -> Iterator[EventRecord]:
        async def collected() -> list[EventRecord]:
            return [event async for event in self._run.events()]

        return iter(wait("events", collected))

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
        """As `wdk_cloud.Run.readable`, which see; `for` follows it."""
        return ReadableStream(self._run.readable(namespace, start_index, Any if type is None else type))

    def readable_bytes(self, namespace: str | None = None, start_index: int | None = 0) -> Iterator[bytes]:
        return each("readable_bytes", lambda: self._run.readable_bytes(namespace, start_index))

    def stream_info(self, namespace: str | None = None) -> StreamInfo:
        return wait("stream_info", lambda: self._run.stream_info(namespace))

    def list_streams(self) -> list[str]:
        return wait("list_streams", self._run.list_streams)

    def uploaded(self) -> None:
        wait("uploaded", self._run.uploaded)

    def cancel(self, reason: str | None = None) -> None:
        wait("cancel", lambda: self._run.cancel(reason))

    terminate = cancel

    def wake_up(self) -> None:
        wait("wake_up", self._run.wake_up)

    def delete(self) -> None:
        wait("delete", self._run.delete)


class ReadableStream(Generic[T]):
    """A stream of a run: `for` follows it live until it is closed, and blocks for as long as nothing comes."""

    def __init__(self, stream: streams.ReadableStream[T]) -> None:
        self.stream = stream

    def __repr__(self) -> str:
        return f"<sync {self.stream!r}>"

    def __iter__(self) -> Iterator[T]:
        return each("readable", lambda: aiter(self.stream))


def start(workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Run[T]:
    """Start a run of `workflow` as `wdk_cloud.start` does, block until it is durable and enqueued; raises alike."""
    return Run(wait("start", lambda: client.start(workflow, *args, **kwargs)))


start_sync = start


def get_run(run_id: str, *, namespace: str | None = None) -> Run[Any]:
    """A handle on a run; asks nothing."""
    return Run(client.get_run(run_id, namespace=namespace))


def list_runs(
    workflow: Workflow[..., Any] | str | None = None,
    status: Status | None = None,
    version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    cursor: str | None = None,
    *,
    namespace: str | None = None,
) -> RunPage:
    """One page of runs, newest first."""
    return wait(
        "list_runs",
        lambda: client.list_runs(workflow, status, version, since, until, limit, cursor, namespace=namespace),
    )


def resume_hook(
    token: str | hooks.Hook[Any], payload: object = None, key: str | None = None, *, namespace: str | None = None
) -> None:
    """`wdk_cloud.resume_hook`, which see: returns when the payload is durable."""
    wait("resume_hook", lambda: hooks.resume_hook(token, payload, key, namespace=namespace))


# --- the loop ---------------------------------------------------------------------------------------------------------


class _Host:
    """The thread with the event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="wdk-sync", daemon=True)
        self._thread.start()
        atexit.register(self._close)

    def _close(self) -> None:
        if not self._thread.is_alive():
            return  # a child of a fork has the object and not the thread
        asyncio.run_coroutine_threadsafe(opening.close_worlds(), self.loop).result(LAST_WORDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(LAST_WORDS)
        self.loop.close()


_host: _Host | None = None
_making = threading.Lock()


def _background() -> asyncio.AbstractEventLoop:
    global _host
    with _making:
        if _host is None:
            _host = _Host()
        return _host.loop


def _forget() -> None:
    """A child of a fork has none of its parent's threads: it makes its own when it needs one."""
    global _host, _making
    _host, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def wait(name: str, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
    if asyncio._get_running_loop() is not None:
        raise WorkflowContextError(
            f"wdk_cloud.sync: {name}() blocks, and this thread runs an event loop, which would stand still: use the "
            f"{name} of wdk_cloud, with await"
        )
    loop = opening.loop_in_use() or _background()
    future = asyncio.run_coroutine_threadsafe(call(), loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()  # Ctrl-C ends the wait: what nobody waits for is not asked again and again
        raise


def each(name: str, make: Callable[[], AsyncIterator[T]]) -> Iterator[T]:
    """What an async generator gives, one after the other; it is closed with the iterator."""
    source = make()

    async def following() -> tuple[T] | None:
        async for item in source:
            return (item,)
        return None

    async def closed() -> None:
        if (close := getattr(source, "aclose", None)) is not None:
            await close()

    try:
        while (item := wait(name, following)) is not None:
            yield item[0]
    finally:
        wait(name, closed)
