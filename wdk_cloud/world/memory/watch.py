"""Watching runs for their end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from wdk_cloud.world.memory.bell import Bell

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Watches:
    """The open watches of one namespace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, list[Watch]] = {}

    def add(self, run_id: str) -> Watch:
        watch = Watch(self, run_id)
        with self._lock:
            self._open.setdefault(run_id, []).append(watch)
        return watch

    def remove(self, run_id: str, watch: Watch) -> None:
        with self._lock:
            watches = self._open.get(run_id, [])
            if watch in watches:
                watches.remove(watch)
                if not watches:
                    del self._open[run_id]

    def ring(self, run_id: str) -> None:
        with self._lock:
            watches = list(self._open.get(run_id, ()))
        for watch in watches:
            watch.ring()


class Watch:
    """One reader's subscription to the end of a run; it may wait on any event loop."""

    def __init__(self, among: Watches, run_id: str) -> None:
        self._among = among
        self._run_id = run_id
        self._bell = Bell()
        self._rung = False

    def ring(self) -> None:
        self._rung = True
        self._bell.ring()

    def wait(self, timeout: float) -> Awaitable[bool]:
        return self._wait(timeout)

    async def _wait(self, seconds: float) -> bool:
        rung = self._bell.listen()
        try:
            if not self._rung:
                await asyncio.wait([rung], timeout=seconds)
            if self._rung:  # cleared only when heard: a ring from another thread may come at any moment
                self._rung = False
                return True
            return False
        finally:
            self._bell.forget(rung)

    def close(self) -> None:
        self._among.remove(self._run_id, self)
