"""When a turn has something to do by itself: timers of the body, and retries that are not due yet."""

from __future__ import annotations

import heapq
from itertools import count
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.engine.replay import Body

Kind = Literal["wait", "retry"]


class Schedule:
    """Entries by due time, then in the order in which they were made; those that no longer matter are skipped."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Kind, str]] = []
        self._order = count()
        self._retries: set[str] = set()
        self.unclaimed = False
        """The log holds inline steps without an end that the body has not asked for (yet)."""

    @property
    def empty(self) -> bool:
        return not self._heap

    def fill(self, body: Body | None) -> None:
        if body is not None:
            body.found.clear()
            for id, (due, _) in body.timers.items():
                self.wait(id, due)

    def fill_up(self, body: Body) -> None:
        """Timers of the log that the body came to only now, behind something new: no command tells of them."""
        for id in body.found:
            if id in body.timers:
                self.wait(id, body.timers[id][0])
        body.found.clear()

    def wait(self, id: str, due: float) -> None:
        heapq.heappush(self._heap, (due, next(self._order), "wait", id))

    def retry(self, id: str, due: float) -> None:
        """A step that is scheduled already stays as it is."""
        if id not in self._retries:
            self._retries.add(id)
            heapq.heappush(self._heap, (due, next(self._order), "retry", id))

    def next_due(self, valid: Callable[[Kind, str], bool]) -> float | None:
        while self._heap and not valid(self._heap[0][2], self._heap[0][3]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float, valid: Callable[[Kind, str], bool]) -> tuple[Kind, str, float] | None:
        due = self.next_due(valid)
        if due is None or due > now:
            return None
        _, _, kind, id = heapq.heappop(self._heap)
        if kind == "retry":
            self._retries.discard(id)
        return kind, id, due
