"""Arguments of steps are bound, encoded and numbered when the call is made."""

import asyncio
import logging

import pytest

from tests.e2e.running import Play, finish, types
from wdk_cloud import NondeterminismError, SerializationError, Workflows, sleep, start, worker
from wdk_cloud.testing.environment import WorkflowEnv


def test_a_call_that_does_not_fit_is_a_type_error_where_it_is_made(play: Play) -> None:
    app = Workflows()

    @app.step
    async def charge(order: str, amount: int) -> int:
        return amount

    @app.workflow
    async def body() -> list[str]:
        texts: list[str] = []
        for arguments in ((), ("o", 1, 2)):
            try:
                charge(*arguments)  # not awaited: the call itself is wrong
            except TypeError as error:
                texts.append(str(error))
        try:
            charge("o", price=3)
        except TypeError as error:
            texts.append(str(error))
        return texts

    finished = play(body)
    assert len(finished.value) == 3
    assert all("charge" in text for text in finished.value)
    assert finished.count("step_created") == 0


def test_an_argument_that_cannot_be_recorded_fails_where_the_call_is_made(play: Play) -> None:
    app = Workflows()

    @app.step
    async def take(order: object) -> None: ...

    @app.workflow
    async def body() -> str:
        try:
            take({"items": [1, object()]})
        except SerializationError as error:
            return error.path
        return "?"

    finished = play(body)
    assert finished.value == "order.items[1]"
    assert finished.count("step_created") == 0


def test_arguments_are_passed_by_value(play: Play) -> None:
    app = Workflows()
    received: list[list[int]] = []

    @app.step
    async def grow(numbers: list[int]) -> list[int]:
        received.append(list(numbers))
        numbers.append(99)
        return numbers

    @app.workflow
    async def body() -> list[list[int]]:
        mine = [1]
        theirs = await grow(mine)
        await sleep(1)
        return [mine, theirs]

    assert play(body).value == [[1], [1, 99]]
    assert received == [[1]]


def test_later_changes_to_an_argument_do_not_matter(play: Play) -> None:
    app = Workflows()

    @app.step
    async def total(order: dict[str, int]) -> int:
        return sum(order.values())

    @app.workflow
    async def body() -> list[int]:
        order: dict[str, int] = {}
        calls = []
        for n in range(3):
            order[f"item{n}"] = n + 1
            calls.append(total(order))
        order.clear()
        await sleep(1)
        return await asyncio.gather(*calls)

    assert play(body).value == [1, 3, 6]


def test_the_result_of_a_step_is_a_value_of_the_bodys_own(play: Play) -> None:
    app = Workflows()
    kept: list[list[int]] = []

    @app.step
    async def make() -> list[int]:
        kept.append([1])
        return kept[0]

    @app.workflow
    async def body() -> list[int]:
        mine = await make()
        mine.append(2)
        await sleep(1)
        return mine

    assert play(body).value == [1, 2]
    assert kept == [[1]]


def test_calls_are_numbered_when_they_are_made_not_when_they_are_awaited(play: Play) -> None:
    app = Workflows()

    @app.step
    async def say(word: str) -> str:
        return word

    @app.workflow
    async def body() -> list[str]:
        task = asyncio.create_task(say("first"))
        second = await say("second")
        third = say("third")
        fourth = await say("fourth")
        return [await task, second, await third, fourth]

    finished = play(body)
    assert finished.value == ["first", "second", "third", "fourth"]
    inputs = {
        str(event.data["id"]).rpartition("#")[2]: event.data["input"]
        for event in finished.events
        if event.type == "step_created"
    }
    assert [word in str(inputs[n]) for n, word in zip("1234", finished.value, strict=True)] == [True] * 4


def test_a_call_is_recorded_when_it_is_first_awaited(play: Play) -> None:
    app = Workflows()

    @app.step
    async def one() -> int:
        return 1

    @app.workflow
    async def body() -> int:
        call = one()
        await sleep("1h")
        return await call

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body)
        await env.run_until_blocked()
        assert "step_created" not in await types(run)
        finished = await finish(env, run)
        assert finished.value == 1
        assert finished.times("step_created") == [3600]

    play.scene(scenario, app)


def test_a_call_is_recorded_when_its_task_first_runs(play: Play) -> None:
    app = Workflows()
    calls: list[int] = []

    @app.step
    async def one() -> int:
        calls.append(1)
        return 1

    @app.workflow
    async def body() -> int:
        task = asyncio.create_task(one())
        await sleep("1h")
        return await task

    finished = play(body)
    assert finished.value == 1
    assert finished.times("step_created") == [0]
    assert calls == [1]


