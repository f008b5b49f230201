"""What a body cannot do: write to a stream, or read one. It is replayed, and a stream is not part of its log."""

from wdk_cloud import Workflows, get_writable

app = Workflows()


@app.workflow
async def wrong() -> None:
    await get_writable(type=str).write("data")  # raises WorkflowSandboxError, which says to do it in a step


@app.step
async def write_to_stream(data: str) -> None:
    await get_writable(type=str).write(data)


@app.workflow
async def right() -> None:
    await write_to_stream("data")
