"""What the memory world promises beyond the ports: any number of event loops and threads, and a bound to its queue."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.records import BIRTH, LATER, RUN, STEP, UNTIL, a_batch, a_head, a_message, claim, started
from wdk_cloud.world.clock import SystemClock, VirtualClock
from wdk_cloud.world.memory import MemoryWorld, open_world
from wdk_cloud.world.memory.bell import Bell
from wdk_cloud.world.ports import Delivery, Lease


def test_a_world_opened_by_its_settings_runs_on_the_machines_clock() -> None:
    world = open_world("blue")
    assert (world.name, world.namespace) == ("memory", "blue")
    assert isinstance(world.clock, SystemClock)


async def test_two_worlds_share_nothing() -> None:
    one, two = MemoryWorld(), MemoryWorld()
    await one.runs.create(a_head())
    assert await two.runs.head(RUN) is None


async def test_a_world_that_is_closed_keeps_what_it_has() -> None:
    world = MemoryWorld()
    await world.open()
    await world.runs.create(a_head())
    await world.close()
    assert await world.runs.head(RUN) == a_head()


async def test_a_delay_beyond_the_longest_is_refused_before_anything_is_sent() -> None:
    world = MemoryWorld(VirtualClock(), longest_delay=900.0)
    with pytest.raises(ValueError, match=r"run-1: this queue delays by 900\.0 s at most, not 901\.0 s"):
        await world.queue.send([(a_message("a"), 0.0), (a_message("b"), 901.0)])
    assert world.receiver is not None
    assert not world.receiver.busy()
    world.queue.longest_delay = 1_000.0
    await world.queue.send([(a_message("b"), 901.0)])
    assert world.scoped("blue").queue.longest_delay == 900.0


async def test_the_time_of_invisibility_is_the_worlds_setting() -> None:
    clock = VirtualClock()
    world = MemoryWorld(clock, visibility=7.0)
    assert world.receiver is not None
    await world.queue.send([(a_message("m"), 0.0)])
    await world.receiver.receive(1)
    waiting = asyncio.create_task(world.receiver.receive(1))
    await asyncio.sleep(0)
    clock.advance_to(clock.now() + 6.999)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance_to(clock.now() + 0.001)
    assert [delivery.again for delivery in await waiting] == [True]


async def test_a_receiver_on_another_event_loop_is_woken() -> None:
    world = MemoryWorld(VirtualClock())
    loop = asyncio.get_running_loop()
    looking = asyncio.Event()

    async def elsewhere() -> list[Delivery]:
        assert world.receiver is not None
        receiving = asyncio.create_task(world.receiver.receive(1))
        await asyncio.sleep(0)
        loop.call_soon_threadsafe(looking.set)
        return await receiving

    other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await looking.wait()
    await world.queue.send([(a_message("m"), 0.0)])
    assert [delivery.message.identity for delivery in await other] == ["m"]


async def test_a_subscription_on_another_event_loop_is_told() -> None:
    world = MemoryWorld()
    loop = asyncio.get_running_loop()
    looking = asyncio.Event()
    await started(world.runs)

    async def elsewhere() -> bool:
        subscription = world.subscribe(RUN)
        waiting = asyncio.ensure_future(subscription.wait(20.0))
        await asyncio.sleep(0)
        loop.call_soon_threadsafe(looking.set)
        return await waiting

    other = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
    await looking.wait()
    await world.runs.change(RUN, BIRTH, {"status": "completed"}, holder="message-1", fence=1)
    assert await other is True


def test_who_listened_on_an_event_loop_that_is_gone_disturbs_nobody() -> None:
    bell = Bell()

    async def listen() -> asyncio.Future[None]:
        return bell.listen()

    async def ring() -> None:
        here = bell.listen()
        bell.ring()
        assert here.done()

    gone = asyncio.run(listen())
    asyncio.run(ring())
    assert not gone.done()


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Switch threads as often as the interpreter can, so that what is not atomic shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless_threads")
def test_workers_on_many_threads_write_one_story() -> None:
    world = MemoryWorld(VirtualClock())
    barrier = threading.Barrier(8)

    async def work(number: int) -> tuple[int, int, int, int]:
        """How often this one won: creations, appends, leases, claims."""
        barrier.wait()
        won = [0, 0, 0, 0]
        for turn in range(100):
            run_id = f"run-{turn}"
            await world.runs.create(a_head(run_id))
            won[0] += await world.runs.create(a_head(run_id, birth=f"b{number}")) is None
            won[1] += await world.runs.append(run_id, BIRTH, a_batch(1, nonce=f"n{number}")) is None
            answer = await world.runs.acquire(
                run_id, BIRTH, identity=f"m{number}", provider_id="p", now=0.0, until=UNTIL
            )
            won[2] += isinstance(answer, Lease)
            claimed, _ = await world.runs.claim_step(
                run_id, BIRTH, STEP, identity=f"m{number}", provider_id="p", now=0.0, until=UNTIL
            )
            won[3] += claimed
            await world.runs.retire(run_id, BIRTH, f"p{number}")
        return won[0], won[1], won[2], won[3]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: asyncio.run(work(number)), range(8)))
    assert [sum(column) for column in zip(*answers, strict=True)] == [0, 100, 100, 100]

    async def look() -> None:
        for turn in range(100):
            head = await world.runs.head(f"run-{turn}")
            assert head is not None
            assert (head.fence, sorted(head.retired)) == (1, [f"p{number}" for number in range(8)])

    asyncio.run(look())


async def test_the_claim_of_a_step_is_renewed_beside_the_loop() -> None:
    world = MemoryWorld(VirtualClock())
    await claim(world.runs)
    await asyncio.gather(
        *(
            asyncio.to_thread(
                world.runs.renew_step, RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER + number
            )
            for number in range(8)
        ),
        *(world.runs.retire_step(RUN, BIRTH, STEP, f"p{number}") for number in range(8)),
    )
    item = await world.runs.step(RUN, BIRTH, STEP)
    assert item is not None
    assert item.until in {LATER + number for number in range(8)}
    assert len(item.retired) == 8


async def test_what_waits_for_its_time_outlasts_a_queue_that_works_long() -> None:
    clock = VirtualClock()
    world = MemoryWorld(clock)
    assert world.receiver is not None
    await world.queue.send([(a_message(f"late-{number}"), 60.0) for number in range(5)])
    for number in range(2_000):
        await world.queue.send([(a_message(f"m{number}"), 0.0)])
        (delivery,) = await world.receiver.receive(1)
        world.queue.extend(delivery, 30.0)
        await world.receiver.acknowledge(delivery)
    assert not world.receiver.busy()
    clock.advance_to(clock.now() + 60.0)
    late = await world.receiver.receive(10)
    assert [delivery.message.identity for delivery in late] == [f"late-{number}" for number in range(5)]
