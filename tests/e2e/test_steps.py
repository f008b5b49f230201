"""`@app.step` and its options, `with_options`, steps outside a workflow."""

import asyncio
import threading
from datetime import timedelta

import pytest

from tests.e2e.running import Play, describe, finish, types, until
from wdk_cloud import (
    FatalError,
    RetryPolicy,
    StepFailedError,
    StepTimeoutError,
    Workflows,
    get_step_metadata,
    sleep,
)
from wdk_cloud.testing.environment import WorkflowEnv

# -- kinds of functions ---------------------------------------------------------------------------------------------------


def test_an_async_step_runs_on_the_workers_loop(play: Play) -> None:
    app = Workflows()
    threads: list[int] = []

    @app.step
    async def note() -> int:
        threads.append(threading.get_ident())
        return 7

    @app.workflow
    async def body() -> int:
        return await note()

    assert play(body).value == 7
    assert threads == [threading.get_ident()]


def test_a_plain_function_is_a_step_that_runs_in_a_thread(play: Play) -> None:
    app = Workflows()
    threads: list[int] = []

    @app.step
    def note(number: int) -> int:
        threads.append(threading.get_ident())
        return number * 2

    @app.workflow
    async def body() -> int:
        first = await note(21)
        await sleep("1h")
        return first + await note(1)

    finished = play(body)
    assert finished.value == 44
    assert len(threads) == 2
    assert threading.get_ident() not in threads


@pytest.mark.in_any_order
def test_two_plain_functions_that_are_gathered_run_at_the_same_time(play: Play) -> None:
    app = Workflows()
    meeting = threading.Barrier(2, timeout=20)

    @app.step(max_retries=0)
    def meet() -> int:
        meeting.wait()
        return 1

    @app.workflow
    async def body() -> int:
        return sum(await asyncio.gather(meet(), meet()))

    assert play(body).value == 2


@pytest.mark.parametrize("order", ["step outside", "static outside"])
def test_a_static_method_is_a_step_with_the_decorators_in_either_order(play: Play, order: str) -> None:
    app = Workflows()

    if order == "step outside":

        class Shop:
            @app.step
            @staticmethod
            async def price(item: str) -> str:
                return f"{item}: 9"
    else:

        class Shop:
            @staticmethod
            @app.step
            async def price(item: str) -> str:
                return f"{item}: 9"

    @app.workflow
    async def body() -> list[str]:
        return [await Shop.price("tea"), await Shop().price(item="cup")]

    finished = play(body)
    assert finished.value == ["tea: 9", "cup: 9"]
    assert finished.count("step_completed") == 2


# -- retries --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("retries", "attempts"), [(None, 4), (0, 1), (1, 2), (5, 6)])
def test_max_retries_counts_the_attempts_after_the_first(play: Play, retries: int | None, attempts: int) -> None:
    app = Workflows()
    seen: list[int] = []
    declare = app.step if retries is None else app.step(max_retries=retries)

    @declare
    async def fail() -> None:
        seen.append(get_step_metadata().attempt)
        raise ValueError("no luck")

    @app.workflow
    async def body() -> tuple[str, int]:
        try:
            await fail()
        except StepFailedError as error:
            assert isinstance(error.__cause__, ValueError)
            assert error.__cause__.args == ("no luck",)
            return error.step_name, error.attempts
        raise AssertionError("unreachable")

    finished = play(body)
    assert finished.value == (fail.id, attempts)
    assert seen == list(range(1, attempts + 1))
    assert finished.count("step_started") == attempts
    assert finished.count("step_retrying") == attempts - 1
    assert finished.count("step_failed") == 1


def test_a_step_that_succeeds_at_last_gives_its_result_and_no_error(play: Play) -> None:
    app = Workflows()
    attempts = 0

    @app.step
    async def flaky() -> str:
        nonlocal attempts
        attempts += 1
        if attempts < 4:
            raise ConnectionError("away")
        return "there"

    @app.workflow
    async def body() -> str:
        return await flaky()

    finished = play(body)
    assert finished.value == "there"
    assert attempts == 4
    assert finished.count("step_failed") == 0


