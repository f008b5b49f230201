"""`get_run` and the methods of `Run`, from outside and in a body."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Play, describe, finish, types
from wdk_cloud import (
    EventRecord,
    FatalError,
    Run,
    WorkflowContextError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    WorkflowRunNotFoundError,
    Workflows,
    get_run,
    get_step_metadata,
    sleep,
    start,
    worker,
)
from wdk_cloud.testing.environment import WorkflowEnv

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the virtual clock stands at first."""

CANCELLED_ASLEEP = ["run_created", "run_started", "wait_created", "cancel_requested", "run_cancelled"]


class Shop:
    """An app whose bodies leave a line where they get to."""

    def __init__(self) -> None:
        self.app = app = Workflows()
        self.lines: list[str] = []
        lines = self.lines

        @app.step
        async def line(text: str) -> None:
            lines.append(text)

        @app.workflow(name="nap")
        async def nap(duration: str = "1h") -> str:
            await sleep(duration)
            await line("awake")
            return "rested"

        @app.workflow(name="fall")
        async def fall(text: str) -> None:
            await sleep("1h")
            raise ValueError(text)

        self.line = line
        self.nap = nap
        self.fall = fall


async def log(run: Run[Any]) -> list[EventRecord]:
    return [event async for event in run.events()]


# -- get_run --------------------------------------------------------------------------------------------------------------


