"""One step produces, another one consumes at the same time, and the workflow between them only passes a stream on."""

from collections.abc import AsyncIterator

from wdk_cloud import ReadableStream, Workflows

app = Workflows()


@app.step
async def generate() -> AsyncIterator[int]:
    """An async generator is a step whose result is a stream: the call returns as soon as it begins."""
    for number in range(10):
        yield number


@app.step
async def consume(numbers: ReadableStream[int]) -> list[int]:
    return [number async for number in numbers]


@app.workflow
async def run_pipeline() -> dict[str, int]:
    numbers = await generate()
    results = await consume(numbers)
    return {"count": len(results), "sum": sum(results)}
