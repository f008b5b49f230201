"""Plain functions as steps. `test_steps` has what they share with `async def` ones."""

import asyncio
import threading
from typing import Any

import pytest

from tests.e2e.running import Play, describe, finish, types, until
from wdk_cloud import (
    FatalError,
    RetryableError,
    RetryPolicy,
    StepFailedError,
    StepTimeoutError,
    WorkflowContextError,
    Workflows,
    get_step_metadata,
    get_workflow_metadata,
    sleep,
)
from wdk_cloud.testing.environment import WorkflowEnv

DISPATCHES = pytest.mark.parametrize("dispatch", ["inline", "queue"])

STEP = ["step_created", "step_started", "step_completed"]

PATIENCE = 30
"""Seconds after which a thread of a test that has gone wrong stops waiting."""


# -- threads ----------------------------------------------------------------------------------------------------------------


def test_a_thread_that_blocks_holds_up_neither_the_worker_nor_other_steps(play: Play) -> None:
    app = Workflows()
    release = threading.Event()
    order: list[str] = []

    @app.step
    def block() -> str:
        order.append("blocks")
        assert release.wait(PATIENCE)
        order.append("released")
        return "blocked"

    @app.step
    async def quick() -> str:
        await until(lambda: order == ["blocks"])
        order.append("quick")
        release.set()
        return "quick"

    @app.workflow
    async def body() -> list[str]:
        return list(await asyncio.gather(block(), quick()))

    assert play(body).value == ["blocked", "quick"]
    assert order == ["blocks", "quick", "released"]


@pytest.mark.in_any_order
@DISPATCHES
def test_as_many_plain_functions_run_at_once_as_the_inline_limit_allows(play: Play, dispatch: str) -> None:
    app = Workflows()
    meeting = threading.Barrier(10, timeout=PATIENCE)

    @app.step(max_retries=0, dispatch=dispatch)
    def meet(n: int) -> int:
        meeting.wait()
        return n

    @app.workflow
    async def body() -> list[int]:
        return list(await asyncio.gather(*(meet(n) for n in range(10))))

    assert play(body).value == list(range(10))


@DISPATCHES
def test_a_thread_knows_its_step_and_its_run(play: Play, dispatch: str) -> None:
    app = Workflows()
    threads: list[int] = []

    def deep_down() -> tuple[Any, Any]:
        return get_step_metadata(), get_workflow_metadata()

    @app.step(dispatch=dispatch, max_retries=2)
    def look() -> list[Any]:
        threads.append(threading.get_ident())
        step, workflow = deep_down()
        if step.attempt < 3:
            raise OSError
        return [step.run_id, step.step_name, step.attempt, workflow.run_id, workflow.workflow_name]

    @app.workflow
    async def body() -> list[Any]:
        return await look()

    finished = play(body)
    run_id = finished.run.run_id
    assert finished.value == [run_id, look.id, 3, run_id, body.id]
    assert len(threads) == 3
    assert threading.get_ident() not in threads


def test_a_thread_is_no_body(play: Play) -> None:
    app = Workflows()

    @app.step
    def look() -> str:
        try:
            sleep(1)
        except WorkflowContextError as error:
            return type(error).__name__
        return "?"

    @app.workflow
    async def body() -> str:
        return await look()

    assert play(body).value == "WorkflowContextError"


def test_a_plain_static_method_is_a_step(play: Play) -> None:
    app = Workflows()
    threads: list[int] = []

    class Shop:
        @app.step
        @staticmethod
        def price(item: str, *, of: int = 1) -> str:
            threads.append(threading.get_ident())
            return f"{of} {item}"

    @app.workflow
    async def body() -> list[str]:
        return [await Shop.price("tea"), await Shop.price(of=2, item="cups")]

    finished = play(body)
    assert finished.value == ["1 tea", "2 cups"]
    assert finished.types == ["run_created", "run_started", *STEP, *STEP, "run_completed"]
    assert threading.get_ident() not in threads


# -- exceptions -------------------------------------------------------------------------------------------------------------


