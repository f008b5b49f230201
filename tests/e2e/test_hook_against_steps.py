"""A hook raced against a step of ten minutes that runs in the same worker: it wins within two seconds, in real time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.pages import ROOT, environment
from wdk_cloud import Run, Workflows, create_hook, resume_hook, start, use_world, worker
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld

TEN_MINUTES = 600.0
SOON = 2.0

SENDER = """
import asyncio, time
from wdk_cloud import resume_hook, use_world
from wdk_cloud.world.local import LocalWorld

async def main():
    world = LocalWorld("local.db")
    await world.open()
    with use_world(world):
        await resume_hook("token", "won")
        print(time.time())
    await world.close()

asyncio.run(main())
"""


class Race:
    """The app, and the step that goes on until the test says so."""

    def __init__(self, kind: str) -> None:
        self.app = Workflows()
        self.began, self.ended = threading.Event(), threading.Event()
        self._stop, self._stop_the_thread = asyncio.Event(), threading.Event()

        async def work() -> str:
            self.began.set()
            await asyncio.wait_for(self._stop.wait(), TEN_MINUTES)
            self.ended.set()
            return "worked"

        def work_in_a_thread() -> str:
            self.began.set()
            self._stop_the_thread.wait(TEN_MINUTES)
            self.ended.set()
            return "worked"

        step: Any = self.app.step(name="work", max_retries=0, dispatch="inline")(
            work if kind == "async" else work_in_a_thread
        )

        @self.app.workflow
        async def race() -> str:
            answer = asyncio.ensure_future(create_hook("token", schema=str))
            working = asyncio.ensure_future(step())
            done, _ = await asyncio.wait((answer, working), return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()

        @self.app.workflow
        async def other() -> str:
            return await create_hook("another", schema=str)

        self.race, self.other = race, other

    def stop(self) -> None:
        self._stop.set()
        self._stop_the_thread.set()


async def in_the_step(race: Race) -> Run[str]:
    run = await start(race.race)
    assert await asyncio.to_thread(race.began.wait, 30)
    return run


@pytest.mark.parametrize("kind", ["async", "thread"])
@pytest.mark.parametrize("world_name", ["memory", "local"])
def test_a_hook_wins_against_a_step_of_ten_minutes_within_two_seconds(
    world_name: str, kind: str, tmp_path: Path
) -> None:
    race = Race(kind)

    async def main() -> None:
        world = MemoryWorld() if world_name == "memory" else LocalWorld(tmp_path / "local.db")
        await world.open()
        try:
            with use_world(world):
                async with worker(race.app):
                    run, other = await in_the_step(race), await start(race.other)
                    begun = time.perf_counter()
                    await resume_hook("token", "won")
                    assert await run.return_value(timeout=30) == "won"
                    took = time.perf_counter() - begun
                    assert not race.ended.is_set()  # the step goes on, and disturbs nobody
                    await resume_hook("another", "neither does it wait")
                    assert await other.return_value(timeout=30) == "neither does it wait"
                    race.stop()
                    assert await asyncio.to_thread(race.ended.wait, 30)
                    assert [event.type async for event in run.events()][-1] == "run_completed"
                    print(f"{took:.3f} s")
                    assert took < SOON
        finally:
            race.stop()
            await world.close()

    asyncio.run(main())


def test_a_hook_that_another_process_resumes_wins_within_two_seconds_too(tmp_path: Path) -> None:
    race = Race("async")

    async def main() -> float:
        world = LocalWorld(tmp_path / "local.db")
        await world.open()
        try:
            with use_world(world):
                async with worker(race.app):
                    run = await in_the_step(race)
                    done = await asyncio.to_thread(
                        subprocess.run,
                        [sys.executable, "-c", SENDER],
                        cwd=tmp_path,
                        env=environment(PYTHONPATH=str(ROOT)),
                        capture_output=True,
                        text=True,
                        check=True,
                        timeout=40,
                    )
                    assert await run.return_value(timeout=30) == "won"
                    assert not race.ended.is_set()
                    ended_at = (await run.info()).ended_at
                    assert ended_at is not None
                    return ended_at.timestamp() - float(done.stdout)
        finally:
            race.stop()
            await world.close()

    took = asyncio.run(main())
    print(f"{took:.3f} s")
    assert took < SOON
