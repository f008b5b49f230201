"""Data keys that a process has had unwrapped, kept for a while: a key service elsewhere is slow, and counts calls."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEPT = 1000
"""Keys: as many as suspended bodies, some 300 bytes each."""

KEPT_FOR = 300.0
"""Seconds: a run that works all the time asks 12 times an hour, and a right that was taken away is gone soon."""


class UnwrappedKeys:
    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[float, bytes]] = OrderedDict()
        """By run and wrapped key, with the time until which it counts; the one used longest ago comes first."""

    async def get(self, run_id: str, wrapped: str, unwrap: Callable[[str, str], Awaitable[bytes]]) -> bytes:
        """The one that is kept, or what `unwrap` gives."""
        kept = self._kept.pop((run_id, wrapped), None)
        if kept is None or kept[0] <= time.monotonic():
            plain = await unwrap(run_id, wrapped)
            kept = time.monotonic() + KEPT_FOR, plain
        self._kept[run_id, wrapped] = kept
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return kept[1]
