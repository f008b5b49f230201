"""Waiting for what no notice comes of: looking again, with growing pauses."""

from __future__ import annotations

import asyncio

FIRST_PAUSE = 0.1
"""Seconds: a chunk shows soon after it was written, for a reader that has just got one."""

LONGEST_PAUSE = 2.0
"""Seconds: a reader of a quiet stream, or of a long run, asks 30 times a minute."""


class Polling:
    """A subscription that is told nothing: each wait is over after a pause, 1.5 times the one before."""

    def __init__(self) -> None:
        self._pause = FIRST_PAUSE

    async def wait(self, timeout: float) -> bool:
        pause = self._pause
        self._pause = min(pause * 1.5, LONGEST_PAUSE)
        await asyncio.sleep(min(pause, timeout))
        return pause < timeout

    def close(self) -> None:
        """Nothing is held."""
