"""Renews the leases of living turns and claims, and their messages' invisibility, from a thread of its own."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from wdk_cloud.engine import slices
from wdk_cloud.errors import WorldUnavailableError

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

    def drop(self, renewable: Renewable) -> None:
        self._kept.pop(renewable, None)

    def close(self) -> None:
        self._kept.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def tick(self) -> None:
        """One look: end slices that never rest, renew what is due. A store that does not answer is asked again."""
        slices.interrupt_stalled(self._settings.slice_seconds)
        now = self._world.clock.monotonic()
        for renewable in list(self._kept):
            if renewable.renew_after <= now:
                try:
                    renewable.renew()
                except WorldUnavailableError as error:
                    log.warning("a lease could not be renewed, it is tried again in %s s: %s", TICK, error)
                except Exception:  # the other leases depend on this thread
                    log.exception("a lease could not be renewed, it is tried again in %s s", TICK)
