"""Rows to records and back, as far as more than one module needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from wdk_cloud.world.local.schema import HEAD_FIELDS
from wdk_cloud.world.ports import RETIRED_KEPT, Head, StepItem, Trouble

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection

    from wdk_cloud.world.local.database import Database

_encode = msgspec.json.Encoder().encode
_troubles = msgspec.json.Decoder(Trouble)
_texts = msgspec.json.Decoder(str)

_DIRTY = HEAD_FIELDS.index("dirty")
_RETIRED = HEAD_FIELDS.index("retired")
_TROUBLE = HEAD_FIELDS.index("trouble")

HEAD_COLUMNS = ", ".join(HEAD_FIELDS)
"""What `head_from_row` reads, in its order."""

STEP_COLUMNS = (
    "step_id, attempt, holder, until, retry_at, first_started, interrupted, cancelled, retired, outcome, owner"
)
"""What `step_from_row` reads, in its order."""


class Shelf:
    """What the parts of the store share: a database and the namespace they see of it."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace


_BURIED = "SELECT 1 FROM heads WHERE namespace = ? AND run_id = ? AND birth = ? AND status = 'deleted'"


def is_buried(sql: Connection, run: Sequence[object]) -> bool:
    """Whether this run (namespace, id and birth; more may follow) lies under a tombstone: then nothing is written."""
    return sql.execute(_BURIED, tuple(run[:3])).fetchone() is not None


def head_from_row(row: tuple[Any, ...]) -> Head:
    fields = dict(zip(HEAD_FIELDS, row, strict=False))
    fields["dirty"] = bool(row[_DIRTY])
    fields["retired"] = retired_from_text(row[_RETIRED])
    if row[_TROUBLE] is not None:
        fields["trouble"] = _troubles.decode(row[_TROUBLE])
    return Head(**fields)


def head_to_row(head: Head) -> list[Any]:
    row = [getattr(head, name) for name in HEAD_FIELDS]
    row[_RETIRED] = retired_to_text(head.retired)
    row[_TROUBLE] = trouble_to_text(head.trouble)
    return row


def trouble_to_text(trouble: Trouble | None) -> str | None:
    return None if trouble is None else _encode(trouble).decode()


def step_from_row(row: tuple[Any, ...]) -> StepItem:
    return StepItem(
        step_id=row[0],
        attempt=row[1],
        holder=row[2],
        until=row[3],
        retry_at=row[4],
        first_started=row[5],
        interrupted=row[6],
        cancelled=bool(row[7]),
        retired=retired_from_text(row[8]),
        end=row[9],
    )


# Retired messages are lines, each the JSON of an id and closed by a newline: so SQL can ask for one with `instr`,
# whatever characters it has, and no id is found inside another.


def retired_entry(provider_id: str) -> str:
    """The line for one id. A line begins after the newline of the one before, or at the text's beginning."""
    return _encode(provider_id).decode() + "\n"


def retired_from_text(text: str) -> tuple[str, ...]:
    return tuple(_texts.decode(line) for line in text.split("\n")[:-1]) if text else ()


def retired_to_text(retired: tuple[str, ...]) -> str:
    return "".join(map(retired_entry, retired))


def retired_with(text: str, provider_id: str) -> str:
    """The text with this id in it, without those that are too old."""
    retired = retired_from_text(text)
    if provider_id in retired:
        return text
    return retired_to_text((*retired, provider_id)[-RETIRED_KEPT:])
