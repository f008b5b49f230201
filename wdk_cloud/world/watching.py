"""Waiting for what no notice comes of: looking again, with growing pauses."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from weakref import WeakSet

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

    def again_soon(self) -> None:
        """Something came: more of it may be near."""
        self._pause = FIRST_PAUSE

    def close(self) -> None:
        """Nothing is held."""


class Pollings:
    """Those of a world's readers, by run."""

    def __init__(self) -> None:
        self._of_runs: defaultdict[str, WeakSet[Polling]] = defaultdict(WeakSet)

    def new(self, run_id: str) -> Polling:
        for other in [other for other, pollings in self._of_runs.items() if not pollings]:
            del self._of_runs[other]
        polling = Polling()
        self._of_runs[run_id].add(polling)
        return polling

    def moved(self, run_id: str) -> None:
        """A reader or writer of this process has met something new of the run."""
        if run_id in self._of_runs:
            for polling in self._of_runs[run_id]:
                polling.again_soon()
