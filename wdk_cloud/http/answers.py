"""What callers of the API get: JSON documents. One that says what is wrong has a slug, `error`, and a `message`."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.responses import Response

from wdk_cloud.errors import FatalError, WorkflowError
from wdk_cloud.http.problems import BAD_REQUEST, Malformed, problem_of, told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping

    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.types import Receive

SLUGS = {404: "not-found", 405: "method-not-allowed"}
"""Of what the router refuses."""


class Refused(Exception):
    """The request is answered with this status, slug and message."""

    def __init__(self, status: int, slug: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.slug = slug
        self.headers = headers


def document(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON document. In ASCII, so that no text of anybody can fail to be written."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(body, status, {"cache-control": "no-store", **(headers or {})}, "application/json")


def refusal(status: int, slug: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return document(told(slug, message), status, headers)


@contextmanager
def bad_input() -> Generator[None]:
    """What our own checks of arguments raise is the caller's mistake here."""
    try:
        yield
    except (TypeError, ValueError, FatalError) as error:
        raise Refused(400, BAD_REQUEST, str(error)) from error


async def _on_refused(_: Request, error: Refused) -> Response:
    return refusal(error.status, error.slug, str(error), error.headers)


async def _on_router(_: Request, error: HTTPException) -> Response:
    slug = SLUGS.get(error.status_code, "http")
    return refusal(error.status_code, slug, error.detail, error.headers)


async def _on_workflow_error(_: Request, error: WorkflowError) -> Response:
    return failure(error)


def failure(error: WorkflowError | Malformed) -> Response:
    status, content, headers = problem_of(error)
    return document(content, status, headers)


async def hung_up(receive: Receive) -> None:
    """Returns when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return Response(status_code=400)  # nobody hears it


async def _on_bug(_: Request, __: Exception) -> Response:
    """The server that runs the app logs the traceback; a caller learns nothing of it."""
    return refusal(500, "internal", "something went wrong here; the log of the server says what")


def handlers() -> Mapping[int | type[Exception], Callable[..., Awaitable[Response]]]:
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect

    return {
        Refused: _on_refused,
        HTTPException: _on_router,
        WorkflowError: _on_workflow_error,
        ClientDisconnect: _on_disconnect,
        Exception: _on_bug,
    }
