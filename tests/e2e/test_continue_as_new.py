"""`continue_as_new`: a run ends and its workflow goes on as a run of its own."""

import asyncio

import pytest

from tests.canonical import chain_of
from tests.e2e.running import describe, finish, types
from tests.faults import FaultyWorld, Life, Plan
from wdk_cloud import (
    SerializationError,
    StepFailedError,
    WorkflowContextError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    Workflows,
    continue_as_new,
    get_run,
    list_runs,
    set_attributes,
    sleep,
    start,
    worker,
)
from wdk_cloud.engine import events as ev

app = Workflows()
bodies: list[str] = []


@pytest.fixture(autouse=True)
def _no_notes():
    bodies.clear()


# -- steps and workflows ----------------------------------------------------------------------------------------------


@app.step
async def add(a, b):
    bodies.append(f"add {a} {b}")
    return a + b


@app.step(max_retries=0)
async def breaks():
    raise ValueError("broken")


@app.workflow
async def count_down(n: int, total: int = 0) -> int:
    total = await add(total, n)
    if n:
        continue_as_new(n - 1, total=total)
    return total


@app.workflow
async def naps(n: int) -> str:
    await set_attributes({f"nap{n}": "over"})
    await sleep("1 hour")
    if n:
        continue_as_new(n - 1)
    return "rested"


@app.workflow
async def fails_in_the_end(n: int) -> None:
    if n:
        continue_as_new(n - 1)
    await breaks()


@app.workflow
async def awaits_a_child(workflow: str, n: int) -> list[object]:
    run = await start({"count_down": count_down, "naps": naps}[workflow], n)
    value = await run.return_value()
    return [value, await run.status(), (await run.info()).status, await run.attributes()]


def playing_chain(play, workflow, *args):
    """Play it to the end: each of its runs, described."""

    async def scenario(env):
        run = await env.start(workflow, *args)
        await finish(env, run)
        return [await describe(link) for link in await chain_of(run)]

    return play.scene(scenario, app)


def ways(way):
    """A workflow of one parameter that ends by `way(n)` while n is above 0, then gives "last"."""
    mine = Workflows()

    @mine.step
    async def note(text):
        bodies.append(text)

    @mine.step(max_retries=0)
    async def fail():
        raise ValueError("broken")

    @mine.workflow(name="w")
    async def w(n):
        if n:
            return await way(n, note, fail)
        return "last"

    return w


# -- what it is -------------------------------------------------------------------------------------------------------


def test_the_result_is_that_of_the_last_run(play):
    assert play(count_down, 3).value == 6
    assert bodies == ["add 0 3", "add 3 2", "add 5 1", "add 6 0"]


def test_each_run_has_a_log_of_its_own_and_names_its_neighbours(play):
    first, second, third = playing_chain(play, count_down, 2)
    body = ["step_created", "step_started", "step_completed"]
    assert first.types == second.types == ["run_created", "run_started", *body, "run_continued"]
    assert third.types == ["run_created", "run_started", *body, "run_completed"]
    ids = [link.run.run_id for link in (first, second, third)]
    assert len(set(ids)) == 3
    assert [link.info.continued_to for link in (first, second, third)] == [*ids[1:], None]
    assert [link.info.continued_from for link in (first, second, third)] == [None, *ids[:2]]
    assert [event.data["run_id"] for event in first.events if event.type == "run_continued"] == [ids[1]]
    assert second.events[0].data["continued_from"] == ids[0]


def test_defaults_are_not_carried_over_and_arguments_may_be_named(play):
    _, second, _ = playing_chain(play, count_down, 2)
    assert second.events[0].data["input"] == '{"n":1,"total":2}'


def test_a_large_argument_is_carried_over(play):
    mine = Workflows()

    @mine.workflow
    async def w(n):
        if n == 1:
            continue_as_new("x" * 100_000)
        return len(n)

    assert play(w, 1).value == 100_000


def test_a_workflow_awaited_in_the_body_ends_the_run_of_the_body(play):
    mine = Workflows()

    @mine.workflow
    async def inner(x):
        continue_as_new(n=0)

    @mine.workflow
    async def outer(n):
        if n:
            await inner("anything")
        return "outer"

    assert play(outer, 1).value == "outer"


