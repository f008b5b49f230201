"""WDK_MAX_EVENTS: a run whose log would exceed it fails; at 80 % one warning says so in time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import WorkflowRunFailedError, Workflows, sleep
from wdk_cloud.engine.settings import Settings
from wdk_cloud.errors import MaxEventsExceededError

app = Workflows()
ran: list[int] = []


@app.step
async def work(n: int) -> int:
    ran.append(n)
    return n


@app.workflow
async def in_a_row(steps: int) -> str:
    """A log of 3 events for each step, and 3 besides: created, started, completed."""
    for n in range(steps):
        await work(n)
    return "done"


@app.workflow
async def at_once(steps: int) -> None:
    await asyncio.gather(*(work(n) for n in range(steps)))


@app.workflow
async def with_a_pause(before: int, behind: int) -> str:
    """A log of 3 events for each step, and 5 besides."""
    for n in range(before):
        await work(n)
    await sleep("1 hour")
    for n in range(behind):
        await work(n)
    return "done"


@pytest.fixture(autouse=True)
def _clean() -> None:
    ran.clear()


def bench_of(max_events: int, **settings: Any) -> Bench:
    return Bench(app, Settings(code_version="1.test", max_events=max_events, **settings))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "WDK_MAX_EVENTS" in record.getMessage()]


# -- past the limit ---------------------------------------------------------------------------------------------------


def test_a_run_may_fill_its_log_and_its_end_fits_in_all_the_same() -> None:
    async def test() -> None:
        bench = bench_of(16)  # filled by the start of the fifth step; its end and the run's follow
        started = await bench.start(in_a_row, 5)
        await bench.work_all()
        assert await bench.result(started) == "done"
        assert len(await bench.types(started)) == 18

    run(test)


def test_a_run_whose_next_events_would_exceed_the_limit_fails_with_what_it_did_until_then() -> None:
    async def test() -> None:
        bench = bench_of(18)
        started = await bench.start(in_a_row, 100)
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert failed.value.error_code == "MAX_EVENTS_EXCEEDED"
        assert type(failed.value.__cause__) is MaxEventsExceededError
        assert str(failed.value.__cause__) == (
            f"run {started.run_id}: its log would exceed 18 events (WDK_MAX_EVENTS); end it in time with "
            "continue_as_new(), or do the work of a loop in child workflows"
        )
        types = await bench.types(started)
        assert (len(types), types[-2:]) == (17, ["step_started", "run_failed"])
        assert ran == [0, 1, 2, 3, 4]
        assert await bench.messages() == []

    run(test)


def test_a_first_batch_that_is_too_long_begins_no_step() -> None:
    async def test() -> None:
        bench = bench_of(10)
        started = await bench.start(at_once, 20)
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert failed.value.error_code == "MAX_EVENTS_EXCEEDED"
        assert await bench.types(started) == ["run_created", "run_failed"]
        assert ran == []

    run(test)


# -- at 80 % ----------------------------------------------------------------------------------------------------------


def test_the_batch_that_reaches_four_fifths_of_the_limit_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        bench = bench_of(50)
        started = await bench.start(in_a_row, 15)
        await bench.work_all()
        assert await bench.result(started) == "done"
        assert len(await bench.types(started)) == 48
        assert warnings(caplog) == [
            (
                f"run {started.run_id}: its log has 40 events, and a run that exceeds 50 (WDK_MAX_EVENTS) fails; end it in "
                "time: let one step do many things at once, do the work of a loop in child workflows, or raise "
                "WDK_MAX_EVENTS"
            )
        ]
        assert [r.levelname for r in caplog.records if "WDK_MAX_EVENTS" in r.getMessage()] == ["WARNING"]

    run(test)


@pytest.mark.parametrize("cached", [0, 10], ids=["cold", "warm"])
def test_later_deliveries_of_a_long_run_do_not_warn_again(cached: int, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        bench = bench_of(50, cached_runs=cached)
        started = await bench.start(with_a_pause, 13, 2)
        await bench.work_all()
        assert len(warnings(caplog)) == 1
        await bench.work(await bench.receive_when_due())
        assert await bench.result(started) == "done"
        assert len(await bench.types(started)) == 50
        assert len(warnings(caplog)) == 1

    run(test)


def test_a_run_that_ends_with_the_event_that_reaches_four_fifths_is_not_warned_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def test() -> None:
        bench = bench_of(15)
        started = await bench.start(in_a_row, 3)
        await bench.work_all()
        assert len(await bench.types(started)) == 12
        assert warnings(caplog) == []

    run(test)
