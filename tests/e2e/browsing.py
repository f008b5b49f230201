"""HTTP against an ASGI app, without a socket."""

from __future__ import annotations

import asyncio
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


class Listener:
    """A client that reads a response while it comes, and hangs up when it likes. `window` is how many pieces a
    connection takes before the client has read them; None: any number."""

    def __init__(self, app: Any, scope: dict[str, Any], window: int | None = None) -> None:
        self.messages = asyncio.Queue[dict[str, Any]](window or 0)
        self.task = asyncio.create_task(app(scope, self._receive, self.messages.put))
        self._asked = False
        self._gone = asyncio.Event()
        self._text = ""

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def hang_up(self) -> None:
        """Returns when the app has ended the response."""
        self._gone.set()
        await self.task

    async def start(self) -> dict[str, Any]:
        """The status and the headers."""
        return await self.messages.get()

    async def piece(self) -> bytes | None:
        """What comes next; None at the end."""
        message = await self.messages.get()
        return message["body"] or None if message["type"] == "http.response.body" else b""

    async def event(self) -> dict[str, str] | None:
        """The next server-sent event, with its fields; comments are the field ''. None at the end."""
        while "\n\n" not in self._text:
            piece = await self.piece()
            if piece is None:
                return None
            self._text += piece.decode()
        text, _, self._text = self._text.partition("\n\n")
        return {name: value.removeprefix(" ") for name, _, value in (line.partition(":") for line in text.split("\n"))}

    async def events(self) -> list[dict[str, str]]:
        """Those that come until the end, without what keeps connections alive."""
        found = []
        while (event := await self.event()) is not None:
            found += [event] if "data" in event else []
        return found


def listen(app: Any, path: str, *headers: tuple[str, str], window: int | None = None, method: str = "GET") -> Listener:
    """A request by whoever knows TOKEN."""
    path, _, query = path.partition("?")
    scope = scope_of(method, path, [("authorization", f"Bearer {TOKEN}"), *headers])
    return Listener(app, {**scope, "query_string": query.encode()}, window)
