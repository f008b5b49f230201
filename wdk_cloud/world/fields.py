"""Records field by field, for stores that keep them as items or documents: which fields there are, under which names,
and of which kinds. How a value of a kind is written is each store's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import msgspec

from wdk_cloud.world.ports import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wdk_cloud.world.ports import Head, StepItem

Kind: TypeAlias = Literal["text", "bytes", "number", "count", "flag", "texts", "trouble"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of a record lies in a store: under a short name, since names count towards the size. What is its
    default takes no room, unless `kept`: it is not there then, and conditions ask for that."""

    name: str
    kind: Kind
    optional: bool = False
    """None is not the same as empty."""
    kept: bool = False

    def is_left_out(self, value: object) -> bool:
        return value is None or not (value or self.optional or self.kept)


HEAD: Mapping[str, Field] = {
    "birth": Field("b", "text", kept=True),
    "workflow": Field("w", "text"),
    "created_at": Field("c", "number", kept=True),
    "seed": Field("s", "bytes"),
    "input_digest": Field("d", "text"),
    "input": Field("i", "bytes", optional=True),
    "status": Field("st", "text", kept=True),
    "not_before": Field("nb", "number"),
    "data_key": Field("k", "text", optional=True),
    "parent": Field("p", "text", optional=True),
    "root": Field("r", "text", optional=True),
    "trace": Field("t", "text", optional=True),
    "idempotency_key": Field("ik", "text", optional=True),
    "version": Field("v", "text"),
    "last_version": Field("lv", "text"),
    "holder": Field("h", "text", optional=True),
    "fence": Field("f", "count", kept=True),
    "until": Field("u", "number"),
    "dirty": Field("y", "flag"),
    "last": Field("l", "text", optional=True),
    "armed": Field("a", "number", optional=True),
    "stalls": Field("x", "count"),
    "stalls_length": Field("xl", "count"),
    "length": Field("n", "count"),
    "retired": Field("re", "texts"),
    "trouble": Field("tr", "trouble", optional=True),
    "ended_at": Field("e", "number", optional=True),
    "end_at": Field("ea", "count"),
    "error_code": Field("ec", "text", optional=True),
    "continued_from": Field("cf", "text", optional=True),
    "continued_to": Field("ct", "text", optional=True),
    "wake_by": Field("wb", "number", kept=True),
}
"""All fields but the run id, which is in the key."""

LEASE_NONCE, RELEASE_NONCE = "ln", "rn"
"""Of the calls that acquired and released last."""

STEP: Mapping[str, Field] = {
    "attempt": Field("a", "count"),
    "holder": Field("h", "text", optional=True),
    "until": Field("u", "number"),
    "retry_at": Field("rt", "number"),
    "first_started": Field("fs", "number"),
    "interrupted": Field("it", "count"),
    "cancelled": Field("x", "flag"),
    "retired": Field("re", "texts"),
    "end": Field("e", "bytes", optional=True),
}
"""All fields but the step's id."""

CLAIM_NONCE, RETRY_NONCE = "cn", "rn"
"""Of the calls that claimed and that freed for a retry last."""


def to_fields(record: Head | StepItem, fields: Mapping[str, Field], write: Callable[[Kind, Any], T]) -> dict[str, T]:
    """By their names in the store."""
    found = ((field, getattr(record, name)) for name, field in fields.items())
    return {field.name: write(field.kind, value) for field, value in found if not field.is_left_out(value)}


def from_fields(given: Mapping[str, T], fields: Mapping[str, Field], read: Callable[[Kind, T], Any]) -> dict[str, Any]:
    """By their names in the record; those that were left out are not there."""
    return {name: read(field.kind, given[field.name]) for name, field in fields.items() if field.name in given}


encode = msgspec.json.Encoder(order="deterministic").encode
trouble_of = msgspec.json.Decoder(Trouble).decode
pairs_of = msgspec.json.Decoder(dict[str, str]).decode
"""Of what is one text in every store."""
