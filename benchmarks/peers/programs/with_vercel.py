"""`vercel-workflow` on its local world, which has no settings: files, and a queue in this process. Words: a folder."""

import asyncio
import logging
import os
import sys

from protocol import serve

os.environ.update(WORKFLOW_TARGET_WORLD="local", WORKFLOW_LOCAL_DATA_DIR=sys.argv[1])
logging.disable(logging.WARNING)  # it warns of every delivery that comes after a run's end

from vercel.workflow import start  # noqa: E402 -- it reads the environment when the workflows are declared
from vercel_workflows import gathered, row  # noqa: E402


def run(workflow):
    async def to_its_end(steps):
        return await (await start(workflow, steps)).return_value()

    return to_its_end


if __name__ == "__main__":
    asyncio.run(serve({"row": run(row), "gathered": run(gathered)}))
    os._exit(0)  # its queue outlives the loop, and would end with a traceback
