"""A batch, item by item, with a pause between them, that says how far it is.

`python batch.py` starts a run and shows its progress.
"""

import asyncio
from dataclasses import dataclass

from wdk_cloud import Workflows, get_writable, sleep, start, worker

app = Workflows()


@dataclass
class Progress:
    item: str
    percent: int
    status: str


@app.step
async def process_item(item: str, current: int, total: int) -> None:
    await asyncio.sleep(0.1)  # stands for the work
    await get_writable(type=Progress).write(Progress(item, round(100 * current / total), "processed"))


@app.step
async def finalize_progress() -> None:
    await get_writable().close()


@app.workflow
async def process_batch(items: list[str]) -> int:
    for current, item in enumerate(items, 1):
        await process_item(item, current, len(items))
        await sleep("1 s")
    await finalize_progress()
    return len(items)


async def main() -> None:
    async with worker(app):
        run = await start(process_batch, ["apples", "pears", "plums"])
        async for progress in run.readable(type=Progress):
            print(f"{progress.percent:3} % {progress.item}: {progress.status}")


if __name__ == "__main__":
    asyncio.run(main())
