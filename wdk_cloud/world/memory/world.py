"""The world that lives in this process and ends with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.clock import SystemClock
from wdk_cloud.world.memory.queue import YEAR, MemoryQueue
from wdk_cloud.world.memory.store import MemoryStore

if TYPE_CHECKING:
    from wdk_cloud.world.memory.watch import Watch
    from wdk_cloud.world.ports import BlobStore, Clock, Queue, Receiver, RunStore, StreamStore, World


class MemoryWorld:
    """Runs and messages in dicts: for tests, and for whoever needs no durability.

    It may be used from several event loops and threads at once. `visibility` is how many seconds, by the clock, a
    message that was received stays invisible; `longest_delay` is also an attribute of the queue.
    """

    name = "memory"
    short_wait = 0.05  # a message costs microseconds here; as short as that of `local`, so that tests see its turns

    def __init__(
        self,
        clock: Clock | None = None,
        visibility: float = 60.0,
        longest_delay: float = YEAR,
        *,
        namespace: str = "",
        rooms: dict[str, tuple[MemoryStore, MemoryQueue]] | None = None,
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.namespace = namespace
        self._visibility = visibility
        self._longest_delay = longest_delay
        # What namespaces share is this dict; the rooms have no data in common.
        self._rooms = {} if rooms is None else rooms
        new = MemoryQueue(self.clock, visibility, longest_delay)
        self._store, queue = self._rooms.setdefault(namespace, (MemoryStore(new), new))
        self.runs: RunStore = self._store
        self.blobs: BlobStore = self._store
        self.streams: StreamStore = self._store
        self.queue: Queue = queue
        self.receiver: Receiver | None = queue

    def scoped(self, namespace: str) -> MemoryWorld:
        return MemoryWorld(self.clock, self._visibility, self._longest_delay, namespace=namespace, rooms=self._rooms)

    def subscribe(self, run_id: str) -> Watch:
        return self._store.watches.add(run_id)

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """What is stored stays for as long as somebody keeps the object."""


def open_world(namespace: str = "") -> MemoryWorld:
    """A new, empty world on the machine's clock."""
    return MemoryWorld(namespace=namespace)


if TYPE_CHECKING:

    def is_a_world(world: MemoryWorld) -> World:
        return world
