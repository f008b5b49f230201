"""Which runs this process has seen alive lately, and which it knows to be buried: docs/decisions/016-sightings.md."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wdk_cloud.errors import WorkflowError
    from wdk_cloud.world.ports import Clock, Head

SIGHTING = 60.0
"""Seconds for which a run that was seen alive is written to without a look at its head: two leases. A holder sees its
head each time it renews, so that only writers which hold nothing ever look."""

REMEMBERED = 10_000
"""Runs of each kind; one takes some 300 bytes. A run that was pushed out costs one read."""


class Sightings:
    """Also for the renewing thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._alive: dict[tuple[str, str], float] = {}
        self._buried: dict[tuple[str, str], None] = {}

    def saw(self, head: Head) -> None:
        key = head.run_id, head.birth
        if head.status == "deleted":
            self.bury(*key)
        else:
            self.saw_alive(*key)

    def saw_alive(self, run_id: str, birth: str) -> None:
        """A grave stays one: an answer may have been on its way for longer than the burial."""
        key, now = (run_id, birth), self._clock.monotonic()
        with self._lock:
            if key not in self._buried:
                self._alive.pop(key, None)
                self._alive[key] = now
                _shorten(self._alive)

    def bury(self, run_id: str, birth: str) -> None:
        key = run_id, birth
        with self._lock:
            self._alive.pop(key, None)
            self._buried[key] = None
            _shorten(self._buried)

    def is_buried(self, run_id: str, birth: str) -> bool | None:
        """None: not known, look."""
        key, now = (run_id, birth), self._clock.monotonic()
        with self._lock:
            if key in self._buried:
                return True
            seen = self._alive.get(key)
        return False if seen is not None and now - seen < SIGHTING else None


async def lies_buried(
    head_of: Callable[[str], Awaitable[Head | None]],
    run_id: str,
    birth: str,
    is_denied: Callable[[WorkflowError], bool],
) -> bool:
    """Whether the run is under a tombstone, by its head, which is read.

    Who may not read heads only starts runs, under births of its own making: nobody has buried those.
    """
    try:
        head = await head_of(run_id)
    except WorldConfigurationError as error:
        if is_denied(error):
            return False
        raise
    return head is not None and head.birth == birth and head.status == "deleted"


def _shorten(known: dict[tuple[str, str], float] | dict[tuple[str, str], None]) -> None:
    if len(known) > REMEMBERED:
        del known[next(iter(known))]
