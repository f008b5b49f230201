"""A bell: wakes coroutines that wait, on whichever event loop they do, from any thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Bell:
    """Whoever waits listens first and looks at the state after that, so that no ring falls in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listening: dict[asyncio.Future[None], None] = {}  # in order: a set would wake them by address

    def listen(self) -> asyncio.Future[None]:
        """A future of the running loop that the next ring resolves; `forget` it in the end, whatever happened."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._listening[future] = None
        return future

    def forget(self, future: asyncio.Future[None]) -> None:
        with self._lock:
            self._listening.pop(future, None)

    def ring(self) -> None:
        """Wake all who listen."""
        with self._lock:
            futures, self._listening = self._listening, {}
        for future in futures:
            resolve(future)


def resolve(future: asyncio.Future[None]) -> None:
    """Resolve the future from any thread. The loop's own thread needs no detour through its self-pipe."""
    loop = future.get_loop()
    if loop is running_loop():
        _settle(future)
    else:
        with suppress(RuntimeError):  # that loop is closed: nobody waits on it any more
            loop.call_soon_threadsafe(_settle, future)


def running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