def test_the_default_policy_retries_at_once(play: Play) -> None:
    app = Workflows()

    @app.step
    async def fail() -> None:
        raise ValueError

    @app.workflow
    async def body() -> None:
        await fail()

    assert play(body).times("step_started") == [0, 0, 0, 0]


def test_a_policy_waits_longer_after_each_attempt_up_to_its_limit(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=5, retry=RetryPolicy(delay="10s", backoff=3.0, max_delay=timedelta(minutes=2)))
    async def fail() -> None:
        raise ValueError

    @app.workflow
    async def body() -> None:
        await fail()

    assert play(body).times("step_started") == [0, 10, 40, 130, 250, 370]


def test_a_policy_without_a_limit_doubles_its_delay(play: Play) -> None:
    app = Workflows()

    @app.step(retry=RetryPolicy(delay=5), dispatch="queue")
    async def fail() -> None:
        raise ValueError

    @app.workflow
    async def body() -> int:
        try:
            await fail()
        except StepFailedError as error:
            return error.attempts
        return 0

    finished = play(body)
    assert finished.value == 4
    assert finished.times("step_failed") == [35]


def test_jitter_draws_from_a_share_of_the_delay(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=20, retry=RetryPolicy(delay=100, backoff=1, jitter=0.5))
    async def fail() -> None:
        raise ValueError

    @app.workflow
    async def body() -> None:
        await fail()

    started = play(body).times("step_started")
    pauses = [later - earlier for earlier, later in zip(started, started[1:], strict=False)]
    assert len(pauses) == 20
    assert all(50 <= pause <= 100 for pause in pauses)
    assert len({round(pause, 3) for pause in pauses}) > 10


# -- time-outs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_time_out_ends_an_async_step_with_cancelled_error_and_it_is_retried(play: Play, dispatch: str) -> None:
    app = Workflows()
    ends: list[str] = []

    @app.step(timeout="5s", max_retries=1, dispatch=dispatch)
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    @app.workflow
    async def body() -> tuple[int, str]:
        try:
            await hang()
        except StepFailedError as error:
            assert isinstance(error.__cause__, TimeoutError)
            return error.attempts, type(error.__cause__).__name__
        return 0, ""

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.advance("4.9s")
        assert ends == []
        await env.advance("0.1s")
        assert ends == ["cancelled"]
        assert await run.status() == "running"
        await env.advance("5s")
        assert ends == ["cancelled", "cancelled"]
        await env.advance("5s")
        finished = await describe(run)
        assert finished.value == (2, "StepTimeoutError")

    play.scene(scenario, app)


def test_a_step_that_is_done_in_time_is_not_touched_by_its_time_out(play: Play) -> None:
    app = Workflows()

    @app.step(timeout=timedelta(seconds=5))
    async def quick() -> str:
        await asyncio.sleep(0)
        return "done"

    @app.workflow
    async def body() -> str:
        first = await quick()
        await sleep(10)
        return first

    finished = play(body)
    assert finished.value == "done"
    assert finished.count("step_started") == 1


def test_a_thread_that_outlives_its_time_out_fails_at_once_and_the_next_attempt_waits_for_it(play: Play) -> None:
    app = Workflows()
    release = threading.Event()
    began: list[int] = []
    ended: list[int] = []

    @app.step(timeout="5s", max_retries=1)
    def work() -> str:
        attempt = get_step_metadata().attempt
        began.append(attempt)
        if attempt == 1:
            release.wait(30)
        ended.append(attempt)
        return f"attempt {attempt}"

    @app.workflow
    async def body() -> str:
        return await work()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await until(lambda: began == [1])
        await env.advance("5s")
        assert "step_retrying" in await types(run)
        assert began == [1]
        release.set()
        finished = await finish(env, run)
        assert finished.value == "attempt 2"
        assert (began, ended) == ([1, 2], [1, 2])

    try:
        play.scene(scenario, app)
    finally:
        release.set()


