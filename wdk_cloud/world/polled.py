"""A world whose readers look again with growing pauses, since no notice comes: what those of all clouds have alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from wdk_cloud.world.watching import Polling, Pollings

if TYPE_CHECKING:
    from wdk_cloud.world.asking import Asking

W = TypeVar("W")
"""The class of the worlds of the place."""


class PolledWorld(ABC, Generic[W]):
    """One place, seen by a namespace. Nothing is connected before the first request."""

    def __init__(self, namespace: str, clients: Asking, rooms: dict[str, W]) -> None:
        """`rooms` are the namespaces of one connection to this place: each has one world, whose readers are told of
        what its writers write."""
        self.namespace = namespace
        self._asking = clients
        self._rooms = rooms
        self._pollings = Pollings()

    @abstractmethod
    def _room(self, namespace: str) -> W:
        """A world of this place, with the clients, the clock, the key service and the rooms of this one."""

    def scoped(self, namespace: str) -> W:
        there = self._rooms.get(namespace)
        return self._room(namespace) if there is None else there

    def subscribe(self, run_id: str) -> Polling:
        return self._pollings.new(run_id)

    async def open(self) -> None:
        """Nothing to do before the first request, which says what is missing."""

    async def close(self) -> None:
        self._asking.close()
