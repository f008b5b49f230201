"""`replay` finds whether today's code still asks for what a stored history recorded."""

import asyncio
import dataclasses
import json
import subprocess
import sys

import pytest

from wdk_cloud import NondeterminismError, Workflows, patched, set_attributes, sleep
from wdk_cloud.testing import replay, workflow_env
from wdk_cloud.testing.environment import WorkflowEnv

begun: list[str] = []


def declare(body, *, name: str = "order"):
    """The app of one deployment: two steps, and a body that is given them."""
    app = Workflows()

    @app.step(name="reserve")
    async def reserve(item: str, count: int = 1) -> str:
        begun.append("reserve")
        return f"{count} {item}"

    @app.step(name="charge")
    async def charge(cents: int) -> int:
        begun.append("charge")
        return cents

    async def order(item: str) -> object:
        return await body(item, reserve, charge)

    return app.workflow(name=name)(order)


async def original(item, reserve, charge):
    reserved = await reserve(item)
    await sleep("1 day")
    return reserved, await charge(990)


def recorded(workflow, *, ended: bool = True):
    """The events of a run of it, which has ended or sleeps."""

    async def main():
        async with workflow_env("memory", workflow.app) as env:
            run = await env.start(workflow, "book")
            if ended:
                try:
                    await env.run_to_end(run)
                except Exception as error:
                    print(f"it ended with {error!r}")
            else:
                await env.run_until_blocked()
            return [event async for event in run.events()]

    begun.clear()
    return asyncio.run(main())


def differences(body, history) -> list[str]:
    with pytest.raises(NondeterminismError) as caught:
        replay(declare(body), history)
    return caught.value.differences


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "asleep"])
def test_the_code_that_recorded_a_history_agrees_with_it_and_runs_no_step_again(ended):
    history = recorded(declare(original), ended=ended)
    assert [event.type for event in history[-2:]] == (
        ["step_completed", "run_completed"] if ended else ["step_completed", "wait_created"]
    )
    begun.clear()
    replay(declare(original), history)
    assert begun == []


def test_a_replay_may_take_place_in_a_running_loop():
    history = recorded(declare(original))

    async def main():
        replay(declare(original), history)
        await asyncio.sleep(0)  # the loop is this one again

    asyncio.run(main())


async def swapped(item, reserve, charge):
    charged = await charge(990)
    await sleep("1 day")
    return await reserve(item), charged


async def another_argument(item, reserve, charge):
    reserved = await reserve(item, 2)
    await sleep("1 day")
    return reserved, await charge(990)


async def without_the_first(item, reserve, charge):
    await sleep("1 day")
    return await charge(990)


async def with_one_in_front(item, reserve, charge):
    await charge(0)
    return await original(item, reserve, charge)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "asleep"])
def test_steps_that_are_swapped_are_no_difference_while_each_finds_its_own_record(ended):
    replay(declare(swapped), recorded(declare(original), ended=ended))


def test_another_argument_is_reported_with_both_values():
    (difference,) = differences(another_argument, recorded(declare(original)))
    assert "reserve" in difference
    assert "count" in difference
    assert "2" in difference


def test_a_step_that_is_gone_is_reported():
    (difference,) = differences(without_the_first, recorded(declare(original)))
    assert "reserve#1" in difference
    assert "never asks for it" in difference


def test_a_step_in_front_is_reported_when_it_takes_the_place_of_a_recorded_one():
    (difference,) = differences(with_one_in_front, recorded(declare(original)))
    assert "charge" in difference
    assert "cents" in difference


def test_another_way_that_patched_opens_is_none_for_a_run_that_went_the_old_one():
    async def both(item, reserve, charge):
        reserved = await (reserve(item, 2) if patched("two") else reserve(item))
        await sleep("1 day")
        return reserved, await charge(990)

    replay(declare(both), recorded(declare(original)))
    replay(declare(both), recorded(declare(both)))
    assert differences(original, recorded(declare(both))) != []


def test_what_is_added_behind_the_last_event_of_a_live_run_is_no_difference():
    async def more(item, reserve, charge):
        reserved = await reserve(item)
        await sleep("1 day")
        await set_attributes(paid="yes")
        return reserved, await charge(1990)

    replay(declare(more), recorded(declare(original), ended=False))


def test_another_result_is_no_difference():
    async def shorter(item, reserve, charge):
        return (await original(item, reserve, charge))[0]

    replay(declare(shorter), recorded(declare(original)))


async def goes_on(item, reserve, charge):
    result = await original(item, reserve, charge)
    await charge(1)
    return result


async def fails_at_the_end(item, reserve, charge):
    await original(item, reserve, charge)
    raise ValueError("no such thing")


def test_code_that_goes_on_where_the_run_had_ended_is_reported():
    history = recorded(declare(original))
    assert differences(goes_on, history) == ["the log ends with its result, and the code goes on and asks for charge#2"]


def test_code_that_fails_where_the_run_had_its_result_is_reported_and_the_other_way_round():
    assert differences(fails_at_the_end, recorded(declare(original))) == [
        "the log ends with its result, and the code raises ValueError: no such thing"
    ]
    assert differences(original, recorded(declare(fails_at_the_end))) == [
        "the log ends with a failure of the body, and the code returns"
    ]


