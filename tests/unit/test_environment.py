"""`workflow_env`: a world of its own, a clock that the test moves, and a return when nothing is left to do."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.engine_bench import run
from wdk_cloud import Workflows, WorldConfigurationError, sleep, start
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.clock import SystemClock
from wdk_cloud.world.memory import MemoryWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

app = Workflows()
seen: list[str] = []
gate = threading.Event()


@app.step
async def note(what: str) -> None:
    seen.append(what)


@app.step
def blocks() -> str:
    gate.wait(20)
    return "through"


@app.workflow
async def naps(what: str, minutes: int) -> str:
    await sleep(f"{minutes} min")
    await note(what)
    return what


@app.workflow
async def naps_three_times(what: str) -> None:
    for _ in range(3):
        await sleep("10 min")
        await note(what)


@app.workflow
async def waits_for_a_thread() -> str:
    return await blocks()


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    seen.clear()
    gate.clear()
    yield
    gate.set()  # no thread outlives a test that failed


def test_the_clock_stands_until_the_test_moves_it() -> None:
    async def test() -> None:
        async with workflow_env("memory", app) as env:
            then = env.clock.now()
            started = await env.start(naps, "a", 1)
            await env.run_until_blocked()
            assert (env.clock.now(), await started.status(), seen) == (then, "running", [])
            await env.advance(59.999)
            assert (env.clock.now(), seen) == (then + 59.999, [])
            await env.advance(0.001)
            assert (env.clock.now(), seen) == (then + 60, ["a"])
            assert await started.return_value() == "a"

    run(test)


def test_one_long_advance_does_what_falls_due_in_the_order_of_its_time() -> None:
    async def test() -> None:
        async with workflow_env("memory", app) as env:
            for what, minutes in (("c", 30), ("a", 10), ("b", 20), ("d", 61)):
                await env.start(naps, what, minutes)
            await env.start(naps_three_times, "each 10")
            await env.advance("25 min")
            assert seen == ["a", "each 10", "b", "each 10"]
            await env.advance("1h")
            assert seen[4:] == ["c", "each 10", "d"]

    run(test)


def test_run_until_blocked_waits_for_a_step_in_a_thread_and_settle_does_not() -> None:
    async def test() -> None:
        async with workflow_env("memory", app) as env:
            started = await env.start(waits_for_a_thread)
            await env.settle()
            assert await started.status() == "running"
            asyncio.get_running_loop().call_later(0.05, gate.set)  # nothing is ready until then
            await env.run_until_blocked()
            assert await started.status() == "completed"
            assert await started.return_value() == "through"

    run(test)


def test_the_world_is_the_open_one_while_the_block_runs_and_not_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_WORLD", "none such")

    async def test() -> None:
        async with workflow_env("memory", app) as env:
            started = await start(naps, "a", 1)
            assert await env.world.runs.head(started.run_id) is not None
        with pytest.raises(WorldConfigurationError):
            await start(naps, "b", 1)

    run(test)


def test_without_a_worker_runs_stay_pending() -> None:
    async def test() -> None:
        async with workflow_env("memory", app, start_worker=False) as env:
            started = await env.start(naps, "a", 1)
            await env.advance("1h")
            await env.run_until_blocked()
            assert (env.workers, await started.status(), seen) == ([], "pending", [])

    run(test)


def test_a_local_world_lies_in_the_file_that_is_named_and_another_block_finds_its_runs(tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "local.db"
        async with workflow_env("local", app, path=path, start_worker=False) as env:
            started = await env.start(naps, "a", 1)
        assert path.exists()
        async with workflow_env("local", app, path=path) as env:
            await env.run_until_blocked()
            await env.advance("1 min")
            assert await started.return_value() == "a"

    run(test)


@pytest.mark.parametrize(
    ("world", "error", "text"),
    [
        ("cloud", ValueError, 'workflow_env knows the worlds "memory" and "local", not \'cloud\''),
        (MemoryWorld(SystemClock()), TypeError, "workflow_env needs a world with a VirtualClock"),
    ],
    ids=["unknown", "real clock"],
)
def test_a_world_that_it_cannot_serve_is_refused(world: Any, error: type[Exception], text: str) -> None:
    async def test() -> None:
        with pytest.raises(error) as refused:
            async with workflow_env(world, app):
                raise AssertionError("the block must not run")
        assert str(refused.value) == text

    run(test)
