"""Bad input, all of it: each a clear error of our own that says what to do, and nothing half-written.

    a workflow that is not `async def`, a class method as step,
    options of the wrong type, `max_retries=-1`, two steps of one id     test_bad_declarations
    an unknown duration, `sleep(-1)`, `sleep(inf)`, a naive datetime     test_sleep; for `start` here, for options
                                                                         test_bad_declarations
    the year 10000                                                       here and test_bad_bodies
    arguments that do not fit                                            here; of a step test_arguments
    what cannot be serialized, nan, lone surrogates, large integers,
    10,000 deep, cyclic, 0 bytes, 100 MB                                 test_bad_values; parts that lie in many places
                                                                         unit/test_codec_bad_input
    a step that returns a coroutine, an exception whose `__str__`
    raises, `sys.exit()`, waiting for nothing, spinning, a foreign
    future                                                               test_bad_bodies
    an unknown WDK_WORLD, a strange or newer database file, a read-only
    folder, a full disk, for `start`, a worker and `wdk`                 test_bad_worlds; files one by one in
                                                                         unit/test_local_files, a failing group of writes
                                                                         in unit/test_local_group
    a record that cannot be read                                         unit/test_turn; bytes in unit/test_codec_fuzz
    settings and apps that cannot be loaded                              unit/test_settings and unit/test_cli

Here: what is asked of `start`, `get_run`, `list_runs` and the methods of `Run`.
"""

import math
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import (
    FatalError,
    Run,
    WorkflowContextError,
    WorkflowRunNotFoundError,
    Workflows,
    get_run,
    list_runs,
    sleep,
    start,
    worker,
)
from wdk_cloud.testing.environment import WorkflowEnv

app = Workflows()


@app.step(name="a-step")
async def a_step() -> None: ...


@app.workflow(name="nap")
async def nap(duration: float = 1) -> str:
    await sleep(duration)
    return "rested"


LAST_HOUR = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
"""In UTC this is in the year 10000, which no datetime can name."""

UNITS = 'is not understood; write for example "5s", "1h 30m" or "2 days"'


def refused(play: Play, ask: Callable[[], Awaitable[object]], kind: type[Exception]) -> str:
    """The text of the error; nothing was written, and the next run goes its way."""

    async def scenario(env: WorkflowEnv) -> str:
        with pytest.raises(kind) as caught:
            await ask()
        assert type(caught.value) is kind
        assert await list_runs() == []
        assert env.clock.next_due() is None
        assert not any(one.receiver.busy() for one in env.workers)  # no message either
        assert (await finish(env, await start(nap))).value == "rested"
        return str(caught.value)

    return play.scene(scenario, app)


