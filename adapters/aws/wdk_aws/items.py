"""Records as items of DynamoDB, and back. Attributes have short names: their length counts towards each item's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from wdk_aws.places import step_id_of
from wdk_aws.schema import PK, SK
from wdk_cloud.world.ports import Batch, Head, InboxItem, Labels, StepItem, Token, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable

Value: TypeAlias = Mapping[str, Any]
"""One value as DynamoDB writes it, {"S": …}; boto3's own type of it asks for a check at each access."""
Item: TypeAlias = Mapping[str, Value]

Kind = Literal["text", "bytes", "number", "count", "flag", "texts", "trouble"]

_encode = msgspec.json.Encoder(order="deterministic").encode
_trouble = msgspec.json.Decoder(Trouble).decode
_pairs = msgspec.json.Decoder(dict[str, str]).decode


def text(value: str) -> Value:
    return {"S": value}


def number(value: float) -> Value:
    """Numbers of DynamoDB have 38 digits: a float comes back as it was, and compares as it did."""
    return {"N": repr(value)}


def data(value: bytes) -> Value:
    return {"B": value}


def texts(values: Iterable[str]) -> Value:
    return {"L": [text(value) for value in values]}


TRUE: Value = {"BOOL": True}


@dataclass(frozen=True, slots=True)
class Field:
    """How a field of a record lies in its item. What is its default takes no room, unless `kept`: the attribute is not
    there then, and conditions ask for that."""

    attribute: str
    kind: Kind
    optional: bool = False
    """None is not the same as empty."""
    kept: bool = False

    def value(self, value: Any) -> Value | None:
        """None: the attribute is not there."""
        if value is None or not (value or self.optional or self.kept):
            return None
        match self.kind:
            case "text":
                return text(value)
            case "bytes":
                return data(value)
            case "number" | "count":
                return number(value)
            case "flag":
                return TRUE
            case "texts":
                return texts(value)
            case "trouble":
                return text(_encode(value).decode())

    def read(self, value: Value) -> Any:
        match self.kind:
            case "text":
                return value["S"]
            case "bytes":
                return value["B"]
            case "number":
                return float(value["N"])
            case "count":
                return int(value["N"])
            case "flag":
                return value["BOOL"]
            case "texts":
                return tuple(one["S"] for one in value["L"])
            case "trouble":
                return _trouble(value["S"])


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

GRAVE = "g"
"""On a tombstone whose run is not erased yet."""

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
"""All fields but the step's id, which is in the key."""

CLAIM_NONCE, RETRY_NONCE = "cn", "rn"
"""Of the calls that claimed and that freed for a retry last."""


def to_attributes(record: Head | StepItem, fields: Mapping[str, Field]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, field in fields.items():
        value = field.value(getattr(record, name))
        if value is not None:
            found[field.attribute] = value
    return found


def _from_attributes(item: Item, fields: Mapping[str, Field]) -> dict[str, Any]:
    return {name: field.read(item[field.attribute]) for name, field in fields.items() if field.attribute in item}


def head_of(item: Item) -> Head:
    # A tombstone has lost what every other head has.
    found: dict[str, Any] = {"workflow": "", "seed": b"", "input_digest": "", **_from_attributes(item, HEAD)}
    return Head(run_id=item[PK]["S"].rpartition("#")[2], **found)


def step_of(item: Item) -> StepItem:
    return StepItem(step_id=step_id_of(last_part(item)), **_from_attributes(item, STEP))


def last_part(item: Item) -> str:
    """What follows the kind and the birth in the sort key."""
    return item[SK]["S"].split("#", 2)[2]


def batch_attributes(batch: Batch) -> dict[str, Value]:
    return {
        "c": number(batch.count),
        "f": number(batch.fence),
        "n": text(batch.nonce),
        "d": data(batch.data),
    }


def batch_of(item: Item) -> Batch:
    return Batch(
        at=int(last_part(item)),
        count=int(item["c"]["N"]),
        fence=int(item["f"]["N"]),
        nonce=item["n"]["S"],
        data=item["d"]["B"],
    )


def inbox_attributes(item: InboxItem) -> dict[str, Value]:
    return {"k": text(item.kind), "d": data(item.data), "t": number(item.time)}


def inbox_item_of(item: Item) -> InboxItem:
    return InboxItem(
        key=last_part(item),
        kind=item["k"]["S"],
        data=item["d"]["B"],
        time=float(item["t"]["N"]),
        place=int(item["o"]["N"]),
    )


def labels_attributes(labels: Labels) -> dict[str, Value]:
    return {"v": text(_encode(labels.values).decode()), "p": number(labels.position)}


def labels_of(item: Item) -> Labels:
    return Labels(values=_pairs(item["v"]["S"]), position=int(item["p"]["N"]))


def token_attributes(token: Token) -> dict[str, Value]:
    return {"r": text(token.run_id), "b": text(token.birth), "h": text(token.hook_id), "d": data(token.data)}


def token_of(item: Item) -> Token:
    return Token(
        digest=item[PK]["S"].rpartition("#")[2],
        run_id=item["r"]["S"],
        birth=item["b"]["S"],
        hook_id=item["h"]["S"],
        data=item["d"]["B"],
    )