def test_all_differences_are_in_one_error():
    async def at_once(item, reserve, charge):
        return await asyncio.gather(reserve("book"), charge(1), charge(2))

    async def changed(item, reserve, charge):
        return await asyncio.gather(reserve("pen"), charge(1), charge(3))

    found = differences(changed, recorded(declare(at_once)))
    assert [difference.partition(" ")[0] for difference in found] == ["reserve#1", "charge#2"]


# --- what the command line exports ------------------------------------------------------------------------------------

SIGNUP = """
from decimal import Decimal
from wdk_cloud import Workflows, sleep

app = Workflows()

@app.step
async def price(item: str, note: object) -> Decimal:
    return Decimal("9.90")

@app.workflow
async def order(item: str) -> object:
    paid = await price(item, [1.0, 2**80, {"$a": b"\\x00"}, "\\ud800 ü"])
    await sleep(0.01)
    return paid
"""


def test_what_inspect_events_prints_as_json_is_a_history(tmp_path, monkeypatch):
    (tmp_path / "exported_shop.py").write_text(SIGNUP)
    environment = {
        "WDK_APP": "exported_shop:app",
        "PYTHONHASHSEED": "0",
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(tmp_path),
    }

    def wdk(*words: str) -> str:
        command = [sys.executable, "-m", "wdk_cloud.cli", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        return done.stdout

    worker = subprocess.Popen(
        [sys.executable, "-m", "wdk_cloud.cli", "worker"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wdk("start", "order", "book", "--wait")
        (run,) = json.loads(wdk("inspect", "runs", "--json"))["runs"]
        document = json.loads(wdk("inspect", "events", run["run_id"], "--json"))
    finally:
        worker.terminate()
        worker.wait(10)
    monkeypatch.syspath_prepend(tmp_path)
    import exported_shop as shop  # pyright: ignore[reportMissingImports]

    try:
        replay(shop.order, document)
        replay(shop.order, document["events"])
        for event in document["events"]:
            if event["type"] == "step_created":
                event["data"]["digest"] = "another"
        with pytest.raises(NondeterminismError, match=f"run {run['run_id']}: .*price"):
            replay(shop.order, document)
    finally:
        del sys.modules["exported_shop"]


# --- bad input --------------------------------------------------------------------------------------------------------


def without(history, position):
    return [event for event in history if event.position != position]


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (lambda history: json.dumps([]), r"the history itself, not its text.*json\.load"),
        (lambda history: [], "this history is empty"),
        (lambda history: {"run_id": "r"}, 'it has no "events"'),
        (lambda history: without(history, 3), "where position 3 belongs it has 4; export all pages"),
        (lambda history: without(history, 1), "where position 1 belongs it has 2"),
        (lambda history: [*history, 7], "this is no event of a history: 7"),
        (
            lambda history: [dataclasses.replace(history[0], type="run_dreamt"), *history[1:]],
            "an event that this version does not know: .*run_dreamt",
        ),
        (
            lambda history: [dataclasses.replace(history[1], position=1)],
            "does not begin with run_created; export it from its beginning",
        ),
    ],
    ids=["text", "empty", "other_document", "a_hole", "cut_in_front", "no_event", "unknown_event", "another_first"],
)
def test_what_is_no_history_is_refused(spoilt, message):
    history = recorded(declare(original))
    with pytest.raises(ValueError, match=message):
        replay(declare(original), spoilt(history))


def test_an_encrypted_history_says_how_to_export_it():
    events = [
        {
            "position": 1,
            "type": "run_created",
            "time": "2026-01-01T00:00:00Z",
            "data": {"workflow": "order", "input": {"$encrypted": True}, "digest": "d", "seed": ""},
        }
    ]
    with pytest.raises(ValueError, match="event 1 of this history is encrypted; export it where WDK_ENCRYPTION_KEY"):
        replay(declare(original), events)


def test_only_workflows_can_be_replayed():
    with pytest.raises(TypeError, match=r"replay\(\) takes a workflow"):
        replay(original, [])


# --- the environment --------------------------------------------------------------------------------------------------


def test_run_to_end_jumps_over_sleeps_and_gives_the_result():
    workflow = declare(original)

    async def main(env: WorkflowEnv):
        begin = env.clock.now()
        result = await env.run_to_end(await env.start(workflow, "book"))
        return result, env.clock.now() - begin

    async def opened():
        async with workflow_env("memory", workflow.app) as env:
            return await main(env)

    assert asyncio.run(opened()) == (("1 book", 990), 86_400.0)


def test_run_to_end_says_when_no_time_brings_what_a_run_waits_for():
    app = Workflows()
    held = []

    @app.step(dispatch="inline")
    async def for_ever() -> None:
        held.append(asyncio.Event())

    @app.workflow(name="waits")
    async def waits() -> None:
        await for_ever()

    async def main():
        async with workflow_env("memory", app, start_worker=False) as env:
            run = await env.start(waits)
            with pytest.raises(AssertionError, match=f"run {run.run_id} waits for something that no time brings"):
                await env.run_to_end(run)

    asyncio.run(main())


def test_the_plugin_runs_a_workflow_in_an_ordinary_test(run_workflow):
    begun.clear()
    assert run_workflow(declare(original), "pen") == ("1 pen", 990)
    assert begun == ["reserve", "charge"]
