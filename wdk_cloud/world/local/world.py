"""The embedded world: one SQLite file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.world.clock import SystemClock
from wdk_cloud.world.local.belongings import LocalBlobs
from wdk_cloud.world.local.database import Database
from wdk_cloud.world.local.queue import LocalQueue, LocalReceiver
from wdk_cloud.world.local.store import LocalRuns
from wdk_cloud.world.local.streams import LocalStreams

if TYPE_CHECKING:
    from wdk_cloud.world.local.notices import LocalSubscription
    from wdk_cloud.world.ports import BlobStore, Clock, Queue, Receiver, RunStore, StreamStore

DEFAULT_PATH = ".wdk/local.db"
VISIBILITY = 60.0
"""Seconds until a message comes back from a receiver that went silent; that of a process that is gone comes at once."""


class LocalWorld:
    """Runs in one SQLite file, shared by any number of processes of one machine.

    `path`: the file, by default what `WDK_LOCAL_PATH` names, else `.wdk/local.db`; `open()` makes it and its folder.
    `sync`: `normal` survives the death of any process, `full` a power cut too; by default `WDK_LOCAL_SYNC`.
    """

    name = "local"
    short_wait = 0.05  # a message and its turn cost some milliseconds here
    namespace = ""

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        clock: Clock | None = None,
        visibility: float = VISIBILITY,
        sync: str | None = None,
    ) -> None:
        named = path or os.environ.get("WDK_LOCAL_PATH") or DEFAULT_PATH
        sync = sync or os.environ.get("WDK_LOCAL_SYNC") or "normal"
        if sync not in ("normal", "full"):
            raise WorldConfigurationError(
                f"WDK_LOCAL_SYNC is {sync!r}; it can be 'normal', which survives the death of any process, or 'full', "
                "which survives a power cut too"
            )
        self.clock: Clock = clock or SystemClock()
        self.path = Path(named).expanduser().resolve()
        self._visibility = visibility
        self._database = Database(self.path, sync, self.clock)
        self._is_open = False
        self._see(self.namespace)

    def _see(self, namespace: str) -> None:
        self.namespace = namespace
        self.runs: RunStore = LocalRuns(self._database, namespace)
        self.blobs: BlobStore = LocalBlobs(self._database, namespace)
        self.streams: StreamStore = LocalStreams(self._database, namespace)
        self.queue: Queue = LocalQueue(self._database, namespace)
        self.receiver: Receiver | None = LocalReceiver(self._database, namespace, self._visibility)

    def scoped(self, namespace: str) -> LocalWorld:
        """The same file, seen by another namespace; open as long as one of the two is."""
        world = LocalWorld.__new__(LocalWorld)
        world.clock = self.clock
        world.path = self.path
        world._visibility = self._visibility
        world._database = self._database
        world._is_open = False
        world._see(namespace)
        return world

    def subscribe(self, run_id: str) -> LocalSubscription:
        return self._database.notices.subscribe(self.namespace, run_id)

    async def open(self) -> None:
        if not self._is_open:
            await self._database.open()
            self._is_open = True

    async def close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._database.close()


def open_world(namespace: str = "") -> LocalWorld:
    """The world that `WDK_LOCAL_PATH` and `WDK_LOCAL_SYNC` describe; it still has to be opened."""
    return LocalWorld().scoped(namespace)
