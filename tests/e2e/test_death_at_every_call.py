"""A worker dies just before, or just after, any of its calls on the world; another one takes over and nothing shows.

Each canonical runs undisturbed once, which counts the calls of its worker. Then it runs twice for each of them: once
with a death just before it and once with one just after it. A fresh worker finishes what was left, without a sweep.
On `local` each worker has the file open as a process of its own: after a death, what it held is free at once.
"""

import asyncio
from collections import Counter

import pytest

from tests.canonical import CANONICALS, Canonical, Ended, how_it_ended, journal
from tests.costs import calls_of
from tests.faults import DieAt, Life
from tests.histories import (
    Play,
    begun_by_name,
    begun_by_step,
    check_bodies,
    check_one_history,
    fixed_draws,
    lost_its_last_attempt,
    read_log,
    watch,
)
from tests.poured import check_streams
from wdk_cloud.engine import events as ev
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld

MEMORY = lambda path: MemoryWorld(VirtualClock())  # noqa: E731
LOCAL = lambda path: LocalWorld(path, clock=VirtualClock())  # noqa: E731


def play(canonical, make_world, path, deaths=()):
    """Play it with one worker after the other; each but the last dies. Returns how the lives went."""

    async def main():
        journal.clear()
        world = make_world(path)
        await world.open()
        try:
            with fixed_draws():
                play = Play(canonical, world)
                await play.begin()
                lives = []
                for plan in (*deaths, None):
                    lives.append(Life(plan, watch))
                    await play.serve(lives[-1])
                await judge(canonical, play, died=bool(deaths))
            return lives
        finally:
            await world.close()

    return asyncio.run(main())


async def judge(canonical: Canonical, play: Play, died: bool):
    head, batches = await read_log(play.world, play.run.run_id)
    assert head.ended, f"stranded: {head}"
    events = check_one_history(head, batches)
    for event in events:
        if type(event) is ev.OperationCompleted and event.id == "start#1":
            await judge_chain(play, bytes(event.result).decode().strip('"'))
    if head.continued_to is not None:
        head, events = await judge_chain(play, head.continued_to)
    # On a file the writes of a worker that has died may be on their way: they happen, and nobody notes them.
    check_bodies(all_noted=not died or isinstance(play.world, MemoryWorld))
    expected = canonical.ends
    if died and canonical.when_interrupted is not None and lost_its_last_attempt(events):
        expected = canonical.when_interrupted
    ended = await ended_as(play)
    assert ended == expected or (died and ended == canonical.when_cut_short)
    await check_streams(canonical, play.world, play.run.run_id)
    labels = await play.world.runs.labels(head.run_id, head.birth)
    assert labels.values == dict(canonical.labels)
    if not died:
        assert begun_by_name() == Counter(canonical.bodies)


async def judge_chain(play: Play, run_id: str):
    """The last of the runs from this one on."""
    while True:
        head, batches = await read_log(play.world, run_id)
        events = check_one_history(head, batches)
        assert head.ended, f"stranded: {head}"
        if head.continued_to is None:
            return head, events
        run_id = head.continued_to


async def ended_as(play: Play) -> Ended:
    from wdk_cloud.world.opening import use_world

    with use_world(play.world):
        return await how_it_ended(play.run)


def deaths_of(life):
    """Just before each call, and just after each that was answered."""
    for number in range(1, life.calls + 1):
        yield DieAt(number, "before")
        if number in life.answered:
            yield DieAt(number, "after")


def a_death_at_every_call(canonical, make_world, path):
    """Returns how many deaths there were."""
    (undisturbed,) = play(canonical, make_world, path(0))
    once = begun_by_step()
    deaths = list(deaths_of(undisturbed))
    for count, death in enumerate(deaths, 1):
        try:
            first, _ = play(canonical, make_world, path(count), [death])
            assert first.dead, "the run took another way than the undisturbed one"
            again = {id: n - once[id] for id, n in begun_by_step().items() if n > once[id]}
            assert all(n == 1 for n in again.values()), f"bodies began again more than once: {again}"
        except BaseException as error:
            error.add_note(f"{canonical.name}: {death}, of {undisturbed.calls} calls")
            raise
    return len(deaths)


def deaths_to_die(world_name, canonical):
    """Two for each call that is answered, and one before the `receive` that waits in vain at the end."""
    return 2 * len(calls_of(world_name, canonical.name)) + 1


@pytest.mark.parametrize("canonical", CANONICALS, ids=lambda canonical: canonical.name)
def test_on_memory_no_death_of_the_worker_shows(canonical):
    died = a_death_at_every_call(canonical, MEMORY, lambda _: None)
    assert died == deaths_to_die("memory", canonical)


@pytest.mark.parametrize("canonical", CANONICALS, ids=lambda canonical: canonical.name)
def test_on_local_no_death_of_the_worker_shows(canonical, tmp_path):
    died = a_death_at_every_call(canonical, LOCAL, lambda number: tmp_path / f"{number}.db")
    assert died == deaths_to_die("local", canonical)
