"""A producer fails in the middle. Its step has been recorded when it began, so it is not tried again: who consumes the
stream gets what came before, then the error, and decides."""

from collections.abc import AsyncIterator

from wdk_cloud import FatalError, ReadableStream, StreamError, Workflows

app = Workflows()


@app.step
async def produce() -> AsyncIterator[int]:
    yield 1
    yield 2
    raise RuntimeError("the source is gone")


@app.step
async def consume(numbers: ReadableStream[int]) -> None:
    try:
        async for number in numbers:
            print(number)
    except StreamError as error:
        # The stream ends like this for every attempt: another one would do no better.
        raise FatalError("the stream broke off") from error


@app.workflow
async def read_to_the_end() -> None:
    numbers = await produce()
    await consume(numbers)
