"""What else belongs to a run: labels, tokens of hooks, large payloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.world.local.records import Shelf, is_buried
from wdk_cloud.world.ports import Labels, Token

if TYPE_CHECKING:
    from sqlite3 import Connection

_encode = msgspec.json.Encoder(order="deterministic").encode
_pairs = msgspec.json.Decoder(dict[str, str])


class Belongings(Shelf):
    async def put_labels(self, run_id: str, birth: str, labels: Labels) -> None:
        args = (self._namespace, run_id, birth, _encode(labels.values), labels.position)
        await self._database.write(_put_labels, args)

    async def labels(self, run_id: str, birth: str) -> Labels:
        rows = self._database.read(
            "SELECT pairs, position FROM labels WHERE namespace = ? AND run_id = ? AND birth = ?",
            (self._namespace, run_id, birth),
        )
        return Labels(values=_pairs.decode(rows[0][0]), position=rows[0][1]) if rows else Labels(values={})

    async def claim_token(self, token: Token, *, instead_of: Token | None = None) -> Token | None:
        return await self._database.write(self._claim_token, token, instead_of)

    def _claim_token(self, sql: Connection, token: Token, instead_of: Token | None) -> Token | None:
        # Two runs may ask for one token: the first has it. Two may find its owner ended: each says whom it saw, and
        # the second does not see that one any more.
        if is_buried(sql, (self._namespace, token.run_id, token.birth)):
            return None
        row = (token.run_id, token.birth, token.hook_id, token.data, self._namespace, token.digest)
        created = sql.execute(
            "INSERT INTO tokens (run_id, birth, hook_id, data, namespace, digest) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO NOTHING",
            row,
        ).rowcount
        if created:
            return None
        there = _token(token.digest, sql.execute(_TOKEN, (self._namespace, token.digest)).fetchone())
        if (there.run_id, there.birth, there.hook_id) == (token.run_id, token.birth, token.hook_id):
            return None
        if there != instead_of:
            return there
        sql.execute(
            "UPDATE tokens SET run_id = ?, birth = ?, hook_id = ?, data = ? WHERE namespace = ? AND digest = ?", row
        )
        return None

    async def token(self, digest: str) -> Token | None:
        rows = self._database.read(_TOKEN, (self._namespace, digest))
        return _token(digest, rows[0]) if rows else None

    async def free_token(self, token: Token) -> None:
        args = (self._namespace, token.digest, token.run_id, token.birth, token.hook_id)
        await self._database.write(_free_token, args)


class LocalBlobs(Shelf):
    async def put_blob(self, run_id: str, birth: str, name: str, data: bytes) -> None:
        await self._database.write(_put_blob, (self._namespace, run_id, birth, name, data))

    async def get_blob(self, run_id: str, birth: str, name: str) -> bytes | None:
        rows = self._database.read(
            "SELECT data FROM blobs WHERE namespace = ? AND run_id = ? AND birth = ? AND name = ?",
            (self._namespace, run_id, birth, name),
        )
        return rows[0][0] if rows else None


_TOKEN = "SELECT run_id, birth, hook_id, data FROM tokens WHERE namespace = ? AND digest = ?"  # noqa: S105 - SQL


def _token(digest: str, row: tuple[str, str, str, bytes]) -> Token:
    run_id, birth, hook_id, data = row
    return Token(digest=digest, run_id=run_id, birth=birth, hook_id=hook_id, data=data)


def _put_labels(sql: Connection, args: tuple[object, ...]) -> None:
    # A holder whose lease ran out may write after its successor: the later place in the log wins.
    if is_buried(sql, args):
        return
    sql.execute(
        "INSERT INTO labels (namespace, run_id, birth, pairs, position) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET pairs = excluded.pairs, position = excluded.position"
        " WHERE position < excluded.position",
        args,
    )


def _free_token(sql: Connection, args: tuple[object, ...]) -> None:
    sql.execute(
        "DELETE FROM tokens WHERE namespace = ? AND digest = ? AND run_id = ? AND birth = ? AND hook_id = ?", args
    )


def _put_blob(sql: Connection, args: tuple[object, ...]) -> None:
    if is_buried(sql, args):
        return
    sql.execute(
        "INSERT INTO blobs (namespace, run_id, birth, name, data) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", args
    )
