"""Bad input at declaration: what cannot be a workflow or a step, options without a meaning, ids that are taken.

`test_bad_input.py` says where the rest of the bad input is tested.
"""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.running import Play
from wdk_cloud import RetryPolicy, Workflows


async def generator() -> Any:
    yield 1


class Callable:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("what", "name"),
    [(lambda: 1, "<lambda>"), (generator, "generator"), (Callable, "Callable"), (7, "7"), ("name", "'name'")],
    ids=["lambda", "async generator", "class", "number", "text"],
)
def test_what_is_no_async_def_is_no_workflow(what: Any, name: str) -> None:
    app = Workflows()
    with pytest.raises(TypeError) as caught:
        app.workflow(what)
    assert str(caught.value) == (
        f"@app.workflow takes an `async def`; {name} is none. Declare it `async def`, without `yield`; work that is not "
        "async belongs in a step"
    )
    assert app.workflows == {}


@pytest.mark.parametrize("what", [7, "name", Callable, None.__class__], ids=str)
def test_what_is_no_function_is_no_step(what: Any) -> None:
    app = Workflows()
    with pytest.raises(TypeError) as caught:
        app.step(what)
    assert str(caught.value) == f"@app.step takes a function, not {what!r}; write @app.step(option=…) to give options"
    assert app.steps == {}


def test_a_function_is_declared_once() -> None:
    app = Workflows()

    @app.step(name="charge")
    async def charge() -> None: ...

    @app.workflow(name="checkout")
    async def checkout() -> None: ...

    for declared in (charge, checkout):
        for decorator in (app.step, app.workflow):
            with pytest.raises(TypeError) as caught:
                decorator(declared)
            assert str(caught.value) == f"{declared!r} is declared already; decorate the function once"
    assert (app.steps, app.workflows) == ({"charge": charge}, {"checkout": checkout})


METHODS = {
    "instance": "@app.step\n    async def f(self): ...",
    "instance by another name": "@app.step\n    async def f(this): ...",
    "class outside": "@classmethod\n    @app.step\n    async def f(cls): ...",
    "class inside": "@app.step\n    @classmethod\n    async def f(cls): ...",
}


@pytest.mark.parametrize("code", METHODS.values(), ids=METHODS)
def test_a_class_or_instance_method_is_no_step(code: str) -> None:
    app = Workflows()
    with pytest.raises((TypeError, RuntimeError)) as caught:
        exec(f"class Shop:\n    {code}", {"app": app, "__name__": __name__})
    # Before 3.12, Python wraps what is raised when the body of a class ends.
    error = caught.value.__cause__ if type(caught.value) is RuntimeError else caught.value
    assert type(error) is TypeError
    assert str(error) == (
        "Shop.f is a class or instance method: its class or instance would become a recorded argument. Make it a static "
        "method (@staticmethod), or a function outside the class"
    )
    assert app.steps == {}


def test_a_step_of_elsewhere_may_be_the_attribute_of_a_class(play: Play) -> None:
    app = Workflows()

    @app.step
    async def charge(amount: int) -> int:
        return amount

    class Shop:
        take = charge

    @app.workflow
    async def body() -> int:
        return await Shop.take(7)

    assert play(body).value == 7


def test_two_steps_of_one_id_are_refused_and_the_first_stays(play: Play) -> None:
    app = Workflows()

    @app.step(name="charge")
    async def first() -> str:
        return "first"

    async def second() -> str:
        return "second"

    for decorator in (app.step(name="charge"), app.workflow(name="charge")):
        with pytest.raises(ValueError, match="charge is declared twice") as caught:
            decorator(second)
        here = "test_two_steps_of_one_id_are_refused_and_the_first_stays.<locals>."
        assert str(caught.value) == (
            f"charge is declared twice, by {here}first in {__name__} and by {here}second in {__name__}: ids must be "
            "unique in an app; give one of them another name="
        )

    @app.workflow
    async def body() -> str:
        return await first()

    assert play(body).value == "first"


@pytest.mark.parametrize("name", ["", 7, "a#1", "a\nb", "\ud800", "\x1b[31m"], ids=repr)
@pytest.mark.parametrize("kind", ["step", "workflow"])
def test_a_name_is_printable_text(kind: str, name: Any) -> None:
    app = Workflows()
    with pytest.raises(ValueError, match="name= must be") as caught:
        getattr(app, kind)(name=name)(_nothing)
    assert str(caught.value) == f"name= must be printable text that is not empty and has no '#', not {name!r}"
    assert (app.steps, app.workflows) == ({}, {})


async def _nothing() -> None: ...


