"""`sleep`, and `asyncio.sleep` in a body."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import WorkflowContextError, Workflows, sleep
from wdk_cloud.testing.environment import WorkflowEnv

YEAR = 365.25 * 86400


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("5s", 5),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5 hours", 5400),
        ("2 days", 172800),
        ("1 week", 604800),
        ("1 month", YEAR / 12),
        ("1 Year", YEAR),
        ("90", 90),
        (3, 3),
        (0.25, 0.25),
        (timedelta(minutes=2), 120),
        (datetime(2026, 1, 1, 0, 1, tzinfo=UTC), 60),
        (datetime(2026, 1, 1, 2, 0, tzinfo=timezone(timedelta(hours=1))), 3600),
    ],
    ids=str,
)
def test_sleep_takes_a_duration_in_many_forms(play: Play, duration: object, seconds: float) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        await sleep(duration)  # type: ignore[arg-type]
        return "awake"

    finished = play(body)
    assert finished.value == "awake"
    assert finished.types == ["run_created", "run_started", "wait_created", "wait_completed", "run_completed"]
    assert finished.times("wait_completed") == [round(seconds, 6)]


@pytest.mark.parametrize(
    "moment", [0, "0s", timedelta(0), datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)], ids=str
)
def test_a_sleep_that_is_over_already_ends_at_once(play: Play, moment: object) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        await sleep(moment)  # type: ignore[arg-type]
        return "awake"

    finished = play(body)
    assert finished.value == "awake"
    assert finished.times("run_completed") == [0]


def test_a_run_sleeps_until_its_time_and_not_less(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        await sleep("3 days")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.advance("2 days")
        await env.advance("23h 59m 59s")
        await env.run_until_blocked()
        assert await run.status() == "running"
        await env.advance("1s")
        await env.run_until_blocked()
        assert await run.status() == "completed"

    play.scene(scenario, app)


@pytest.mark.parametrize(
    ("duration", "kind"),
    [
        ("5 parsecs", "ValueError"),
        ("", "ValueError"),
        ("soon", "ValueError"),
        ("-5s", "ValueError"),
        (-1, "ValueError"),
        (float("inf"), "ValueError"),
        (float("nan"), "ValueError"),
        (timedelta(seconds=-1), "ValueError"),
        (datetime(2026, 1, 2), "ValueError"),
        (None, "TypeError"),
        (True, "TypeError"),
        ([1], "TypeError"),
        (10**30, "ValueError"),
        ("1000 years", "ValueError"),
    ],
    ids=str,
)
def test_a_duration_without_a_meaning_raises_in_the_body_and_the_run_stays_healthy(
    play: Play, duration: object, kind: str
) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        try:
            await sleep(duration)  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            found = [type(error).__name__, str(error)]
        await sleep(1)
        return found

    name, text = play(body).value
    assert name == kind
    assert "sleep()" in text


def test_sleep_outside_a_workflow_is_a_context_error(play: Play) -> None:
    with pytest.raises(WorkflowContextError, match="body"):
        sleep(1)

    app = Workflows()

    @app.step(max_retries=0)
    async def nap() -> str:
        try:
            await sleep(1)
        except WorkflowContextError as error:
            return str(error)
        return "?"

    @app.workflow
    async def body() -> str:
        return await nap()

    assert "asyncio.sleep" in play(body).value


def test_asyncio_sleep_in_a_body_is_a_durable_sleep(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        return await asyncio.sleep(3600, "rested")

    finished = play(body)
    assert finished.value == "rested"
    assert finished.times("wait_completed") == [3600]
    assert finished.count("wait_created") == 1


def test_asyncio_sleep_of_nothing_only_yields(play: Play) -> None:
    app = Workflows()
    order: list[str] = []

    @app.workflow
    async def body() -> int:
        async def other() -> None:
            order.append("other")

        task = asyncio.create_task(other())
        await asyncio.sleep(0)
        order.append("body")
        await task
        return 1

    finished = play(body)
    assert finished.count("wait_created") == 0
    assert order == ["other", "body"]


def test_sleeps_run_side_by_side(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        await asyncio.gather(sleep("3h"), sleep("1h"), sleep("2h"))

    finished = play(body)
    assert finished.times("wait_created") == [0, 0, 0]
    assert finished.times("wait_completed") == [3600, 7200, 10800]


def test_a_sleep_begins_when_it_is_called(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        later = sleep("2h")
        await sleep("1h")
        await later

    assert play(body).times("run_completed") == [7200]


def test_many_sleeps_in_a_row_add_up(play: Play) -> None:
    app = Workflows()
    laps: list[int] = []

    @app.workflow
    async def body() -> int:
        for n in range(30):
            await sleep("1 day")
            laps.append(n)
        return len(set(laps))

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(body))
        assert finished.value == 30
        assert finished.times("run_completed") == [30 * 86400]

    play.scene(scenario, app)
