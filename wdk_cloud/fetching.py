"""`fetch`: an HTTP request as a step, which every app has."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from wdk_cloud.builtin import built_in
from wdk_cloud.errors import FatalError
from wdk_cloud.webmessages import Headers, Response

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    import httpx

GAP = 30.0
"""Seconds without a byte after which an attempt fails; how long it may take in all is a matter of `timeout=`."""

MAX_BODY = 100_000_000
"""Bytes of a response, as many as a webhook takes at most: in a record it is a third longer."""

CHANGED = frozenset(("connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"))
"""Headers that tell of the body on its way: here it has arrived, unpacked."""


@built_in
async def fetch(
    url: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    json: Any = None,
    content: str | bytes | None = None,
) -> Response:
    """Send an HTTP request, as a step: what comes back is recorded once. Outside a workflow it is just sent.

    `url` is whole; `method` is GET unless given; `headers` are sent as they are. `json` is sent as JSON, or `content`
    as it is. Redirects are followed. Any status is a `Response`: look at `.status`. A server that cannot be reached, or
    goes silent for 30 s, fails the attempt with `ConnectionError` or `TimeoutError`, which is tried again as of any
    step; for a request that must not be sent twice write `fetch.with_options(max_retries=0)(…)`. A request that cannot
    be sent, and a response of more than 100 MB, is a FatalError. Needs the extra `http`.
    """
    httpx = _httpx()
    if json is not None and content is not None:
        raise FatalError("fetch() sends one body: give json= or content=, not both")
    cannot = (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects, httpx.LocalProtocolError)
    try:
        fields = Headers(headers or {}).pairs  # whose complaints show no values
        async with httpx.AsyncClient(verify=_certificates(), timeout=GAP, follow_redirects=True) as client:
            request = client.build_request(method, url, headers=fields, json=json, content=content)
            response = await client.send(request, stream=True)
            try:
                body = await _read(response)
            finally:
                await response.aclose()
    except httpx.TimeoutException as error:
        raise TimeoutError(f"no answer came from {_place(url)} within {GAP:g} s") from error
    except (*cannot, TypeError, ValueError) as error:
        raise FatalError(f"fetch() cannot send this request: {error}; look at its url, headers and json") from error
    except httpx.HTTPError as error:
        raise ConnectionError(f"{_place(url)}: {error or type(error).__name__}") from error
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]
    kept = [(name, value) for name, value in pairs if name.lower() not in CHANGED]
    return Response(response.status_code, body, Headers(kept).pairs)


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_bytes():
        body += part
        if len(body) > MAX_BODY:
            raise FatalError(
                f"fetch() got a response of more than {MAX_BODY:,} bytes; write a step of your own that puts it into a "
                "file or an object store"
            )
    return bytes(body)


def _place(url: str) -> str:
    """Host and scheme: what follows may hold a secret."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}"


def _httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError as error:
        raise FatalError(f"fetch() cannot work here ({error}); install wdk-cloud[http], which has httpx") from error
    from wdk_cloud.http.secrecy import hide_tokens

    hide_tokens()  # httpx logs the URLs of requests
    return httpx


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Made once: reading the certificates takes longer than most requests."""
    return _httpx().create_ssl_context()
