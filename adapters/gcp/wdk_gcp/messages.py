"""The bodies of tasks: a message in JSON. The namespace of its run is in the URL of the task."""

from __future__ import annotations

import msgspec

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.world.ports import Message

LARGEST = 10_000
"""Bytes of a body: ids, and the order of a step with an input of the usual size. What is beyond lies in the database.
A task has 100 KB at most, and is charged for each 32 KB begun (Cloud Tasks, "Quotas and limits", "Pricing")."""


class _Body(Message, frozen=True, kw_only=True, omit_defaults=True):
    order_at: str = ""
    """The digest of the order, where it is not in the message."""


class _Addressed(msgspec.Struct):
    """What a message of any version has."""

    kind: str
    run_id: str
    birth: str
    identity: str


_FIELDS = Message.__struct_fields__

_body = msgspec.json.Decoder(_Body)
_addressed = msgspec.json.Decoder(_Addressed)


def encode(message: Message, order_at: str = "") -> bytes:
    """With `order_at`, without the order that is kept there."""
    fields = {name: getattr(message, name) for name in _FIELDS}
    if order_at:
        fields["order"] = b""
    return msgspec.json.encode(_Body(order_at=order_at, **fields))


def decode(body: bytes) -> tuple[Message, str]:
    """The message; and the digest of its order, "" if it is in the message.

    Raises ValueError for what is none of ours, and NewerFormatError for a message of a kind that this version does not
    know: it is for a process of the newer one. Neither error says what is in the body.
    """
    try:
        found = _body.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        if _is_addressed(body):
            raise NewerFormatError("a message is of a kind that this version of wdk-cloud does not know") from None
        raise ValueError("the body is not a message of wdk-cloud") from None
    return Message(**{name: getattr(found, name) for name in _FIELDS}), found.order_at


def _is_addressed(body: bytes) -> bool:
    try:
        _addressed.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return True
