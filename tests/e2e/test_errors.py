"""Errors that a step may raise, and how the body sees them."""

import asyncio
import zipfile
from datetime import UTC, datetime, timedelta
from json import JSONDecodeError

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import (
    FatalError,
    RemoteError,
    RetryableError,
    SerializationError,
    StepFailedError,
    StepInterruptedError,
    WorkflowRunFailedError,
    Workflows,
    register_serializable,
    serializable,
    sleep,
)
from wdk_cloud.testing.environment import WorkflowEnv


class CardDeclined(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class NeedsKeywords(Exception):
    def __init__(self, *, reason: str) -> None:
        super().__init__(f"because {reason}")
        self.reason = reason


def caught_from(play: Play, raising: object, **options: object) -> Exception:
    """What a body catches from a step that raises, after a replay; kept out of the run by a list."""
    app = Workflows()
    caught: list[Exception] = []

    @app.step(**options)  # type: ignore[call-overload]
    async def fail() -> None:
        error = raising() if callable(raising) else raising
        raise error.with_traceback(None)  # type: ignore[attr-defined] -- one that was raised before has grown a longer one

    @app.workflow
    async def body() -> str:
        try:
            await fail()
        except Exception as error:
            await sleep(1)
            caught.append(error)
            return type(error).__name__
        return "?"

    finished = play(body)
    assert finished.value == type(caught[-1]).__name__
    return caught[-1]


# -- fatal and retryable ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_fatal_error_is_not_retried_and_raised_into_the_body(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts = 0

    @app.step(dispatch=dispatch)
    async def fail() -> None:
        nonlocal attempts
        attempts += 1
        raise FatalError("the card is stolen")

    @app.workflow
    async def body() -> str:
        try:
            await fail()
        except FatalError as error:
            await sleep(1)
            return str(error)
        return "?"

    assert play(body).value == "the card is stolen"
    assert attempts == 1


def test_a_subclass_of_fatal_error_is_fatal_too(play: Play) -> None:
    error = caught_from(play, lambda: OutOfStock("tea"))
    assert type(error) is OutOfStock
    assert error.args == ("tea",)


class OutOfStock(FatalError):
    pass


IN_PARTS_OF_A_SECOND = pytest.param(0.5, 0.5, marks=pytest.mark.not_on_lambda("SQS delays a message by whole seconds"))


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("30s", 30),
        (90, 90),
        IN_PARTS_OF_A_SECOND,
        (timedelta(minutes=2), 120),
        (datetime(2026, 1, 1, 1, tzinfo=UTC), 3600),
    ],
    ids=str,
)
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_retryable_error_is_retried_not_before_its_time(
    play: Play, dispatch: str, retry_after: object, seconds: float
) -> None:
    app = Workflows()
    attempts = 0

    @app.step(dispatch=dispatch)
    async def limited() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise RetryableError("slow down", retry_after=retry_after)  # type: ignore[arg-type]
        return "ok"

    @app.workflow
    async def body() -> str:
        return await limited()

    finished = play(body)
    assert finished.value == "ok"
    assert attempts == 2
    assert finished.times("run_completed") == [seconds]


def test_a_retryable_error_counts_as_an_attempt(play: Play) -> None:
    app = Workflows()
    attempts = 0

    @app.step(max_retries=2)
    async def limited() -> None:
        nonlocal attempts
        attempts += 1
        raise RetryableError("slow down", retry_after="1m")

    @app.workflow
    async def body() -> None:
        await limited()

    finished = play(body)
    assert isinstance(finished.error, StepFailedError)
    assert isinstance(finished.error.__cause__, RetryableError)
    assert str(finished.error.__cause__) == "slow down"
    assert attempts == finished.error.attempts == 3
    assert finished.times("step_failed") == [120]


def test_a_retryable_error_without_a_time_follows_the_policy(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=1)
    async def limited() -> None:
        raise RetryableError("slow down")

    @app.workflow
    async def body() -> None:
        await limited()

    assert play(body).times("step_failed") == [0]


# -- what the body sees -------------------------------------------------------------------------------------------------------


def test_used_up_attempts_are_a_step_failed_error_with_the_original_as_its_cause(play: Play) -> None:
    error = caught_from(play, ValueError("bad", 3), max_retries=1)
    assert isinstance(error, StepFailedError)
    assert error.attempts == 2
    assert error.step_name.endswith("fail")
    assert error.step_name in str(error)
    assert type(error.__cause__) is ValueError
    assert error.__cause__.args == ("bad", 3)


