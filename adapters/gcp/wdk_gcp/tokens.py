"""Tokens of hooks, each a document of its own under its digest; and the labels of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.world.ports import Labels, Token
from wdk_gcp.database import Step
from wdk_gcp.items import labels_fields, labels_of, token_fields, token_of
from wdk_gcp.places import token_path
from wdk_gcp.schema import EXPIRES, LABELS
from wdk_gcp.shelf import Shelf

if TYPE_CHECKING:
    from wdk_gcp.database import Found


FIRST_POSITION = 1
"""Of a log: that of the event with which a run starts."""


class Tokens(Shelf):
    async def claim_token(self, token: Token, *, instead_of: Token | None = None) -> Token | None:
        if await self.buried(token.run_id, token.birth):
            return None
        # Two runs may ask for one token: the first has it. Two may find its owner ended: each says whom it saw, and the
        # second does not see that one any more. Our own claim is known by its owner.
        path, fields = self._token(token.digest), token_fields(token, self._owner(token.run_id, token.birth))
        there = await self._database.create(path, fields)
        if there is None:
            return None

        def decide(found: Found | None) -> Step[Token | None]:
            new = {**fields, EXPIRES: self._database.expiry()}
            owner = None if found is None else token_of(found)
            if owner is None:
                return Step(None, new)
            if _is_of(owner, token):
                return Step(None)
            return Step(None, new) if owner == instead_of else Step(owner)

        return await self._database.decide(path, decide)

    async def token(self, digest: str) -> Token | None:
        """A token is erased before all else of its run: who finds it has seen the run."""
        found = await self._database.get(self._token(digest))
        if found is None:
            return None
        token = token_of(found)
        self._sightings.saw_alive(token.run_id, token.birth)
        return token

    async def free_token(self, token: Token) -> None:
        # Races with whoever takes it over: then it is not ours any more. Twice is the same.
        await self._database.delete(self._token(token.digest), lambda found: _is_of(token_of(found), token))

    async def put_labels(self, run_id: str, birth: str, labels: Labels) -> None:
        if await self.buried(run_id, birth):
            return

        # Those of the start are the first, or meet themselves: who only starts runs need not be able to read.
        path, fields = self._labels(run_id, birth), labels_fields(labels)
        if labels.position == FIRST_POSITION and await self._database.create(path, fields) is None:
            return

        # A holder whose lease ran out may write after its successor: the later place in the log wins.
        def decide(found: Found | None) -> Step[None]:
            if found is not None and labels_of(found).position >= labels.position:
                return Step(None)
            return Step(None, {**fields, EXPIRES: self._database.expiry()})

        await self._database.decide(path, decide)

    async def labels(self, run_id: str, birth: str) -> Labels:
        found = await self._database.get(self._labels(run_id, birth))
        return Labels(values={}) if found is None else labels_of(found)

    def _labels(self, run_id: str, birth: str) -> str:
        return self._below(run_id, LABELS, birth, "labels")

    def _token(self, digest: str) -> str:
        return token_path(self._namespace, digest)

    def _owner(self, run_id: str, birth: str) -> str:
        return f"{self._namespace}#{run_id}#{birth}"


def _is_of(found: Token, token: Token) -> bool:
    return (found.run_id, found.birth, found.hook_id) == (token.run_id, token.birth, token.hook_id)
