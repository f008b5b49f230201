"""Bad input as code: bodies and steps that leave, wait for nothing, spin, return coroutines or raise the unspeakable.

Whatever one run does, the next one on the same worker goes its way. `test_bad_input.py` says where the rest is tested.
"""

import asyncio
import logging
import re
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.e2e.running import Finished, Play, finish
from wdk_cloud import (
    FatalError,
    MaxDeliveriesExceededError,
    RetryableError,
    SerializationError,
    StepFailedError,
    WorkflowDeadlockError,
    WorkflowRunFailedError,
    Workflows,
    WorkflowSandboxError,
    WorkflowStalledError,
    patched,
    set_attributes,
    sleep,
    start,
    use_world,
    worker,
)
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.local import LocalWorld

healthy = Workflows()


@healthy.step
async def add(a: int, b: int) -> int:
    return a + b


@healthy.workflow
async def well() -> int:
    await sleep(1)
    return await add(3, 4)


def ends(play: Play, workflow: Any, *args: Any) -> Finished:
    """Run a bad workflow to its end; another run on the same worker works before, meanwhile and after."""

    async def scenario(env: WorkflowEnv) -> Finished:
        meanwhile = await env.start(well)
        finished = await finish(env, await env.start(workflow, *args))
        assert (await finish(env, meanwhile)).value == 7
        assert (await finish(env, await env.start(well))).value == 7
        return finished

    return play.scene(scenario, workflow.app, healthy)


def failed(finished: Finished, kind: type[BaseException], code: str = "USER_ERROR") -> str:
    """The text of the error of a run that failed in this way; its end is the last of its log."""
    assert (finished.info.status, finished.info.error_code) == ("failed", code)
    assert type(finished.error) is kind
    assert type(finished.info.error) is kind
    assert finished.types[-1] == "run_failed"
    assert finished.count("run_failed") == 1
    return str(finished.error)


# -- what is returned ---------------------------------------------------------------------------------------------------------


async def forgotten() -> int:
    return 1


async def returns_a_coroutine() -> Any:
    return forgotten()


def returns_a_coroutine_in_a_thread() -> Any:
    return forgotten()