@DISPATCHES
@pytest.mark.parametrize(
    "error",
    [ValueError("bad", 3), KeyError("tea"), TimeoutError("own")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_thread_raises_fails_the_attempt_and_is_the_cause_in_the_end(
    play: Play, dispatch: str, error: BaseException
) -> None:
    app = Workflows()
    attempts: list[int] = []

    @app.step(max_retries=1, dispatch=dispatch)
    def fail() -> None:
        attempts.append(get_step_metadata().attempt)
        raise type(error)(*error.args)

    @app.workflow
    async def body() -> tuple[str, int, BaseException | None]:
        try:
            await fail()
        except StepFailedError as failure:
            return failure.step_name, failure.attempts, failure.__cause__
        return "?", 0, None

    finished = play(body)
    name, count, cause = finished.value
    assert (name, count) == (fail.id, 2)
    assert (type(cause), cause.args) == (type(error), error.args)
    assert attempts == [1, 2]
    tries = ["step_started", "step_retrying", "step_started"] if dispatch == "inline" else []
    assert finished.types == ["run_created", "run_started", "step_created", *tries, "step_failed", "run_completed"]


@DISPATCHES
def test_a_stop_iteration_of_a_thread_is_a_runtime_error_as_that_of_a_coroutine(play: Play, dispatch: str) -> None:
    app = Workflows()

    @app.step(max_retries=1, dispatch=dispatch)
    def fail() -> str:
        return next(iter(list[str]()))

    @app.workflow
    async def body() -> list[str]:
        try:
            await fail()
        except StepFailedError as failure:
            return [type(failure.__cause__).__name__, str(failure.__cause__)]
        return []

    kind, text = play(body).value
    assert kind == "RuntimeError"
    assert text.endswith(".fail raised StopIteration")


def test_a_stop_iteration_outside_a_workflow_is_a_runtime_error_too() -> None:
    app = Workflows()

    @app.step
    def fail() -> str:
        return next(iter(list[str]()))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(fail())


@DISPATCHES
def test_a_fatal_error_of_a_thread_is_not_retried(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts: list[int] = []

    @app.step(dispatch=dispatch)
    def fail() -> None:
        attempts.append(1)
        raise FatalError("never")

    @app.workflow
    async def body() -> str:
        try:
            await fail()
        except FatalError as error:
            return str(error)
        return "?"

    assert play(body).value == "never"
    assert attempts == [1]


@DISPATCHES
def test_a_retryable_error_of_a_thread_says_when_it_is_tried_again(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts: list[int] = []

    @app.step(dispatch=dispatch)
    def busy() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise RetryableError("busy", retry_after="10 minutes")
        return "done"

    @app.workflow
    async def body() -> str:
        return await busy()

    finished = play(body)
    assert finished.value == "done"
    assert len(attempts) == 3
    assert finished.times("step_completed") == [1200]


# -- time-outs --------------------------------------------------------------------------------------------------------------


class Slow:
    """An app whose plain step lasts until it is released, attempt by attempt."""

    def __init__(self, **options: Any) -> None:
        self.app = app = Workflows()
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.release = [threading.Event() for _ in range(4)]

        @app.step(name="slow", **options)
        def slow() -> str:
            attempt = get_step_metadata().attempt
            self.begun.append(attempt)
            assert self.release[attempt - 1].wait(PATIENCE)
            self.ended.append(attempt)
            return f"attempt {attempt}"

        @app.workflow(name="body")
        async def body() -> Any:
            try:
                return await slow()
            except StepFailedError as error:
                assert isinstance(error.__cause__, StepTimeoutError)
                return error.attempts, str(error.__cause__)

        self.body = body

    async def wait_for(self, *, begun: list[int], ended: list[int]) -> None:
        await until(lambda: (self.begun, self.ended) == (begun, ended))

    def let_go(self) -> None:
        for event in self.release:
            event.set()


@DISPATCHES
def test_the_last_attempt_that_times_out_fails_the_step_at_once_and_what_its_thread_returns_is_ignored(
    play: Play, dispatch: str
) -> None:
    slow = Slow(timeout="5s", max_retries=0, dispatch=dispatch)

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(slow.body)
        await env.settle()
        await slow.wait_for(begun=[1], ended=[])
        await env.advance("4s")
        assert await run.status() == "running"
        await env.advance("1s")
        await until_ended(env, run)
        assert (slow.begun, slow.ended) == ([1], [])
        finished = await describe(run)
        count, text = finished.value
        assert count == 1
        assert "slow" in text
        assert "5" in text
        started = ["step_started"] if dispatch == "inline" else []
        log = ["run_created", "run_started", "step_created", *started, "step_failed", "run_completed"]
        assert finished.types == log
        assert finished.times("step_failed") == [5]
        slow.let_go()
        await slow.wait_for(begun=[1], ended=[1])
        await env.run_until_blocked()
        assert await types(run) == log

    try:
        play.scene(scenario, slow.app)
    finally:
        slow.let_go()


@pytest.mark.not_on_cloudrun("after an hour a delivery is over, and the attempt begins in another one, a lease later")
@DISPATCHES
@pytest.mark.not_on_lambda("after an hour an invocation is over, and the attempt begins in another one, a second later")
def test_attempts_of_a_step_in_threads_never_overlap(play: Play, dispatch: str) -> None:
    slow = Slow(timeout="5s", max_retries=2, dispatch=dispatch)

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(slow.body)
        await env.settle()
        await slow.wait_for(begun=[1], ended=[])
        await env.advance("5s")
        await env.advance("1 hour")
        assert slow.begun == [1]
        slow.release[0].set()
        await slow.wait_for(begun=[1, 2], ended=[1])
        await env.advance("5s")
        assert (slow.begun, slow.ended) == ([1, 2], [1])
        slow.let_go()
        finished = await finish(env, run)
        assert finished.value == "attempt 3"
        assert (slow.begun, slow.ended) == ([1, 2, 3], [1, 2, 3])
        inline = dispatch == "inline"
        assert (finished.count("step_started"), finished.count("step_retrying")) == ((3, 2) if inline else (0, 0))

    try:
        play.scene(scenario, slow.app)
    finally:
        slow.let_go()


def test_a_thread_that_returned_in_its_pause_delays_the_next_attempt_no_further(play: Play) -> None:
    slow = Slow(timeout="5s", max_retries=1, retry=RetryPolicy(delay="1 minute"))

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(slow.body)
        await env.settle()
        await slow.wait_for(begun=[1], ended=[])
        await env.advance("5s")
        slow.let_go()
        await slow.wait_for(begun=[1], ended=[1])
        finished = await finish(env, run)
        assert finished.value == "attempt 2"
        assert finished.times("step_started") == [0, 65]

    try:
        play.scene(scenario, slow.app)
    finally:
        slow.let_go()


@DISPATCHES
def test_a_thread_that_is_done_in_time_is_not_touched_by_its_time_out(play: Play, dispatch: str) -> None:
    slow = Slow(timeout="5s", dispatch=dispatch)
    slow.let_go()

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(slow.body))
        await env.advance("1 hour")
        assert finished.value == "attempt 1"
        started = ["step_started"] if dispatch == "inline" else []
        assert finished.types == [
            *["run_created", "run_started", "step_created", *started, "step_completed", "run_completed"]
        ]
        assert (slow.begun, slow.ended) == ([1], [1])

    play.scene(scenario, slow.app)


async def until_ended(env: WorkflowEnv, run: Any) -> None:
    """A thread that is still busy counts as work, so that `run_until_blocked` would wait for it."""
    for _ in range(1000):
        await env.settle()
        if await run.status() != "running":
            return
    raise AssertionError("the run does not end")


# -- outside a workflow, and from another step ------------------------------------------------------------------------------


def test_outside_a_workflow_a_plain_step_takes_arguments_and_raises_like_the_function() -> None:
    app = Workflows()
    calls: list[Any] = []

    @app.step(max_retries=7, timeout=0.001)
    def divide(a: int, b: int = 2, *rest: int, sign: int = 1) -> float:
        calls.append((a, b, rest, sign))
        return sign * a / b

    async def main() -> list[float]:
        with pytest.raises(ZeroDivisionError):
            await divide(1, 0)
        with pytest.raises(TypeError, match="divide"):
            divide()  # type: ignore[call-arg]
        return [await divide(4), await divide(b=4, a=4), await divide(9, 3, 1, sign=-1)]

    assert asyncio.run(main()) == [2, 1, -3]
    assert calls == [(1, 0, (), 1), (4, 2, (), 1), (4, 4, (), 1), (9, 3, (1,), -1)]
    assert divide.fn(4) == 2


def test_outside_a_workflow_plain_steps_run_side_by_side_and_know_no_run() -> None:
    app = Workflows()
    meeting = threading.Barrier(2, timeout=PATIENCE)

    @app.step
    def meet() -> str:
        meeting.wait()
        try:
            get_step_metadata()
        except WorkflowContextError:
            return "no run"
        return "a run"

    async def main() -> list[str]:
        return list(await asyncio.gather(meet(), meet()))

    assert asyncio.run(main()) == ["no run", "no run"]


def test_what_is_passed_outside_a_workflow_is_not_copied() -> None:
    app = Workflows()

    @app.step
    def grow(numbers: list[int]) -> list[int]:
        numbers.append(1)
        return numbers

    mine: list[int] = []
    assert asyncio.run(grow(mine)) is mine
    assert mine == [1]


@DISPATCHES
def test_a_plain_step_called_from_steps_of_both_kinds_is_part_of_them(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts: list[str] = []

    @app.step(max_retries=5)
    def inner(name: str) -> str:
        attempts.append(name)
        info = get_step_metadata()
        if info.attempt == 1:
            raise OSError("once")
        return f"{name} in {info.step_name}"

    @app.step(dispatch=dispatch)
    async def loose() -> str:
        return await inner("loose")

    @app.step(dispatch=dispatch)
    def plain() -> str:
        return asyncio.run(inner("run"))  # type: ignore[arg-type]

    @app.step(dispatch=dispatch)
    def direct() -> str:
        return str(inner.fn("direct"))

    @app.workflow
    async def body() -> list[str]:
        return [await loose(), await plain(), await direct()]

    finished = play(body)
    assert finished.value == [f"loose in {loose.id}", f"run in {plain.id}", f"direct in {direct.id}"]
    assert attempts == ["loose"] * 2 + ["run"] * 2 + ["direct"] * 2
    assert (finished.count("step_created"), finished.count("step_completed")) == (3, 3)
