"""Retention and erasure: what is kept, what goes, and that nothing of it stays."""

import asyncio

import pytest

from tests.e2e.graves import DAY, LEFT, LONG, SECRET, check_bytes, check_graves, shown
from tests.e2e.running import until
from wdk_cloud import (
    IdempotencyConflictError,
    RunExistsError,
    RunExpiredError,
    WorkflowContextError,
    WorkflowRunFailedError,
    WorkflowRunNotFoundError,
    Workflows,
    continue_as_new,
    get_run,
    list_runs,
    set_attributes,
    sleep,
    sync,
)
from wdk_cloud.engine import erasure, runids
from wdk_cloud.engine.settings import Settings
from wdk_cloud.engine.sweep import sweep
from wdk_cloud.testing import workflow_env

app = Workflows()

WORLDS = pytest.mark.parametrize("name", ["memory", "local"])
begun: list[str] = []


@app.step
async def echo(text):
    begun.append("echo")
    return text


@app.step(dispatch="queue")
async def elsewhere(text):
    return text


@app.step
async def remember(gate):
    begun.append("remember")
    await gates[gate].wait()
    return SECRET


@app.workflow
async def sleeps(text: str, days: float) -> str:
    await set_attributes({"who": SECRET})
    told = await asyncio.gather(echo(text), elsewhere(text[:40]), echo(LONG))
    await sleep(f"{days} days")
    return told[0] + told[1] + str(len(told[2]))


@app.workflow
async def echoes(text: str) -> str:
    return await echo(text)


@app.workflow
async def stuck(gate: str) -> str:
    return await remember(gate)


@app.workflow
async def rolls(n: int) -> str:
    await sleep("20 days")
    if n:
        continue_as_new(n - 1)
    return SECRET


@app.workflow
async def watches(run_id: str) -> str:
    try:
        return await get_run(run_id).return_value()
    except RunExpiredError:
        return "gone"


@app.workflow
async def deletes(run_id: str) -> bool:
    await get_run(run_id).delete()
    return await get_run(run_id).exists()


gates: dict[str, asyncio.Event] = {}


def play(scenario, name, folder, **settings):
    async def main():
        begun.clear()
        gates.clear()
        tuned = Settings(**settings)
        async with workflow_env(name, app, settings=tuned, path=folder / "local.db") as env:
            return await scenario(env)

    return asyncio.run(main())


async def days(env, n):
    """Let so many days pass, with a sweep on each."""
    for _ in range(n):
        await env.advance(DAY)
        await env.run_until_blocked()
        for one in env.workers:
            assert await sweep(one.engine) == 0, "the sweep woke somebody"


async def only_a_tombstone_is_left(env, run, named_elsewhere=False):
    head = await env.world.runs.head(run.run_id)
    assert head is not None
    left = {name for name in type(head).__struct_fields__ if getattr(head, name)}
    assert left == LEFT
    check_graves(env.world)
    assert SECRET not in shown(env.world)
    if not named_elsewhere:  # in memory its key and its head
        assert shown(env.world).count(run.run_id) == (2 if env.world.name == "memory" else 1)
    check_bytes(env.world, SECRET, SECRET[:9])


def events_of(run):
    async def read():
        return [event async for event in run.events()]

    return read


# -- retention --------------------------------------------------------------------------------------------------------


@WORLDS
def test_a_run_that_sleeps_for_400_days_completes_with_30_days_of_retention(name, tmp_path):
    async def scenario(env):
        once = sleeps.with_options(idempotency_key="key")
        run = await env.start(once, SECRET, 400)
        await days(env, 399)
        assert await run.status() == "running"
        assert await env.start(once, SECRET, 400) == run, "the key of a live run leads to it"
        with pytest.raises(IdempotencyConflictError):
            await env.start(once, SECRET, 401)
        assert await run.attributes() == {"who": SECRET}
        await days(env, 1)
        assert await run.return_value(timeout=10) == SECRET + SECRET + str(len(LONG))
        assert begun == ["echo", "echo"]

    play(scenario, name, tmp_path, cached_runs=0)