def test_a_timed_out_attempt_fails_with_step_timeout_error_that_names_step_and_time(play: Play) -> None:
    app = Workflows()

    @app.step(timeout=5, max_retries=0)
    async def hang() -> None:
        await asyncio.Event().wait()

    @app.workflow
    async def body() -> None:
        await hang()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.advance("5s")
        error = (await describe(run)).error
        assert isinstance(error, StepFailedError)
        assert isinstance(error.__cause__, StepTimeoutError)
        assert hang.id in str(error.__cause__)
        assert "5" in str(error.__cause__)

    play.scene(scenario, app)


# -- dispatch -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dispatch", "queued"), [("inline", False), ("queue", True), ("auto", False)])
def test_dispatch_says_where_a_single_step_runs(play: Play, dispatch: str, queued: bool) -> None:
    app = Workflows()

    @app.step(dispatch=dispatch)
    async def one() -> int:
        return 1

    @app.workflow
    async def body() -> int:
        return await one()

    finished = play(body)
    assert finished.value == 1
    created = next(event for event in finished.events if event.type == "step_created")
    assert created.data.get("queued", False) is queued


def test_auto_sends_what_is_over_the_inline_limit_to_the_queue(play: Play) -> None:
    app = Workflows()

    @app.step
    async def one(n: int) -> int:
        return n

    @app.workflow
    async def body() -> list[int]:
        return await asyncio.gather(*(one(n) for n in range(15)))

    finished = play(body)
    assert finished.value == list(range(15))
    created = [event.data.get("queued", False) for event in finished.events if event.type == "step_created"]
    assert created == [False] * 10 + [True] * 5


def test_the_inline_limit_can_be_set(play: Play) -> None:
    app = Workflows()

    @app.step
    async def one(n: int) -> int:
        return n

    @app.workflow
    async def body() -> list[int]:
        return await asyncio.gather(*(one(n) for n in range(5)))

    finished = play.tuned(inline_limit=2)(body)
    assert finished.value == list(range(5))
    created = [event.data.get("queued", False) for event in finished.events if event.type == "step_created"]
    assert created == [False] * 2 + [True] * 3


