"""The inbox: items under their keys, in the order in which each client put them; and the ends of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.ordering import Order
from wdk_cloud.world.ports import InboxItem
from wdk_gcp.items import ORDER, PUT_NONCE, inbox_fields, inbox_item_of
from wdk_gcp.places import beyond, of_birth
from wdk_gcp.schema import DONE, INBOX, STEPS
from wdk_gcp.shelf import Shelf, nonce

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from wdk_cloud.world.ports import Clock
    from wdk_cloud.world.sightings import Sightings
    from wdk_gcp.database import Database, Found

ASKED_AT_ONCE = 30
"""Names in a query at most (Firestore, "in" filters). It costs a read for each step that has ended, at least one."""


class Inbox(Shelf):
    def __init__(self, database: Database, namespace: str, sightings: Sightings, clock: Clock) -> None:
        super().__init__(database, namespace, sightings)
        self._order = Order(clock)

    async def put_item(self, run_id: str, birth: str, item: InboxItem) -> bool:
        if await self.buried(run_id, birth):
            return False
        # Races with a second delivery of the same thing: the first one stays. Our nonce there is our own put.
        mark = nonce()
        fields = {**inbox_fields(item), ORDER: self._order.following(), PUT_NONCE: mark}
        there = await self._database.create(self._below(run_id, INBOX, birth, item.key), fields)
        return there is None or there.fields[PUT_NONCE] == mark

    async def items(self, run_id: str, birth: str, steps: Collection[str] | None = None) -> list[InboxItem]:
        lying = await self._database.row(self._run(run_id), INBOX, of_birth(birth, ""), beyond(birth))
        found = [inbox_item_of(item) for item in sorted(lying, key=_by_order)]
        ends = await self._ended_of(run_id, birth, steps)
        return [
            *found,
            *(InboxItem(key=f"step:{end.fields['id']}", kind="step", data=end.fields["e"], time=0.0) for end in ends),
        ]

    async def drop_items(self, run_id: str, birth: str, keys: Sequence[str]) -> None:
        paths = [self._below(run_id, INBOX, birth, key) for key in dict.fromkeys(keys)]
        await self._database.delete_all(paths)

    async def _ended_of(self, run_id: str, birth: str, steps: Collection[str] | None) -> list[Found]:
        """Items of steps that have ended; those that have not cost nothing."""
        collection = f"{self._run(run_id)}/{STEPS}"
        if steps is None:
            ended = await self._database.equal(collection, {DONE: True})
            return [found for found in ended if found.path.rpartition("/")[2].startswith(of_birth(birth, ""))]
        ids = sorted({of_birth(birth, step) for step in steps})
        found: list[Found] = []
        for start in range(0, len(ids), ASKED_AT_ONCE):
            found += await self._database.equal(collection, {DONE: True}, ids[start : start + ASKED_AT_ONCE])
        return found


def _by_order(item: Found) -> tuple[int, str]:
    return item.fields[ORDER], item.fields["id"]