_UNITS = 'is not understood; write for example "5s", "1h 30m" or "2 days"'
_KINDS = 'must be text such as "1h 30m", a number of seconds or a timedelta, not'
OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_retries": -1}, ValueError, "max_retries must be from 0 to 1,000,000, not -1"),
    ({"max_retries": 10**7}, ValueError, "max_retries must be from 0 to 1,000,000, not 10000000"),
    ({"max_retries": True}, TypeError, "max_retries must be a whole number, not True"),
    ({"max_retries": "3"}, TypeError, "max_retries must be a whole number, not '3'"),
    ({"max_retries": 1.5}, TypeError, "max_retries must be a whole number, not 1.5"),
    ({"retry": 3}, TypeError, "retry must be a RetryPolicy, not int"),
    ({"timeout": 0}, ValueError, "timeout must be more than 0"),
    ({"timeout": "5 parsecs"}, ValueError, f"timeout '5 parsecs' {_UNITS}"),
    ({"timeout": -1}, ValueError, "timeout must be finite and not negative, not -1"),
    ({"timeout": math.inf}, ValueError, "timeout must be finite and not negative, not inf"),
    ({"timeout": math.nan}, ValueError, "timeout must be finite and not negative, not nan"),
    ({"timeout": True}, TypeError, f"timeout {_KINDS} bool"),
    ({"timeout": datetime(2026, 1, 1, tzinfo=UTC)}, TypeError, f"timeout {_KINDS} datetime"),
    ({"timeout": "8000 years"}, ValueError, "timeout of '8000 years' is longer than a century"),
    ({"dispatch": "sideways"}, ValueError, "dispatch must be one of auto, inline, queue, not 'sideways'"),
    ({"dispatch": []}, ValueError, "dispatch must be one of auto, inline, queue, not []"),
    ({"cancellable": 1}, TypeError, "cancellable must be True or False, not 1"),
]


@pytest.mark.parametrize(("options", "kind", "text"), OPTIONS, ids=lambda value: str(value)[:40])
def test_an_option_without_a_meaning_is_refused_at_declaration_and_for_one_call(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    app = Workflows()
    with pytest.raises(kind) as caught:
        app.step(**options)(_nothing)
    assert str(caught.value) == text
    assert app.steps == {}
    step = app.step(_nothing)
    with pytest.raises(kind) as caught:
        step.with_options(**options)
    assert str(caught.value) == text


def test_an_option_that_there_is_not_is_a_type_error() -> None:
    app = Workflows()
    step = app.step(_nothing)
    for call in (app.step, step.with_options, app.workflow, app.workflow(_nothing).with_options):
        with pytest.raises(TypeError, match="retries"):
            call(retries=3)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"delay": -1}, ValueError, "RetryPolicy(delay=) must be finite and not negative, not -1"),
        ({"delay": None}, TypeError, f"RetryPolicy(delay=) {_KINDS} NoneType"),
        ({"delay": "5 parsecs"}, ValueError, f"RetryPolicy(delay=) '5 parsecs' {_UNITS}"),
        ({"max_delay": -1}, ValueError, "RetryPolicy(max_delay=) must be finite and not negative, not -1"),
        ({"backoff": 0.5}, ValueError, "RetryPolicy(backoff=) must be at least 1, not 0.5"),
        ({"backoff": -2}, ValueError, "RetryPolicy(backoff=) must be at least 1, not -2"),
        ({"backoff": math.inf}, ValueError, "RetryPolicy(backoff=) must be at least 1, not inf"),
        ({"backoff": "2"}, TypeError, "RetryPolicy(backoff=) must be a number, not '2'"),
        ({"jitter": -0.1}, ValueError, "RetryPolicy(jitter=) must be at least 0 and at most 1, not -0.1"),
        ({"jitter": 2}, ValueError, "RetryPolicy(jitter=) must be at least 0 and at most 1, not 2"),
        ({"jitter": True}, TypeError, "RetryPolicy(jitter=) must be a number, not True"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_retry_policy_without_a_meaning_is_refused(options: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        RetryPolicy(**options)
    assert str(caught.value) == text


# -- schedules ---------------------------------------------------------------------------------------------------------


def test_a_bad_schedule_is_an_error_where_it_is_declared() -> None:
    app = Workflows()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        app.workflow(schedule="0 25 * * *")
    assert str(caught.value) == "schedule '0 25 * * *': the hour 25 does not exist; it is from 0 to 23"
    with pytest.raises(TypeError) as refused:
        app.workflow(timezone="Europe/Berlin")
    assert str(refused.value) == "timezone= is that of a schedule=, and this workflow has none"
    assert app.workflows == {}


def test_a_scheduled_workflow_takes_no_arguments_without_a_default() -> None:
    app = Workflows()
    with pytest.raises(TypeError) as caught:

        @app.workflow(schedule="every 1 hour")
        async def report(day: int = 1, *, text: str) -> None: ...

    assert str(caught.value) == (
        f"{test_a_scheduled_workflow_takes_no_arguments_without_a_default.__qualname__}.<locals>.report has a "
        "schedule, and a tick brings no arguments: give its parameter text a default, or call it from a scheduled "
        "workflow"
    )
    assert app.workflows == {}

    @app.workflow(name="report", schedule="every 1 hour")
    async def takes_what_comes(*args: int, day: int = 1, **more: int) -> None: ...

    assert list(app.workflows) == ["report"]