def test_inline_steps_over_the_limit_wait_their_turn(play: Play) -> None:
    app = Workflows()
    running = most = 0

    @app.step(dispatch="inline")
    async def one(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    @app.workflow
    async def body() -> list[int]:
        return await asyncio.gather(*(one(n) for n in range(9)))

    finished = play.tuned(inline_limit=3)(body)
    assert finished.value == list(range(9))
    assert most == 3


def test_a_queued_step_is_retried_like_an_inline_one(play: Play) -> None:
    app = Workflows()
    attempts: list[int] = []

    @app.step(dispatch="queue", max_retries=2)
    async def flaky() -> str:
        attempts.append(get_step_metadata().attempt)
        if len(attempts) < 3:
            raise OSError("away")
        return "ok"

    @app.workflow
    async def body() -> str:
        return await flaky()

    assert play(body).value == "ok"
    assert attempts == [1, 2, 3]


def test_a_queued_plain_function_runs_in_a_thread(play: Play) -> None:
    app = Workflows()
    threads: list[int] = []

    @app.step(dispatch="queue")
    def note() -> str:
        threads.append(threading.get_ident())
        return "ok"

    @app.workflow
    async def body() -> str:
        return await note()

    assert play(body).value == "ok"
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


# -- cancellation of steps --------------------------------------------------------------------------------------------------


def test_cancelling_the_task_of_a_cancellable_inline_step_raises_inside_it_at_once(play: Play) -> None:
    app = Workflows()
    ends: list[str] = []

    @app.step(cancellable=True, dispatch="inline")
    async def hang() -> None:
        ends.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    @app.step
    async def quick() -> str:
        await until(lambda: ends == ["began"])
        return "won"

    @app.workflow
    async def body() -> str:
        task = asyncio.create_task(hang())
        result = await quick()
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return result + " and cancelled"
        return result

    finished = play(body)
    assert finished.value == "won and cancelled"
    assert ends == ["began", "cancelled"]
    assert finished.count("step_cancelled") == 1
    assert finished.times("run_completed") == [0]


def test_a_cancelled_step_is_not_retried(play: Play) -> None:
    app = Workflows()
    began: list[int] = []

    @app.step(cancellable=True, dispatch="inline", max_retries=5)
    async def hang() -> None:
        began.append(1)
        await asyncio.Event().wait()

    @app.step
    async def quick() -> int:
        await until(lambda: began == [1])
        return 1

    @app.workflow
    async def body() -> int:
        task = asyncio.create_task(hang())
        await quick()
        task.cancel()
        await sleep("1h")
        return await quick()

    finished = play(body)
    assert finished.value == 1
    assert began == [1]
    assert finished.count("step_retrying") == 0


def test_a_cancellable_step_in_the_queue_is_cancelled_within_two_seconds(play: Play) -> None:
    app = Workflows()
    ends: list[str] = []

    @app.step(cancellable=True, dispatch="queue")
    async def hang() -> None:
        ends.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    @app.workflow
    async def body() -> str:
        try:
            await asyncio.wait_for(hang(), 10)
        except TimeoutError:
            return "too late"
        return "?"

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        assert ends == ["began"]
        await env.advance("10s")
        await env.advance("1s")
        await env.advance("1s")
        await until(lambda: ends == ["began", "cancelled"])
        assert (await finish(env, run)).value == "too late"

    play.scene(scenario, app)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_cancelling_the_run_cancels_its_cancellable_steps_within_two_seconds(play: Play, dispatch: str) -> None:
    app = Workflows()
    ends: list[str] = []

    @app.step(cancellable=True, dispatch=dispatch)
    async def hang() -> None:
        ends.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    @app.workflow
    async def body() -> None:
        await hang()

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        assert ends == ["began"]
        await run.cancel()
        await env.advance("1s")
        await env.advance("1s")
        await until(lambda: ends == ["began", "cancelled"])
        await env.run_until_blocked()
        assert await run.status() == "cancelled"

    play.scene(scenario, app)


def test_a_plain_step_is_never_interrupted_its_result_is_recorded_and_ignored(play: Play) -> None:
    app = Workflows()
    ends: list[str] = []
    release: list[asyncio.Event] = []

    @app.step(dispatch="inline")
    async def slow() -> str:
        release.append(asyncio.Event())
        await release[0].wait()
        ends.append("to its end")
        return "ignored"

    @app.step
    async def quick() -> str:
        return "quick"

    @app.workflow
    async def body() -> str:
        task = asyncio.create_task(slow())
        result = await quick()
        task.cancel()
        await sleep(5)
        return result

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        assert ends == []
        release[0].set()
        finished = await finish(env, run)
        assert finished.value == "quick"
        assert ends == ["to its end"]
        assert finished.count("step_completed") == 2
        assert finished.count("step_cancelled") == 0

    play.scene(scenario, app)


def test_losing_a_race_cancels_nothing_by_itself(play: Play) -> None:
    app = Workflows()
    ends: list[str] = []
    release: list[asyncio.Event] = []

    @app.step(cancellable=True, dispatch="inline")
    async def slow() -> str:
        release.append(asyncio.Event())
        await release[0].wait()
        ends.append("to its end")
        return "slow"

    @app.step
    async def quick() -> str:
        return "quick"

    @app.workflow
    async def body() -> list[str]:
        tasks = [asyncio.create_task(slow()), asyncio.create_task(quick())]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task.result() for task in done]
        return first + [await task for task in pending]

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.settle()
        release[0].set()
        finished = await finish(env, run)
        assert finished.value == ["quick", "slow"]
        assert ends == ["to its end"]

    play.scene(scenario, app)


# -- with_options -----------------------------------------------------------------------------------------------------------


