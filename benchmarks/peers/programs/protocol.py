"""What the programs of all engines have in common: a line `workload steps` comes in, a line of JSON goes out.

Plain Python, since every engine has an environment of its own. Of each run: seconds from before its start to the body
of its last step, seconds to its result in the hands of whoever started it, and the processor time of this process until
it rests, since what an engine does after the result is part of its cost.
"""

import asyncio
import gc
import json
import sys
import time

LOOK = 0.05
"""Seconds over which a process is watched to see whether it rests."""

RESTS = 0.1
"""The share of a core below which a process counts as resting; an engine's idle polling takes less."""

LOOKS = 100


async def serve(workloads):
    """`workloads`: by name, a function of the number of steps that starts a run and awaits its result."""
    loop = asyncio.get_running_loop()
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        name, steps = line.split()
        print(json.dumps(await measured(workloads[name], int(steps))), flush=True)


async def measured(work, steps):
    gc.collect()
    cpu, began = time.process_time(), time.monotonic_ns()
    last_step = await work(steps)
    ended = time.monotonic_ns()
    await rest()
    return {
        "last_step": (last_step - began) / 1e9,
        "result": (ended - began) / 1e9,
        "cpu": time.process_time() - cpu,
    }


async def rest():
    for _ in range(LOOKS):
        before = time.process_time()
        await asyncio.sleep(LOOK)
        if time.process_time() - before < RESTS * LOOK:
            return
