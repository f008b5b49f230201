"""DBOS on SQLite as it comes: its defaults, without the admin server and its log. The first word is a folder."""

import asyncio
import sys
import time
from pathlib import Path

from dbos import DBOS
from protocol import serve


@DBOS.step()
async def moment(number: int) -> int:
    return time.monotonic_ns()


@DBOS.workflow()
async def row(steps: int) -> int:
    last = 0
    for number in range(steps):
        last = await moment(number)
    return last


@DBOS.workflow()
async def gathered(steps: int) -> int:
    return max(await asyncio.gather(*(moment(number) for number in range(steps))))


def run(workflow):
    async def to_its_end(steps):
        return await (await DBOS.start_workflow_async(workflow, steps)).get_result()

    return to_its_end


async def main(folder):
    DBOS(
        config={
            "name": "peers",
            "system_database_url": f"sqlite:///{folder / 'dbos.db'}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    try:
        await serve({"row": run(row), "gathered": run(gathered)})
    finally:
        DBOS.destroy()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
