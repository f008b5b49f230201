"""A server for an ASGI app on the loop that runs already, beside a worker."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Generator

    from starlette.types import ASGIApp

PATIENCE = 1.0
"""Seconds that callers who wait for an answer, or follow a stream, get when the server stops."""


class _Beside(uvicorn.Server):
    """Signals are for whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncGenerator[None]:
    """Serve the app on a socket that listens, while the block runs; its lifespan is the caller's matter.

    No access log: the paths of webhooks and hooks are secrets.
    """
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=10,  # never reached: whoever is left after our patience is cut off before
    )
    server = _Beside(config)
    task = asyncio.create_task(server.serve([listener]), name="wdk-http")
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait((task,), timeout=PATIENCE)
        # To the app this is a caller who hangs up; uvicorn would break it off, and log that as a failure.
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await task
