"""Reading the body of a request: no more than is wanted, and no less than was announced."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from wdk_cloud.http.answers import Refused
from wdk_cloud.http.problems import BAD_REQUEST, LONGEST_INDEX

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")

MAX_DOCUMENT = 100_000_000
"""Bytes of a JSON document to the API: as many as the largest body of a webhook."""


class TooLarge(Refused):
    def __init__(self, most: int) -> None:
        super().__init__(413, "too-large", f"the body is larger than the {most:,} bytes that are taken here")


async def read(request: Request, most: int) -> bytes:
    """The body. Raises Refused for one that is larger, or shorter than its Content-Length says, and starlette's
    ClientDisconnect when the caller goes away before its end."""
    announced = _announced(request)
    if announced is not None and announced > most:
        raise TooLarge(most)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise TooLarge(most)
    if announced is not None and len(body) < announced:
        raise Refused(400, BAD_REQUEST, f"the body ends after {len(body):,} of the {announced:,} bytes announced")
    return bytes(body)


def _announced(request: Request) -> int | None:
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise Refused(400, BAD_REQUEST, "Content-Length is no number of bytes")
    return int(text)


async def read_document(request: Request, type: type[T], *, optional: bool = False, most: int = MAX_DOCUMENT) -> T:
    """A JSON document of this type. With `optional` an empty body is one without members, whatever its type."""
    body = await read(request, most)
    if optional and not body:
        return msgspec.convert({}, type)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refused(415, "unsupported-media-type", "send JSON, with Content-Type: application/json")
    return decode(body, type)


def decode(body: bytes, type: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=type)
    except msgspec.ValidationError as error:
        raise Refused(400, BAD_REQUEST, f"the JSON document is not what is wanted here: {error}") from None
    except RecursionError:
        raise Refused(400, BAD_REQUEST, "the JSON document is nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, BAD_REQUEST, f"the body is no JSON: {error}") from None


def whole_number(text: str, name: str, least: int, most: int) -> int:
    """A number in a query."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not least <= int(text) <= most:
        raise Refused(400, BAD_REQUEST, f"{name} must be a whole number from {least:,} to {most:,}")
    return int(text)


def index(text: str, name: str) -> int:
    """A number in a query that may be negative, and count from the end."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > LONGEST_INDEX:
        raise Refused(400, BAD_REQUEST, f"{name} is a whole number; a negative one counts back from the end")
    return int(text)
