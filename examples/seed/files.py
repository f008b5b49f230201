"""A file of any size is read, compressed and stored, block by block: three steps at work at once, none of which holds
more than some blocks."""

import zlib
from collections.abc import AsyncIterator
from pathlib import Path

from wdk_cloud import ReadableStream, Workflows

app = Workflows()

BLOCK = 64 * 1024


@app.step
async def download(source: Path) -> AsyncIterator[bytes]:
    with source.open("rb") as file:  # stands for a download
        while block := file.read(BLOCK):
            yield block


@app.step
async def compress(blocks: ReadableStream[bytes]) -> AsyncIterator[bytes]:
    compressor = zlib.compressobj(wbits=31)  # the format of gzip
    async for block in blocks:
        yield compressor.compress(block)
    yield compressor.flush()


@app.step
async def store(blocks: ReadableStream[bytes], target: Path) -> int:
    with target.open("wb") as file:  # stands for an upload; an attempt that follows another one begins anew
        async for block in blocks:
            file.write(block)
        return file.tell()


@app.workflow
async def process_file(source: Path, target: Path) -> int:
    raw = await download(source)
    compressed = await compress(raw)
    return await store(compressed, target)
