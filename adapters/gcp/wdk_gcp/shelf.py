"""What all parts of the store have: the database, the namespace that they see, and what is known of tombstones."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from wdk_cloud.world.sightings import lies_buried
from wdk_gcp.failures import is_denied
from wdk_gcp.items import changed, head_fields, head_of
from wdk_gcp.places import lasting, listed, of_birth, run_path, swept
from wdk_gcp.schema import LASTING, LISTED, SWEPT

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Head
    from wdk_cloud.world.sightings import Sightings
    from wdk_gcp.database import Database, Found


class Shelf:
    def __init__(self, database: Database, namespace: str, sightings: Sightings) -> None:
        self._database = database
        self._namespace = namespace
        self._sightings = sightings

    def _run(self, run_id: str) -> str:
        """The path of the head."""
        return run_path(self._namespace, run_id)

    def _below(self, run_id: str, collection: str, birth: str, part: str) -> str:
        return f"{self._run(run_id)}/{collection}/{of_birth(birth, part)}"

    def _seen(self, found: Found) -> Head:
        """The head, which is also a sighting."""
        head = head_of(found)
        self._sightings.saw(head)
        return head

    def _seen_of(self, found: Found | None, birth: str) -> Head | None:
        """The head, if it has this birth."""
        if found is None or found.fields["b"] != birth:
            return None
        return self._seen(found)

    def _fields(self, head: Head) -> dict[str, Any]:
        """All that a head's document has, but nonces and its expiry."""
        places = {
            LISTED: listed(self._namespace, head),
            SWEPT: swept(self._namespace, head),
            LASTING: lasting(self._namespace, head),
        }
        return {**head_fields(head), **{name: place for name, place in places.items() if place is not None}}

    def _changed(self, before: Head, after: Head) -> dict[str, Any]:
        return changed(self._fields(before), self._fields(after))

    def sighted(self, run_id: str, birth: str) -> None:
        self._sightings.saw_alive(run_id, birth)

    async def head(self, run_id: str) -> Head | None:
        found = await self._database.get(self._run(run_id))
        return None if found is None else self._seen(found)

    async def buried(self, run_id: str, birth: str) -> bool:
        """Whether the run is under a tombstone: by what this process knows, else by its head."""
        known = self._sightings.is_buried(run_id, birth)
        return await lies_buried(self.head, run_id, birth, is_denied) if known is None else known


def nonce() -> str:
    """Of one call: 64 random bits, which nobody else's call has."""
    return os.urandom(8).hex()
