"""A deletion beside a turn that works on the run: whatever the turn does after it, nothing of the run comes back."""

import asyncio
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest

from tests.e2e.graves import LONG, SECRET, check_bytes, check_graves, heads, shown
from tests.faults import Dead, FaultyPort, FaultyWorld, Life, OfACaller, Plan, a_process_of
from tests.histories import SETTINGS
from wdk_cloud import RunExpiredError, Workflows, continue_as_new, get_run, set_attributes, sleep, start, worker
from wdk_cloud.engine import erasure
from wdk_cloud.engine.sweep import sweep
from wdk_cloud.testing import workflow_env
from wdk_cloud.world import ports

app = Workflows()

WORLDS = pytest.mark.parametrize("name", ["memory", "local"])


@app.step
async def echo(text):
    return text


@app.step(dispatch="queue")
async def elsewhere(text):
    return text


@app.workflow
async def child(n: int) -> int:
    return await echo(n)


@app.workflow
async def everything(text: str, more: int) -> int:
    """Labels, a child that is watched, steps here and elsewhere, blobs, a timer, a run that goes on for it."""
    await set_attributes({"who": SECRET})
    told = await asyncio.gather(echo(text), elsewhere(text[:40]))
    one = await start(child, len(told))
    await sleep("1 hour")
    two = await one.return_value()
    if more:
        continue_as_new(LONG, more - 1)
    return two


@app.workflow
async def watches(run_id: str) -> str:
    try:
        return str(await get_run(run_id).return_value())
    except RunExpiredError:
        return "gone"


class Interrupted(FaultyPort):
    """A port whose calls wait, at one place, for something else that happens."""

    async def _call(self, name, method, /, *args, **kwargs):
        call = self._life.begin(name, args, kwargs)
        await self._life.meanwhile(call, "before")
        answer = await method(*args, **kwargs)
        self._life.happened(call, answer)
        await self._life.meanwhile(call, "after")
        return answer


class Meanwhile(Life):
    """Once, just before or after the first call that is meant, `what` happens; nobody dies."""

    def __init__(self, what, meant, moment):
        super().__init__()
        self._what = what
        self._meant = meant
        self._moment = moment
        self.happened_so = False

    async def meanwhile(self, call, moment):
        if moment == self._moment and not self.happened_so and self._meant(call):
            self.happened_so = True
            await self._what()


class InterruptedWorld(FaultyWorld):
    def __init__(self, world, life):
        super().__init__(world, life)
        self.runs = Interrupted(world.runs, ports.RunStore, life)
        self.blobs = Interrupted(world.blobs, ports.BlobStore, life)
        self.queue = Interrupted(world.queue, ports.Queue, life)
        self.receiver = Interrupted(world.receiver, ports.Receiver, life)

    def scoped(self, namespace):
        return InterruptedWorld(self._world.scoped(namespace), self._life)


@asynccontextmanager
async def played(name, path, delete, meant, moment):
    """Play the run; while its worker makes the call that is meant, it is deleted, and then everything goes on."""
    async with workflow_env(name, path=path, start_worker=False) as env:
        run = await env.start(everything.with_options(run_id="run"), LONG, 1)
        watcher = await env.start(watches.with_options(run_id="watcher"), "run")
        life = Meanwhile(partial(delete, env.world), meant, moment)
        async with (
            a_process_of(env.world, life) as own,
            worker(app, world=InterruptedWorld(own, life), settings=SETTINGS) as workers,
        ):
            env.workers = workers
            for _ in range(4):
                await env.run_until_blocked()
                await env.advance("1 hour")
            await env.run_until_blocked()
            yield env, run, watcher, life


async def overrule(world):
    """A deletion without patience: the holder does not hear of it."""
    await erasure.delete(world, "run", patience=0.0)


async def check_that_all_is_gone(env, run, watcher):
    there = {head.run_id: head for head in heads(env.world)}
    dead = check_graves(env.world)
    assert "run" in dead
    assert SECRET not in shown(env.world)
    check_bytes(env.world, SECRET)
    assert not env.world.receiver.busy()
    for run_id in there.keys() - dead - {"watcher"}:
        assert there[run_id].workflow == child.id, "a run goes on for a deleted one"
        assert there[run_id].status == "completed"
    with pytest.raises(RunExpiredError):
        await run.status()
    assert await watcher.return_value(timeout=5) in ("gone", "2")
    for one in env.workers:
        assert await sweep(one.engine) == 0, "the sweep woke somebody"


@WORLDS
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_deletion_at_any_call_of_the_turns_leaves_nothing_of_the_run(moment, name, tmp_path):
    async def one(number):
        path = tmp_path / f"{number}.db"
        async with played(name, path, overrule, lambda call: call.number == number, moment) as (
            env,
            run,
            watcher,
            life,
        ):
            if life.happened_so:
                await check_that_all_is_gone(env, run, watcher)
            return life.happened_so

    number = 1
    while True:
        try:
            if not asyncio.run(one(number)):
                break
        except BaseException as error:
            error.add_note(f"deleted {moment} call {number}")
            raise
        number += 1
    assert number > 60


@WORLDS
def test_a_deletion_that_dies_as_the_run_continues_is_finished_by_the_sweep(name, tmp_path):
    """It dies with the tombstone just made, and the holder that it has overruled creates the run that goes on."""

    class DieOnceBuried(Plan):
        def after(self, call, life):
            if call.method == "bury":
                life.end()

    async def die(world):
        with suppress(Dead):
            await overrule(FaultyWorld(world, OfACaller(DieOnceBuried())))

    def of_the_successor(call):
        return call.method == "create" and call.args[0].continued_from == "run"

    async def main():
        async with played(name, tmp_path / "local.db", die, of_the_successor, "before") as (env, run, watcher, life):
            assert life.happened_so
            assert SECRET in shown(env.world)
            assert [head.status for head in heads(env.world) if head.continued_from] == ["completed"]
            await sweep(env.workers[0].engine)
            await env.run_until_blocked()
            await check_that_all_is_gone(env, run, watcher)

    asyncio.run(main())
