"""What happens when a step raises: it is tried again at once, or not at all, or when the step says so."""

from wdk_cloud import FatalError, RetryableError, Workflows, get_step_metadata

app = Workflows()

ANSWERS = {
    "/steady": [200],
    "/flaky": [500, 500, 200],
    "/down": [500],
    "/missing": [404],
    "/busy": [429, 200],
}
"""Stands for a service: what it answers, attempt after attempt; the last answer stays."""


def get(endpoint: str) -> int:
    """Stands for a request."""
    answers = ANSWERS[endpoint]
    status = answers[min(get_step_metadata().attempt, len(answers)) - 1]
    print(f"GET {endpoint}: {status}")
    return status


@app.step(max_retries=5)  # at most six attempts; without it four
async def insist(endpoint: str) -> int:
    status = get(endpoint)
    if status >= 500:
        raise RuntimeError(f"the service answers {status}")  # any exception: it is tried again at once
    return status


@app.step
async def insist_unless_missing(endpoint: str) -> int:
    status = get(endpoint)
    if status >= 500:
        raise RuntimeError(f"the service answers {status}")
    if status == 404:
        raise FatalError(f"there is no {endpoint}")  # not tried again
    return status


@app.step
async def wait_if_busy(endpoint: str) -> int:
    status = get(endpoint)
    if status >= 500:
        raise RuntimeError(f"the service answers {status}")
    if status == 404:
        raise FatalError(f"there is no {endpoint}")
    if status == 429:
        raise RetryableError("the service asks for fewer calls", retry_after="1 m")  # not before
    return status


@app.workflow
async def call_insistently(endpoint: str) -> int:
    return await insist(endpoint)


@app.workflow
async def call_reasonably(endpoint: str) -> int:
    return await insist_unless_missing(endpoint)


@app.workflow
async def call_politely(endpoint: str) -> int:
    return await wait_if_busy(endpoint)


@app.workflow
async def call_once(endpoint: str) -> int:
    return await insist.with_options(max_retries=0)(endpoint)