@WORLDS
def test_an_ended_run_is_kept_for_the_retention_and_then_gone(name, tmp_path):
    async def scenario(env):
        run = await env.start(sleeps, SECRET, 1)
        other = await env.start(sleeps, "other", 20)
        await days(env, 30)
        assert await run.status() == "completed"
        await days(env, 2)
        asked = (run.status, run.info, run.attributes, run.return_value, run.cancel, run.wake_up, events_of(run))
        for ask in asked:
            with pytest.raises(RunExpiredError, match=run.run_id):
                await ask()
        assert not await run.exists()
        assert await other.status() == "completed"
        assert SECRET not in shown(env.world).replace("'who': '" + SECRET, "").replace('"who":"' + SECRET, "")
        await run.delete()  # it is gone already

    play(scenario, name, tmp_path)


@WORLDS
def test_in_the_end_the_tombstone_goes_too_and_the_id_still_tells_that_there_was_a_run(name, tmp_path):
    async def scenario(env):
        run = await env.start(sleeps, "x", 1)
        named = await env.start(sleeps.with_options(run_id="named"), "x", 1)
        await days(env, 1 + 30 + 60)
        assert await env.world.runs.head(run.run_id) is not None
        await days(env, 2)
        assert await env.world.runs.head(run.run_id) is None
        assert (await list_runs()) == []
        with pytest.raises(RunExpiredError):
            await run.return_value()
        with pytest.raises(WorkflowRunNotFoundError):
            await named.status()
        with pytest.raises(WorkflowRunNotFoundError):
            await get_run(runids.new_run_id(env.clock.now())).status()
        await run.delete()
        with pytest.raises(WorkflowRunNotFoundError):
            await named.delete()
        assert (await env.start(sleeps.with_options(run_id="named"), "x", 1)).run_id == "named"

    play(scenario, name, tmp_path)


@WORLDS
def test_the_first_run_of_a_chain_is_kept_as_long_as_it_leads_to_a_live_one(name, tmp_path):
    async def scenario(env):
        run = await env.start(rolls, 5)
        await days(env, 119)
        assert await run.status() == "running"
        await days(env, 1)
        assert await run.return_value(timeout=10) == SECRET
        await days(env, 31)
        with pytest.raises(RunExpiredError):
            await run.status()
        assert {info.status for info in await list_runs()} == {"deleted"}
        assert SECRET not in shown(env.world)

    play(scenario, name, tmp_path)


# -- deleting ---------------------------------------------------------------------------------------------------------


@WORLDS
@pytest.mark.parametrize("when", ["pending", "sleeping", "completed", "never worked on"])
def test_nothing_is_left_of_a_deleted_run_but_id_and_time(when, name, tmp_path):
    async def scenario(env):
        run = await env.start(sleeps.with_options(idempotency_key=SECRET), SECRET, 3)
        if when in ("sleeping", "completed"):
            await env.run_until_blocked()
        if when == "completed":
            await env.run_to_end(run)
        assert SECRET in shown(env.world)
        await run.delete()
        await only_a_tombstone_is_left(env, run)
        await run.delete()
        for ask in (run.status, run.return_value, run.info):
            with pytest.raises(RunExpiredError):
                await ask()
        assert not await run.exists()
        with pytest.raises(RunExpiredError):
            await env.start(sleeps.with_options(idempotency_key=SECRET), SECRET, 3)
        await days(env, 4)
        await only_a_tombstone_is_left(env, run)

    play(scenario, name, tmp_path)


@WORLDS
def test_deleting_a_run_that_is_worked_on_ends_it_first(name, tmp_path):
    async def scenario(env):
        gates["g"] = asyncio.Event()
        run = await env.start(stuck, "g")
        await until(lambda: begun == ["remember"])
        await run.delete()
        gates["g"].set()
        await env.run_until_blocked()
        await only_a_tombstone_is_left(env, run)

    play(scenario, name, tmp_path)


