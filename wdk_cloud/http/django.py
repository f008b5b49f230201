"""Streams as responses of Django: `stream_response` for views under WSGI, `astream_response` for those under ASGI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpResponseBase, JsonResponse, StreamingHttpResponse  # pyright: ignore[reportMissingTypeStubs] -- Django has no types

from wdk_cloud import sync
from wdk_cloud.errors import WorkflowError
from wdk_cloud.http import live
from wdk_cloud.http.problems import Malformed, problem_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    from wdk_cloud.streams import ReadableStream

__all__ = ["astream_response", "stream_response"]


def stream_response(
    stream: ReadableStream[Any] | sync.ReadableStream[Any], *, last_event_id: str | None = None, raw: bool = False
) -> HttpResponseBase:
    """The stream as server-sent events, or with `raw` as bytes, live until it is closed or the client goes away.

    `last_event_id` is the header of that name, with which a client goes on where it was; one that makes no sense gets
    400. An unknown run is 404, one that was deleted 410. It keeps its thread of the server until the end; that a client
    has gone shows when the next bytes are written, after 15 s of silence at the latest.
    """
    try:
        source = live.Live(live.of_a_run(stream), last_event_id, raw=raw)
        sync.wait("stream_response", source.open)
    except (Malformed, WorkflowError) as error:
        return _told(error)
    return _streaming(source, sync.each("stream_response", source.body))


async def astream_response(
    stream: ReadableStream[Any] | sync.ReadableStream[Any], *, last_event_id: str | None = None, raw: bool = False
) -> HttpResponseBase:
    """As `stream_response`, with its `stream`, `last_event_id` and `raw`, for async views under ASGI.

    It keeps no thread, and ends at once with its client.
    """
    try:
        source = live.Live(live.of_a_run(stream), last_event_id, raw=raw)
        await source.open()
    except (Malformed, WorkflowError) as error:
        return _told(error)
    return _streaming(source, source.body())


def _streaming(source: live.Live, body: Iterable[bytes] | AsyncIterable[bytes]) -> HttpResponseBase:
    return StreamingHttpResponse(body, content_type=source.media_type, headers=live.HEADERS)


def _told(error: WorkflowError | Malformed) -> HttpResponseBase:
    status, document, headers = problem_of(error)
    return JsonResponse(document, status=status, headers=headers)
