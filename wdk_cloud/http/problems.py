"""What callers are told of an error: a status, one word for programs (`error`), and a `message` for people."""

from __future__ import annotations

import logging
from typing import NamedTuple

from wdk_cloud.errors import (
    HookNotFoundError,
    IdempotencyConflictError,
    RunExistsError,
    RunExpiredError,
    SerializationError,
    ThrottleError,
    WorkflowError,
    WorkflowRunNotFoundError,
    WorldUnavailableError,
)

log = logging.getLogger("wdk_cloud.http")

BAD_REQUEST = "bad-request"

STATUSES: dict[type[WorkflowError], int] = {
    SerializationError: 400,
    HookNotFoundError: 404,
    WorkflowRunNotFoundError: 404,
    IdempotencyConflictError: 409,
    RunExistsError: 409,
    RunExpiredError: 410,
    WorldUnavailableError: 503,
    ThrottleError: 503,
}
"""Of the errors that callers cause, or may wait out; whatever else is raised is our matter: 500."""

RETRY_AFTER = 1
"""Seconds after which a world that did not answer may be asked again, where it says nothing itself."""

LONGEST_INDEX = 15
"""Digits of the index of a chunk: more than any stream will have chunks."""


class Malformed(ValueError):
    """What a client has sent is no index of a chunk."""


class Problem(NamedTuple):
    """An answer, as any framework can give it; `document` is JSON."""

    status: int
    document: dict[str, str]
    headers: dict[str, str]


def problem_of(error: WorkflowError | Malformed) -> Problem:
    """What is our own matter is logged."""
    if isinstance(error, Malformed):
        return Problem(400, told(BAD_REQUEST, str(error)), {})
    status = next((status for cls, status in STATUSES.items() if isinstance(error, cls)), 500)
    headers: dict[str, str] = {}
    if isinstance(error, WorldUnavailableError):
        wait = error.retry_after if isinstance(error, ThrottleError) else None
        headers["retry-after"] = str(max(RETRY_AFTER, round(wait or 0)))
    if status == 500:
        log.error("a request could not be answered", exc_info=error)
    return Problem(status, told(error.slug, str(error)), headers)


def told(slug: str, message: str) -> dict[str, str]:
    return {"error": slug, "message": message}