@WORLDS
def test_a_holder_that_does_not_hear_is_overruled_and_writes_nothing_any_more(name, tmp_path, monkeypatch):
    monkeypatch.setattr(erasure, "PATIENCE", 0.0)

    async def scenario(env):
        gates["g"] = asyncio.Event()
        run = await env.start(stuck, "g")
        await until(lambda: begun == ["remember"])
        await run.delete()
        await only_a_tombstone_is_left(env, run)
        gates["g"].set()  # its step ends, and its turn wants to record that
        await env.run_until_blocked()
        await only_a_tombstone_is_left(env, run)
        await days(env, 1)
        await only_a_tombstone_is_left(env, run)
        assert begun == ["remember"]

    play(scenario, name, tmp_path)


@WORLDS
def test_who_waits_for_a_deleted_run_learns_that_it_is_gone(name, tmp_path):
    async def scenario(env):
        run = await env.start(sleeps, "x", 3)
        watcher = await env.start(watches, run.run_id)
        waiting = asyncio.create_task(run.return_value(timeout=20))
        await env.run_until_blocked()
        await run.delete()
        assert await env.run_to_end(watcher) == "gone"
        with pytest.raises(RunExpiredError):
            await waiting

    play(scenario, name, tmp_path)


@WORLDS
def test_a_run_that_was_deleted_and_forgotten_is_not_told_of_the_end_that_it_waited_for(name, tmp_path):
    async def scenario(env):
        run = await env.start(sleeps, "x", 100)
        watcher = await env.start(watches, run.run_id)
        late = await env.start(sleeps.with_options(run_id="late"), "x", 90)
        lasting = await env.start(watches, "late")
        await env.run_until_blocked()
        await watcher.delete()
        await days(env, 61)
        assert await env.world.runs.head(watcher.run_id) is None
        await days(env, 39)
        assert await run.status() == "completed"
        assert await late.status() == "completed"
        assert await lasting.status() == "completed", "a watcher that is still there hears of it, however late"
        assert check_graves(env.world) == set()

    play(scenario, name, tmp_path)


@WORLDS
def test_a_start_that_comes_too_late_or_twice_leaves_nothing_of_its_input(name, tmp_path):
    async def scenario(env):
        once = echoes.with_options(idempotency_key="key")
        run = await env.start(once, LONG)
        assert await env.start(once, LONG) == run
        assert check_graves(env.world) == set()
        with pytest.raises(RunExistsError):
            await env.start(echoes.with_options(run_id=run.run_id), LONG)
        assert check_graves(env.world) == set()
        await run.delete()
        with pytest.raises(RunExpiredError):
            await env.start(once, LONG)
        await only_a_tombstone_is_left(env, run)

    play(scenario, name, tmp_path)


@WORLDS
def test_a_body_deletes_another_run_once_and_never_itself(name, tmp_path):
    async def scenario(env):
        run = await env.start(sleeps, SECRET, 3)
        await env.run_until_blocked()
        assert await env.run_to_end(await env.start(deletes, run.run_id)) is False
        await only_a_tombstone_is_left(env, run, named_elsewhere=True)
        me = await env.start(deletes.with_options(run_id="me"), "me")
        with pytest.raises(WorkflowRunFailedError) as caught:
            await env.run_to_end(me)
        assert isinstance(caught.value.__cause__, WorkflowContextError)
        assert "run me cannot delete itself" in str(caught.value.__cause__)

    play(scenario, name, tmp_path, cached_runs=0)


@WORLDS
def test_deleting_the_first_run_of_a_chain_deletes_them_all(name, tmp_path):
    async def scenario(env):
        run = await env.start(rolls, 5)
        await days(env, 50)
        await run.delete()
        infos = await list_runs()
        assert [info.status for info in infos] == ["deleted"] * 3
        assert {info.workflow_name for info in infos} == {""}

    play(scenario, name, tmp_path)


def test_sync_deletes_too(tmp_path):
    async def scenario(env):
        run = await env.start(sleeps, SECRET, 3)
        await asyncio.to_thread(sync.get_run(run.run_id).delete)
        await only_a_tombstone_is_left(env, run)

    play(scenario, "memory", tmp_path)
