"""`patched`, a change of code while runs are alive."""

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import WorkflowContextError, Workflows, patched, sleep, start, worker
from wdk_cloud.testing.environment import WorkflowEnv


def versions() -> tuple[Workflows, Workflows, list[str]]:
    """Before and after a change that puts a step in front of the second sleep."""
    before, after = Workflows(), Workflows()
    calls: list[str] = []

    @before.step(name="old")
    async def old() -> str:
        calls.append("old")
        return "old"

    @before.workflow(name="flow")
    async def first() -> list[str]:
        await sleep("1 day")
        results = [await old()]
        await sleep("1 day")
        return results

    @after.step(name="old")
    async def old_still() -> str:
        calls.append("old")
        return "old"

    @after.step(name="new")
    async def new() -> str:
        calls.append("new")
        return "new"

    @after.workflow(name="flow")
    async def second() -> list[str]:
        await sleep("1 day")
        results = [await new() if patched("new instead of old") else await old_still()]
        await sleep("1 day")
        assert patched("new instead of old") is (results == ["new"])
        return results

    return before, after, calls


def change(play: Play, when: str) -> tuple[object, list[str], list[str]]:
    before, after, calls = versions()

    async def scenario(env: WorkflowEnv) -> object:
        async with worker(before, settings=play.settings) as env.workers:
            run = await start(before.workflows["flow"])
            await env.advance(when)
            await env.run_until_blocked()
        async with worker(after, settings=play.settings) as env.workers:
            return await finish(env, run)

    finished = play.scene(scenario, before, after, start_worker=False)
    return finished.value, calls, finished.types  # type: ignore[attr-defined]


def test_a_run_that_first_reaches_the_call_with_the_change_is_patched_recorded_once(play: Play) -> None:
    value, calls, events = change(play, "1h")
    assert value == ["new"]
    assert calls == ["new"]
    assert events.count("patch_recorded") == 1


def test_a_run_that_had_passed_the_call_before_the_change_is_not_patched_for_good(play: Play) -> None:
    value, calls, events = change(play, "1 day")
    assert value == ["old"]
    assert calls == ["old"]
    assert events.count("patch_recorded") == 0


def test_a_new_run_is_patched(play: Play) -> None:
    _, after, calls = versions()
    finished = play(after.workflows["flow"])
    assert finished.value == ["new"]
    assert calls == ["new"]


def test_each_change_is_recorded_by_itself(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[bool]:
        found = [patched("a")]
        await sleep(1)
        return [*found, patched("a"), patched("b")]

    finished = play(body)
    assert finished.value == [True, True, True]
    assert [event.data["id"] for event in finished.events if event.type == "patch_recorded"] == ["a", "b"]


def test_patched_outside_a_body_is_a_context_error(play: Play) -> None:
    with pytest.raises(WorkflowContextError, match="patched"):
        patched("x")

    app = Workflows()

    @app.step(max_retries=0)
    async def step() -> str:
        try:
            patched("x")
        except WorkflowContextError:
            return "refused"
        return "?"

    @app.workflow
    async def body() -> str:
        return await step()

    assert play(body).value == "refused"


@pytest.mark.parametrize("change_id", ["", None, 7])
def test_a_change_without_a_name_is_refused(change_id: object) -> None:
    with pytest.raises(TypeError, match="name of a change"):
        patched(change_id)  # type: ignore[arg-type]
