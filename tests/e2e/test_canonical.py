"""What the canonical workflows cost and what they leave in their logs, call by call and event by event."""

import asyncio
from collections import Counter

import pytest

from tests.canonical import CANONICALS, how_it_ended, journal
from tests.costs import LOG, LOGS_OF_THE_CHILD, calls_of, unfold
from tests.faults import Life
from tests.histories import Play, begun_by_name, fixed_draws
from wdk_cloud import get_run, list_runs
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world

WORLDS = {
    "memory": lambda folder: MemoryWorld(VirtualClock()),
    "local": lambda folder: LocalWorld(folder / "wdk.db", clock=VirtualClock()),
}


async def log_of(run):
    return [event.type async for event in run.events()]


def playing(canonical, world):
    """Play it undisturbed: the methods that its worker called, the log of its run and of the child, how it ended."""

    async def main():
        journal.clear()
        calls = []
        await world.open()
        try:
            with fixed_draws(), use_world(world):
                play = Play(canonical, world)
                await play.begin()
                await play.serve(Life(watch=lambda call, answer: calls.append(call.method)))
                log = await log_of(play.run)
                infos = [info for info in await list_runs() if info.parent == play.run.run_id]
                infos.sort(key=lambda info: info.continued_from is not None)  # all began at the same time
                children = [await log_of(get_run(info.run_id)) for info in infos]
                return calls, log, children, await how_it_ended(play.run)
        finally:
            await world.close()

    return asyncio.run(main())


def test_there_is_a_canonical_of_each_kind_of_waiting():
    assert [canonical.name for canonical in CANONICALS] == list(LOG)


@pytest.mark.parametrize("world_name", WORLDS)
@pytest.mark.parametrize("canonical", CANONICALS, ids=lambda canonical: canonical.name)
def test_a_canonical_makes_its_calls_and_writes_its_events_and_no_other(canonical, world_name, tmp_path):
    calls, log, children, ended = playing(canonical, WORLDS[world_name](tmp_path))
    assert Counter(calls) == Counter(calls_of(world_name, canonical.name))
    assert log == unfold(LOG[canonical.name])
    assert children == [unfold(log) for log in LOGS_OF_THE_CHILD.get(canonical.name, [])]
    assert ended == canonical.ends
    assert begun_by_name() == Counter(canonical.bodies)
