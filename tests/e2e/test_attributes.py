"""`set_attributes` and `remove_attributes`, plain text labels on the run."""

import asyncio

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import FatalError, WorkflowContextError, Workflows, remove_attributes, set_attributes, sleep
from wdk_cloud.testing.environment import WorkflowEnv


def test_a_body_sets_and_removes_labels(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        await set_attributes({"order": "o-1", "state": "new"}, customer="Zoë")
        await sleep("1h")
        await set_attributes(state="paid")
        await remove_attributes("order", "never-there")
        await sleep("1h")

    finished = play(body)
    assert finished.value is None
    assert finished.attributes == {"state": "paid", "customer": "Zoë"}
    assert finished.count("attributes_set") == 3


def test_labels_can_be_read_while_the_run_sleeps(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        for n in range(3):
            await set_attributes({"progress": str(n)})
            await sleep("1h")

    async def scenario(env: WorkflowEnv) -> None:
        run = await env.start(body.with_options(attributes={"kind": "demo"}))
        for n in range(3):
            await env.run_until_blocked()
            assert await run.attributes() == {"kind": "demo", "progress": str(n)}
            await env.advance("1h")

    play.scene(scenario, app)


@pytest.mark.parametrize("dispatch", ["inline", "queue"])
@pytest.mark.parametrize("attempts", [1, 2])
def test_a_step_sets_and_removes_labels(play: Play, dispatch: str, attempts: int) -> None:
    app = Workflows()
    tries = 0

    @app.step(dispatch=dispatch)
    async def work() -> None:
        nonlocal tries
        tries += 1
        await set_attributes({"step": str(tries)})
        await remove_attributes("first")
        if tries < attempts:
            raise ValueError

    @app.workflow
    async def body() -> None:
        await set_attributes(first="1", second="2")
        await work()
        await sleep(1)

    finished = play(body)
    assert finished.value is None
    assert finished.attributes == {"second": "2", "step": str(attempts)}


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"k" * 257: "v"}, "256 characters"),
        ({"": "v"}, "256 characters"),
        ({"k": "é" * 129}, "256 bytes"),
        ({"$mine": "v"}, "reserved"),
        ({"k": 7}, "text"),
        ({"k": "\ud800"}, "UTF-8"),
        ({f"k{n}": "v" for n in range(65)}, "at most 64"),
        ({7: "v"}, "characters"),
    ],
    ids=["long key", "empty key", "long value", "reserved", "number", "surrogate", "too many", "number as key"],
)
@pytest.mark.parametrize("where", ["body", "step"])
def test_a_bad_label_raises_fatal_error_and_the_run_stays_healthy(
    play: Play, where: str, labels: dict[str, str], words: str
) -> None:
    app = Workflows()

    @app.step
    async def step() -> None:
        await set_attributes(labels)

    @app.workflow
    async def body() -> str:
        await set_attributes(good="1")
        try:
            await (set_attributes(labels) if where == "body" else step())
        except FatalError as error:
            await sleep(1)
            return str(error)
        return "?"

    finished = play(body)
    assert words in finished.value
    assert finished.attributes == {"good": "1"}


def test_the_largest_labels_are_allowed(play: Play) -> None:
    app = Workflows()
    labels = {f"{n:02}" + "k" * 254: "é" * 128 for n in range(64)}

    @app.workflow
    async def body() -> None:
        await set_attributes(labels)
        await sleep(1)

    assert play(body).attributes == labels


def test_the_limit_counts_labels_that_were_set_before(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> str:
        await set_attributes({f"k{n}": "v" for n in range(63)})
        await sleep(1)
        try:
            await set_attributes(one_more="v")
        except FatalError as error:
            await remove_attributes("k0")
            await set_attributes(one_more="v")
            return str(error)
        return "?"

    finished = play(body.with_options(attributes={"start": "1"}))
    assert "64" in finished.value
    assert len(finished.attributes) == 64


def test_labels_outside_a_run_are_a_context_error() -> None:
    with pytest.raises(WorkflowContextError, match="set_attributes"):
        asyncio.run(set_attributes(a="b"))
    with pytest.raises(WorkflowContextError):
        asyncio.run(remove_attributes("a"))


def test_setting_the_same_labels_again_changes_nothing(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> None:
        for _ in range(3):
            await set_attributes(a="1")
            await sleep(1)

    async def scenario(env: WorkflowEnv) -> None:
        assert (await finish(env, await env.start(body))).attributes == {"a": "1"}

    play.scene(scenario, app)
