"""Several processes on one file: how soon what one sends reaches a body in another, and what it costs to wait.

Three workers in processes of their own, all idle. Wake: a client in a fourth process wakes a run that sleeps, from
before `wake_up()` to the first line of the step that follows the sleep, by the machine's monotonic clock. Payload: the
same with `resume_hook()` and a run that waits for a payload. Idle: the processor time of the three together while
nothing happens, as a share of one core, after they have worked.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report
from benchmarks.fresh import ENVIRONMENT, PATIENCE
from benchmarks.stage import make_world, serving
from benchmarks.workflows import resumed, woken
from wdk_cloud import resume_hook, start, use_world

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan
    from wdk_cloud import Run
    from wdk_cloud.world.ports import World

WORKERS = 3

REACHED_MS = 5.0
IDLE_PERCENT = 0.5

PAUSE = 0.02
"""Seconds between two wakes: long enough for the workers to finish the last run and fall asleep."""

Server = subprocess.Popen[str]


def run(plan: Plan, folder: Folder) -> Report:
    path = folder.new_database()
    with _workers(path) as servers:
        wakes = asyncio.run(_samples(path, plan.wakes, _one_wake))
        resumes = asyncio.run(_samples(path, plan.wakes, _one_payload))
        seconds, used = _at_rest(servers, plan.idle)
    folder.clear()
    share = 100 * sum(used) / seconds
    figures = [
        *_percentiles("wake from another process to the body", wakes),
        *_percentiles("payload from another process to the body", resumes),
        Figure(f"{WORKERS} idle workers, share of one core", "local", share, "%", most=IDLE_PERCENT),
    ]
    details: Json = {
        "workers": WORKERS,
        "wakes": plan.wakes,
        "idle_seconds": round(seconds, 1),
        "idle_cpu_ms": [round(cpu * 1000, 2) for cpu in used],
    }
    return Report(figures, details)


def _percentiles(name: str, samples: list[float]) -> list[Figure]:
    percentiles = statistics.quantiles(samples, n=100, method="inclusive")
    return [
        Figure(f"{name}, p50", "local", percentiles[49], "ms", most=REACHED_MS),
        Figure(f"{name}, p90", "local", percentiles[89], "ms"),
    ]


def _at_rest(servers: list[Server], seconds: float) -> tuple[float, list[float]]:
    """How long it was, and how much processor time each of them used meanwhile."""
    before = [_cpu(server) for server in servers]
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    return passed, [_cpu(server) - cpu for server, cpu in zip(servers, before, strict=True)]


@contextmanager
def _workers(path: Path) -> Generator[list[Server]]:
    command = [sys.executable, "-m", "benchmarks.processes", str(path)]
    servers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        for _ in range(WORKERS)
    ]
    try:
        for server in servers:
            _line(server)  # it serves
        yield servers
    finally:
        for server in servers:
            server.communicate(timeout=PATIENCE)  # the end of its input ends it


def _line(server: Server) -> str:
    assert server.stdout is not None
    return server.stdout.readline()


def _cpu(server: Server) -> float:
    """Seconds of processor time that this worker has used so far, all its threads together."""
    assert server.stdin is not None
    server.stdin.write("cpu\n")
    server.stdin.flush()
    return float(_line(server))


async def _samples(path: Path, count: int, one: Callable[[World], Awaitable[float]]) -> list[float]:
    """Milliseconds of each. The first ones are not kept: there, the processes load modules."""
    world = make_world("local", path)
    await world.open()
    try:
        with use_world(world):
            samples = [await one(world) for _ in range(count + WORKERS)]
    finally:
        await world.close()
    return samples[WORKERS:]


async def _one_wake(world: World) -> float:
    run = await start(woken)
    await _asleep(world, run)
    await asyncio.sleep(PAUSE)
    before = time.monotonic_ns()
    await run.wake_up()
    began = await run.return_value(timeout=60)
    return (began - before) / 1e6


async def _one_payload(world: World) -> float:
    token = uuid.uuid4().hex
    run = await start(resumed, token)
    await _asleep(world, run)
    await asyncio.sleep(PAUSE)
    before = time.monotonic_ns()
    await resume_hook(token, "payload")
    began = await run.return_value(timeout=60)
    return (began - before) / 1e6


async def _asleep(world: World, run: Run[int]) -> None:
    while True:
        head = await world.runs.head(run.run_id)
        if head is not None and head.length and head.holder is None:
            return
        await asyncio.sleep(0.001)


async def _serve(path: Path) -> None:
    """A worker: serves until its input ends, and says meanwhile what it has used."""
    async with serving(make_world("local", path)):
        print("serving", flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(time.process_time(), flush=True)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
