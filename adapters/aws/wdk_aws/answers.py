"""Answers to HTTP requests as Lambda takes them: one JSON document, with a body that is text or base64."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from wdk_cloud.http.problems import told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wdk_aws.streamed import StreamedAnswer

MOST_ANSWER = 6_291_556
"""Bytes of the document: 6 MB and some, which Lambda's runtime interface names when an answer is larger."""

LOOK_FROM = 900_000
"""Bytes of a body below which no document comes near the limit: escaped as JSON a byte takes six at most."""

TEXT = ("text/", "application/json", "application/problem+json", "application/xml", "application/javascript")


class Collected:
    """What an ASGI app has sent by now."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[str, str]] = []
        self.whole = False
        self.begun = asyncio.Event()
        self.something = asyncio.Event()
        """An event of a live stream has come."""
        self._body = bytearray()

    def add(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = headers_of(message)
            self.begun.set()
        elif message["type"] == "http.response.body":
            piece: bytes = message.get("body", b"")
            self._body += piece
            self.whole = not message.get("more_body", False)
            if b"data:" in piece:
                self.something.set()

    @property
    def live(self) -> bool:
        """Its client comes back for the rest."""
        return is_live(self.headers)

    def as_answer(self, rest: bool) -> dict[str, Any]:
        """In the format 1.0 (`rest`) or 2.0 of the request's event."""
        body, encoded = self._text()
        answer: dict[str, Any] = {"statusCode": self.status, "body": body, "isBase64Encoded": encoded}
        if rest:
            multiple: dict[str, list[str]] = {}
            for name, value in self.headers:
                multiple.setdefault(name, []).append(value)
            answer["multiValueHeaders"] = multiple
        else:
            answer["headers"], answer["cookies"] = single(self.headers)
        if len(body) > LOOK_FROM and len(json.dumps(answer)) > MOST_ANSWER:
            said = f"the answer is larger than the {MOST_ANSWER:,} bytes that a function on AWS Lambda gives"
            return refusal(500, "answer-too-large", f"{said}; ask for less of it").as_answer(rest)
        return answer

    def pass_to(self, answer: StreamedAnswer) -> None:
        answer.begin(self.status, self.headers)
        answer.write(bytes(self._body))
        answer.end()

    @property
    def _media(self) -> str:
        return media(self.headers)

    def _text(self) -> tuple[str, bool]:
        packed = any(name == "content-encoding" for name, _ in self.headers)
        if not self._body or (self._media.startswith(TEXT) and not packed):
            try:
                return self._body.decode(), False
            except UnicodeDecodeError:
                pass  # in another encoding
        return base64.b64encode(self._body).decode(), True


def headers_of(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Of the start of an answer, as ASGI has it."""
    pairs: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
    return [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in pairs]


def single(headers: Sequence[tuple[str, str]]) -> tuple[dict[str, str], list[str]]:
    """Each name once: a header that comes twice is a list in one line, but for cookies, which stand apart."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name != "set-cookie":
            found[name] = f"{found[name]}, {value}" if name in found else value
    return found, [value for name, value in headers if name == "set-cookie"]


def media(headers: Sequence[tuple[str, str]]) -> str:
    return next((value.lower() for name, value in headers if name == "content-type"), "")


def is_live(headers: Sequence[tuple[str, str]]) -> bool:
    """Server-sent events: whoever reads them comes back for the rest."""
    return media(headers).startswith("text/event-stream")


def refusal(status: int, slug: str, message: str, headers: Mapping[str, str] | None = None) -> Collected:
    """As the API says what is wrong."""
    collected = Collected()
    named = {"content-type": "application/json", "cache-control": "no-store", **(headers or {})}
    pairs = [(name.encode(), value.encode()) for name, value in named.items()]
    collected.add({"type": "http.response.start", "status": status, "headers": pairs})
    collected.add({"type": "http.response.body", "body": json.dumps(told(slug, message)).encode()})
    return collected
