"""What `test_processes.py` kills: `python -m tests.storm.nursery`.

It imports everything once and forks for each line on its standard input, so that a process that was killed is followed
by another one within milliseconds: `serve` for a worker, `call <file>` for a client that starts runs under numbered
keys and writes into the file what it was told. It answers with the pid; to `bury <pid>`, with how that one ended. At the
end of its input it kills whom it has left and goes. The world is that of `WDK_LOCAL_PATH`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

from tests.canonical import CANONICALS, MARK_AGE, Canonical, app, how_it_ended
from wdk_cloud import Run, start, worker
from wdk_cloud.engine import delivery, follower, turn  # noqa: F401 - what the first delivery would import
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world

PAUSE = 0.1
"""Seconds at most between two starts of a client: some four new runs for each kill."""

WATCH = 60.0
"""Seconds that a client waits for an end; it is killed before."""


def canonical_of(number: int) -> Canonical:
    return CANONICALS[number % len(CANONICALS)]


async def order(number: int) -> Run[Any]:
    """Start the run of this number; again, if need be."""
    canonical = canonical_of(number)
    workflow = canonical.workflow.with_options(idempotency_key=f"order-{number}")
    return await start(workflow, *canonical.brief)


async def serve() -> None:
    """A worker, and no sweep."""
    follower.MARK_AGE = MARK_AGE
    world = LocalWorld()
    await world.open()
    with use_world(world):
        async with worker(app):
            await asyncio.Event().wait()


async def call(told: Path) -> None:
    """A client goes on where its predecessor heard an answer last, and asks for the end of all that it starts."""
    world = LocalWorld()
    await world.open()
    draw = random.Random(os.getpid())
    number = sum("run_id" in line for line in read_told(told))
    watched: set[asyncio.Task[None]] = set()
    with use_world(world):
        while True:
            run = await order(number)
            tell(told, {"number": number, "run_id": run.run_id})
            watched.add(asyncio.create_task(watch(told, number, run)))
            number += 1
            await asyncio.sleep(draw.uniform(0, PAUSE))


async def watch(told: Path, number: int, run: Run[Any]) -> None:
    tell(told, {"number": number, "ended": repr(await how_it_ended(run, WATCH))})


def tell(told: Path, what: dict[str, object]) -> None:
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, json.dumps(what).encode() + b"\n")
    finally:
        os.close(file)


def read_told(told: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.read_text().split("\n")[:-1]] if told.exists() else []


def bear(words: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    os.close(0)
    os.close(1)
    try:
        asyncio.run(serve() if words[0] == "serve" else call(Path(words[1])))
    except BaseException:
        logging.exception("a process ended by itself")
    os._exit(1)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(levelname)s %(name)s: %(message)s")
    children: set[int] = set()
    for line in sys.stdin:
        words = line.split()
        if words[0] == "bury":
            pid = int(words[1])
            children.discard(pid)
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            answer = bear(words)
            children.add(answer)
        print(answer, flush=True)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
