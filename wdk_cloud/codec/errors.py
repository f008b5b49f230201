"""Exceptions as records: raised there, raised here, and readable by people who have neither class nor code."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

import msgspec

from wdk_cloud.codec.exceptions import message_of, type_name_of
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.refusal import readable
from wdk_cloud.codec.values import decode, encode
from wdk_cloud.errors import RemoteError, SerializationError

# For people, who read its end first; several of these still fit beside a result into a record that stays inline twice.
MAX_TRACEBACK = 8192
# Of an exception that cannot be recorded as it is, because it is too large or too deep.
MAX_SPARE_MESSAGE = 10_000


@dataclass(frozen=True, slots=True)
class ErrorSummary:
    """What a person sees of a recorded exception; needs no known types."""

    type_name: str
    message: str
    traceback: str


def encode_error(error: BaseException, *, known: KnownTypes) -> bytes:
    """The record of an exception, with its traceback as text. It never fails: what cannot be kept is left out."""
    text = _traceback(error)
    try:
        tagged: dict[str, Any] = msgspec.json.decode(encode(error, path="error", known=known))
        body: dict[str, object] = tagged["$error"]
    except (SerializationError, RecursionError):  # too large; or a registered class that does not record itself
        body = {"type": known.error_id(type(error)), "args": [message_of(error)[:MAX_SPARE_MESSAGE]]}
    if text:
        body["traceback"] = text
    return msgspec.json.encode({"$error": body})


def decode_error(data: bytes, *, known: KnownTypes) -> BaseException:
    """The exception of a record: as itself when its class is known, else a `RemoteError`."""
    error = decode(data, known=known, path="error")
    if not isinstance(error, BaseException):
        raise SerializationError("error: the record holds no exception", "error")
    return error


def error_summary(data: bytes) -> ErrorSummary:
    """The type, message and traceback in a record of an exception."""
    try:
        body: dict[str, Any] = msgspec.json.decode(data)["$error"]
        error = decode_error(data, known=KnownTypes())
    except (msgspec.MsgspecError, SerializationError, KeyError, TypeError, ValueError, RecursionError) as failure:
        return ErrorSummary("SerializationError", f"the record of the exception cannot be read: {failure}", "")
    message = str(vars(error).get("message", "")) if isinstance(error, RemoteError) else message_of(error)
    return ErrorSummary(type_name_of(str(body["type"])), message, str(body.get("traceback", "")))


def _traceback(error: BaseException) -> str:
    try:
        text = readable("".join(traceback.format_exception(error)))
    except Exception:
        return ""
    return text if len(text) <= MAX_TRACEBACK else f"…{text[-MAX_TRACEBACK + 1 :]}"