def test_a_failure_of_the_last_run_is_that_of_the_first(play):
    finished = play(fails_in_the_end, 2)
    assert isinstance(finished.failure, WorkflowRunFailedError)
    assert isinstance(finished.error, StepFailedError)
    assert finished.info.status == "failed"
    assert isinstance(finished.info.error, StepFailedError)
    assert finished.info.error_code == "USER_ERROR"


# -- while it goes on -------------------------------------------------------------------------------------------------


def test_the_first_run_is_running_until_the_last_has_ended(play):
    async def scenario(env):
        run = await env.start(naps, 2)
        seen = []
        for _ in range(4):
            info = await run.info()
            seen.append((await run.status(), info.status, info.ended_at is None))
            await env.advance("1 hour")
        (own,) = [info for info in await list_runs() if info.run_id == run.run_id]
        return seen, own, await run.info()

    seen, own, info = play.scene(scenario, app)
    assert seen == [
        ("pending", "pending", True),
        ("running", "running", True),
        ("running", "running", True),
        ("completed", "completed", False),
    ]
    assert (own.status, own.continued_to) == ("completed", info.continued_to)
    assert (info.ended_at - info.created_at).total_seconds() == 3 * 3600
    assert (own.ended_at - own.created_at).total_seconds() == 3600


def test_it_is_running_too_while_nobody_has_taken_up_the_next_run(play):
    async def scenario(env):
        class DieAfterTheEnd(Plan):
            def after(self, call, life):
                if call.method == "change" and call.args[2].get("continued_to"):
                    life.end()

        run = await env.start(count_down, 1)
        life = Life(DieAfterTheEnd())
        async with worker(app, world=FaultyWorld(env.world, life), settings=play.settings):
            await env.settle()
            await life.mourn()
        assert life.dead
        (_, after) = await chain_of(run)
        return [await run.status(), (await run.info()).status, await after.status()]

    assert play.scene(scenario, start_worker=False) == ["running", "running", "pending"]


def test_whoever_waits_gets_the_last_result(play):
    async def scenario(env):
        run = await env.start(naps, 2)
        waiting = asyncio.ensure_future(run.return_value(timeout=5))
        await env.advance("3 hours")
        return await waiting, await run.return_value(), await get_run(run.run_id).return_value()

    assert play.scene(scenario, app) == ("rested", "rested", "rested")


def test_a_time_out_of_whoever_waits_leaves_the_chain_alone(play):
    async def scenario(env):
        run = await env.start(naps, 1)
        await env.advance("90 minutes")
        with pytest.raises(TimeoutError, match=f"run {run.run_id} has not ended within 0 s; it goes on"):
            await run.return_value(timeout=0)
        await env.advance("30 minutes")
        return await run.return_value(timeout=0)

    assert play.scene(scenario, app) == "rested"


def test_cancelling_the_first_run_ends_the_one_that_is_alive(play):
    async def scenario(env):
        run = await env.start(naps, 2)
        await env.advance("90 minutes")
        await run.cancel("enough")
        await env.run_until_blocked()
        with pytest.raises(WorkflowRunCancelledError) as caught:
            await run.return_value(timeout=5)
        links = await chain_of(run)
        return await run.status(), caught.value.reason, [(await types(link))[-1] for link in links]

    ended = ("cancelled", "enough", ["run_continued", "run_cancelled"])
    assert play.scene(scenario, app) == ended


def test_waking_up_the_first_run_wakes_the_one_that_is_alive(play):
    async def scenario(env):
        run = await env.start(naps, 1)
        await env.advance("1 hour")
        await run.wake_up()
        await env.run_until_blocked()
        return await run.return_value(timeout=5)

    assert play.scene(scenario, app) == "rested"