# -- start ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [a_step, len, app, "nap", None], ids=["step", "builtin", "app", "text", "nothing"])
def test_start_takes_a_workflow_and_nothing_else(warm: Play, what: Any) -> None:
    text = refused(warm, lambda: start(what), TypeError)
    assert text == f"start() takes a workflow (a function under @app.workflow), not {what!r}"


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1, 2), {}, "nap(duration: float = 1) -> str: too many positional arguments"),
        ((), {"size": 1}, "nap(duration: float = 1) -> str: got an unexpected keyword argument 'size'"),
        ((1,), {"duration": 1}, "nap(duration: float = 1) -> str: multiple values for argument 'duration'"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_a_type_error_with_the_signature(
    warm: Play, args: tuple[Any, ...], kwargs: dict[str, Any], text: str
) -> None:
    assert refused(warm, lambda: start(nap, *args, **kwargs), TypeError) == text


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"


@pytest.mark.parametrize("run_id", ["", "with space", "x" * 129, "line\n", "ü", "a/b", 7], ids=_quoted)
def test_a_run_id_that_cannot_be_one_is_refused(warm: Play, run_id: Any) -> None:
    text = f"a run id is 1 to 128 of A-Z a-z 0-9 _ -, not {_quoted(run_id)}"
    assert refused(warm, lambda: start(nap.with_options(run_id=run_id)), ValueError) == text
    with pytest.raises(ValueError, match="a run id is 1 to 128") as caught:
        get_run(run_id)
    assert str(caught.value) == text


@pytest.mark.parametrize("key", ["", "x" * 257, "ü" * 129, "\ud800", 7, b"k"], ids=_quoted)
def test_an_idempotency_key_that_cannot_be_one_is_refused(warm: Play, key: Any) -> None:
    text = refused(warm, lambda: start(nap.with_options(idempotency_key=key)), ValueError)
    assert text == f"an idempotency key is text of 1 to 256 bytes of UTF-8, not {_quoted(key)}"


def test_the_longest_id_and_key_are_allowed(warm: Play) -> None:
    assert warm(nap.with_options(run_id="x" * 128)).run.run_id == "x" * 128
    assert warm(nap.with_options(idempotency_key="ü" * 128)).info.idempotency_key == "ü" * 128


def test_a_run_id_and_a_key_together_are_refused(warm: Play) -> None:
    text = refused(warm, lambda: start(nap.with_options(run_id="r", idempotency_key="k")), ValueError)
    assert text == "give run_id or idempotency_key, not both: the key makes the id"


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (
            {str(n): "x" for n in range(65)},
            "a run has at most 64 labels; with this change it would have 65: remove others in the same change",
        ),
        ({"k": "x" * 257}, "the label 'k' must be text of at most 256 bytes of UTF-8"),
        ({"k": "\ud800"}, "the label 'k' must be text of at most 256 bytes of UTF-8"),
        ({"k": 7}, "the label 'k' must be text, not int"),
        ({"k": None}, "the label 'k' must be text, not None: a run that starts has none to remove"),
        ({"$k": "x"}, "the label '$k' begins with '$', which is reserved for wdk-cloud; choose another name"),
        ({"": "x"}, "the label '' must be named by 1 to 256 characters"),
        ({7: "x"}, "the label 7 must be named by 1 to 256 characters"),
        ("k=x", "labels must be a mapping of names to text, not str"),
        (7, "labels must be a mapping of names to text, not int"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_labels_that_cannot_be_some_are_refused(warm: Play, labels: Any, text: str) -> None:
    assert refused(warm, lambda: start(nap.with_options(attributes=labels)), FatalError) == text


@pytest.mark.parametrize(
    ("delay", "kind", "text"),
    [
        ("5 parsecs", ValueError, f"delay '5 parsecs' {UNITS}"),
        ("-5s", ValueError, f"delay '-5s' {UNITS}"),
        (-5, ValueError, "delay must be finite and not negative, not -5"),
        (math.inf, ValueError, "delay must be finite and not negative, not inf"),
        (True, TypeError, 'delay must be text such as "1h 30m", a number of seconds or a timedelta, not bool'),
        ("8000 years", ValueError, "delay of '8000 years' is longer than a century"),
        (timedelta(days=999_999), ValueError, f"delay of {timedelta(days=999_999)!r} is longer than a century"),
        (LAST_HOUR, ValueError, "delay until 9999-12-31T23:59:59.999999-12:00 is longer than a century"),
        (
            datetime(2027, 1, 1),
            ValueError,
            (
                "delay given as a datetime must have a time zone: datetime.datetime(2027, 1, 1, 0, 0) has none; use "
                "datetime.now(UTC) or .astimezone()"
            ),
        ),
    ],
    ids=str,
)
def test_a_delay_without_a_meaning_is_refused(warm: Play, delay: Any, kind: type[Exception], text: str) -> None:
    assert refused(warm, lambda: start(nap.with_options(delay=delay)), kind) == text


def test_a_bad_start_in_a_body_raises_there_and_the_run_stays_healthy(play: Play) -> None:
    shop = Workflows()

    @shop.workflow
    async def body() -> list[str]:
        found: list[str] = []
        for options in ({"run_id": "with space"}, {"delay": "-5s"}, {"attributes": {"$k": "x"}}):
            try:
                await start(body.with_options(**options))  # type: ignore[arg-type]
            except (ValueError, FatalError) as error:
                found.append(str(error))
        await sleep(1)
        return found

    finished = play(body)
    assert finished.value == [
        "a run id is 1 to 128 of A-Z a-z 0-9 _ -, not 'with space'",
        f"delay '-5s' {UNITS}",
        "the label '$k' begins with '$', which is reserved for wdk-cloud; choose another name",
    ]
    assert finished.count("operation_created") == 0


def test_a_worker_takes_apps(warm: Play) -> None:
    async def scenario(env: WorkflowEnv) -> None:
        for what, shown in (((), "None"), ((7,), "7"), ((nap,), "<workflow nap>")):
            with pytest.raises(TypeError) as caught:
                async with worker(*what):  # type: ignore[arg-type]
                    pass
            assert str(caught.value) == f"worker() takes the Workflows to serve, worker(app), not {shown}"

    warm.scene(scenario, start_worker=False)


# -- looking ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "kind", "text"),
    [
        ({"limit": 0}, ValueError, "limit must be from 1 to 1000, not 0"),
        ({"limit": -1}, ValueError, "limit must be from 1 to 1000, not -1"),
        ({"limit": 10**9}, ValueError, "limit must be from 1 to 1000, not 1000000000"),
        ({"limit": True}, ValueError, "limit must be from 1 to 1000, not True"),
        ({"limit": "5"}, ValueError, "limit must be from 1 to 1000, not '5'"),
        (
            {"status": "lost"},
            ValueError,
            "status must be one of pending, running, completed, failed, cancelled, deleted, not 'lost'",
        ),
        ({"workflow": 7}, TypeError, "workflow must be a workflow or its id, not 7"),
        ({"workflow": a_step}, TypeError, "workflow must be a workflow or its id, not <step a-step>"),
        ({"workflow": "\ud800"}, TypeError, "workflow must be a workflow or its id, not '\\ud800'"),
        ({"version": 7}, TypeError, "version must be text, not 7"),
        ({"cursor": 7}, TypeError, "cursor must be text, not 7"),
        *[
            (
                {"cursor": text},
                ValueError,
                f"{text!r} is no cursor of a listing of runs; pass the one that came with the last page",
            )
            for text in ("", "nonsense", "[1]", "{}", "[1, 2, 3]")
        ],
        (
            {"since": datetime(2026, 1, 1)},
            ValueError,
            "since must be a datetime with a time zone, not datetime.datetime(2026, 1, 1, 0, 0)",
        ),
        ({"until": "2026"}, ValueError, "until must be a datetime with a time zone, not '2026'"),
    ],
    ids=str,
)
def test_a_listing_that_cannot_be_is_an_error_and_not_an_empty_page(
    warm: Play, query: dict[str, Any], kind: type[Exception], text: str
) -> None:
    assert refused(warm, lambda: list_runs(**query), kind) == text


def test_the_year_10000_is_a_moment_like_others_in_a_listing(warm: Play) -> None:
    async def scenario(env: WorkflowEnv) -> None:
        run = await start(nap)
        assert [info.run_id for info in await list_runs(until=LAST_HOUR)] == [run.run_id]
        assert await list_runs(since=LAST_HOUR) == []

    warm.scene(scenario, app)


def test_runs_are_not_listed_in_a_body(play: Play) -> None:
    shop = Workflows()

    @shop.workflow
    async def body() -> int:
        return len(await list_runs())

    finished = play(body)
    assert type(finished.error) is WorkflowContextError
    assert str(finished.error) == "list_runs() cannot be called in a workflow body; call it in a step"


@pytest.mark.parametrize(
    ("timeout", "kind"), [("x", TypeError), (True, TypeError), ("5s", TypeError), (math.nan, ValueError)], ids=str
)
def test_a_timeout_that_is_no_number_is_refused_outside_and_in_a_body(
    play: Play, timeout: Any, kind: type[Exception]
) -> None:
    shop = Workflows()
    text = f"timeout must be a number of seconds or None, not {timeout!r}"

    @shop.workflow
    async def body() -> str:
        try:
            await get_run("nobody").return_value(timeout)
        except kind as error:
            await sleep(1)
            return str(error)
        return "?"

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        with pytest.raises(kind) as caught:
            await run.return_value(timeout)
        assert str(caught.value) == text
        assert (await finish(env, run)).value == text

    play.scene(scenario, shop)


@pytest.mark.parametrize("timeout", [-1, 0, -math.inf])
def test_a_timeout_that_is_over_already_raises_at_once_unless_the_run_has_ended(warm: Play, timeout: float) -> None:
    async def scenario(env: WorkflowEnv) -> None:
        run: Run[str] = await env.start(nap)
        with pytest.raises(TimeoutError) as caught:
            await run.return_value(timeout)
        assert str(caught.value) == f"run {run.run_id} has not ended within {timeout} s; it goes on"
        assert (await finish(env, run)).value == "rested"
        assert await run.return_value(timeout) == "rested"

    warm.scene(scenario, app)


@pytest.mark.parametrize(
    ("reason", "kind", "text"),
    [
        (7, TypeError, "a reason is text, not int"),
        ("\ud800", ValueError, "a reason is text without lone surrogates, not '\\ud800'"),
    ],
    ids=str,
)
def test_a_reason_that_cannot_be_recorded_cancels_nothing(
    play: Play, reason: Any, kind: type[Exception], text: str
) -> None:
    shop = Workflows()

    @shop.workflow
    async def body(other: str) -> str:
        try:
            await get_run(other).cancel(reason)
        except kind as error:
            await sleep(1)
            return str(error)
        return "?"

    async def scenario(env: WorkflowEnv) -> None:
        sleeper = await env.start(nap)
        with pytest.raises(kind) as caught:
            await sleeper.cancel(reason)
        assert str(caught.value) == text
        canceller = await env.start(body, sleeper.run_id)
        assert (await finish(env, canceller)).value == text
        assert (await finish(env, sleeper)).value == "rested"

    play.scene(scenario, app, shop)


def test_a_run_that_does_not_exist_is_named(warm: Play) -> None:
    async def scenario(env: WorkflowEnv) -> None:
        run = get_run("nobody")
        asks: list[Callable[[], Awaitable[object]]] = [
            run.status,
            run.info,
            run.attributes,
            run.return_value,
            run.cancel,
            run.wake_up,
        ]
        for ask in asks:
            with pytest.raises(WorkflowRunNotFoundError) as caught:
                await ask()
            assert str(caught.value) == (
                "run nobody does not exist in this world; check the id, WDK_WORLD and the namespace"
            )
        assert not await run.exists()

    warm.scene(scenario, app)
