"""Very many runs that sleep at once: `python -m tests.storm.many <path> <runs> <sleeps>`, a process of its own, prints JSON.

On a virtual clock, with no run kept in memory between two deliveries: what grows then, grows with the database.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import Counter
from pathlib import Path

from wdk_cloud import Workflows, list_runs, sleep, start
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing import workflow_env
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.local import LocalWorld

app = Workflows()

AT_ONCE = 200
"""Runs that are started together; then the world comes to rest, as it does between the callers of a server."""

HOUR = 3600.0


@app.workflow
async def rests(sleeps: int) -> int:
    """Sleeps of different lengths, all open at once."""
    await asyncio.gather(*(sleep(HOUR + number) for number in range(sleeps)))
    return sleeps


def resident() -> int:
    """Bytes of this process in memory now, not at most."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def start_some(env: WorkflowEnv, count: int, sleeps: int) -> None:
    for begun in range(0, count, AT_ONCE):
        await asyncio.gather(*(start(rests, sleeps) for _ in range(min(AT_ONCE, count - begun))))
        await env.run_until_blocked()


async def statuses() -> Counter[str]:
    found: Counter[str] = Counter()
    cursor = None
    while True:
        page = await list_runs(limit=1000, cursor=cursor)
        found.update(info.status for info in page)
        if (cursor := page.cursor) is None:
            return found


def open_sleeps(world: LocalWorld, sleeps: int) -> int:
    """Those of the runs that rest: each has logged all of them, and has ended none."""
    ((runs,),) = world._database.read(
        "SELECT count(*) FROM heads WHERE status = 'running' AND holder IS NULL AND length = ?", (sleeps + 2,)
    )
    return runs * sleeps


async def measure(path: Path, runs: int, sleeps: int) -> dict[str, object]:
    settings = Settings(code_version="1", cached_runs=0)
    async with workflow_env("local", app, settings=settings, path=path) as env:
        first = runs // 5
        began = time.monotonic()
        await start_some(env, first, sleeps)
        gc.collect()
        before = resident()
        await start_some(env, runs - first, sleeps)
        gc.collect()
        grown = resident() - before
        started = time.monotonic() - began
        open_at_once, resting = open_sleeps(env.world, sleeps), await statuses()
        env.clock.advance_to(env.clock.now() + HOUR + sleeps)
        await env.run_until_blocked()
        gc.collect()
        return {
            "open": open_at_once,
            "resting": resting,
            "ended": await statuses(),
            "grown": grown,
            "grown_at_the_end": resident() - before,
            "bytes_per_run": round(grown / (runs - first)),
            "seconds": [round(started, 1), round(time.monotonic() - began, 1)],
        }


def main() -> None:
    path, runs, sleeps = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(Path(path), int(runs), int(sleeps)))))


if __name__ == "__main__":
    main()
