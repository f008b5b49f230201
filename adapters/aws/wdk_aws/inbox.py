"""The inbox: items under their keys, in the order in which each client put them; and the ends of steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.heads import nonce
from wdk_aws.items import Item, inbox_attributes, inbox_item_of, last_part, number, text
from wdk_aws.places import step_id_of, step_sort, steps_of
from wdk_aws.shelf import Shelf
from wdk_aws.table import ABSENT
from wdk_cloud.world.ordering import Order
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from wdk_aws.table import Table
    from wdk_cloud.world.ports import Clock
    from wdk_cloud.world.sightings import Sightings

PUT_NONCE = "pn"

FEW = 5
"""Steps that are asked for one by one: each costs a read unit, there or not."""

EACH = 4
"""Items of the row of steps that are looked at for each step that is asked for: with ends of a few hundred bytes, ten
of them are a read unit, with ends of 4 KB one is."""


class Inbox(Shelf):
    def __init__(self, table: Table, namespace: str, sightings: Sightings, clock: Clock) -> None:
        super().__init__(table, namespace, sightings)
        self._order = Order(clock)

    async def put_item(self, run_id: str, birth: str, item: InboxItem) -> bool:
        if await self.buried(run_id, birth):
            return False
        # Races with a second delivery of the same thing: the first one stays. Our nonce there is our own put.
        mark = nonce()
        written = {
            **self._key(run_id, f"{_inbox(birth)}{item.key}"),
            **inbox_attributes(item),
            "o": number(item.place or self._order.following()),
            PUT_NONCE: text(mark),
        }
        there = await self._table.put(written, ABSENT)
        return there is None or there[PUT_NONCE]["S"] == mark

    async def items(self, run_id: str, birth: str, steps: Collection[str] | None = None) -> list[InboxItem]:
        lying = [item async for item in self._beginning(run_id, _inbox(birth))]
        found = [inbox_item_of(item) for item in sorted(lying, key=_by_order)]
        ends = [item for item in await self._steps_of(run_id, birth, steps) if "e" in item]
        return [
            *found,
            *(
                InboxItem(key=f"step:{step_id_of(last_part(item))}", kind="step", data=item["e"]["B"], time=0.0)
                for item in ends
            ),
        ]

    async def drop_items(self, run_id: str, birth: str, keys: Sequence[str]) -> None:
        await self._table.delete_all([self._key(run_id, f"{_inbox(birth)}{key}") for key in dict.fromkeys(keys)])

    async def _steps_of(self, run_id: str, birth: str, steps: Collection[str] | None) -> list[Item]:
        """Of a few steps each item by its key. Of many the row from the first to the last, in which those of one
        batch lie close together; if that is too long a row, by their keys after all."""
        if steps is None:
            return [item async for item in self._beginning(run_id, steps_of(birth))]
        asked = sorted({step_sort(birth, step) for step in steps}, key=str.encode)
        if len(asked) > FEW:
            values = {"pk": text(self._collection(run_id)), "first": text(asked[0]), "last": text(asked[-1])}
            limit = EACH * len(asked)
            keys = "#pk = :pk AND #sk BETWEEN :first AND :last"
            row = [item async for item in self._table.query(keys, values, most=limit)]
            if len(row) < limit:
                return row
        return await self._table.get_all([self._key(run_id, sort) for sort in asked])

    def _beginning(self, run_id: str, prefix: str) -> AsyncIterator[Item]:
        values = {"pk": text(self._collection(run_id)), "prefix": text(prefix)}
        return self._table.query("#pk = :pk AND begins_with(#sk, :prefix)", values)


def _inbox(birth: str) -> str:
    return f"I#{birth}#"


def _by_order(item: Item) -> tuple[int, str]:
    return int(item["o"]["N"]), last_part(item)
