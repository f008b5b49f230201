"""How long until something happens: from `start` to the first step, and from one step to the next.

Start to first step: client and worker in two processes on one database, the worker idle. From before `start()` to the
first line of the step, by the machine's monotonic clock. On `memory`, which only one process sees, both share a loop.
Step to step: in one run, from the end of a step's body to the begin of the next one's.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report, shortened
from benchmarks.fresh import ENVIRONMENT, PATIENCE
from benchmarks.stage import WORLDS, make_world, serving
from benchmarks.workflows import chain, first_step
from wdk_cloud import start, use_world

if TYPE_CHECKING:
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

FIRST_STEP_MS = 3.0

PAUSE = 0.02
"""Seconds between two starts: long enough for the worker to finish the last run and fall asleep."""


def start_to_first_step(plan: Plan, folder: Folder) -> Report:
    local = asyncio.run(_in_two_processes(plan.starts, folder.new_database()))
    memory = asyncio.run(_in_one_process(plan.starts, folder.new_database()))
    folder.clear()
    figures: list[Figure] = []
    for world, samples in (("local", local), ("memory", memory)):
        most = FIRST_STEP_MS if world == "local" else None
        figures.append(Figure("start to first step, p50", world, _percentile(samples, 50), "ms", most=most))
        figures.append(Figure("start to first step, p90", world, _percentile(samples, 90), "ms"))
    details: Json = {"starts": plan.starts, "processes": {"local": 2, "memory": 1}}
    return Report(figures, details)


def step_to_step(plan: Plan, folder: Folder) -> Report:
    figures: list[Figure] = []
    details: Json = {"steps": plan.chain}
    for world in WORLDS:
        gaps = asyncio.run(_gaps(world, plan.chain, folder.new_database()))
        figures.append(Figure("step to step, p50", world, _percentile(gaps, 50), "ms"))
        details[world] = {f"p{p}_ms": shortened(_percentile(gaps, p)) for p in (50, 90, 99)}
    folder.clear()
    return Report(figures, details)


def _percentile(samples: list[float], percent: int) -> float:
    return statistics.quantiles(samples, n=100, method="inclusive")[percent - 1]


async def _in_two_processes(starts: int, path: Path) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.latency", str(path)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        assert server.stdout is not None
        server.stdout.readline()  # it serves
        world = make_world("local", path)
        await world.open()
        try:
            with use_world(world):
                return await _samples(starts)
        finally:
            await world.close()
    finally:
        server.communicate(timeout=PATIENCE)  # the end of its input ends it


async def _in_one_process(starts: int, path: Path) -> list[float]:
    async with serving(make_world("memory", path)):
        return await _samples(starts)


async def _samples(starts: int) -> list[float]:
    """Milliseconds of each start. The first ones are not kept: there, both processes load modules."""
    samples: list[float] = []
    for _ in range(starts + 2):
        await asyncio.sleep(PAUSE)
        before = time.monotonic_ns()
        began = await (await start(first_step)).return_value(timeout=60)
        samples.append((began - before) / 1e6)
    return samples[2:]


async def _gaps(world: str, steps: int, path: Path) -> list[float]:
    async with serving(make_world(world, path)):
        moments = await (await start(chain, steps)).return_value(timeout=300)
    return [(began - ended) / 1e6 for (_, ended), (began, _) in itertools.pairwise(moments)]


async def _serve(path: Path) -> None:
    """The worker of the two-process measurement: serves until its input ends."""
    async with serving(make_world("local", path)):
        print("serving", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
