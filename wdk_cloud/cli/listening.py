"""What `wdk dev` serves over HTTP, in the process and on the loop of its worker."""

from __future__ import annotations

import errno
import os
import secrets
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from wdk_cloud.cli.console import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from wdk_cloud.app import Workflows
    from wdk_cloud.worker import Worker

HOST = "127.0.0.1"
"""Nobody else's machine: what reaches webhooks from outside comes through a tunnel or a proxy."""

PORT = 8787

NEEDED = ("httpx", "starlette", "uvicorn")

MADE = "_WDK_DEV_API_TOKEN"
"""Holds a token that was made here: the processes of `--reload` share one."""


@dataclass(frozen=True)
class Listener:
    """A socket that listens, and who may use the API behind it."""

    socket: socket.socket
    token: str
    made: bool
    """The token is one of ours, to be shown; else it is the user's secret."""

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.socket.getsockname()[1]}"

    def lines(self, public_url: str) -> dict[str, str]:
        """What to tell of it."""
        from wdk_cloud.http.application import BASE

        shown = self.token if self.made else "that of WDK_API_TOKEN"
        told = {"http": f"{self.url}{BASE}", "token": f"{shown} (for its API: Authorization: Bearer TOKEN)"}
        return told if public_url == self.url else {**told, "webhooks": f"{public_url.rstrip('/')}{BASE}/webhook/"}


def listen(port: int | None) -> Listener | None:
    """None without the extra `http`, unless a port is asked for. Raises for a port that cannot be had."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        if port is None:
            return None
        raise UsageError(f"HTTP cannot be served without {', '.join(missing)}: install wdk-cloud[http]")
    token, made = token_of_api()
    try:
        return Listener(socket.create_server((HOST, PORT if port is None else port)), token, made)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise CommandError(f"{HOST} port {port} cannot be listened on: {error.strerror}") from error
        raise CommandError(
            f"port {PORT if port is None else port} is in use, by another `wdk dev` perhaps; choose another one with "
            "--port (0 takes any that is free)"
        ) from None


def token_of_api() -> tuple[str, bool]:
    """That of WDK_API_TOKEN, or one that is made here."""
    from wdk_cloud.http.authentication import VARIABLE, BearerToken

    if given := os.environ.get(VARIABLE):
        BearerToken(given)  # raises for one that is a mistake
        return given, False
    return os.environ.setdefault(MADE, secrets.token_urlsafe(24)), True


@asynccontextmanager
async def answering(
    listener: Listener | None, apps: Sequence[Workflows], workers: Sequence[Worker]
) -> AsyncGenerator[None]:
    """Answer requests while the block runs."""
    if listener is None:
        yield
        return
    from wdk_cloud.http.application import build
    from wdk_cloud.http.authentication import BearerToken
    from wdk_cloud.http.served import Served
    from wdk_cloud.http.server import serving

    served = Served(apps)
    served.use([one.engine for one in workers])
    async with serving(build(served, BearerToken(listener.token)), listener.socket):
        yield
