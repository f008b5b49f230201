"""What a step or a body returned, on its way into the log."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from wdk_cloud.codec.refusal import belonging_to
from wdk_cloud.codec.values import encode
from wdk_cloud.errors import SerializationError

if TYPE_CHECKING:
    from wdk_cloud.codec.known import KnownTypes


def encode_result(result: object, owner: str, known: KnownTypes) -> bytes:
    """Raises SerializationError that begins with the owner and names the path; a coroutine is closed, it never ran."""
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise SerializationError(
            f"{owner} returned {type(result).__name__}, which cannot be recorded: await it there and return its result",
            "result",
        )
    try:
        return encode(result, path="result", known=known)
    except SerializationError as error:
        raise belonging_to(error, owner) from error.__cause__
