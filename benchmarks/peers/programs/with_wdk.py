"""wdk-cloud on `local`, client and worker on one loop. The words are a folder for its data, and how to sync."""

import asyncio
import sys
import time
from pathlib import Path

from protocol import serve

from wdk_cloud import Workflows, start, use_world, worker
from wdk_cloud.world.local import LocalWorld

app = Workflows()


@app.step
async def moment(number: int) -> int:
    return time.monotonic_ns()


@app.workflow
async def row(steps: int) -> int:
    last = 0
    for number in range(steps):
        last = await moment(number)
    return last


@app.workflow
async def gathered(steps: int) -> int:
    return max(await asyncio.gather(*(moment(number) for number in range(steps))))


def run(workflow):
    async def to_its_end(steps):
        return await (await start(workflow, steps)).return_value()

    return to_its_end


async def main(folder, sync):
    world = LocalWorld(folder / "local.db", sync=sync)
    await world.open()
    try:
        with use_world(world):
            async with worker(app, world=world):
                await serve({"row": run(row), "gathered": run(gathered)})
    finally:
        await world.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
