"""The order in which one client puts things, for worlds whose stores keep none."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Clock


class Order:
    """Numbers that rise with each call, and between processes with the clock: microseconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._last = 0

    def following(self) -> int:
        with self._lock:
            self._last = max(self._last + 1, round(self._clock.now() * 1e6))
            return self._last