@pytest.mark.parametrize(
    "original",
    [
        KeyError("k"),
        OSError(2, "No such file", "/nowhere"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ZeroDivisionError("division by zero"),
        StopAsyncIteration("x"),
        TimeoutError("late"),
        FileNotFoundError(2, "gone"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_builtin_exception_comes_back_as_itself(play: Play, original: Exception) -> None:
    cause = caught_from(play, original, max_retries=0).__cause__
    assert type(cause) is type(original)
    assert cause.args == original.args
    assert str(cause) == str(original)


def test_an_exception_class_of_the_module_comes_back_as_itself(play: Play) -> None:
    cause = caught_from(play, lambda: CardDeclined(51, "no funds"), max_retries=0).__cause__
    assert type(cause) is CardDeclined
    assert (cause.code, cause.text, cause.args) == (51, "no funds", (51, "no funds"))


def test_an_exception_with_a_constructor_of_its_own_comes_back_without_calling_it(play: Play) -> None:
    cause = caught_from(play, lambda: NeedsKeywords(reason="rain"), max_retries=0).__cause__
    assert type(cause) is NeedsKeywords
    assert (cause.reason, str(cause)) == ("rain", "because rain")


def test_an_exception_class_imported_into_the_module_comes_back_as_itself(play: Play) -> None:
    import json

    def fail() -> Exception:
        try:
            json.loads("{")
        except JSONDecodeError as error:
            return error
        raise AssertionError("unreachable")

    cause = caught_from(play, fail, max_retries=0).__cause__
    assert type(cause) is JSONDecodeError
    assert (cause.msg, cause.pos, cause.doc) == ("Expecting property name enclosed in double quotes", 1, "{")


def test_an_exception_class_that_the_module_does_not_name_is_a_remote_error_in_the_first_run_too(play: Play) -> None:
    cause = caught_from(play, lambda: zipfile.BadZipFile("not a zip"), max_retries=0).__cause__
    assert type(cause) is RemoteError
    assert (cause.type_name, cause.message) == ("BadZipFile", "not a zip")


def test_a_local_exception_class_is_a_remote_error(play: Play) -> None:
    class Hidden(Exception):
        pass

    cause = caught_from(play, lambda: Hidden("psst"), max_retries=0).__cause__
    assert type(cause) is RemoteError
    assert (cause.type_name, cause.message) == ("Hidden", "psst")


def test_a_registered_exception_class_comes_back_as_itself(play: Play) -> None:
    @serializable(class_id="tests/registered-error")
    class Registered(Exception):
        pass

    cause = caught_from(play, lambda: Registered("seen"), max_retries=0).__cause__
    assert type(cause) is Registered
    assert cause.args == ("seen",)


def test_an_exception_class_can_be_registered_by_a_call(play: Play) -> None:
    class Called(Exception):
        pass

    register_serializable(Called, class_id="tests/called-error")
    assert type(caught_from(play, lambda: Called("x"), max_retries=0).__cause__) is Called


def test_chains_of_causes_survive(play: Play) -> None:
    def fail() -> Exception:
        try:
            try:
                raise KeyError("deep")
            except KeyError as deep:
                raise CardDeclined(1, "middle") from deep
        except CardDeclined as middle:
            error = ValueError("top")
            error.__cause__ = middle
            return error

    top = caught_from(play, fail, max_retries=0).__cause__
    assert [type(top), type(top.__cause__), type(top.__cause__.__cause__)] == [ValueError, CardDeclined, KeyError]  # type: ignore[union-attr]
    assert top.__cause__.__cause__.args == ("deep",)  # type: ignore[union-attr]


def test_an_exception_group_comes_back_with_its_members(play: Play) -> None:
    group = ExceptionGroup("both", [ValueError("a"), CardDeclined(2, "b")])
    cause = caught_from(play, group, max_retries=0).__cause__
    assert type(cause) is ExceptionGroup
    assert cause.message == "both"
    assert [type(one) for one in cause.exceptions] == [ValueError, CardDeclined]


def test_the_exception_of_a_body_is_the_cause_of_the_runs_failure(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        await sleep(1)
        raise CardDeclined(3, "body")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await finish(env, run)
        with pytest.raises(WorkflowRunFailedError, match="USER_ERROR") as failure:
            await run.return_value(timeout=10)
        assert failure.value.error_code == "USER_ERROR"
        assert failure.value.run_id == run.run_id
        assert type(failure.value.__cause__) is CardDeclined
        assert failure.value.__cause__.code == 3
        error = (await run.info()).error
        assert type(error) is CardDeclined

    play.scene(scenario, app)


# -- interruptions --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True], ids=["async", "thread"])
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_system_exit_is_a_failed_attempt_like_any_exception(play: Play, plain: bool, dispatch: str) -> None:
    app = Workflows()
    attempts = 0

    def leave() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise SystemExit(3)
        return "stayed"

    async def leave_async() -> str:
        return leave()

    step = app.step(dispatch=dispatch)(leave if plain else leave_async)

    @app.workflow
    async def body() -> str:
        return await step()

    finished = play(body)
    assert finished.value == "stayed"
    assert attempts == 2
    assert finished.count("step_retrying") == (1 if dispatch == "inline" else 0)  # elsewhere it costs no turn
    assert finished.count("step_interrupted") == 0


def test_the_last_system_exit_is_the_cause_of_the_failure(play: Play) -> None:
    app = Workflows()

    @app.step(max_retries=0)
    async def leave() -> None:
        raise SystemExit(3)

    @app.workflow
    async def body() -> None:
        await leave()

    error = play(body).error
    assert isinstance(error, StepFailedError)
    assert "SystemExit" in str(error.__cause__) or type(error.__cause__) is SystemExit


@pytest.mark.not_on_cloudrun("what was interrupted is sent again a lease later")
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_memory_error_is_an_interruption_and_the_step_begins_again(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts = 0

    @app.step(dispatch=dispatch)
    async def hungry() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise MemoryError
        return "fed"

    @app.workflow
    async def body() -> str:
        return await hungry()

    finished = play(body)
    assert finished.value == "fed"
    assert attempts == 2
    assert finished.count("step_retrying") == 0


@pytest.mark.not_on_cloudrun("what was interrupted is sent again a lease later")
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_an_interrupted_step_without_retries_is_never_begun_twice(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts = 0

    @app.step(max_retries=0, dispatch=dispatch)
    async def pay() -> None:
        nonlocal attempts
        attempts += 1
        raise MemoryError

    @app.workflow
    async def body() -> str:
        try:
            await pay()
        except StepInterruptedError as error:
            return str(error)
        return "?"

    finished = play(body)
    assert "may have happened" in finished.value
    assert pay.id in finished.value
    assert attempts == 1


@pytest.mark.not_on_cloudrun("what was interrupted is sent again a lease later")
@pytest.mark.parametrize("dispatch", ["inline", "queue"])
@pytest.mark.not_on_lambda("an invocation has one step, to which its death is charged: fewer attempts are made")
def test_an_interrupted_last_attempt_is_the_cause_of_the_failure(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts = 0

    @app.step(max_retries=1, dispatch=dispatch)
    async def hungry() -> None:
        nonlocal attempts
        attempts += 1
        raise MemoryError

    @app.workflow
    async def body() -> None:
        await hungry()

    error = play(body).error
    assert isinstance(error, StepFailedError)
    assert isinstance(error.__cause__, StepInterruptedError)
    assert attempts == error.attempts


# -- values that cannot be serialized --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
def test_a_result_that_cannot_be_serialized_fails_without_retry_and_names_the_path(play: Play, dispatch: str) -> None:
    app = Workflows()
    attempts = 0

    @app.step(dispatch=dispatch)
    async def make() -> object:
        nonlocal attempts
        attempts += 1
        return {"items": [0, {"lock": object()}]}

    @app.workflow
    async def body() -> list[str]:
        try:
            await make()
        except SerializationError as error:
            await sleep(1)
            return [error.path, str(error)]
        return []

    path, text = play(body).value
    assert path == "result.items[1].lock"
    assert path in text
    assert attempts == 1


def test_a_body_that_raises_cancelled_error_by_itself_fails(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        raise asyncio.CancelledError("myself")

    finished = play(body)
    assert finished.info.status == "failed"
    assert finished.info.error_code == "USER_ERROR"
