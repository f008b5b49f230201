"""The harness of the death tests: a death is a hard stop, whoever of the worker goes on asking."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

from tests.contract.records import (
    BIRTH,
    NOW,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_message,
    a_token,
    an_item,
    claim,
    take,
    taken,
)
from tests.faults import Dead, DieAt, FaultyWorld, Life, a_process_of
from tests.histories import all_that_lies_in
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Labels, Lease

WORLDS = {
    "memory": lambda folder: MemoryWorld(VirtualClock(NOW)),
    "local": lambda folder: LocalWorld(folder / "wdk.db", clock=VirtualClock(NOW)),
}


@pytest.fixture(params=WORLDS)
def world(request, tmp_path):
    return WORLDS[request.param](tmp_path)


@pytest.fixture
def file(tmp_path):
    return WORLDS["local"](tmp_path)


def on(world, story):
    async def main():
        await world.open()
        try:
            async with asyncio.timeout(30):
                await story(world)
        finally:
            await world.close()

    asyncio.run(main())


@asynccontextmanager
async def a_worker(world, plan=None, watch=None):
    """A life on the world with one task in it, which the caller fills: what it does, it does as a worker."""
    life = Life(plan, watch)
    async with a_process_of(world, life) as own:
        yield life, FaultyWorld(own, life)
        await life.mourn()


async def of_the_worker(work):
    """Run it in a task that does not survive its worker."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task])
    return None if task.cancelled() else task.exception()


# -- a hard stop ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("moment", "there"), [("before", []), ("after", ["fatal"])])
def test_the_fatal_call_happens_or_not_and_what_a_finally_asks_for_reaches_nothing(world, moment, there):
    async def story(world):
        async with a_worker(world, DieAt(1, moment)) as (life, own):

            async def work():
                try:
                    await own.runs.put_item(RUN, BIRTH, an_item("fatal"))
                finally:
                    await own.runs.put_item(RUN, BIRTH, an_item("from finally"))

            assert isinstance(await of_the_worker(work()), Dead | None)
            assert life.dead
        assert [item.key for item in await world.runs.items(RUN, BIRTH)] == there

    on(world, story)


def test_other_tasks_of_the_worker_stop_where_they_are(world):
    async def story(world):
        async with a_worker(world, DieAt(1, "before")) as (_, own):
            at_rest = asyncio.Event()

            async def other():
                at_rest.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    await own.queue.send([(a_message("too late"), 0.0)])

            task = asyncio.ensure_future(other())
            await at_rest.wait()
            await of_the_worker(own.runs.put_item(RUN, BIRTH, an_item("fatal")))
            await asyncio.wait([task])
            assert isinstance(task.exception(), Dead)
        assert not world.receiver.busy()

    on(world, story)


def test_a_thread_of_the_worker_writes_nothing_any_more(world):
    async def story(world):
        assert await world.runs.create(a_head()) is None
        async with a_worker(world, DieAt(2, "before")) as (_, own):
            lease = await own.runs.acquire(RUN, BIRTH, identity="message-1", provider_id="p", now=NOW, until=UNTIL)
            assert isinstance(lease, Lease)
            await of_the_worker(own.runs.put_item(RUN, BIRTH, an_item("fatal")))

            def renew():
                with pytest.raises(Dead):
                    own.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=UNTIL + 100)

            await asyncio.to_thread(renew)
        head = await world.runs.head(RUN)
        assert head.until == UNTIL

    on(world, story)


def test_a_death_waits_for_the_call_that_a_thread_is_making(world):
    """So that it has happened before the death, and not after it."""

    async def story(world):
        assert await world.runs.create(a_head()) is None
        renewing, looked = threading.Event(), threading.Event()

        def watch(call, answer):
            if call.method == "renew":
                renewing.set()
                assert looked.wait(10)

        async with a_worker(world, watch=watch) as (life, own):
            await own.runs.acquire(RUN, BIRTH, identity="message-1", provider_id="p", now=NOW, until=UNTIL)
            thread = threading.Thread(
                target=own.runs.renew, args=(RUN, BIRTH), kwargs={"holder": "message-1", "fence": 1, "until": UNTIL}
            )
            thread.start()
            assert await asyncio.to_thread(renewing.wait, 10)
            assert not life.may_end()
            looked.set()
            await asyncio.to_thread(thread.join)
            assert life.may_end()

    on(world, story)


