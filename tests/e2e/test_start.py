"""`start`, from outside and in a body, and what `with_options` of a workflow gives it."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.e2e.running import Play, finish, types
from wdk_cloud import (
    IdempotencyConflictError,
    Run,
    RunExistsError,
    Workflows,
    get_run,
    list_runs,
    sleep,
    start,
    worker,
)
from wdk_cloud.testing.environment import WorkflowEnv

LINES = ["run_created", "run_started", "wait_created", "wait_completed", "run_completed"]


def napper(begun: list[object], namespace: str | None = None) -> Workflows:
    """An app with one workflow, `nap`, which sleeps for an hour; `begun` has the arguments of each run that began."""
    app = Workflows(namespace)

    @app.step
    async def begin(what: object) -> object:
        begun.append(what)
        return what

    @app.workflow(name="nap")
    async def nap(what: object = "nothing") -> object:
        told = await begin(what)
        await sleep("1h")
        return told

    return app


# -- durable when it returns ----------------------------------------------------------------------------------------------


def test_a_run_is_durable_when_start_returns_though_no_worker_is_there(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    nap = app.workflows["nap"]

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(nap, ["a", 1])
        assert type(run) is Run
        assert await get_run(run.run_id).exists()
        assert await run.status() == "pending"
        assert [info.run_id for info in await list_runs()] == [run.run_id]
        assert begun == []
        async with worker(app, settings=play.settings) as env.workers:
            finished = await finish(env, run)
        assert finished.value == ["a", 1]
        assert finished.types == [*LINES[:2], "step_created", "step_started", "step_completed", *LINES[2:]]
        assert begun == [["a", 1]]

    play.scene(scenario, start_worker=False)


def test_later_changes_to_an_argument_do_not_reach_the_run(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    order = {"items": [1]}

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(app.workflows["nap"], order)
        order["items"].append(2)
        assert (await finish(env, run)).value == {"items": [1]}
        assert begun == [{"items": [1]}]

    play.scene(scenario, app)


def test_a_call_that_does_not_fit_leaves_its_run_id_free(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    named = app.workflows["nap"].with_options(run_id="mine")

    async def scenario(env: WorkflowEnv) -> None:
        for args, kwargs in (((1, 2), {}), ((), {"which": 1}), ((1,), {"what": 1})):
            with pytest.raises(TypeError, match="nap"):
                await start(named, *args, **kwargs)  # type: ignore[call-arg]
            assert not await get_run("mine").exists()
        assert (await finish(env, await start(named, 1))).value == 1
        assert begun == [1]

    play.scene(scenario, app)


# -- in a body ------------------------------------------------------------------------------------------------------------


def test_a_body_starts_a_run_once_however_often_it_is_replayed(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    nap = app.workflows["nap"]

    @app.workflow
    async def parent() -> str:
        child = await start(nap, "child")
        await sleep("1 day")
        await sleep("1 day")
        return child.run_id

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(parent))
        assert finished.types == [
            *["run_created", "run_started", "operation_created", "operation_completed"],
            *["wait_created", "wait_completed"] * 2,
            "run_completed",
        ]
        child: Run[str] = get_run(finished.value)
        assert await child.return_value() == "child"
        assert begun == ["child"]
        listed = {info.run_id for info in await list_runs()}
        assert listed == {finished.run.run_id, child.run_id}

    play.scene(scenario, app)


def test_runs_started_from_bodies_carry_the_labels_of_their_parent_and_of_the_first(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def last() -> None:
        await sleep(1)

    @app.workflow
    async def middle() -> str:
        return (await start(last.with_options(attributes={"place": "last"}))).run_id

    @app.workflow
    async def first() -> list[str]:
        child = await start(middle)
        return [child.run_id, await child.return_value()]

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(first))
        first_id = finished.run.run_id
        middle_id, last_id = finished.value
        assert len({first_id, middle_id, last_id}) == 3
        assert finished.attributes == {}
        assert await get_run(middle_id).attributes() == {"$parentRunId": first_id, "$rootRunId": first_id}
        assert await get_run(last_id).attributes() == {
            "$parentRunId": middle_id,
            "$rootRunId": first_id,
            "place": "last",
        }
        assert [(await get_run(id).info()).parent for id in (first_id, middle_id, last_id)] == [
            None,
            first_id,
            middle_id,
        ]

    play.scene(scenario, app)


def test_a_call_that_does_not_fit_is_a_type_error_in_the_body_and_nothing_is_recorded(play: Play) -> None:
    app = napper([])
    nap = app.workflows["nap"]

    @app.workflow
    async def parent() -> str:
        try:
            await start(nap, 1, 2)
        except TypeError as error:
            await sleep(1)
            return str(error)
        return "started"

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(parent))
        assert "nap(what: object = 'nothing') -> object" in finished.value
        assert finished.types == LINES
        assert len(await list_runs()) == 1

    play.scene(scenario, app)


def test_a_step_starts_runs_too_and_they_have_no_parent(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    nap = app.workflows["nap"]

    @app.step
    async def begin_one() -> str:
        return (await start(nap, "from a step")).run_id

    @app.workflow
    async def body() -> str:
        return await begin_one()

    async def scenario(env: WorkflowEnv) -> None:
        finished = await finish(env, await env.start(body))
        started: Run[str] = get_run(finished.value)
        assert (await finish(env, started)).value == "from a step"
        assert begun == ["from a step"]

    play.scene(scenario, app)


# -- run ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_id", ["a", "A-z_09", "-", "x" * 128], ids=["short", "all kinds", "dash", "longest"])
def test_a_run_may_have_an_id_of_ones_own(play: Play, run_id: str) -> None:
    app = napper([])

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(app.workflows["nap"].with_options(run_id=run_id), 1)
        assert run.run_id == run_id
        assert (await finish(env, run)).value == 1
        assert (await get_run(run_id).info()).run_id == run_id

    play.scene(scenario, app)


def test_ids_made_for_runs_differ_and_keep_to_the_rules(play: Play) -> None:
    app = napper([])

    async def scenario(env: WorkflowEnv) -> None:
        runs = [await env.start(app.workflows["nap"]) for _ in range(20)]
        assert len({run.run_id for run in runs}) == 20
        for run in runs:
            assert get_run(run.run_id) == run

    play.scene(scenario, app)


@pytest.mark.parametrize("ended", [False, True], ids=["alive", "ended"])
def test_a_run_id_that_exists_is_refused_whatever_the_run_is(play: Play, ended: bool) -> None:
    begun: list[object] = []
    app = napper(begun)

    @app.workflow
    async def other() -> None: ...

    nap = app.workflows["nap"].with_options(run_id="taken")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(nap, 1)
        await env.run_until_blocked()
        if ended:
            await finish(env, run)
        before = await types(run)
        for again in (start(nap, 1), start(nap, 2), start(other.with_options(run_id="taken"))):
            with pytest.raises(RunExistsError, match="taken"):
                await again
        await env.run_until_blocked()
        assert await types(run) == before
        assert (await finish(env, run)).value == 1
        assert begun == [1]
        assert len(await list_runs()) == 1

    play.scene(scenario, app)


def test_a_body_can_catch_that_a_run_id_exists(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    nap = app.workflows["nap"].with_options(run_id="taken")

    @app.workflow
    async def parent() -> list[str]:
        found = []
        for what in (1, 2):
            try:
                found.append((await start(nap, what)).run_id)
            except RunExistsError as error:
                found.append(type(error).__name__)
        await sleep("1 day")
        return found

    finished = play(parent)
    assert finished.value == ["taken", "RunExistsError"]
    assert finished.count("operation_completed") == 1
    assert finished.count("operation_failed") == 1
    assert begun == [1]


# -- idempotency keys -----------------------------------------------------------------------------------------------------


def test_the_same_key_and_input_give_the_same_run(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    once = app.workflows["nap"].with_options(idempotency_key="o-1")

    async def scenario(env: WorkflowEnv) -> None:
        first = await start(once, "o")
        assert await start(once, "o") == first
        assert await start(once, what="o") == first
        await env.run_until_blocked()
        assert await start(once, "o") == first
        finished = await finish(env, first)
        assert finished.value == "o"
        assert finished.info.idempotency_key == "o-1"
        again = await start(once, "o")  # the key is kept as long as the run
        assert again == first
        assert await again.return_value() == "o"
        await env.run_until_blocked()
        assert begun == ["o"]
        assert await types(first) == finished.types
        assert len(await list_runs()) == 1

    play.scene(scenario, app)


def test_starts_with_one_key_at_the_same_time_give_one_run(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    once = app.workflows["nap"].with_options(idempotency_key="o-1")

    async def scenario(env: WorkflowEnv) -> None:
        runs = await asyncio.gather(*(start(once, "o") for _ in range(10)))
        assert len(set(runs)) == 1
        assert (await finish(env, runs[0])).value == "o"
        assert begun == ["o"]

    play.scene(scenario, app)


def test_the_same_key_with_another_input_is_a_conflict_and_the_run_goes_on(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    once = app.workflows["nap"].with_options(idempotency_key="o-1")

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(once, "o")
        for args in (("p",), ()):
            with pytest.raises(IdempotencyConflictError, match="o-1"):
                await start(once, *args)
        assert (await finish(env, run)).value == "o"
        with pytest.raises(IdempotencyConflictError, match="o-1"):
            await start(once, "p")
        assert begun == ["o"]
        assert len(await list_runs()) == 1

    play.scene(scenario, app)


def test_a_key_is_scoped_to_its_workflow(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def left(n: int) -> list[object]:
        return ["left", n]

    @app.workflow
    async def right(n: int) -> list[object]:
        return ["right", n]

    async def scenario(env: WorkflowEnv) -> None:
        one = await start(left.with_options(idempotency_key="k"), 1)
        two = await start(right.with_options(idempotency_key="k"), 2)
        assert one != two
        assert (await finish(env, one)).value == ["left", 1]
        assert (await finish(env, two)).value == ["right", 2]

    play.scene(scenario, app)


def test_a_key_is_scoped_to_its_namespace(play: Play) -> None:
    begun: list[object] = []
    one, two = napper(begun, "one"), napper(begun, "two")

    async def scenario(env: WorkflowEnv) -> None:
        for app in (one, two):
            run = await start(app.workflows["nap"].with_options(idempotency_key="k"), app.namespace)
            assert (await finish(env, run)).value == app.namespace
        assert begun == ["one", "two"]

    play.scene(scenario, one, two)


@pytest.mark.parametrize("key", ["k", "x" * 256, "ü" * 128, "a b/c\n"], ids=["short", "ascii", "umlauts", "any text"])
def test_a_key_is_any_text_up_to_256_bytes(play: Play, key: str) -> None:
    app = napper([])
    once = app.workflows["nap"].with_options(idempotency_key=key)

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(once)
        assert await start(once) == run
        assert (await finish(env, run)).info.idempotency_key == key

    play.scene(scenario, app)


def test_a_body_starts_by_key_the_run_that_is_there(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    once = app.workflows["nap"].with_options(idempotency_key="k")

    @app.workflow
    async def parent() -> list[str]:
        found = [(await start(once, 1)).run_id, (await start(once, 1)).run_id]
        try:
            await start(once, 2)
        except IdempotencyConflictError as error:
            found.append(type(error).__name__)
        await sleep("1 day")
        return found

    async def scenario(env: WorkflowEnv) -> None:
        outside = await start(once, 1)
        finished = await finish(env, await env.start(parent))
        assert finished.value == [outside.run_id, outside.run_id, "IdempotencyConflictError"]
        assert begun == [1]
        assert await outside.attributes() == {}

    play.scene(scenario, app)


# -- labels ---------------------------------------------------------------------------------------------------------------


def test_labels_are_there_before_the_run_begins(play: Play) -> None:
    app = napper([])
    labelled = app.workflows["nap"].with_options(attributes={"team": "mail", "über": "é" * 128})

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(labelled)
        assert await run.attributes() == {"team": "mail", "über": "é" * 128}
        async with worker(app, settings=play.settings) as env.workers:
            assert (await finish(env, run)).attributes == {"team": "mail", "über": "é" * 128}

    play.scene(scenario, start_worker=False)


# -- delay ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delay",
    ["10 min", 600, timedelta(minutes=10), datetime(2026, 1, 1, 0, 10, tzinfo=UTC)],
    ids=["text", "seconds", "timedelta", "datetime"],
)
def test_a_delayed_run_begins_at_its_time_and_not_before(play: Play, delay: object) -> None:
    begun: list[object] = []
    app = napper(begun)
    later = app.workflows["nap"].with_options(delay=delay)  # type: ignore[arg-type]

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(later, 1)
        await env.advance("9m 59s")
        await env.run_until_blocked()
        assert await run.status() == "pending"
        assert begun == []
        finished = await finish(env, run)
        assert finished.value == 1
        assert finished.times("run_started") == [600]
        assert finished.times("run_completed") == [4200]
        assert begun == [1]

    play.scene(scenario, app)


def test_a_delay_that_is_over_already_is_none(play: Play) -> None:
    app = napper([])
    for delay in (0, "0s", datetime(2020, 1, 1, tzinfo=UTC)):
        finished = play(app.workflows["nap"].with_options(delay=delay), 1)
        assert finished.value == 1
        assert finished.times("run_started") == [0]


@pytest.mark.parametrize("worker_first", [True, False], ids=["served", "not served"])
def test_a_delayed_run_that_is_cancelled_never_begins(play: Play, worker_first: bool) -> None:
    begun: list[object] = []
    app = napper(begun)
    later = app.workflows["nap"].with_options(delay="1 day")

    async def scenario(env: WorkflowEnv) -> None:
        run = await start(later, 1)
        if not worker_first:
            await run.cancel()
        async with worker(app, settings=play.settings) as env.workers:
            if worker_first:
                await env.advance("1h")
                await run.cancel()
            await env.run_until_blocked()
            assert await run.status() == "cancelled"
            before = await types(run)
            assert before == ["run_created", "cancel_requested", "run_cancelled"]
            await env.advance("3 days")
            await env.run_until_blocked()
            assert await types(run) == before
        assert begun == []

    play.scene(scenario, start_worker=False)


def test_a_body_starts_a_run_with_a_delay(play: Play) -> None:
    begun: list[object] = []
    app = napper(begun)
    nap = app.workflows["nap"]

    @app.workflow
    async def parent() -> object:
        return await (await start(nap.with_options(delay="1 day"), "later")).return_value()

    finished = play(parent)
    assert finished.value == "later"
    assert finished.times("run_completed") == [90000]
    assert begun == ["later"]


# -- with_options ---------------------------------------------------------------------------------------------------------


def test_with_options_gives_a_copy_and_leaves_the_workflow_as_declared(play: Play) -> None:
    app = napper([])
    nap = app.workflows["nap"]
    changed = nap.with_options(run_id="mine", attributes={"a": "1"}, delay="1h")

    async def scenario(env: WorkflowEnv) -> None:
        assert changed is not nap
        assert changed.id == nap.id == "nap"
        assert app.workflows == {"nap": nap}
        plain = await finish(env, await env.start(nap, 1))
        assert plain.run.run_id != "mine"
        assert plain.attributes == {}
        assert plain.times("run_started") == [0]
        mine = await finish(env, await env.start(changed, 2))
        assert mine.run.run_id == "mine"
        assert mine.attributes == {"a": "1"}
        assert mine.times("run_started") == [3600]
        assert (plain.value, mine.value) == (1, 2)

    play.scene(scenario, app)


def test_an_option_that_a_workflow_does_not_have_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="max_retries"):
        napper([]).workflows["nap"].with_options(max_retries=0)  # type: ignore[call-arg]