async def returns_a_future() -> Any:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
@pytest.mark.parametrize(
    ("fn", "kind"),
    [(returns_a_coroutine, "coroutine"), (returns_a_coroutine_in_a_thread, "coroutine"), (returns_a_future, "Future")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_step_that_returns_a_coroutine_fails_without_retry(
    play: Play, fn: Callable[[], Any], kind: str, dispatch: Any
) -> None:
    app = Workflows()
    step = app.step(name="forgetful", dispatch=dispatch)(fn)

    @app.workflow
    async def body() -> None:
        await step()

    finished = ends(play, body)
    assert failed(finished, SerializationError) == (
        f"step forgetful returned {kind}, which cannot be recorded: await it there and return its result"
    )
    assert (finished.count("step_failed"), finished.count("step_retrying")) == (1, 0)


def test_a_body_that_returns_a_coroutine_fails_its_run(play: Play) -> None:
    app = Workflows()

    @app.workflow(name="forgetful")
    async def body() -> Any:
        return forgotten()

    assert failed(ends(play, body), SerializationError) == (
        "workflow forgetful returned coroutine, which cannot be recorded: await it there and return its result"
    )


# -- what is raised -----------------------------------------------------------------------------------------------------------


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError("of __str__")


class Unshowable(Unspeakable):
    def __repr__(self) -> str:
        raise ZeroDivisionError("of __repr__")


class NoText(Exception):
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]


UNSPEAKABLE = pytest.mark.parametrize("kind", [Unspeakable, Unshowable, NoText], ids=lambda kind: kind.__name__)


@UNSPEAKABLE
def test_an_exception_whose_str_raises_fails_the_run_as_any_other(play: Play, kind: type[Exception]) -> None:
    app = Workflows()

    @app.workflow(name="speechless")
    async def body() -> None:
        await sleep(1)
        raise kind("seen")

    finished = ends(play, body)
    assert (finished.info.status, finished.info.error_code) == ("failed", "USER_ERROR")
    assert type(finished.error) is kind
    assert finished.error.args == ("seen",)
    assert str(finished.failure) == (
        f"run {finished.run.run_id} of speechless failed with USER_ERROR: {kind.__name__}: "
        f"<{kind.__name__}: its message cannot be shown>"
    )


@UNSPEAKABLE
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_an_exception_whose_str_raises_is_retried_and_is_the_cause_of_the_failure(
    play: Play, kind: type[Exception], dispatch: Any
) -> None:
    app = Workflows()
    attempts = 0

    @app.step(name="speechless", max_retries=1, dispatch=dispatch)
    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise kind("seen")

    @app.workflow
    async def body() -> None:
        await fail()

    finished = ends(play, body)
    reason = "TypeError" if kind is NoText else "ZeroDivisionError"
    assert failed(finished, StepFailedError) == (
        f"step speechless failed after 2 attempts: {kind.__name__} (its text cannot be shown: {reason})"
    )
    assert type(finished.error.__cause__) is kind
    assert attempts == 2


def test_an_exception_with_an_argument_10_000_deep_fails_the_run(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        value: list[Any] = []
        for _ in range(10_000):
            value = [value]
        raise ValueError(value)

    failed(ends(play, body), ValueError)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
@pytest.mark.parametrize(
    ("retry_after", "text"),
    [
        ("5 parsecs", "'5 parsecs' is not understood"),
        (-1, "must be finite and not negative, not -1"),
        (datetime(2027, 1, 1), "given as a datetime must have a time zone"),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            "until 9999-12-31T23:59:59.999999-12:00 is longer than a century",
        ),
    ],
    ids=str,
)
def test_a_retry_after_without_a_meaning_fails_its_step_at_once(
    play: Play, dispatch: Any, retry_after: Any, text: str
) -> None:
    app = Workflows()
    attempts = 0

    @app.step(dispatch=dispatch)
    async def limited() -> None:
        nonlocal attempts
        attempts += 1
        raise RetryableError("slow down", retry_after=retry_after)

    @app.workflow
    async def body() -> None:
        await limited()

    finished = ends(play, body)
    assert failed(finished, ValueError).startswith(f"RetryableError(retry_after=) {text}")
    assert type(finished.error.__cause__) is RetryableError
    assert attempts == 1


# -- leaving ------------------------------------------------------------------------------------------------------------------


@pytest.mark.not_on_cloudrun("what was interrupted is sent again a lease later")
@pytest.mark.parametrize("first", [False, True], ids=["after a sleep", "first"])
def test_sys_exit_in_a_body_is_an_interrupt_that_ends_the_run_after_ten_and_not_the_worker(
    play: Play, first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = Workflows()
    lives = 0

    @app.workflow
    async def body() -> None:
        nonlocal lives
        if not first:
            await sleep(1)
        lives += 1
        sys.exit("enough")

    with caplog.at_level(logging.CRITICAL, "wdk_cloud"):
        finished = ends(play, body)
    text = failed(finished, MaxDeliveriesExceededError, "MAX_DELIVERIES_EXCEEDED")
    assert text == (
        f"run {finished.run.run_id}: 10 workers in a row gave it up without its log growing; the run was ended. A step or "
        "the body kills its process (memory, a crash in C code, sys.exit), or none has the time; the last met SystemExit: "
        "enough. Raise an error instead of leaving the process, or give it more memory, and start the run again"
    )
    assert str(finished.error.__cause__) == "SystemExit: enough"
    assert lives > 10
    assert finished.count("run_completed") == 0


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
def test_sys_exit_in_a_step_is_a_failed_attempt_and_the_worker_goes_on(play: Play, plain: bool, dispatch: Any) -> None:
    app = Workflows()
    attempts = 0

    def leave() -> None:
        nonlocal attempts
        attempts += 1
        sys.exit("enough")

    async def leave_async() -> None:
        leave()

    step = app.step(name="leave", max_retries=1, dispatch=dispatch)(leave if plain else leave_async)

    @app.workflow
    async def body() -> None:
        await step()  # type: ignore[misc]

    text = failed(ends(play, body), StepFailedError)
    assert text == "step leave failed after 2 attempts: SystemExit: enough"
    assert attempts == 2


# -- waiting for nothing, and never resting ---------------------------------------------------------------------------------


async def an_event() -> None:
    await asyncio.Event().wait()


async def a_future() -> None:
    await asyncio.get_running_loop().create_future()


async def its_own_lock() -> None:
    lock = asyncio.Lock()
    async with lock, lock:
        pass


async def for_ever() -> None:
    await asyncio.sleep(float("inf"))


async def more_than_a_century() -> None:
    await asyncio.sleep(1e300)


@pytest.mark.parametrize(
    "wait", [an_event, a_future, its_own_lock, for_ever, more_than_a_century], ids=lambda fn: fn.__name__
)
def test_a_body_that_waits_for_nothing_fails_at_once_and_says_where(
    play: Play, wait: Callable[[], Awaitable[None]]
) -> None:
    app = Workflows()

    @app.workflow(name="idle")
    async def body() -> None:
        await sleep(1)
        await wait()

    finished = ends(play, body)
    text = failed(finished, WorkflowDeadlockError)
    assert text.startswith(
        f"run {finished.run.run_id}: the body of idle waits, and nothing is outstanding that could wake it: no step, "
        "sleep, hook or child. Await one of those, or let another task of the body complete what it waits for. It waits "
        "at: Task-1 at "
    )
    assert re.search(rf"test_bad_bodies\.py:\d+ in {wait.__name__}", text)
    assert finished.times("run_failed") == [1]


def test_a_body_that_spins_between_its_tasks_fails_and_says_what_to_do(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        while True:
            await asyncio.sleep(0)

    finished = ends(play, body)
    text = failed(finished, WorkflowStalledError)
    assert text.startswith(
        f"the body of run {finished.run.run_id} ran 100,000 callbacks without waiting for a step, a sleep or a hook: it "
        "never rests. A loop that polls with `await asyncio.sleep(0)` should await what it waits for. It is at: "
    )
    assert re.search(r"test_bad_bodies\.py:\d+ in \S+body, awaiting asyncio\.sleep\(\)$", text)


@pytest.mark.parametrize("stubborn", [False, True], ids=["plain", "catches it twice and returns"])
def test_a_body_that_computes_for_ever_fails_and_the_worker_goes_on(tmp_path: Any, stubborn: bool) -> None:
    """On a world with the real clock: the watch is a thread that looks once a second."""
    app = Workflows()
    lives = 0

    @app.workflow
    async def body() -> None:
        nonlocal lives
        lives += 1
        for _ in range(2):  # one that catches it for ever can be ended by nobody but the system
            try:
                while True:
                    pass
            except BaseException:
                if not stubborn:
                    raise

    async def main() -> None:
        world = LocalWorld(tmp_path / "local.db")
        await world.open()
        try:
            with use_world(world):
                async with worker(app, healthy, settings=Settings(slice_seconds=0.1)):
                    run = await start(body)
                    with pytest.raises(WorkflowRunFailedError) as caught:
                        await run.return_value(timeout=50)
                    assert caught.value.error_code == "USER_ERROR"
                    assert type(caught.value.__cause__) is WorkflowStalledError
                    text = str(caught.value.__cause__)
                    assert text.startswith(
                        f"the body of run {run.run_id} has computed for more than 0.1 s of CPU time without waiting for "
                        "anything; do long computations in a step, or raise WDK_SLICE_SECONDS. It is at: "
                    )
                    assert re.search(r"test_bad_bodies\.py:\d+ in \S+body$", text)
                    assert await (await start(well)).return_value(timeout=50) == 7
        finally:
            await world.close()

    asyncio.run(main())
    assert lives == 1


# -- what belongs to another loop -----------------------------------------------------------------------------------------------


@pytest.fixture
def another_loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.mark.parametrize("way", ["awaited", "in a task", "gathered", "with a time-out"])
def test_a_body_that_awaits_a_foreign_future_fails_and_is_told_where_it_belongs(
    play: Play, another_loop: asyncio.AbstractEventLoop, way: str
) -> None:
    app = Workflows()

    async def wait_for_it(future: asyncio.Future[None]) -> None:
        await future

    @app.workflow
    async def body() -> None:
        future = foreign[0]
        if way == "awaited":
            await future
        elif way == "in a task":
            await asyncio.create_task(wait_for_it(future))
        elif way == "gathered":
            await asyncio.gather(future)
        else:
            await asyncio.wait_for(future, 5)

    foreign = [another_loop.create_future()]
    finished = ends(play, body)
    text = failed(finished, WorkflowSandboxError)
    assert text.startswith(
        f"the body of run {finished.run.run_id} awaited something that belongs to another event loop, the host's for "
        "example: "
    )
    assert text.endswith(
        "No replay could wait for it again. Await it in a step, or make locks, queues and events inside the body"
    )
    assert not foreign[0].done()


# -- wrong calls, after which the run stays healthy -------------------------------------------------------------------------------


def test_a_change_and_labels_that_cannot_be_recorded_are_refused_where_they_are_named(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        found: list[str] = []
        for change in ("", "\ud800", 7):
            try:
                patched(change)  # type: ignore[arg-type]
            except TypeError as error:
                found.append(str(error))
        for labels in (7, "k=v", {"k": 7}, {"$k": "v"}):
            try:
                await set_attributes(labels)  # type: ignore[arg-type]
            except FatalError as error:
                found.append(str(error))
        await sleep(1)
        return found

    finished = ends(play, body)
    assert finished.value == [
        "patched() takes the name of a change, text that is not empty, not ''",
        "patched() takes the name of a change, text that is not empty, not '\\ud800'",
        "patched() takes the name of a change, text that is not empty, not 7",
        "labels must be a mapping of names to text, not int",
        "labels must be a mapping of names to text, not str",
        "the label 'k' must be text, not int",
        "the label '$k' begins with '$', which is reserved for wdk-cloud; choose another name",
    ]
    assert finished.attributes == {}
    assert (finished.count("patch_recorded"), finished.count("attributes_set")) == (0, 0)


def test_a_sleep_until_the_year_10000_raises_in_the_body_and_the_run_stays_healthy(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[str]:
        found: list[str] = []
        for offset in (0, -12):
            try:
                await sleep(datetime.max.replace(tzinfo=timezone(timedelta(hours=offset))))
            except ValueError as error:
                found.append(str(error))
        await sleep(1)
        return found

    finished = ends(play, body)
    assert finished.value == [
        f"sleep() until 9999-12-31T23:59:59.999999{offset} is longer than a century" for offset in ("+00:00", "-12:00")
    ]
    assert finished.count("wait_created") == 1
