"""Tokens of hooks, each in a collection of its own under its digest; and the labels of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_aws.items import Item, Value, data, labels_attributes, labels_of, number, text, token_attributes, token_of
from wdk_aws.shelf import POINTERS, ROUNDS, Shelf, crowded
from wdk_aws.table import ABSENT
from wdk_cloud.world.ports import Labels, Token

if TYPE_CHECKING:
    from collections.abc import Mapping

OWNED = "#r = :r AND #b = :b AND #h = :h"


class Tokens(Shelf):
    async def claim_token(self, token: Token, *, instead_of: Token | None = None) -> Token | None:
        if await self.buried(token.run_id, token.birth):
            return None
        # First where an erasure finds it. A death between the two, or a conflict, leaves a pointer to a token that is
        # not the run's: whoever erases asks for that. It is not taken back when the token is freed: it would cost a
        # write to save the erasure one.
        await self._table.put_blindly(self._key(token.run_id, pointer(token.birth, token.digest)))
        # Two runs may ask for one token: the first has it. Two may find its owner ended: each says whom it saw, and the
        # second does not see that one any more. Our own claim is known by its owner.
        item = {**self._token(token.digest), **token_attributes(token)}
        condition, values = ABSENT, dict[str, Value]()
        for _ in range(ROUNDS):
            there = await self._table.put(item, condition, values)
            if there is None:
                return None
            if not there:
                condition, values = ABSENT, {}
                continue
            owner = token_of(there)
            if (owner.run_id, owner.birth, owner.hook_id) == (token.run_id, token.birth, token.hook_id):
                return None
            if owner != instead_of:
                return owner
            condition, values = f"{OWNED} AND #d = :d", {**_owner(owner), "d": data(owner.data)}
        raise crowded("a token")

    async def token(self, digest: str) -> Token | None:
        """A token is erased before all else of its run: who finds it has seen the run."""
        item = await self._table.get(self._token(digest))
        if item is None:
            return None
        token = token_of(item)
        self._sightings.saw_alive(token.run_id, token.birth)
        return token

    async def free_token(self, token: Token) -> None:
        # Races with whoever takes it over: then it is not ours any more. Twice is the same.
        await self._table.delete(self._token(token.digest), OWNED, _owner(token))

    async def put_labels(self, run_id: str, birth: str, labels: Labels) -> None:
        if await self.buried(run_id, birth):
            return
        # A holder whose lease ran out may write after its successor: the later place in the log wins.
        item = {**self._labels(run_id, birth), **labels_attributes(labels)}
        await self._table.put(item, f"{ABSENT} OR #p < :p", {"p": number(labels.position)})

    async def labels(self, run_id: str, birth: str) -> Labels:
        item = await self._table.get(self._labels(run_id, birth))
        return Labels(values={}) if item is None else labels_of(item)

    def _labels(self, run_id: str, birth: str) -> Item:
        return self._key(run_id, f"A#{birth}")


def pointer(birth: str, digest: str) -> str:
    return f"{POINTERS}{birth}#{digest}"


def _owner(token: Token) -> Mapping[str, Value]:
    return {"r": text(token.run_id), "b": text(token.birth), "h": text(token.hook_id)}