def test_get_run_does_no_io(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WDK_WORLD", "there-is-no-such-world")
    run = get_run("some-run")
    assert type(run) is Run
    assert run.run_id == "some-run"
    assert run == get_run("some-run") != get_run("another")
    assert list(tmp_path.iterdir()) == []


def test_get_run_is_a_handle_on_the_same_run(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(shop.nap)
        same = get_run(run.run_id)
        assert same == run
        finished = await finish(env, same)
        assert finished.value == "rested"
        assert await run.info() == finished.info
        assert await log(run) == finished.events

    play.scene(scenario, shop.app)


# -- status, exists, info -------------------------------------------------------------------------------------------------


def test_the_status_goes_from_pending_over_running_to_the_end(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> list[str]:
        runs: list[Run[Any]] = [await start(shop.nap), await start(shop.fall, "oops"), await start(shop.nap)]
        seen = [await run.status() for run in runs]
        async with worker(shop.app, settings=play.settings) as env.workers:
            await env.run_until_blocked()
            seen += [await run.status() for run in runs]
            await runs[2].cancel()
            for run in runs:
                await finish(env, run)
        return seen + [await run.status() for run in runs]

    assert play.scene(scenario, start_worker=False) == [
        *["pending"] * 3,
        *["running"] * 3,
        *["completed", "failed", "cancelled"],
    ]


def test_exists_is_true_for_what_was_started_and_false_otherwise(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        assert await get_run("mine").exists() is False
        run = await env.start(shop.nap.with_options(run_id="mine"))
        assert await get_run("mine").exists() is True
        await finish(env, run)
        assert await get_run("mine").exists() is True
        assert await get_run("Mine").exists() is False

    play.scene(scenario, shop.app)


def test_info_has_all_fields_of_a_run(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        await env.advance("1 day")
        run = await env.start(shop.nap.with_options(idempotency_key="k"))
        await env.run_until_blocked()
        info = await run.info()
        assert (info.run_id, info.workflow_name, info.status) == (run.run_id, "nap", "running")
        assert info.created_at == EPOCH + timedelta(days=1)
        assert info.created_at.utcoffset() == timedelta(0)
        assert (info.ended_at, info.error, info.error_code, info.parent) == (None, None, None, None)
        assert info.idempotency_key == "k"
        ended = (await finish(env, run)).info
        assert (ended.status, ended.ended_at) == ("completed", EPOCH + timedelta(days=1, hours=1))
        assert (ended.error, ended.error_code) == (None, None)
        assert ended.created_at == info.created_at

    play.scene(scenario, shop.app)


def test_info_tells_how_a_run_failed(play: Play) -> None:
    shop = Shop()
    info = play(shop.fall, "oops").info
    assert info.status == "failed"
    assert info.error_code == "USER_ERROR"
    assert type(info.error) is ValueError
    assert info.error.args == ("oops",)


# -- return_value ---------------------------------------------------------------------------------------------------------


def test_all_who_wait_for_a_result_get_it_when_the_run_ends(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(shop.nap)
        waiters = [asyncio.create_task(handle.return_value()) for handle in (run, run, get_run(run.run_id))]
        await env.advance("59 min")
        assert not any(waiter.done() for waiter in waiters)
        await env.advance("1 min")
        await env.run_until_blocked()
        assert await asyncio.gather(*waiters) == ["rested"] * 3
        assert await run.return_value() == "rested"

    play.scene(scenario, shop.app)


def test_the_time_out_of_return_value_counts_real_time_and_leaves_the_run_alone(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(shop.nap, "30 days")
        patient = asyncio.create_task(run.return_value(timeout=3600))
        await env.advance("29 days")
        assert not patient.done()
        before = await log(run)
        with pytest.raises(TimeoutError, match=run.run_id):
            await run.return_value(timeout=0.02)
        await env.run_until_blocked()
        assert await log(run) == before
        await env.advance("1 day")
        assert await patient == "rested"
        assert shop.lines == ["awake"]

    play.scene(scenario, shop.app)


def test_the_failure_of_a_run_has_a_code_and_the_original_as_its_cause(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise FatalError("second") from error

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.run_until_blocked()
        for handle in (run, get_run(run.run_id)):
            with pytest.raises(WorkflowRunFailedError, match=run.run_id) as caught:
                await handle.return_value()
            assert caught.value.error_code == "USER_ERROR"
            original = caught.value.__cause__
            assert type(original) is FatalError
            assert str(original) == "second"
            assert type(original.__cause__) is KeyError
            assert original.__cause__.args == ("first",)

    play.scene(scenario, app)


def test_one_who_waits_for_a_run_hears_that_it_failed_or_was_cancelled(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        failing, cancelled = await env.start(shop.fall, "oops"), await env.start(shop.nap)
        waiters = [asyncio.create_task(run.return_value()) for run in (failing, cancelled)]
        await env.run_until_blocked()
        await cancelled.cancel("no need")
        await env.advance("1h")
        await env.run_until_blocked()
        failure, cancellation = await asyncio.gather(*waiters, return_exceptions=True)
        assert type(failure) is WorkflowRunFailedError
        assert type(failure.__cause__) is ValueError
        assert type(cancellation) is WorkflowRunCancelledError
        assert cancellation.reason == "no need"
        assert cancelled.run_id in str(cancellation)

    play.scene(scenario, shop.app)


# -- cancel ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cancel", "terminate"])
def test_a_cancelled_run_ends_where_it_is_suspended_and_no_further_line_runs(play: Play, method: str) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(shop.nap)
        await env.advance("30 min")
        await getattr(run, method)()
        await env.run_until_blocked()
        assert await run.status() == "cancelled"
        assert [event.type for event in await log(run)] == CANCELLED_ASLEEP
        assert (await run.info()).ended_at == EPOCH + timedelta(minutes=30)
        await env.advance("1 day")
        await env.run_until_blocked()
        assert [event.type for event in await log(run)] == CANCELLED_ASLEEP
        assert shop.lines == []

    play.scene(scenario, shop.app)


def test_a_body_cannot_catch_its_cancellation(play: Play) -> None:
    app = Workflows()
    lines: list[str] = []

    @app.step
    async def line(text: str) -> None:
        lines.append(text)

    @app.workflow
    async def stubborn() -> str:
        while True:
            try:
                await sleep("1h")
            except Exception as error:
                await line(f"caught {error!r}")
            except asyncio.CancelledError:
                await line("caught the cancellation")
            finally:
                await line("finally")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(stubborn)
        await env.advance("90 min")
        await run.cancel()
        await env.advance("1 day")
        await env.run_until_blocked()
        assert await run.status() == "cancelled"
        assert lines == ["finally"]
        assert [event.type for event in await log(run)][-2:] == ["cancel_requested", "run_cancelled"]

    play.scene(scenario, app)


def test_cancelling_twice_is_cancelling_once(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(shop.nap)
        await env.run_until_blocked()
        await run.cancel("first")
        await run.cancel("second")
        finished = await finish(env, run)
        assert finished.count("run_cancelled") == 1
        assert isinstance(finished.failure, WorkflowRunCancelledError)
        assert finished.failure.reason == "first"
        await run.cancel("third")
        await env.run_until_blocked()
        assert await log(run) == finished.events

    play.scene(scenario, shop.app)


@pytest.mark.parametrize("end", ["completed", "failed"])
@pytest.mark.parametrize("method", ["cancel", "terminate", "wake_up"])
def test_what_is_asked_of_an_ended_run_changes_nothing(play: Play, method: str, end: str) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run: Run[Any] = await (env.start(shop.nap) if end == "completed" else env.start(shop.fall, "oops"))
        finished = await finish(env, run)
        assert finished.info.status == end
        await getattr(run, method)()
        await env.advance("1h")
        await env.run_until_blocked()
        again = await describe(run)
        assert again.events == finished.events
        assert again.result == finished.result
        assert (again.info.status, again.info.ended_at) == (end, finished.info.ended_at)

    play.scene(scenario, shop.app)


def test_a_run_that_is_cancelled_before_a_worker_came_ends_as_soon_as_the_worker_hears_of_it(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def body() -> None:
        await shop.line("first")
        for _ in range(30):
            await shop.line("another")

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(body)
        await run.cancel()
        async with worker(shop.app, settings=play.settings) as env.workers:
            finished = await finish(env, run)
        assert finished.info.status == "cancelled"
        assert finished.types[-2:] == ["cancel_requested", "run_cancelled"]
        assert finished.count("step_completed") == 1
        assert shop.lines == ["first"]

    play.scene(scenario, start_worker=False)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_step_that_runs_when_its_run_is_cancelled_goes_on_to_its_end_and_is_ignored(
    play: Play, dispatch: str
) -> None:
    app = Workflows()
    lines: list[str] = []
    release: list[asyncio.Event] = []

    @app.step(dispatch=dispatch)
    async def slow() -> str:
        lines.append("slow began")
        release.append(asyncio.Event())
        await release[0].wait()
        lines.append("slow ended")
        return "slow"

    @app.step
    async def after(text: str) -> None:
        lines.append(f"after {text}")

    @app.workflow
    async def body() -> None:
        await after(await slow())

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        assert lines == ["slow began"]
        await run.cancel()
        await env.advance("2s")
        assert lines == ["slow began"]
        release[0].set()
        finished = await finish(env, run)
        assert finished.info.status == "cancelled"
        assert lines == ["slow began", "slow ended"]
        assert finished.types[-1] == "run_cancelled"
        assert finished.count("step_created") == 1
        await env.advance("1 day")
        await env.run_until_blocked()
        assert await log(run) == finished.events
        assert lines == ["slow began", "slow ended"]

    play.scene(scenario, app)


def test_the_children_of_a_cancelled_run_go_on(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def parent() -> None:
        child = await start(shop.nap.with_options(run_id="child"))
        await child.return_value()
        await shop.line("the parent goes on")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(parent)
        await env.run_until_blocked()
        await run.cancel()
        await env.run_until_blocked()
        assert await run.status() == "cancelled"
        before = await log(run)
        child: Run[str] = get_run("child")
        assert await child.status() == "running"
        assert (await finish(env, child)).value == "rested"
        await env.run_until_blocked()
        assert await log(run) == before
        assert shop.lines == ["awake"]

    play.scene(scenario, shop.app)


def test_a_body_cancels_itself_at_its_next_suspension(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def body() -> None:
        await get_run("me").cancel("enough")
        await sleep("1h")
        await shop.line("still here")

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(body.with_options(run_id="me")))
        assert isinstance(finished.failure, WorkflowRunCancelledError)
        assert finished.failure.reason == "enough"
        assert finished.times("run_cancelled") == [0]
        assert shop.lines == []

    play.scene(scenario, shop.app)


# -- wake_up --------------------------------------------------------------------------------------------------------------


def test_wake_up_ends_all_pending_sleeps_now_and_none_that_come_later(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def body() -> str:
        await asyncio.gather(sleep("1 day"), asyncio.sleep(3600), sleep("2 days"))
        await sleep("1h")
        return "rested"

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.advance("30 min")
        await run.wake_up()
        await env.run_until_blocked()
        assert await run.status() == "running"
        finished = await finish(env, run)
        assert finished.value == "rested"
        assert finished.types == [
            *["run_created", "run_started", *["wait_created"] * 3],
            *["wake_requested", *["wait_completed"] * 3],
            *["wait_created", "wait_completed", "run_completed"],
        ]
        assert finished.times("wait_completed") == [1800, 1800, 1800, 5400]

    play.scene(scenario, shop.app)


def test_wake_up_leaves_time_outs_alone(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        told = []
        try:
            async with asyncio.timeout(7200):
                await sleep("1 day")
                told.append("woken")
                await sleep("1 day")
        except TimeoutError:
            told.append("timed out")
        return told

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.advance("1h")
        await run.wake_up()
        finished = await finish(env, run)
        assert finished.value == ["woken", "timed out"]
        assert finished.times("run_completed") == [7200]

    play.scene(scenario, app)


def test_wake_up_of_a_run_that_does_not_sleep_changes_nothing_it_does(play: Play) -> None:
    app = Workflows()
    release: list[asyncio.Event] = []

    @app.step
    async def work() -> str:
        release.append(asyncio.Event())
        await release[0].wait()
        return "worked"

    @app.workflow
    async def body() -> str:
        result = await work()
        await sleep("1h")
        return result

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        await run.wake_up()
        await env.settle()
        release[0].set()
        finished = await finish(env, run)
        assert finished.value == "worked"
        assert finished.times("run_completed") == [3600]
        assert len(release) == 1

    play.scene(scenario, app)


# -- events, attributes ---------------------------------------------------------------------------------------------------


def test_events_are_the_log_from_its_first_position(play: Play) -> None:
    app = Workflows()
    ids: list[str] = []

    @app.step(name="work")
    async def work(n: int) -> int:
        ids.append(get_step_metadata().step_id)
        return n

    @app.workflow
    async def body() -> int:
        first = await work(1)
        await sleep("1h")
        return first + await work(2)

    finished = play(body)
    assert finished.value == 3
    step = ["step_created", "step_started", "step_completed"]
    assert finished.types == [
        *["run_created", "run_started", *step],
        *["wait_created", "wait_completed", *step],
        "run_completed",
    ]
    assert [event.position for event in finished.events] == list(range(1, 12))
    assert [event.step_id for event in finished.events] == [
        *[None, None, *[ids[0]] * 3],
        *[None, None, *[ids[1]] * 3],
        None,
    ]
    assert [event.step_name for event in finished.events if event.step_id] == ["work"] * 6
    hour = timedelta(hours=1)
    assert [event.time for event in finished.events] == [EPOCH] * 6 + [EPOCH + hour] * 5
    assert len(ids) == 2


def test_the_events_of_a_run_that_is_not_there_are_an_error(play: Play) -> None:
    async def scenario(env: WorkflowEnv) -> None:
        with pytest.raises(WorkflowRunNotFoundError, match="nobody"):
            await types(get_run("nobody"))

    play.scene(scenario, Shop().app)


def test_events_can_be_read_while_the_run_goes_on(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(shop.nap)
        await env.run_until_blocked()
        early = await log(run)
        assert [event.type for event in early] == ["run_created", "run_started", "wait_created"]
        finished = await finish(env, run)
        assert finished.events[:3] == early
        assert finished.count("run_completed") == 1

    play.scene(scenario, shop.app)


# -- in a body ------------------------------------------------------------------------------------------------------------


ASKED: dict[str, object] = {
    "status": "running",
    "exists": True,
    "attributes": {"kind": "nap"},
    "cancel": None,
    "terminate": None,
    "wake_up": None,
}


@pytest.mark.parametrize("method", ASKED)
def test_in_a_body_a_method_of_run_is_one_recorded_operation(play: Play, method: str) -> None:
    shop = Shop()

    @shop.app.workflow
    async def ask() -> object:
        answer = await getattr(get_run("other"), method)()
        await sleep("2 days")
        await sleep("2 days")
        return answer

    async def scenario(env: WorkflowEnv) -> None:
        other = await env.start(shop.nap.with_options(run_id="other", attributes={"kind": "nap"}), "1 day")
        await env.run_until_blocked()
        finished = await finish(env, await env.start(ask))
        assert finished.value == ASKED[method]
        assert finished.types == [
            *["run_created", "run_started", "operation_created", "operation_completed"],
            *["wait_created", "wait_completed"] * 2,
            "run_completed",
        ]
        there = await describe(other)
        assert there.info.status == ("cancelled" if method in ("cancel", "terminate") else "completed")
        assert there.count("cancel_requested") == (method in ("cancel", "terminate"))
        assert there.count("wake_requested") == (method == "wake_up")

    play.scene(scenario, shop.app)


def test_in_a_body_info_and_return_value_are_recorded(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def ask() -> list[object]:
        other = get_run("other")
        before = await other.info()
        result = await other.return_value()
        after = await other.info()
        await sleep("1 day")
        return [before.status, before.created_at, before.ended_at, result, after.status, after.ended_at]

    async def scenario(env: WorkflowEnv) -> None:
        await env.start(shop.nap.with_options(run_id="other"))
        await env.run_until_blocked()
        finished = await finish(env, await env.start(ask))
        hour = EPOCH + timedelta(hours=1)
        assert finished.value == ["running", EPOCH, None, "rested", "completed", hour]
        assert finished.count("operation_created") == finished.count("operation_completed") == 3
        assert shop.lines == ["awake"]

    play.scene(scenario, shop.app)


def test_a_body_that_asks_again_is_told_again_and_replays_what_it_was_told(play: Play) -> None:
    shop = Shop()

    @shop.app.workflow
    async def watch() -> list[str]:
        other = get_run("other")
        told = []
        for _ in range(3):
            told.append(await other.status())
            await sleep("40 min")
        return told

    async def scenario(env: WorkflowEnv) -> None:
        await env.start(shop.nap.with_options(run_id="other"))
        await env.run_until_blocked()
        finished = await finish(env, await env.start(watch))
        assert finished.value == ["running", "running", "completed"]
        assert finished.count("operation_completed") == 3

    play.scene(scenario, shop.app)


@pytest.mark.parametrize("method", ["status", "info", "attributes", "return_value", "cancel", "terminate", "wake_up"])
def test_a_body_can_catch_that_a_run_is_not_there(play: Play, method: str) -> None:
    app = Workflows()

    @app.workflow
    async def ask() -> str:
        try:
            await getattr(get_run("nobody"), method)()
        except WorkflowRunNotFoundError as error:
            await sleep("1h")
            return str(error)
        return "?"

    finished = play(ask)
    assert "nobody" in finished.value
    assert (finished.count("operation_created"), finished.count("operation_failed")) == (1, 1)


def test_events_are_not_read_in_a_body(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def ask() -> None:
        async for _ in get_run("other").events():
            pass

    finished = play(ask)
    assert type(finished.error) is WorkflowContextError
    assert "step" in str(finished.error)


def test_a_step_asks_runs_like_anybody_else(play: Play) -> None:
    shop = Shop()

    @shop.app.step
    async def look(run_id: str) -> list[object]:
        run = get_run(run_id)
        return [await run.status(), await run.return_value(), [event.type async for event in run.events()][-1]]

    @shop.app.workflow
    async def body(run_id: str) -> list[object]:
        return await look(run_id)

    async def scenario(env: WorkflowEnv) -> None:
        other = await finish(env, await env.start(shop.nap))
        finished = await finish(env, await env.start(body, other.run.run_id))
        assert finished.value == ["completed", "rested", "run_completed"]
        assert finished.count("operation_created") == 0

    play.scene(scenario, shop.app)


def test_cancelling_is_heard_in_a_run_that_is_not_retained_by_the_worker_that_takes_it(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        async with worker(shop.app, settings=play.settings) as env.workers:
            run = await start(shop.nap)
            await env.run_until_blocked()
        await run.cancel()
        assert await run.status() == "running"
        async with worker(shop.app, settings=play.settings) as env.workers:
            assert (await finish(env, run)).types == CANCELLED_ASLEEP

    play.scene(scenario, start_worker=False)
