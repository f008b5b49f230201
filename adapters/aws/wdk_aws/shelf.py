"""What all parts of the store have: the table, the namespace that they see, and what is known of tombstones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.failures import is_denied
from wdk_aws.items import Item, head_of
from wdk_aws.table import Table, key_of
from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.sightings import lies_buried

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head
    from wdk_cloud.world.sightings import Sightings

HEAD = "HEAD"
POINTERS = "K#"

ROUNDS = 20
"""Of a write that is decided by what lies there: each round but the first means that another writer was faster."""


class Shelf:
    def __init__(self, table: Table, namespace: str, sightings: Sightings) -> None:
        self._table = table
        self._namespace = namespace
        self._sightings = sightings

    def _collection(self, run_id: str) -> str:
        return f"R#{self._namespace}#{run_id}"

    def _key(self, run_id: str, sort: str) -> Item:
        return key_of(self._collection(run_id), sort)

    def _seen(self, item: Item) -> Head:
        """The head, which is also a sighting."""
        head = head_of(item)
        self._sightings.saw(head)
        return head

    def _token(self, digest: str) -> Item:
        return key_of(f"T#{self._namespace}#{digest}", "TOKEN")

    def sighted(self, run_id: str, birth: str) -> None:
        self._sightings.saw_alive(run_id, birth)

    async def head(self, run_id: str) -> Head | None:
        item = await self._table.get(self._key(run_id, HEAD))
        return None if item is None else self._seen(item)

    async def buried(self, run_id: str, birth: str) -> bool:
        """Whether the run is under a tombstone: by what this process knows, else by its head."""
        known = self._sightings.is_buried(run_id, birth)
        return await lies_buried(self.head, run_id, birth, is_denied) if known is None else known


def crowded(what: str) -> WorldUnavailableError:
    return WorldUnavailableError(f"{what} is written by too many at once; it is tried again")
