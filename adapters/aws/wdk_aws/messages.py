"""The bodies of SQS messages: ASCII JSON, the message and the namespace of its run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from re import Match


class _Body(Message, frozen=True, kw_only=True, omit_defaults=True):
    ns: str = ""


class _Addressed(msgspec.Struct):
    """What a message of any version has."""

    kind: str
    run_id: str
    birth: str
    identity: str


_FIELDS = Message.__struct_fields__
_NOT_ASCII = re.compile("[^\0-\x7f]")

_body = msgspec.json.Decoder(_Body)
_addressed = msgspec.json.Decoder(_Addressed)


def encode(message: Message, namespace: str) -> str:
    """In ASCII, since SQS refuses some characters and counts bytes."""
    body = _Body(ns=namespace, **{name: getattr(message, name) for name in _FIELDS})
    text = msgspec.json.encode(body).decode()
    return text if text.isascii() else _NOT_ASCII.sub(_escaped, text)


def decode(body: str) -> tuple[str, Message]:
    """The namespace and the message.

    Raises ValueError for what is none of ours, and NewerFormatError for a message of a kind that this version does not
    know: it is for a process of the newer one. Neither error says what is in the body.
    """
    try:
        found = _body.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        if _is_addressed(body):
            raise NewerFormatError("a message is of a kind that this version of wdk-cloud does not know") from None
        raise ValueError("the body is not a message of wdk-cloud") from None
    return found.ns, Message(**{name: getattr(found, name) for name in _FIELDS})


def _escaped(found: Match[str]) -> str:
    """A character as JSON writes it in ASCII; above U+FFFF as two."""
    pairs = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pairs[at : at + 2].hex()}" for at in range(0, len(pairs), 2))


def _is_addressed(body: str) -> bool:
    try:
        _addressed.decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        return False
    return True
