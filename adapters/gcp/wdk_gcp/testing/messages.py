"""The protobuf messages beneath the libraries' request types: plain, fast, and told apart from "not set"."""

from __future__ import annotations

from typing import Any, TypeAlias

Message: TypeAlias = Any
"""A protobuf message. The libraries give these classes no types, and their wrappers' are wrong for times."""


def raw(wrapper: Any) -> Any:
    """The class of the messages that a library's request type wraps."""
    return wrapper.pb()


def copied(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def seconds(message: Message, name: str, default: float) -> float:
    """A time or a duration in a field, in seconds, cut to microseconds; `default` if it is not set."""
    if not message.HasField(name):
        return default
    value = getattr(message, name)
    return (value.seconds * 1_000_000 + value.nanos // 1_000) / 1_000_000


def micros(at: float) -> int:
    return round(at * 1e6)
