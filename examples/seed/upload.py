"""A stream that comes from outside: `start` takes it as an argument, and uploads it while the run already works.

`python upload.py FILE` says how many characters a file has, without holding more of it than a block at the sender.
"""

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

from wdk_cloud import ReadableStream, Workflows, start, worker

app = Workflows()

BLOCK = 64 * 1024


@app.step
async def read_text(upload: ReadableStream[bytes]) -> str:
    chunks = [chunk async for chunk in upload]
    return b"".join(chunks).decode()


@app.workflow
async def process_upload(upload: ReadableStream[bytes]) -> dict[str, int]:
    text = await read_text(upload)  # the workflow only passes the stream on
    return {"length": len(text)}


def blocks(path: Path) -> Iterator[bytes]:
    """A request's body does as well: anything that can be iterated over, with `async for` or without."""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


async def main(path: Path) -> None:
    async with worker(app):
        run = await start(process_upload, ReadableStream.from_iterable(blocks(path)))
        print(await run.return_value())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
