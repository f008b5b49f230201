"""HTTP requests as they come in events: format 2.0 of function URLs and HTTP APIs, format 1.0 of REST APIs."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Http(msgspec.Struct, rename="camel"):
    method: str
    source_ip: str = ""


class _Authorizer(msgspec.Struct):
    iam: dict[str, Any] | None = None


class _Asked(msgspec.Struct):
    http: _Http
    stage: str = "$default"
    authorizer: _Authorizer | None = None


class _Event(msgspec.Struct, rename="camel"):
    """Format 2.0."""

    request_context: _Asked
    raw_path: str = "/"
    raw_query_string: str = ""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    body: str | None = None
    is_base64_encoded: bool = msgspec.field(default=False, name="isBase64Encoded")


class _Identity(msgspec.Struct, rename="camel"):
    source_ip: str | None = None
    user_arn: str | None = None


class _AskedOfRest(msgspec.Struct):
    stage: str = "$default"
    identity: _Identity = msgspec.field(default_factory=_Identity)


class _EventOfRest(msgspec.Struct, rename="camel"):
    """Format 1.0."""

    http_method: str
    path: str = "/"
    request_context: _AskedOfRest = msgspec.field(default_factory=_AskedOfRest)
    headers: dict[str, str] | None = None
    multi_value_headers: dict[str, list[str]] | None = None
    multi_value_query_string_parameters: dict[str, list[str]] | None = None
    body: str | None = None
    is_base64_encoded: bool = msgspec.field(default=False, name="isBase64Encoded")


class Request(NamedTuple):
    method: str
    path: str
    stage: str
    """The prefix of the path that a stage with a name is; custom domains have none in it."""
    query: str
    headers: list[tuple[str, str]]
    """Names in small letters."""
    body: bytes
    sender: str
    rest: bool
    """The answer has to be of format 1.0."""
    signed: bool
    """IAM knows who asks and has let him through: so it is where the URL, or the route, has the authorizer AWS_IAM. Who
    asks cannot say so: an event comes from Lambda, or from somebody whom IAM lets invoke the function."""


class NoBase64(ValueError):
    """The body is none, though the event says so."""


def read(event: Mapping[str, Any]) -> Request:
    """Raises msgspec.ValidationError for what no gateway sends, and NoBase64."""
    if "httpMethod" in event:
        return _of_rest(msgspec.convert(event, _EventOfRest))
    found = msgspec.convert(event, _Event)
    asked = found.request_context
    headers = [(name.lower(), value) for name, value in found.headers.items()]
    if found.cookies:  # they are taken out of the headers there
        headers = [pair for pair in headers if pair[0] != "cookie"]
        headers.append(("cookie", "; ".join(found.cookies)))
    body = _body(found.body, found.is_base64_encoded)
    stage, http = _prefix(found.raw_path, asked.stage), asked.http
    signed = asked.authorizer is not None and bool(asked.authorizer.iam)
    path, query = found.raw_path or "/", found.raw_query_string
    return Request(http.method, path, stage, query, headers, body, http.source_ip, rest=False, signed=signed)


def _of_rest(found: _EventOfRest) -> Request:
    multiple = found.multi_value_headers
    if multiple is None:
        multiple = {name: [value] for name, value in (found.headers or {}).items()}
    headers = [(name.lower(), value) for name, values in multiple.items() for value in values]
    query = urlencode(found.multi_value_query_string_parameters or {}, doseq=True)
    asked = found.request_context
    body = _body(found.body, found.is_base64_encoded)
    stage, sender = _prefix(found.path, asked.stage), asked.identity.source_ip or ""
    method, path, signed = found.http_method, found.path or "/", bool(asked.identity.user_arn)
    return Request(method, path, stage, query, headers, body, sender, rest=True, signed=signed)


def _prefix(path: str, stage: str) -> str:
    prefix = f"/{stage}"
    return prefix if stage != "$default" and (path == prefix or path.startswith(f"{prefix}/")) else ""


def _body(text: str | None, encoded: bool) -> bytes:
    if not encoded:
        return (text or "").encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(text or "", validate=True)
    except ValueError:  # binascii.Error is one, and so is text that is not ASCII
        raise NoBase64 from None
