"""HTTP against an ASGI app, without a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from wdk_cloud import Workflows, http
from wdk_cloud.http.authentication import BearerToken

BASE = "/.well-known/workflow/v1"
TOKEN = "the-token-of-the-tests"

Messages = list[dict[str, Any]]


def serve(app: Workflows) -> Any:
    """The app of these workflows, for those who know TOKEN."""
    return http.app(app, BearerToken(TOKEN))


@asynccontextmanager
async def browser(app: Any, token: str | None = TOKEN, prefix: str = "") -> AsyncIterator[httpx.AsyncClient]:
    """Whoever knows the token; None: the public."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(app)
    base = f"http://test{prefix}{BASE}"
    async with httpx.AsyncClient(transport=transport, base_url=base, headers=headers) as client:
        yield client


def scope_of(method: str, path: str, headers: Iterable[tuple[str, str]] = ()) -> dict[str, Any]:
    """A request as a server hands it to an app."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": BASE + path,
        "raw_path": (BASE + path).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }


async def call(app: Any, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]]) -> Messages:
    """What the app sends for a request whose body comes from `receive`."""
    sent: Messages = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent
