"""Renews the leases of living turns and claims, and their messages' invisibility, and ends slices that never rest.

Leases are renewed by the world's clock. The stall watch goes by the machine's, whatever the world's clock is: a virtual
one stands still while a body computes, so nothing that hangs on it could ever end that body.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from wdk_cloud.engine import slices
from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.clock import Ticker

if TYPE_CHECKING:
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.world.ports import Handle, World

log = logging.getLogger("wdk_cloud")

TICK = 1.0
"""Seconds between two looks: fine enough for leases of tens of seconds and for the limit of a slice."""


class Renewable(Protocol):
    """What holds a lease or a claim."""

    renew_after: float
    """The monotonic time from which a renewal is due."""

    def renew(self) -> None:
        """Called from the renewing thread."""
        ...


class Keeper:
    """Of one engine. The thread lives while something is kept."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._world = world
        self._settings = settings
        self._kept: dict[Renewable, None] = {}
        """In order: a set would renew by address, and no two executions of a test would be alike."""
        self._handle: Handle | None = None

    def keep(self, renewable: Renewable) -> None:
        self._kept[renewable] = None
        if self._handle is None:
            self._handle = self._world.clock.every(TICK, self.tick)
            _stall_watch.join(self)

    def drop(self, renewable: Renewable) -> None:
        self._kept.pop(renewable, None)

    def close(self) -> None:
        self._kept.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            _stall_watch.leave(self)

    @property
    def slice_limit(self) -> float | None:
        """Seconds of CPU time that a slice may take, while something is kept."""
        return self._settings.slice_seconds if self._kept else None

    def tick(self) -> None:
        """Renew what is due. A store that does not answer is asked again."""
        now = self._world.clock.monotonic()
        for renewable in list(self._kept):
            if renewable.renew_after <= now:
                try:
                    renewable.renew()
                except WorldUnavailableError as error:
                    log.warning("a lease could not be renewed, it is tried again in %s s: %s", TICK, error)
                except Exception:  # the other leases depend on this thread
                    log.exception("a lease could not be renewed, it is tried again in %s s", TICK)


class StallWatch:
    """Of the process, as the slices are; one thread, which lives while any keeper of the process is open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()  # an engine may end without being closed
        self._ticker: Ticker | None = None

    def join(self, keeper: Keeper) -> None:
        with self._lock:
            self._keepers.add(keeper)
            if self._ticker is None or not self._ticker.is_alive():  # a fork leaves the thread behind
                self._ticker = Ticker(TICK, self.look)
                self._ticker.start()

    def leave(self, keeper: Keeper) -> None:
        with self._lock:
            self._keepers.discard(keeper)
            if not self._keepers and self._ticker is not None:
                self._ticker.cancel()
                self._ticker = None

    def look(self) -> None:
        with self._lock:
            limits = [limit for keeper in self._keepers if (limit := keeper.slice_limit) is not None]
        if limits:  # of several engines the strictest counts: a slice does not know whose it is
            slices.interrupt_stalled(min(limits))


_stall_watch = StallWatch()
