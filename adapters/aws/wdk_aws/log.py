"""The log: a batch is an item whose key is its first position."""

from __future__ import annotations

from wdk_aws.items import batch_attributes, batch_of, text
from wdk_aws.shelf import Shelf
from wdk_aws.table import ABSENT
from wdk_cloud.world.ports import Batch

DIGITS = 10
"""Of a position in its key, so that keys sort as numbers: ten thousand million events of one run."""


class Log(Shelf):
    async def append(self, run_id: str, birth: str, batch: Batch) -> Batch | None:
        if await self.buried(run_id, birth):
            return Batch(at=batch.at, count=0, fence=0, nonce="", data=b"")
        # Races with a writer that lost the lease: one of them finds the position taken. Our nonce there is our batch.
        item = {**self._key(run_id, _sort(birth, batch.at)), **batch_attributes(batch)}
        there = await self._table.put(item, ABSENT)
        if there is None or there["n"]["S"] == batch.nonce:
            return None
        return batch_of(there)

    async def read(self, run_id: str, birth: str, after: int) -> list[Batch]:
        values = {
            "pk": text(self._collection(run_id)),
            "first": text(_sort(birth, after + 1)),
            "last": text(_sort(birth, 10**DIGITS - 1)),
        }
        found = self._table.query("#pk = :pk AND #sk BETWEEN :first AND :last", values)
        return [batch_of(item) async for item in found]

    async def read_at(self, run_id: str, birth: str, at: int) -> Batch | None:
        item = await self._table.get(self._key(run_id, _sort(birth, at)))
        return None if item is None else batch_of(item)


def _sort(birth: str, at: int) -> str:
    return f"H#{birth}#{at:0{DIGITS}d}"
