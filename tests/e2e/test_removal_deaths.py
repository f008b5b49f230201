"""Whoever removes a run dies in the middle of it: a second deletion or the sweep does the rest."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys

import pytest

from tests.e2e.graves import DAY, SECRET, check_bytes, check_graves, shown
from tests.e2e.test_removal import WORLDS, app, begun, days, deletes, rolls, sleeps, watches
from tests.faults import Dead, DieAt, FaultyWorld, Life, OfACaller, a_process_of
from tests.histories import SETTINGS
from wdk_cloud import get_run, list_runs, worker
from wdk_cloud.engine import erasure
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world

RETENTION = 30 * DAY


def at_every_call(one):
    """`one(number, moment)` plays a life that ends there, for every call; returns how many have ended."""
    number, deaths = 1, 0
    while True:
        try:
            lives = [asyncio.run(one(number, moment)) for moment in ("before", "after")]
        except BaseException as error:
            error.add_note(f"a death at call {number}")
            raise
        if not lives[0].dead:
            return deaths
        deaths += sum(life.dead for life in lives)
        number += 1


# -- who calls delete -------------------------------------------------------------------------------------------------


async def dies_while_deleting(env, run, death):
    """Delete the run as somebody who dies at that call; returns the life."""
    life = OfACaller(death)
    with use_world(FaultyWorld(env.world, life)), contextlib.suppress(Dead):
        await run.delete()
    return life


@WORLDS
@pytest.mark.parametrize("healed", ["deleted again", "swept"])
@pytest.mark.parametrize("workflow", [sleeps, rolls], ids=["one run", "a chain"])
def test_a_death_at_any_call_of_a_deletion_leaves_nothing_half_erased(workflow, healed, name, tmp_path):
    arguments = (SECRET, 100) if workflow is sleeps else (9,)

    async def one(number, moment):
        async with workflow_env(name, app, path=tmp_path / f"{number}{moment}.db") as env:
            run = await env.start(workflow, *arguments)
            watcher = await env.start(watches, run.run_id)
            await env.advance(30 * DAY)
            life = await dies_while_deleting(env, run, DieAt(number, moment))
            if healed == "deleted again":
                await run.delete()
            else:
                await days(env, 1)
                if await run.exists():
                    # Nothing of this run has been written: it goes on, or what it led to is gone.
                    assert (await env.world.runs.head(run.run_id)).workflow == workflow.id
                    await run.delete()
            assert {info.status for info in await list_runs() if info.run_id != watcher.run_id} == {"deleted"}
            check_graves(env.world)
            assert SECRET not in shown(env.world)
            check_bytes(env.world, SECRET)
            assert await env.run_to_end(watcher) == "gone"
            return life

    assert at_every_call(one) >= 8


# -- the sweep --------------------------------------------------------------------------------------------------------


@WORLDS
def test_a_death_at_any_call_of_the_removal_by_the_sweep_is_made_up_for_by_the_next(name, tmp_path):
    async def one(number, moment):
        async with workflow_env(name, app, path=tmp_path / f"{number}{moment}.db") as env:
            run = await env.start(sleeps, SECRET, 1)
            chain = await env.start(rolls, 1)
            for _ in range(2):
                await env.advance(35 * DAY)
                await env.run_until_blocked()
            assert {await run.status(), await chain.status()} == {"completed"}
            life = OfACaller(DieAt(number, moment))
            with contextlib.suppress(Dead):
                await erasure.remove_expired(FaultyWorld(env.world, life), 20 * DAY)
            await erasure.remove_expired(env.world, 20 * DAY)
            assert len(check_graves(env.world)) == 3
            assert SECRET not in shown(env.world)
            check_bytes(env.world, SECRET)
            return life

    assert at_every_call(one) >= 16


# -- a worker whose body deletes --------------------------------------------------------------------------------------


@WORLDS
def test_a_death_at_any_call_of_a_worker_whose_body_deletes_a_run_leaves_nothing_of_that(name, tmp_path):
    async def serve(env, life):
        async with a_process_of(env.world, life) as own:
            async with worker(app, world=FaultyWorld(own, life), settings=SETTINGS) as workers:
                env.workers = workers
                while not life.dead and (await get_run("deletes").status()) != "completed":
                    await env.settle()
                    due = env.clock.next_due()
                    if not life.dead and due is not None and all(one.idle for one in workers):
                        with contextlib.suppress(Dead):
                            env.clock.advance_to(due)
            await life.mourn()

    async def one(number, moment):
        async with workflow_env(name, app, path=tmp_path / f"{number}{moment}.db", start_worker=False) as env:
            run = await env.start(sleeps, SECRET, 100)
            async with worker(app, settings=SETTINGS) as env.workers:
                await env.run_until_blocked()
            await env.start(deletes.with_options(run_id="deletes"), run.run_id)
            life = Life(DieAt(number, moment))
            await serve(env, life)
            if life.dead:
                await serve(env, Life())
            assert await get_run("deletes").return_value(timeout=5) is False
            assert check_graves(env.world) == {run.run_id}
            assert SECRET not in shown(env.world)
            check_bytes(env.world, SECRET)
            return life

    assert at_every_call(one) >= 20


# -- SIGKILL ----------------------------------------------------------------------------------------------------------


def delete_elsewhere(path, run_id, moment):
    """Another process deletes the run, and kills itself then; returns how it ended."""
    command = [sys.executable, "-m", "tests.e2e.erasing", str(path), run_id, str(moment)]
    return subprocess.run(command, capture_output=True, check=False)


async def a_sleeping_run(path):
    async with workflow_env("local", app, path=path) as env:
        run = await env.start(sleeps, SECRET, 100)
        await env.run_until_blocked()
        return run.run_id


async def heal(path, run_id, moment, healed):
    """Finish what the killed process has left."""
    async with workflow_env(LocalWorld(path, clock=VirtualClock()), app) as env:
        run = get_run(run_id)
        if healed == "swept":
            await erasure.remove_expired(env.world, RETENTION)
        if healed == "deleted again" or await run.exists():
            await run.delete()
        assert check_graves(env.world) == {run_id}
        assert SECRET not in shown(env.world), f"killed at {moment}"
        check_bytes(env.world, SECRET, SECRET[:9])


@pytest.mark.parametrize("healed", ["deleted again", "swept"])
def test_a_process_that_is_killed_at_any_call_of_a_deletion_leaves_nothing_half_erased(healed, tmp_path):
    begun.clear()
    run_id = asyncio.run(a_sleeping_run(tmp_path / "whole.db"))
    assert begun == ["echo", "echo"]
    calls, moment = 0, 1
    moments = []
    while not calls:
        path = tmp_path / f"{moment}.db"
        shutil.copy(tmp_path / "whole.db", path)
        ended = delete_elsewhere(path, run_id, moment)
        if ended.returncode == 0:
            calls = int(ended.stdout)
            assert moments == [*range(1, calls + 1)]
        else:
            assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
            moments.append(moment)
        asyncio.run(heal(path, run_id, moment, healed))
        moment += 1
    assert calls >= 4


@pytest.mark.parametrize("healed", ["deleted again", "swept"])
def test_a_process_that_is_killed_before_the_write_ahead_log_is_folded_leaves_no_old_pages(healed, tmp_path):
    path = tmp_path / "folding.db"
    run_id = asyncio.run(a_sleeping_run(path))
    ended = delete_elsewhere(path, run_id, "folding")
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    asyncio.run(heal(path, run_id, "folding", healed))
