"""Records as documents of Firestore, and back. Fields have short names: their length counts towards each document's
size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from wdk_cloud.world.ports import Batch, Head, InboxItem, Labels, StepItem, Token, Trouble
from wdk_gcp.places import digest_of, last_part, run_id_of
from wdk_gcp.schema import DONE, OWNER

if TYPE_CHECKING:
    from wdk_gcp.database import Found

Fields: TypeAlias = Mapping[str, Any]
"""Of a document, as Google's client takes and gives them; in a change, None takes a field away."""

Kind = Literal["text", "bytes", "number", "count", "flag", "texts", "trouble"]

_encode = msgspec.json.Encoder(order="deterministic").encode
_trouble = msgspec.json.Decoder(Trouble).decode
_pairs = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of a record lies in its document. What is its default takes no room, unless `kept`: the field is not
    there then."""

    name: str
    kind: Kind
    optional: bool = False
    """None is not the same as empty."""
    kept: bool = False

    def value(self, value: Any) -> Any:
        """None: the field is not there."""
        if value is None or not (value or self.optional or self.kept):
            return None
        match self.kind:
            case "number":
                return float(value)
            case "texts":
                return list(value)
            case "trouble":
                return _encode(value).decode()
            case _:
                return value

    def read(self, value: Any) -> Any:
        match self.kind:
            case "number":
                return float(value)
            case "texts":
                return tuple(value)
            case "trouble":
                return _trouble(value)
            case _:
                return value


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
"""All fields but the run id, which is in the name."""

LEASE_NONCE, RELEASE_NONCE = "ln", "rn"
"""Of the calls that acquired and released last."""

SAFE = "sf"
"""Of a head: nothing that belongs to the run expires before that time. Without it: nothing expires before the time for
which things are kept has passed since the run's creation."""

STEP: Mapping[str, Field] = {
    "step_id": Field("id", "text", kept=True),
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

CLAIM_NONCE, RETRY_NONCE = "cn", "rn"
"""Of the calls that claimed and that freed for a retry last."""

PUT_NONCE, ORDER = "pn", "o"
"""Of an inbox item: the call that put it, and its place among those of one client."""


def to_fields(record: Head | StepItem, fields: Mapping[str, Field]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in fields.items():
        value = field.value(getattr(record, name))
        if value is not None:
            found[field.name] = value
    return found


def _from_fields(given: Fields, fields: Mapping[str, Field]) -> dict[str, Any]:
    return {name: field.read(given[field.name]) for name, field in fields.items() if field.name in given}


def changed(before: Fields, after: Fields) -> dict[str, Any]:
    """The change that makes one of the other."""
    gone = dict.fromkeys(name for name in before if name not in after)
    return {**gone, **{name: value for name, value in after.items() if before.get(name) != value}}


def head_of(found: Found) -> Head:
    # A tombstone has lost what every other head has.
    given: dict[str, Any] = {"workflow": "", "seed": b"", "input_digest": "", **_from_fields(found.fields, HEAD)}
    return Head(run_id=run_id_of(found.path), **given)


def step_of(found: Found) -> StepItem:
    return StepItem(**_from_fields(found.fields, STEP))


def step_fields(item: StepItem) -> dict[str, Any]:
    fields = to_fields(item, STEP)
    return fields if item.end is None else {**fields, DONE: True}


def batch_fields(batch: Batch) -> Fields:
    return {"c": batch.count, "f": batch.fence, "n": batch.nonce, "d": batch.data}


def batch_of(found: Found) -> Batch:
    fields = found.fields
    return Batch(
        at=int(last_part(found.path)), count=fields["c"], fence=fields["f"], nonce=fields["n"], data=fields["d"]
    )


def inbox_fields(item: InboxItem) -> Fields:
    return {"id": item.key, "k": item.kind, "d": item.data, "t": float(item.time)}


def inbox_item_of(found: Found) -> InboxItem:
    fields = found.fields
    return InboxItem(key=fields["id"], kind=fields["k"], data=fields["d"], time=fields["t"])


def labels_fields(labels: Labels) -> Fields:
    return {"v": _encode(labels.values).decode(), "p": labels.position}


def labels_of(found: Found) -> Labels:
    return Labels(values=_pairs(found.fields["v"]), position=found.fields["p"])


def token_fields(token: Token, owner: str) -> Fields:
    return {"r": token.run_id, "b": token.birth, "h": token.hook_id, "d": token.data, OWNER: owner}


def token_of(found: Found) -> Token:
    fields = found.fields
    return Token(
        digest=digest_of(found.path),
        run_id=fields["r"],
        birth=fields["b"],
        hook_id=fields["h"],
        data=fields["d"],
    )
