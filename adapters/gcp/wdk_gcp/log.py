"""The log: a batch is a document whose name is its first position, made with `create()`."""

from __future__ import annotations

from wdk_cloud.world.ports import Batch
from wdk_gcp.items import batch_fields, batch_of
from wdk_gcp.places import beyond, of_birth
from wdk_gcp.schema import LOG
from wdk_gcp.shelf import Shelf

DIGITS = 10
"""Of a position in its name, so that names sort as numbers: ten thousand million events of one run."""


class Log(Shelf):
    async def append(self, run_id: str, birth: str, batch: Batch) -> Batch | None:
        if await self.buried(run_id, birth):
            return Batch(at=batch.at, count=0, fence=0, nonce="", data=b"")
        # Races with a writer that lost the lease: one of them finds the position taken. Our nonce there is our batch.
        there = await self._database.create(self._batch(run_id, birth, batch.at), batch_fields(batch))
        if there is None or there.fields["n"] == batch.nonce:
            return None
        return batch_of(there)

    async def read(self, run_id: str, birth: str, after: int) -> list[Batch]:
        first = of_birth(birth, _name(after + 1))
        return [batch_of(found) for found in await self._database.row(self._run(run_id), LOG, first, beyond(birth))]

    async def read_at(self, run_id: str, birth: str, at: int) -> Batch | None:
        found = await self._database.get(self._batch(run_id, birth, at))
        return None if found is None else batch_of(found)

    def _batch(self, run_id: str, birth: str, at: int) -> str:
        return self._below(run_id, LOG, birth, _name(at))


def _name(at: int) -> str:
    return f"{at:0{DIGITS}d}"
