"""The workflows for `with_vercel.py`: a module of its own, since `vercel-workflow` imports it again for every run."""

import asyncio
import time

from vercel.workflow import Workflows

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
