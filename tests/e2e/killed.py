"""What the processes do that `test_sigkill.py` kills: `python -m tests.e2e.killed serve`, or `start`.

Each imports what it needs, says so, and waits for a line on its standard input: so that the next one is ready when the
one before it is killed, and dies at a moment of its work and not of Python's start. That line holds the keys to start
runs with. The world is that of `WDK_LOCAL_PATH`.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from tests.canonical import MARK_AGE, app, sequence
from wdk_cloud import start, worker
from wdk_cloud.engine import delivery, follower, keeper, service, turn  # noqa: F401 - else imported by the first run
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world


def say(word: str) -> None:
    print(word, flush=True)


async def serve() -> None:
    """A worker, and no sweep; until the test goes away."""
    follower.MARK_AGE = MARK_AGE
    world = LocalWorld(visibility=Settings.from_environment().lease)
    await world.open()
    with use_world(world):
        async with worker(app):
            say("serving")
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await world.close()


async def start_runs(keys: list[str]) -> None:
    world = LocalWorld()
    await world.open()
    with use_world(world):
        for key in keys:
            run = await start(sequence.with_options(idempotency_key=key), 1)
            say(f"{key} {run.run_id}")
    await world.close()
    sys.stdin.read()  # nobody is killed who has ended already


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(process)d %(levelname)s %(name)s: %(message)s")
    say("ready")
    if line := sys.stdin.readline():
        asyncio.run(serve() if sys.argv[1] == "serve" else start_runs(line.split()))


if __name__ == "__main__":
    main()