def test_what_waits_for_its_group_when_the_worker_dies_is_lost(file):
    async def story(world):
        async with a_worker(world, DieAt(3, "before")) as (life, own):
            grouped = [
                asyncio.ensure_future(own.runs.put_item(RUN, BIRTH, an_item("waits"))),
                asyncio.ensure_future(asyncio.shield(own.runs.put_item(RUN, BIRTH, an_item("waits behind a shield")))),
                asyncio.ensure_future(own.runs.put_item(RUN, BIRTH, an_item("fatal"))),
            ]
            await asyncio.wait(grouped)
            assert (life.dead, life.calls) == (True, 3)
        assert await world.runs.items(RUN, BIRTH) == []

    on(file, story)


def test_what_a_worker_of_a_file_held_is_free_when_it_is_dead_and_not_before(file):
    async def story(world):
        assert await world.runs.create(a_head()) is None
        await world.queue.send([(a_message("message-1"), 0.0)])
        async with a_worker(world, DieAt(3, "before")) as (life, own):
            [delivery] = await own.receiver.receive(1)
            await own.runs.acquire(RUN, BIRTH, identity="message-1", provider_id="p", now=NOW, until=UNTIL)
            async with a_worker(world) as (_, next_one):
                assert not isinstance(await take(next_one.runs, "message-2"), Lease)
                await of_the_worker(own.runs.put_item(RUN, BIRTH, an_item("fatal")))
                [again] = await next_one.receiver.receive(1)
                assert (again.message, again.again) == (delivery.message, True)
                assert (await taken(next_one.runs, "message-2")).unclean
            assert life.dead

    on(file, story)


# -- and it is looked for ---------------------------------------------------------------------------------------------


async def send(world):
    await world.queue.send([(a_message("message-1"), 0.0)])


async def receive(world):
    await send(world)
    yield
    [delivery] = await world.receiver.receive(1)
    yield
    world.queue.extend(delivery, 90.0)
    yield
    await world.receiver.put_back(delivery, 0.0)
    yield
    [delivery] = await world.receiver.receive(1)
    yield
    await world.receiver.acknowledge(delivery)


async def writes(world):
    """Each kind of write; pauses after each."""
    runs = world.runs
    await runs.create(a_head())
    yield
    await taken(runs)
    yield
    runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=UNTIL + 1)
    yield
    await runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1)
    yield
    await runs.change(RUN, BIRTH, {"dirty": False}, holder="message-1", fence=1)
    yield
    await runs.retire(RUN, BIRTH, "provider-2")
    yield
    await runs.append(RUN, BIRTH, a_batch(1))
    yield
    await runs.put_item(RUN, BIRTH, an_item("one"))
    yield
    await runs.drop_items(RUN, BIRTH, ["one"])
    yield
    await claim(runs)
    yield
    runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=UNTIL + 1)
    yield
    await runs.cancel_step(RUN, BIRTH, STEP)
    yield
    await runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")
    yield
    await runs.put_labels(RUN, BIRTH, Labels(values={"a": "b"}, position=1))
    yield
    await runs.claim_token(a_token())
    yield
    await world.blobs.put_blob(RUN, BIRTH, "name", b"data")
    yield
    async for _ in receive(world):
        yield


def test_every_write_of_a_worker_shows_in_all_that_lies_in_its_world(world):
    async def story(world):
        async with a_worker(world) as (_, own):
            before = all_that_lies_in(world)
            number = 0
            async for _ in writes(own):
                number += 1
                after = all_that_lies_in(world)
                assert after != before, f"write {number} does not show"
                before = after
            assert number == 21

    on(world, story)
