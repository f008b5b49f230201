"""Clocks: the machine's, and a virtual one for tests."""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SystemClock:
    """The machine's clock; `every` runs on one daemon thread per call."""

    still = False

    def now(self) -> float:
        return time.time_ns() // 1_000 / 1_000_000  # a quarter of what round() takes, several times a step

    def monotonic(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(max(0.0, when - self.now()), callback)

    def every(self, seconds: float, callback: Callable[[], object]) -> Ticker:
        ticker = Ticker(seconds, callback)
        ticker.start()
        return ticker


class Ticker(threading.Thread):
    """Calls back every so many seconds until it is cancelled."""

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        super().__init__(name="wdk-ticker", daemon=True)
        self._seconds = seconds
        self._callback = callback
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(self._seconds):
            self._callback()

    def cancel(self) -> None:
        self._over.set()


class VirtualClock:
    """A clock that stands still until it is moved; callbacks run inside `advance_to`, in order of their time."""

    still = True

    def __init__(self, start: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z: any fixed time will do
        self._now = start
        self._start = start
        self._heap: list[tuple[float, int, VirtualHandle]] = []
        self._periodic: list[PeriodicHandle] = []
        self._order = count()

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._start

    def call_at(self, when: float, callback: Callable[[], object]) -> VirtualHandle:
        handle = VirtualHandle(callback)
        heapq.heappush(self._heap, (when, next(self._order), handle))
        return handle

    def every(self, seconds: float, callback: Callable[[], object]) -> PeriodicHandle:
        handle = PeriodicHandle(callback, seconds, self._now + seconds, self._periodic)
        self._periodic.append(handle)
        return handle

    def next_due(self) -> float | None:
        """The time of the earliest callback, or None."""
        while self._heap and self._heap[0][2].cancelled:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def advance_to(self, when: float) -> None:
        """Move on to `when` and run what is due by then.

        Periodic callbacks are called once before each moment at which something else happens, not once a period: what
        they keep alive (leases) is only ever looked at then.
        """
        while (due := self.next_due()) is not None and due <= when:
            _, _, handle = heapq.heappop(self._heap)
            self._move(max(due, self._now))
            handle.callback()
        self._move(max(when, self._now))

    def _move(self, when: float) -> None:
        self._now = round(when, 6)
        for handle in list(self._periodic):
            if handle.due <= when:
                handle.due = when + handle.seconds
                handle.callback()


class VirtualHandle:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class PeriodicHandle:
    def __init__(self, callback: Callable[[], object], seconds: float, due: float, among: list[PeriodicHandle]) -> None:
        self.callback = callback
        self.seconds = seconds
        self.due = due
        self._among = among

    def cancel(self) -> None:
        if self in self._among:
            self._among.remove(self)
