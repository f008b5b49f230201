"""Streams as responses of Flask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Response

from wdk_cloud import sync
from wdk_cloud.errors import WorkflowError
from wdk_cloud.http import live
from wdk_cloud.http.problems import Malformed, problem_of

if TYPE_CHECKING:
    from wdk_cloud.streams import ReadableStream

__all__ = ["stream_response"]


def stream_response(
    stream: ReadableStream[Any] | sync.ReadableStream[Any], *, last_event_id: str | None = None, raw: bool = False
) -> Response:
    """The stream as server-sent events, or with `raw` as bytes, live until it is closed or the client goes away.

    `last_event_id` is the header of that name, with which a client goes on where it was; one that makes no sense gets
    400. An unknown run is 404, one that was deleted 410. It keeps its thread of the server until the end; that a client
    has gone shows when the next bytes are written, after 15 s of silence at the latest.
    """
    try:
        source = live.Live(live.of_a_run(stream), last_event_id, raw=raw)
        sync.wait("stream_response", source.open)
    except (Malformed, WorkflowError) as error:
        status, document, headers = problem_of(error)
        return Response(json.dumps(document), status, headers, mimetype="application/json")
    pieces = sync.each("stream_response", source.body)
    return Response(pieces, headers=live.HEADERS, mimetype=source.media_type)
