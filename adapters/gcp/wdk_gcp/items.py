"""Records as documents of Firestore, and back. Fields have short names: their length counts towards each document's
size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from wdk_cloud.world.fields import HEAD, STEP, Field, encode, from_fields, pairs_of, to_fields, trouble_of
from wdk_cloud.world.ports import Batch, Head, InboxItem, Labels, StepItem, Token
from wdk_gcp.places import digest_of, last_part, run_id_of
from wdk_gcp.schema import DONE, OWNER

if TYPE_CHECKING:
    from wdk_cloud.world.fields import Kind
    from wdk_gcp.database import Found

Fields: TypeAlias = Mapping[str, Any]
"""Of a document, as Google's client takes and gives them; in a change, None takes a field away."""


def _written(kind: Kind, value: Any) -> Any:
    match kind:
        case "number":
            return float(value)
        case "texts":
            return list(value)
        case "trouble":
            return encode(value).decode()
        case _:
            return value


def _read(kind: Kind, value: Any) -> Any:
    match kind:
        case "number":
            return float(value)
        case "texts":
            return tuple(value)
        case "trouble":
            return trouble_of(value)
        case _:
            return value


SAFE = "sf"
"""Of a head: nothing that belongs to the run expires before that time. Without it: nothing expires before the time for
which things are kept has passed since the run's creation."""

_STEP: Mapping[str, Field] = {"step_id": Field("id", "text", kept=True), **STEP}
"""The name of the document has a digest of the id."""

PUT_NONCE, ORDER = "pn", "o"
"""Of an inbox item: the call that put it, and its place among those of one client."""


def head_fields(head: Head) -> dict[str, Any]:
    return to_fields(head, HEAD, _written)


def changed(before: Fields, after: Fields) -> dict[str, Any]:
    """The change that makes one of the other."""
    gone = dict.fromkeys(name for name in before if name not in after)
    return {**gone, **{name: value for name, value in after.items() if before.get(name) != value}}


def head_of(found: Found) -> Head:
    # A tombstone has lost what every other head has.
    given: dict[str, Any] = {"workflow": "", "seed": b"", "input_digest": "", **from_fields(found.fields, HEAD, _read)}
    return Head(run_id=run_id_of(found.path), **given)


def step_of(found: Found) -> StepItem:
    return StepItem(**from_fields(found.fields, _STEP, _read))


def step_fields(item: StepItem) -> dict[str, Any]:
    fields = to_fields(item, _STEP, _written)
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
    return {"v": encode(labels.values).decode(), "p": labels.position}


def labels_of(found: Found) -> Labels:
    return Labels(values=pairs_of(found.fields["v"]), position=found.fields["p"])


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