def test_a_call_that_is_never_awaited_does_nothing_and_warns_with_the_steps_name(play: Play) -> None:
    app = Workflows()
    calls: list[int] = []

    @app.step
    async def forgotten() -> None:
        calls.append(1)

    @app.workflow
    async def body() -> str:
        forgotten()
        await sleep(1)
        return "done"

    with pytest.warns(RuntimeWarning, match=r"forgotten.*never awaited") as warned:
        finished = play(body)
    assert finished.value == "done"
    assert calls == []
    assert finished.count("step_created") == 0
    assert len(warned) == 1


def test_a_forgotten_call_is_logged_where_warnings_are_errors(play: Play, caplog: pytest.LogCaptureFixture) -> None:
    app = Workflows()

    @app.step
    async def forgotten() -> None: ...

    @app.workflow
    async def body() -> str:
        forgotten()
        return "done"

    with caplog.at_level(logging.WARNING, "wdk_cloud"):
        assert play(body).value == "done"
    assert [record for record in caplog.records if "forgotten" in record.getMessage()]


def test_by_position_and_by_name_are_the_same_call(play: Play) -> None:
    digests = _digests(play, lambda charge: [charge("o", 1), charge(order_id="o", amount=1), charge("o", amount=1)])
    assert len(set(digests)) == 1


def test_a_default_passed_explicitly_is_another_call_than_one_left_out(play: Play) -> None:
    digests = _digests(play, lambda charge: [charge("o"), charge("o", 7)])
    assert len(set(digests)) == 2


def _digests(play: Play, calls: object) -> list[object]:
    app = Workflows()

    @app.step
    async def charge(order_id: str, amount: int = 7) -> int:
        return amount

    @app.workflow
    async def body() -> None:
        for call in calls(charge):  # type: ignore[operator]
            await call

    finished = play(body)
    assert finished.value is None
    return [event.data["digest"] for event in finished.events if event.type == "step_created"]


def _two_versions(play: Play, old_parameters: str, old_call: str, new_parameters: str, new_call: str) -> object:
    """A run that sleeps between two calls of a step, whose declaration and calls change meanwhile."""
    apps: list[Workflows] = []
    bodies = []
    for parameters, call in ((old_parameters, old_call), (new_parameters, new_call)):
        app = Workflows()
        scope: dict[str, object] = {"app": app, "sleep": sleep}
        code = f"""
@app.step(name="charge")
async def charge({parameters}):
    return [order_id, amount] if "amount" in locals() else [order_id]

@app.workflow(name="checkout")
async def body():
    first = await {call}
    await sleep("1 day")
    return [first, await {call}]
"""
        exec(code, scope)
        apps.append(app)
        bodies.append(scope["body"])

    async def scenario(env: WorkflowEnv) -> object:
        async with worker(apps[0], settings=play.settings):
            run = await start(bodies[0])  # type: ignore[arg-type]
            await env.advance(0)
        async with worker(apps[1], settings=play.settings) as env.workers:
            return await finish(env, run)

    return play.scene(scenario, *apps, start_worker=False)


def test_adding_a_parameter_with_a_default_is_safe_while_runs_are_alive(play: Play) -> None:
    finished = _two_versions(play, "order_id", "charge('o')", "order_id, amount=5", "charge('o')")
    assert finished.value == [["o"], ["o", 5]]  # type: ignore[attr-defined]


def test_naming_an_argument_that_was_passed_by_position_is_safe(play: Play) -> None:
    finished = _two_versions(
        play, "order_id, amount", "charge('o', 5)", "amount, order_id", "charge(order_id='o', amount=5)"
    )
    assert finished.value == [["o", 5], ["o", 5]]  # type: ignore[attr-defined]


def test_an_argument_that_differs_at_replay_names_step_parameter_and_both_values(play: Play) -> None:
    finished = _two_versions(play, "order_id, amount", "charge('o', 5)", "order_id, amount", "charge('o', 6)")
    error = finished.error  # type: ignore[attr-defined]
    assert isinstance(error, NondeterminismError)
    assert finished.info.error_code == "REPLAY_DIVERGENCE"  # type: ignore[attr-defined]
    assert len(error.differences) == 1
    for part in ("charge#1", "amount", "5", "6"):
        assert part in error.differences[0]
        assert part in str(error)
    assert "order_id" not in error.differences[0]


def test_a_default_that_is_passed_explicitly_at_replay_differs(play: Play) -> None:
    finished = _two_versions(play, "order_id, amount=5", "charge('o')", "order_id, amount=5", "charge('o', 5)")
    error = finished.error  # type: ignore[attr-defined]
    assert isinstance(error, NondeterminismError)
    assert "amount" in error.differences[0]
