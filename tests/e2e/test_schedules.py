"""`schedule=` on the worlds `memory` and `local`, on a clock that the test moves, and in a real process."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from wdk_cloud import Workflows, WorldUnavailableError, list_runs, sleep, start, worker
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing import WorkflowEnv, workflow_env
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld

SETTINGS = Settings(code_version="1")
MIDNIGHT = "2026-01-01T{:02}:00:00Z"  # where the clock of an environment begins


@pytest.fixture(params=["memory", "local"])
def world(request: pytest.FixtureRequest) -> str:
    return request.param


def hourly(schedule: str = "every 1 hour", timezone: str = "UTC", namespace: str | None = None) -> Workflows:
    app = Workflows(namespace)

    @app.step(name="note")
    async def note(text: str) -> str:
        return text

    @app.workflow(name="hourly", schedule=schedule, timezone=timezone)
    async def report(text: str = "by itself") -> str:
        return await note(text)

    return app


@asynccontextmanager
async def environment(
    world: str, folder: Path, *apps: Workflows, start_worker: bool = True
) -> AsyncGenerator[WorkflowEnv]:
    path = folder / "local.db" if world == "local" else None
    async with workflow_env(world, *apps, settings=SETTINGS, path=path, start_worker=start_worker) as env:
        yield env


async def keys(env: WorkflowEnv, namespace: str | None = None) -> list[str | None]:
    """The idempotency keys of all runs, oldest first; each has completed."""
    await env.run_until_blocked()
    runs = await list_runs(limit=1000, namespace=namespace)
    assert {run.status for run in runs} <= {"completed"}
    return [run.idempotency_key for run in reversed(runs)]


# -- ticks -------------------------------------------------------------------------------------------------------------


def test_three_hours_are_three_runs_of_an_hourly_schedule(world: str, tmp_path: Path) -> None:
    app = hourly()

    async def main() -> None:
        async with environment(world, tmp_path, app) as env:
            assert await keys(env) == []
            await env.advance("3 hours")
            assert await keys(env) == [MIDNIGHT.format(hour) for hour in (1, 2, 3)]
            await env.advance("59 minutes")
            assert len(await keys(env)) == 3
            run = await start(app.workflows["hourly"], "by hand")
            assert await run.return_value() == "by hand"

    asyncio.run(main())


def test_each_run_is_created_at_its_tick_in_the_local_time_of_its_zone(world: str, tmp_path: Path) -> None:
    app = hourly("0 9 * * 1-5", "Europe/Berlin")

    async def main() -> None:
        async with environment(world, tmp_path, app) as env:
            await env.advance("5 days")  # until Tuesday
            await env.run_until_blocked()
            runs = await list_runs()
            assert [run.created_at for run in reversed(runs)] == [
                datetime.fromisoformat(f"2026-01-0{day}T08:00:00+00:00") for day in (1, 2, 5)
            ]

    asyncio.run(main())


def test_two_workers_start_each_tick_once(world: str, tmp_path: Path) -> None:
    app = hourly()

    async def main() -> None:
        async with (
            environment(world, tmp_path, start_worker=False) as env,
            worker(app, settings=SETTINGS) as left,
            worker(app, settings=SETTINGS) as right,
        ):
            env.workers = [*left, *right]
            await env.advance("3 hours")
            assert await keys(env) == [MIDNIGHT.format(hour) for hour in (1, 2, 3)]

    asyncio.run(main())


def test_apps_of_two_namespaces_have_schedules_of_their_own(world: str, tmp_path: Path) -> None:
    one, other = hourly(), hourly("every 2 hours", namespace="other")

    async def main() -> None:
        async with environment(world, tmp_path, one, other) as env:
            await env.advance("3 hours")
            assert await keys(env) == [MIDNIGHT.format(hour) for hour in (1, 2, 3)]
            assert await keys(env, "other") == [MIDNIGHT.format(2)]

    asyncio.run(main())


def test_a_schedule_that_is_declared_while_a_worker_serves_is_served(world: str, tmp_path: Path) -> None:
    app = Workflows()

    def declare() -> None:
        @app.workflow(name="late", schedule="every 1 hour")
        async def late() -> None:
            await sleep("1 s")

    async def main() -> None:
        async with environment(world, tmp_path, app) as env:
            await env.advance("90 minutes")
            thread = threading.Thread(target=declare)
            thread.start()
            thread.join()
            await env.advance("2 hours")
            assert await keys(env) == [MIDNIGHT.format(hour) for hour in (2, 3)]

    asyncio.run(main())


# -- ticks that nobody was there for -----------------------------------------------------------------------------------


def test_of_the_ticks_that_were_missed_the_last_one_is_started_once(world: str, tmp_path: Path) -> None:
    app = hourly()

    async def main() -> None:
        async with environment(world, tmp_path, start_worker=False) as env:
            for _ in range(2):  # the second one finds nothing that was missed
                async with worker(app, settings=SETTINGS) as env.workers:
                    await env.run_until_blocked()
                    assert await keys(env) == []
            await env.advance("90 minutes")
            for _ in range(2):
                async with worker(app, settings=SETTINGS) as env.workers:
                    assert await keys(env) == [MIDNIGHT.format(1)]
            await env.advance("5 hours")
            async with worker(app, settings=SETTINGS) as env.workers:
                assert await keys(env) == [MIDNIGHT.format(1), MIDNIGHT.format(6)]
                await env.advance("1 hour")
                assert await keys(env) == [MIDNIGHT.format(hour) for hour in (1, 6, 7)]

    asyncio.run(main())


def test_a_schedule_that_is_changed_counts_afresh(world: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with environment(world, tmp_path, start_worker=False) as env:
            async with worker(hourly(), settings=SETTINGS) as env.workers:
                await env.advance("1 hour")
                assert await keys(env) == [MIDNIGHT.format(1)]
            await env.advance("90 minutes")
            async with worker(hourly("0 * * * *"), settings=SETTINGS) as env.workers:
                assert await keys(env) == [MIDNIGHT.format(1)]
                await env.advance("1 hour")
                assert await keys(env) == [MIDNIGHT.format(1), MIDNIGHT.format(3)]

    asyncio.run(main())


def test_a_tick_whose_key_was_used_by_hand_is_that_run(world: str, tmp_path: Path) -> None:
    app = hourly()

    async def main() -> None:
        async with environment(world, tmp_path, app) as env:
            report = app.workflows["hourly"]
            await start(report.with_options(idempotency_key=MIDNIGHT.format(1)))
            await start(report.with_options(idempotency_key=MIDNIGHT.format(2)), "with an argument")
            await env.advance("3 hours")
            assert sorted(await keys(env), key=str) == [MIDNIGHT.format(hour) for hour in (1, 2, 3)]

    asyncio.run(main())


class Outage(Plan):
    """No run can be created while it lasts."""

    lasts = True

    def before(self, call: Call, life: Life) -> None:
        if self.lasts and call.method == "create":
            raise WorldUnavailableError("no network")


def test_after_an_outage_the_last_tick_is_started() -> None:
    app = hourly()

    async def main() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            plan = Outage()
            world = FaultyWorld(env.world, Life(plan))
            async with worker(app, world=world, settings=SETTINGS) as env.workers:
                await env.advance("150 minutes")
                assert await keys(env) == []
                plan.lasts = False
                await env.advance("1 minute")
                assert await keys(env) == [MIDNIGHT.format(2)]
                await env.advance("1 hour")
                assert await keys(env) == [MIDNIGHT.format(2), MIDNIGHT.format(3)]

    asyncio.run(main())


def test_a_worker_that_dies_between_the_run_and_its_note_starts_no_second_one() -> None:
    app = hourly()

    class Died(Plan):
        def before(self, call: Call, life: Life) -> None:
            if call.method == "put_labels":
                raise WorldUnavailableError("no network")

    async def main() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            async with worker(app, settings=SETTINGS) as env.workers:
                await env.run_until_blocked()
            async with worker(app, world=FaultyWorld(env.world, Life(Died())), settings=SETTINGS) as env.workers:
                await env.advance("1 hour")
                assert await keys(env) == [MIDNIGHT.format(1)]
            async with worker(app, settings=SETTINGS) as env.workers:
                assert await keys(env) == [MIDNIGHT.format(1)]

    asyncio.run(main())


def test_a_clock_that_is_set_back_starts_nothing_twice() -> None:
    app = hourly()
    clock = VirtualClock()

    async def main() -> None:
        async with workflow_env(MemoryWorld(clock), app, settings=SETTINGS) as env:
            await env.advance("2 hours")
            clock._now -= 5400
            await env.advance("90 minutes")
            assert await keys(env) == [MIDNIGHT.format(1), MIDNIGHT.format(2)]

    asyncio.run(main())


# -- a real process ----------------------------------------------------------------------------------------------------

MODULE = """
from wdk_cloud import Workflows

app = Workflows()

@app.workflow(name="monthly", schedule="0 0 1 * *")
async def monthly() -> None:
    print("begun", flush=True)
"""


@pytest.mark.parametrize("command", ["dev", "worker"])
def test_a_process_that_serves_starts_what_was_missed(command: str, tmp_path: Path) -> None:
    (tmp_path / "books.py").write_text(MODULE)
    path = tmp_path / "local.db"
    app = Workflows()

    @app.workflow(name="monthly", schedule="0 0 1 * *")
    async def monthly() -> None: ...

    async def serve_for_the_first_time() -> None:
        async with workflow_env("local", app, path=path, settings=SETTINGS) as env:  # in January 2026
            await env.run_until_blocked()

    asyncio.run(serve_for_the_first_time())
    environ = {name: value for name, value in os.environ.items() if not name.startswith("WDK_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "wdk_cloud.cli", command, "--app", "books:app"],
        cwd=tmp_path,
        env={**environ, "WDK_LOCAL_PATH": str(path), "WDK_PORT": "0", "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        assert process.stdout.readline() == "begun\n"
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert out == ""
    assert ("schedules  monthly (0 0 1 * * UTC)" in err) is (command == "dev")