@pytest.mark.not_on_cloudrun("its cancel must not suspend, and here messages are sent side by side")
@pytest.mark.parametrize("moment", ["put_item", "append", "create", "change"])
def test_a_cancel_that_comes_while_the_run_continues_is_not_lost(play, moment):
    """Before the item is put, before the end event, before the successor, before the status of the first run."""

    async def scenario(env):
        run = await env.start(naps, 1)
        asked = []

        class AskNow(Plan):
            def before(self, call, life):
                if call.method == moment != "put_item" and _is_of_the_end(call) and not asked:
                    asked.append(run.cancel())
                    with pytest.raises(StopIteration):  # it never suspends: all of it happens here
                        asked[0].send(None)

        life = Life(AskNow())
        async with worker(app, world=FaultyWorld(env.world, life), settings=play.settings):
            await env.settle()
            if moment == "put_item":
                there = env.world.runs.put_item

                async def put_item(*args):
                    env.world.runs.put_item = there
                    await env.advance("1 hour")
                    assert (await run.info()).continued_to is not None
                    return await there(*args)

                env.world.runs.put_item = put_item
                await run.cancel()
            else:
                await env.advance("1 hour")
                assert asked
            await env.settle()
            return await run.status()

    assert play.scene(scenario, start_worker=False) == "cancelled"


def _is_of_the_end(call):
    if call.method == "append":
        return type(ev.decode_batch(call.args[2].data, "", 1).events[-1]) is ev.RunContinued
    return call.method == "create" or "continued_to" in call.args[2]


# -- what goes over ---------------------------------------------------------------------------------------------------


def test_labels_go_over_as_they_are(play):
    async def scenario(env):
        run = await env.start(naps.with_options(attributes={"team": "a"}), 2)
        await finish(env, run)
        return [(await world_labels(env, link)) for link in await chain_of(run)], await run.attributes()

    labels, seen = play.scene(scenario, app)
    assert labels == [
        {"team": "a", "nap2": "over"},
        {"team": "a", "nap2": "over", "nap1": "over"},
        {"team": "a", "nap2": "over", "nap1": "over", "nap0": "over"},
    ]
    assert seen == labels[-1]


async def world_labels(env, run):
    head = await env.world.runs.head(run.run_id)
    return (await env.world.runs.labels(head.run_id, head.birth)).values


def test_the_idempotency_key_stays_with_the_first_run_and_leads_to_the_last_result(play):
    async def scenario(env):
        keyed = count_down.with_options(idempotency_key="once")
        run = await env.start(keyed, 2)
        await env.run_until_blocked()
        again = await env.start(keyed, 2)
        await env.run_until_blocked()
        keys = [(await link.info()).idempotency_key for link in await chain_of(run)]
        return again == run, keys, await again.return_value(), len(bodies), len(await list_runs())

    assert play.scene(scenario, app) == (True, ["once", None, None], 3, 3, 3)


def test_a_delay_and_a_chosen_id_are_those_of_the_first_run(play):
    async def scenario(env):
        run = await env.start(count_down.with_options(run_id="mine", delay="1 hour"), 1)
        await env.advance("1 hour")
        return run.run_id, await run.return_value(timeout=5)

    assert play.scene(scenario, app) == ("mine", 1)


def test_a_parent_gets_the_result_of_the_last_run_of_its_child(play):
    finished = play(awaits_a_child, "naps", 3)
    labels = finished.value[3]
    assert finished.value[:3] == ["rested", "completed", "completed"]
    assert {name for name in labels if name.startswith("nap")} == {"nap3", "nap2", "nap1", "nap0"}
    assert labels["$parentRunId"] == labels["$rootRunId"] == finished.run.run_id
    assert finished.types.count("operation_created") == finished.types.count("operation_completed") == 5


def test_a_parent_costs_nothing_while_its_child_continues(play):
    """Nobody tells it of the runs between: the watcher goes over from one to the next."""

    async def scenario(env):
        run = await env.start(awaits_a_child, "naps", 5)
        heads = []
        for _ in range(5):
            await env.advance("1 hour")
            head = await env.world.runs.head(run.run_id)
            heads.append((head.fence, head.length, len(await env.world.runs.items(head.run_id, head.birth))))
        await env.advance("1 hour")
        return heads, (await run.return_value(timeout=5))[0]

    heads, value = play.scene(scenario, app)
    assert value == "rested"
    assert len(set(heads)) == 1


