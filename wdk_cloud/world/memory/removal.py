"""Removing runs: the tombstone, what lies under it, and what has been kept long enough."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from wdk_cloud.world.ports import Head, tombstone

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from wdk_cloud.world.memory.life import Life
    from wdk_cloud.world.memory.queue import MemoryQueue
    from wdk_cloud.world.memory.watch import Watches
    from wdk_cloud.world.ports import Token


class Removal:
    """The part of the store that takes away."""

    watches: Watches
    _lock: threading.Lock
    _queue: MemoryQueue
    _heads: dict[str, Head]
    _lives: dict[tuple[str, str], Life]
    _tokens: dict[str, Token]

    async def bury(self, run_id: str, birth: str, *, holder: str | None, fence: int, now: float) -> Head | None:
        # Races with whoever acquires, releases or ends the run: the caller has not seen that, and looks again.
        with self._lock:
            head = self._heads.get(run_id)
            if head is None or head.birth != birth:
                return None
            if head.status == "deleted" or head.holder != holder or head.fence != fence:
                return head
            head = self._heads[run_id] = tombstone(head, now)
        self.watches.ring(run_id)
        return head

    async def erase(self, runs: Sequence[tuple[str, str]]) -> None:
        gone = frozenset(runs)
        with self._lock:
            for run in gone:
                self._lives.pop(run, None)
            for token in list(self._tokens.values()):
                if (token.run_id, token.birth) in gone:
                    del self._tokens[token.digest]
            buried = {run for run in gone if self._buried(*run)}
            self._queue.erase(gone, for_ever=buried)
            for run_id, _ in buried:
                self._heads[run_id] = replace(self._heads[run_id], continued_to=None, length=0, wake_by=0.0)

    async def removable(self, *, ended_before: float, buried_before: float, limit: int) -> list[Head]:
        with self._lock:
            ended = sorted((head for head in self._heads.values() if head.ended), key=_by_end)
            kept = [head for head in ended if head.status != "deleted"]
            buried = [head for head in ended if head.status == "deleted"]
            unfinished = [head for head in buried if head.wake_by]
            expired = [head for head in kept if _ended_at(head) < ended_before and not self._leads_on(head)]
            old = [head for head in buried if not head.wake_by and _ended_at(head) < buried_before]
        return [*unfinished, *expired, *old][:limit]

    async def forget(self, run_id: str, birth: str) -> None:
        with self._lock:
            if self._buried(run_id, birth):
                del self._heads[run_id]
                self._queue.open_again(run_id, birth)

    # -- within the lock --------------------------------------------------------------------------------------------

    def _buried(self, run_id: str, birth: str) -> bool:
        head = self._heads.get(run_id)
        return head is not None and head.status == "deleted" and head.birth == birth

    def _leads_on(self, head: Head) -> bool:
        successor = self._heads.get(head.continued_to) if head.continued_to is not None else None
        return successor is not None and successor.status != "deleted"


def _ended_at(head: Head) -> float:
    return math.inf if head.ended_at is None else head.ended_at


def _by_end(head: Head) -> tuple[float, str]:
    return _ended_at(head), head.run_id
