"""Records as items of DynamoDB, and back. Attributes have short names: their length counts towards each item's size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from wdk_aws.places import step_id_of
from wdk_aws.schema import PK, SK
from wdk_cloud.world.fields import HEAD, STEP, encode, from_fields, pairs_of, to_fields, trouble_of
from wdk_cloud.world.ports import Batch, Head, InboxItem, Labels, StepItem, Token

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_cloud.world.fields import Kind

Value: TypeAlias = Mapping[str, Any]
"""One value as DynamoDB writes it, {"S": …}; boto3's own type of it asks for a check at each access."""
Item: TypeAlias = Mapping[str, Value]


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


def written(kind: Kind, value: Any) -> Value:
    match kind:
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
            return text(encode(value).decode())


def _read(kind: Kind, value: Value) -> Any:
    match kind:
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
            return trouble_of(value["S"])


GRAVE = "g"
"""On a tombstone whose run is not erased yet."""


def head_attributes(head: Head) -> dict[str, Value]:
    return to_fields(head, HEAD, written)


def head_of(item: Item) -> Head:
    # A tombstone has lost what every other head has.
    found: dict[str, Any] = {"workflow": "", "seed": b"", "input_digest": "", **from_fields(item, HEAD, _read)}
    return Head(run_id=item[PK]["S"].rpartition("#")[2], **found)


def step_of(item: Item) -> StepItem:
    return StepItem(step_id=step_id_of(last_part(item)), **from_fields(item, STEP, _read))


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
    return {"v": text(encode(labels.values).decode()), "p": number(labels.position)}


def labels_of(item: Item) -> Labels:
    return Labels(values=pairs_of(item["v"]["S"]), position=int(item["p"]["N"]))


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