def test_every_run_of_a_childs_chain_has_the_childs_parent(play):
    async def scenario(env):
        run = await env.start(awaits_a_child, "count_down", 2)
        await finish(env, run)
        return run.run_id, [(info.workflow_name, info.parent) for info in await list_runs()]

    parent, infos = play.scene(scenario, app)
    assert sorted(infos, key=str) == sorted([(awaits_a_child.id, None), *[(count_down.id, parent)] * 3], key=str)


def test_a_body_cancels_the_child_that_is_alive(play):
    mine = Workflows()

    @mine.workflow
    async def child(n):
        await sleep("1 hour")
        continue_as_new(n + 1)

    @mine.workflow
    async def impatient():
        run = await start(child, 1)
        await sleep("150 minutes")
        await run.cancel()
        try:
            await run.return_value()
        except WorkflowRunCancelledError:
            return await run.status()

    assert play(impatient).value == "cancelled"


# -- where and how it may be called -----------------------------------------------------------------------------------


async def _plainly(n, note, fail):
    continue_as_new(n - 1)


async def _in_a_task_that_is_awaited(n, note, fail):
    await asyncio.create_task(_plainly(n, note, fail))


async def _in_a_task_that_nobody_awaits(n, note, fail):
    task = asyncio.create_task(_plainly(n, note, fail))
    await asyncio.Event().wait()
    return task


async def _in_one_of_a_gather(n, note, fail):
    await asyncio.gather(sleep("1 day"), _plainly(n, note, fail), note("beside"))


async def _in_a_gather_that_keeps_exceptions(n, note, fail):
    return await asyncio.gather(_plainly(n, note, fail), return_exceptions=True)


async def _in_a_task_of_a_group(n, note, fail):
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("1 day"))
        group.create_task(_plainly(n, note, fail))


async def _inside_a_group(n, note, fail):
    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("1 day"))
        continue_as_new(n - 1)


async def _under_a_time_out(n, note, fail):
    async with asyncio.timeout(5):
        await asyncio.wait_for(_plainly(n, note, fail), 3)


async def _swallowed(n, note, fail):
    try:
        continue_as_new(n - 1)
    except BaseException:
        await note("swallowed")
    return "went on"


async def _among_those_that_wait_gives(n, note, fail):
    done, _ = await asyncio.wait([asyncio.ensure_future(_plainly(n, note, fail))])
    return [task.result() for task in done]


async def _in_an_async_generator(n, note, fail):
    async def numbers():
        yield 1
        continue_as_new(n - 1)

    return [number async for number in numbers()]


async def _in_a_callback(n, note, fail):
    asyncio.get_running_loop().call_soon(continue_as_new, n - 1)
    await asyncio.Event().wait()


async def _after_an_attempt_that_did_not_fit(n, note, fail):
    try:
        continue_as_new(n, 2, 3)
    except TypeError as error:
        await note(str(error))
    try:
        continue_as_new(object())
    except SerializationError as error:
        await note(str(error)[:34])
    continue_as_new(n - 1)


WAYS = {
    "plainly": _plainly,
    "in a task that is awaited": _in_a_task_that_is_awaited,
    "in a task that nobody awaits": _in_a_task_that_nobody_awaits,
    "in one of a gather": _in_one_of_a_gather,
    "in a gather that keeps exceptions": _in_a_gather_that_keeps_exceptions,
    "in a task of a group": _in_a_task_of_a_group,
    "inside a group": _inside_a_group,
    "under a time-out": _under_a_time_out,
    "swallowed": _swallowed,
    "among those that wait gives": _among_those_that_wait_gives,
    "in an async generator": _in_an_async_generator,
    "in a callback": _in_a_callback,
}


@pytest.mark.parametrize("way", WAYS)
def test_wherever_a_body_calls_it_the_run_continues(play, way):
    finished = play(ways(WAYS[way]), 2)
    assert finished.value == "last"
    assert finished.types[-1] == "run_continued"


def test_arguments_that_do_not_fit_raise_in_the_body_and_the_run_is_healthy(play):
    assert play(ways(_after_an_attempt_that_did_not_fit), 1).value == "last"
    assert bodies == ["ways.<locals>.w(n): too many positional arguments", "continue_as_new() of w: n: a value"]


