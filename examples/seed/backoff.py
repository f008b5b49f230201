"""A step that waits longer after each failure: how long, it says itself, from the number of its attempt."""

from datetime import UTC, datetime, timedelta

from wdk_cloud import FatalError, RetryableError, Workflows, get_step_metadata

app = Workflows()

ANSWERS = {
    "/flaky": [500, 500, 500, 200],
    "/down": [500],
    "/missing": [404],
    "/busy": [429, 200],
}
"""Stands for a service: what it answers, attempt after attempt; the last answer stays."""


def get(endpoint: str, attempt: int) -> int:
    """Stands for a request."""
    answers = ANSWERS[endpoint]
    status = answers[min(attempt, len(answers)) - 1]
    print(f"GET {endpoint}: {status}")
    return status


@app.step(max_retries=5)
async def call_api(endpoint: str) -> int:
    attempt = get_step_metadata().attempt
    status = get(endpoint, attempt)
    if status >= 500:
        raise RetryableError("backing off", retry_after=attempt**2)  # after 1 s, 4 s, 9 s, …
    if status == 404:
        raise FatalError(f"there is no {endpoint}")
    if status == 429:
        in_a_minute = datetime.now(UTC) + timedelta(minutes=1)
        raise RetryableError("the service asks for fewer calls", retry_after=in_a_minute)
    return status


@app.workflow
async def call(endpoint: str) -> int:
    return await call_api(endpoint)
