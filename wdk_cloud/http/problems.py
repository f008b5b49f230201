"""What callers are told of an error: a status, one word for programs (`error`), and a `message` for people."""

from __future__ import annotations

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


def status_of(error: WorkflowError) -> int:
    return next((status for cls, status in STATUSES.items() if isinstance(error, cls)), 500)


def headers_of(error: WorkflowError) -> dict[str, str]:
    if not isinstance(error, WorldUnavailableError):
        return {}
    wait = error.retry_after if isinstance(error, ThrottleError) else None
    return {"retry-after": str(max(RETRY_AFTER, round(wait or 0)))}


def problem(slug: str, message: str) -> dict[str, str]:
    return {"error": slug, "message": message}