def test_a_finally_runs_with_its_steps(play):
    async def way(n, note, fail):
        try:
            continue_as_new(n - 1)
        finally:
            await note("given back")

    assert play(ways(way), 1).value == "last"
    assert bodies == ["given back"]


def test_a_finally_around_the_task_that_calls_it_runs_too(play):
    async def way(n, note, fail):
        try:
            await asyncio.gather(_plainly(n, note, fail))
        finally:
            await note("given back")

    assert play(ways(way), 1).value == "last"
    assert bodies == ["given back"]


def test_except_exception_does_not_catch_it(play):
    async def way(n, note, fail):
        try:
            continue_as_new(n - 1)
        except Exception:
            await note("caught")

    assert play(ways(way), 1).value == "last"
    assert bodies == []


def test_an_error_on_the_way_out_fails_the_run(play):
    async def way(n, note, fail):
        try:
            continue_as_new(n - 1)
        finally:
            await fail()

    finished = play(ways(way), 1)
    assert isinstance(finished.error, StepFailedError)
    assert finished.info.continued_to is None


def test_an_error_beside_it_in_a_group_fails_the_run(play):
    async def way(n, note, fail):
        async with asyncio.TaskGroup() as group:
            group.create_task(_plainly(n, note, fail))
            group.create_task(_raises())

    async def _raises():
        raise ValueError("beside it")

    finished = play(ways(way), 1)
    assert type(finished.error) is ExceptionGroup
    assert [repr(error) for error in finished.error.exceptions] == ["ValueError('beside it')"]
    assert finished.info.continued_to is None


def test_called_twice_the_last_call_counts(play):
    mine = Workflows()

    @mine.workflow
    async def w(n):
        if n == 0:
            try:
                continue_as_new(1)
            finally:
                continue_as_new(2)
        return n

    assert play(w, 0).value == 2


def test_in_a_step_and_outside_a_workflow_there_is_nothing_to_continue(play):
    mine = Workflows()

    @mine.step(max_retries=0)
    async def step():
        continue_as_new(1)

    @mine.workflow
    async def w():
        await step()

    finished = play(w)
    told = "continue_as_new() works in a workflow body only; call it from an @app.workflow function"
    assert isinstance(finished.error.__cause__, WorkflowContextError)
    assert str(finished.error.__cause__) == told
    with pytest.raises(WorkflowContextError, match="in a workflow body only"):
        continue_as_new(1)


def test_steps_in_flight_end_and_are_ignored(play):
    mine = Workflows()

    async def scenario(env):
        gates = {"here": asyncio.Event(), "elsewhere": asyncio.Event()}

        async def lasts(where):
            bodies.append(f"{where} begins")
            await gates[where].wait()
            bodies.append(f"{where} ends")

        here, elsewhere = mine.step(name="here")(lasts), mine.step(name="elsewhere", dispatch="queue")(lasts)

        @mine.workflow(name="w")
        async def w(n):
            if n == 0:
                return "last"
            tasks = [asyncio.create_task(here("here")), asyncio.create_task(elsewhere("elsewhere"))]
            await sleep("1 minute")
            continue_as_new(0)
            return tasks

        run = await env.start(w, 1)
        await env.settle()
        assert sorted(bodies) == ["elsewhere begins", "here begins"]
        await env.advance("1 minute")
        value = await run.return_value(timeout=5)
        for gate in gates.values():
            gate.set()
        await env.run_until_blocked()
        return value, await types(run)

    value, log = play.scene(scenario, mine)
    assert value == "last"
    assert sorted(bodies) == ["elsewhere begins", "elsewhere ends", "here begins", "here ends"]
    assert (log[-1], log.count("step_created"), log.count("step_completed")) == ("run_continued", 2, 0)


def test_no_line_of_another_task_runs_after_the_end(play):
    async def way(n, note, fail):
        async def other():
            await sleep("1 hour")
            await note("later")

        task = asyncio.create_task(other())
        await sleep("1 minute")
        continue_as_new(n - 1)
        return task

    finished = play(ways(way), 1)
    assert finished.value == "last"
    assert bodies == []
