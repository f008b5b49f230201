"""Streams as responses of FastAPI, Starlette, and whatever else takes an ASGI app for a response."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.responses import Response, StreamingResponse

from wdk_cloud.errors import WorkflowError
from wdk_cloud.http import answers, live
from wdk_cloud.http.problems import Malformed

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from wdk_cloud.streams import ReadableStream

__all__ = ["stream_response"]


def stream_response(stream: ReadableStream[Any], *, last_event_id: str | None = None, raw: bool = False) -> Response:
    """The stream as server-sent events, or with `raw` as bytes, live until it is closed or the client goes away.

    `last_event_id` is the header of that name, with which a client goes on where it was; one that makes no sense gets
    400. Before anything is sent, an unknown run is 404, one that was deleted 410.
    """
    try:
        return LiveResponse(live.Live(stream, last_event_id, raw=raw))
    except Malformed as error:
        return answers.failure(error)


class CutOff(Exception):
    """Bytes end early: the server breaks the connection, so that nobody takes them for the whole."""


class LiveResponse(StreamingResponse):
    """Ends with its client, even when there is nothing to send."""

    def __init__(self, source: live.Live) -> None:
        super().__init__((), headers=live.HEADERS, media_type=source.media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._source.open()
        except WorkflowError as error:
            await answers.failure(error)(scope, receive, send)
            return
        sending = asyncio.create_task(self._send(send, with_body=scope["method"] != "HEAD"))
        gone = asyncio.create_task(answers.hung_up(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.gather(sending, gone, return_exceptions=True)
        if self.background is not None:
            await self.background()

    async def _send(self, send: Send, *, with_body: bool) -> None:
        with contextlib.suppress(OSError):  # so do servers say that the client is gone
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if with_body:
                await self._send_pieces(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_pieces(self, send: Send) -> None:
        async with aclosing(self._source.body()) as body:
            try:
                async for piece in body:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except WorkflowError as error:
                raise CutOff(f"a response was cut off, as what it sends was: {error}") from error