def test_with_options_changes_one_call_and_leaves_the_step_as_declared(play: Play) -> None:
    app = Workflows()
    attempts: list[str] = []

    @app.step
    async def fail(name: str) -> None:
        attempts.append(name)
        raise ValueError(name)

    @app.workflow
    async def body() -> list[int]:
        counts: list[int] = []
        for call in (
            fail.with_options(max_retries=0)("once"),
            fail("declared"),
            fail.with_options(max_retries=1)("two"),
        ):
            try:
                await call
            except StepFailedError as error:
                counts.append(error.attempts)
        return counts

    assert play(body).value == [1, 4, 2]
    assert attempts == ["once"] + ["declared"] * 4 + ["two"] * 2
    assert fail.options.max_retries == 3


def test_a_copy_with_options_is_the_same_step_with_the_same_id(play: Play) -> None:
    app = Workflows()

    @app.step
    async def one(n: int) -> int:
        return n

    @app.workflow
    async def body() -> int:
        return await one(1) + await one.with_options(dispatch="queue", timeout="1m", cancellable=True)(2)

    finished = play(body)
    assert finished.value == 3
    ids = [event.data["id"] for event in finished.events if event.type == "step_created"]
    assert ids == [f"{one.id}#1", f"{one.id}#2"]


def test_with_options_takes_a_retry_policy(play: Play) -> None:
    app = Workflows()

    @app.step
    async def fail() -> None:
        raise ValueError

    @app.workflow
    async def body() -> None:
        await fail.with_options(retry=RetryPolicy(delay="1m", backoff=1), max_retries=2)()

    assert play(body).times("step_started") == [0, 60, 120]


# -- outside a workflow -------------------------------------------------------------------------------------------------------


def test_outside_a_workflow_a_step_is_awaited_and_runs_once_without_retries() -> None:
    app = Workflows()
    calls: list[int] = []

    @app.step
    async def fail(n: int) -> int:
        calls.append(n)
        if n < 0:
            raise ValueError(n)
        return n + 1

    assert asyncio.run(fail(1)) == 2
    with pytest.raises(ValueError, match="-1"):
        asyncio.run(fail(-1))
    assert calls == [1, -1]


def test_outside_a_workflow_a_plain_function_runs_in_a_thread() -> None:
    app = Workflows()
    threads: list[int] = []

    @app.step
    def note(n: int) -> int:
        threads.append(threading.get_ident())
        return n

    assert asyncio.run(note(3)) == 3
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_a_step_called_from_another_step_is_part_of_it_and_not_recorded(play: Play) -> None:
    app = Workflows()
    calls: list[str] = []

    @app.step
    async def inner() -> str:
        calls.append("inner")
        return "inner"

    @app.step
    def threaded() -> str:
        calls.append("threaded")
        return "threaded"

    @app.step
    async def outer() -> str:
        return await inner() + " " + await threaded()

    @app.workflow
    async def body() -> str:
        return await outer()

    finished = play(body)
    assert finished.value == "inner threaded"
    assert calls == ["inner", "threaded"]
    assert finished.count("step_created") == 1


def test_a_failing_step_inside_a_step_is_retried_only_with_the_outer_one(play: Play) -> None:
    app = Workflows()
    calls = 0

    @app.step(max_retries=9)
    async def inner() -> None:
        nonlocal calls
        calls += 1
        raise ValueError

    @app.step(max_retries=1)
    async def outer() -> None:
        await inner()

    @app.workflow
    async def body() -> None:
        await outer()

    assert isinstance(play(body).error, StepFailedError)
    assert calls == 2


def test_fn_is_the_undecorated_function() -> None:
    app = Workflows()

    def render(n: int) -> str:
        return str(n)

    async def charge(n: int) -> int:
        return n

    assert app.step(render).fn is render
    assert app.step(charge).fn is charge


def test_a_fatal_error_outside_a_workflow_is_raised_as_it_is() -> None:
    app = Workflows()

    @app.step
    async def fail() -> None:
        raise FatalError("no")

    with pytest.raises(FatalError, match="no"):
        asyncio.run(fail())
