"""The engine of one process: what it keeps warm, what it remembers of outages, how it sends timers; and its keeper."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run
from wdk_cloud import RetryPolicy, Workflows, WorldUnavailableError, get_run, sleep, use_world
from wdk_cloud.engine import outgoing
from wdk_cloud.engine.keeper import Keeper
from wdk_cloud.engine.leasing import FOR_EVER, GRACE, STEP_PATIENCE
from wdk_cloud.engine.orders import decode_order
from wdk_cloud.engine.service import Engine
from wdk_cloud.engine.settings import Settings
from wdk_cloud.engine.sweep import PAGE, sweep
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    import pytest

app = Workflows()
bodies: list[str] = []


@app.workflow
async def naps(name: str) -> str:
    bodies.append(name)
    await sleep("1 hour")
    return name


@app.step(
    dispatch="queue",
    max_retries=5,
    retry=RetryPolicy(delay="1m", backoff=4, max_delay="1h", jitter=0.5),
    timeout="2m",
    cancellable=True,
)
async def elsewhere(what: str) -> str:
    return what


@app.workflow
async def outside() -> str:
    return await elsewhere("x")


@app.workflow
async def waits_for_ever(other: str) -> object:
    return await get_run(other).return_value()


# -- warm bodies ------------------------------------------------------------------------------------------------------


async def bodies_after_an_hour(cached: int, names: str) -> list[str]:
    """Each run naps in one process, in this order; which of their bodies run anew when all go on?"""
    bodies.clear()
    bench = Bench(app, Settings(code_version="1.test", cached_runs=cached))
    for name in names:
        await bench.start(naps, name)
        await bench.work(await bench.receive())
    assert bodies == list(names)
    bodies.clear()
    bench.clock.advance_to(bench.clock.now() + 3600)
    await bench.work_all()
    return sorted(bodies)


def test_a_suspended_body_is_resumed_in_place_and_the_one_that_rested_longest_makes_room() -> None:
    async def test() -> None:
        assert await bodies_after_an_hour(3, "abc") == []
        assert await bodies_after_an_hour(2, "abc") == ["a"]
        assert await bodies_after_an_hour(0, "abc") == ["a", "b", "c"]

    run(test)


def test_bodies_that_are_forgotten_go_on_from_their_logs() -> None:
    async def test() -> None:
        bodies.clear()
        bench = Bench(app)
        started = await bench.start(naps, "a")
        await bench.work(await bench.receive())
        bench.engine.forget_warm()
        bench.clock.advance_to(bench.clock.now() + 3600)
        await bench.work_all()
        assert await bench.result(started) == "a"
        assert bodies == ["a", "a"]

    run(test)


# -- pauses and identities --------------------------------------------------------------------------------------------


def test_pauses_of_an_outage_double_up_to_a_lease_for_each_run_apart_until_it_is_over() -> None:
    engine = Engine(MemoryWorld(VirtualClock()), [app], Settings(code_version="1", lease=10))
    assert [engine.outage_delay(("a", "1")) for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    assert engine.outage_delay(("b", "1")) == 1
    engine.outage_over(("a", "1"))
    assert engine.outage_delay(("a", "1")) == 1
    assert engine.outage_delay(("b", "1")) == 2


def test_no_two_identities_are_alike() -> None:
    world = MemoryWorld(VirtualClock())
    engines = [Engine(world, [app], Settings(code_version="1")) for _ in range(2)]
    identities = {engine.identity() for engine in engines for _ in range(1000)}
    assert len(identities) == 2000
    assert {len(identity) for identity in identities} == {24}


# -- what is sent -----------------------------------------------------------------------------------------------------


def test_a_timer_beyond_the_queues_longest_delay_goes_in_hops() -> None:
    world = MemoryWorld(VirtualClock())
    world.queue.longest_delay = 900.0
    engine = Engine(world, [app], Settings(code_version="1"))
    now = world.clock.now()
    timer = Message(kind="timer", run_id="r", birth="b", identity="i", due=now + 2000)
    hops: list[tuple[float, bool]] = []
    for _ in range(3):
        timer, delay = outgoing.hop(engine, timer)
        hops.append((delay, timer.hop))
        world.clock.advance_to(world.clock.now() + delay)
    assert hops == [(900, True), (900, True), (200, False)]
    assert timer.identity == "i"


def test_a_timer_whose_time_is_over_is_sent_without_delay() -> None:
    world = MemoryWorld(VirtualClock())
    engine = Engine(world, [app], Settings(code_version="1"))
    timer = Message(kind="timer", run_id="r", birth="b", identity="i", due=5.0)
    assert outgoing.hop(engine, timer) == (timer, 0.0)


def test_an_order_carries_all_that_a_worker_needs_to_know_of_the_step() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(outside)
        await bench.work(await bench.receive())
        [message] = await bench.messages()
        assert (message.kind, message.run_id, message.step_id) == ("step", started.run_id, f"{elsewhere.id}#1")
        order = decode_order(message.order)
        assert (order.name, order.workflow, order.run_started) == (elsewhere.id, outside.id, bench.clock.now())
        assert b'"x"' in bytes(order.input)
        assert order.options.timeout_seconds == 120
        assert (order.options.max_retries, order.options.cancellable) == (5, True)
        assert [order.options.retry.pause(n, 1.0) for n in (1, 2, 3, 4, 5)] == [30, 120, 480, 1800, 1800]

    run(test)


# -- the sweep --------------------------------------------------------------------------------------------------------


def test_a_release_says_by_when_something_should_have_happened() -> None:
    async def test() -> None:
        bench = Bench(app)
        napping = await bench.start(naps, "a")
        away = await bench.start(outside)
        waiting = await bench.start(waits_for_ever, napping.run_id)
        for _ in range(3):
            await bench.work(await bench.receive())
        now = bench.clock.now()
        assert [(await bench.head(one)).wake_by for one in (napping, away, waiting)] == [
            *(now + 3600 + GRACE, now + STEP_PATIENCE, FOR_EVER)
        ]

    run(test)


def test_the_sweep_wakes_runs_that_are_overdue_and_held_by_nobody() -> None:
    async def test() -> None:
        bench = Bench(app)
        overdue, held, early = [await bench.start(naps, name) for name in "abc"]
        for _ in range(3):
            await bench.receive()
        bench.clock.advance_to(bench.clock.now() + 301)
        head, now = await bench.head(held), bench.clock.now()
        await bench.world.runs.acquire(head.run_id, head.birth, identity="i", provider_id="p", now=now, until=now + 30)
        late = await bench.head(early)
        lease: Any = await bench.world.runs.acquire(
            late.run_id, late.birth, identity="j", provider_id="p", now=now, until=now + 30
        )
        await bench.world.runs.change(
            late.run_id, late.birth, {"holder": None, "wake_by": now + 1}, holder="j", fence=lease.head.fence
        )
        assert await sweep(bench.engine) == 1
        sent = [message for message in await bench.messages() if message.kind == "sweep"]
        assert [message.run_id for message in sent] == [overdue.run_id]

    run(test)


def test_one_sweep_wakes_a_page_of_runs_and_the_next_goes_on() -> None:
    async def test() -> None:
        bench = Bench(app)
        for n in range(PAGE + 5):
            await bench.start(naps, str(n))
        bench.clock.advance_to(bench.clock.now() + 301)
        assert await sweep(bench.engine) == PAGE
        await bench.work_all()
        assert await sweep(bench.engine) == 0  # the first messages were not lost after all

    run(test)


# -- the keeper -------------------------------------------------------------------------------------------------------


class Renewed:
    def __init__(self, renew_after: float, error: Exception | None = None) -> None:
        self.renew_after = renew_after
        self.renewed = 0
        self.error = error

    def renew(self) -> None:
        self.renewed += 1
        if self.error is not None:
            raise self.error


def test_the_keeper_renews_what_is_due_and_goes_on_when_one_cannot_be(caplog: pytest.LogCaptureFixture) -> None:
    world = MemoryWorld(VirtualClock())
    keeper = Keeper(world, Settings())
    outage, bug = Renewed(5.0, WorldUnavailableError("gone")), Renewed(5.0, KeyError("bug"))
    due, early = Renewed(5.0), Renewed(50.0)
    for one in (outage, bug, due, early):
        keeper.keep(one)
    for _ in range(2):
        world.clock.advance_to(world.clock.now() + 5)
    assert [one.renewed for one in (outage, bug, due, early)] == [2, 2, 2, 0]
    assert sorted(bool(record.exc_info) for record in caplog.records) == [False, False, True, True]
    keeper.drop(due)
    world.clock.advance_to(world.clock.now() + 5)
    assert due.renewed == 2
    keeper.close()
    world.clock.advance_to(world.clock.now() + 60)
    assert (outage.renewed, early.renewed) == (3, 0)


# -- leases -----------------------------------------------------------------------------------------------------------


class Watched(Plan):
    def __init__(self) -> None:
        self.renewals: list[float] = []

    def before(self, call: Call, life: Life) -> None:
        if call.method == "renew":
            self.renewals.append(call.kwargs["until"])


gate = asyncio.Event()


@app.step(dispatch="inline")
async def gated() -> None:
    began.set()
    await gate.wait()


began = asyncio.Event()


@app.workflow
async def long_step() -> None:
    await gated()


def test_a_lease_is_renewed_when_a_third_of_it_is_over_with_the_messages_invisibility() -> None:
    async def test() -> None:
        global gate, began
        gate, began = asyncio.Event(), asyncio.Event()
        bench, watched = Bench(app), Watched()
        started = await bench.start(long_step)
        delivery = await bench.receive()
        engine = Engine(FaultyWorld(bench.world, Life(watched)), [app], bench.settings)
        task = asyncio.create_task(bench.work(delivery, engine))
        await began.wait()
        begun = bench.clock.now()
        for _ in range(40):
            bench.clock.advance_to(bench.clock.now() + 1)
        assert watched.renewals == [begun + 10 + 30, begun + 20 + 30, begun + 30 + 30, begun + 40 + 30]
        assert (await bench.head(started)).until == begun + 70
        entries: Any = vars(bench.world.queue)["_entries"]
        assert entries[delivery.provider_id].ticket[0] == begun + 40 + 60
        gate.set()
        assert await task

    run(test)


def test_a_renewal_that_finds_dirty_wakes_the_turn() -> None:
    async def test() -> None:
        global gate, began
        gate, began = asyncio.Event(), asyncio.Event()
        bench = Bench(app)
        started = await bench.start(long_step)
        task = asyncio.create_task(bench.work(await bench.receive()))
        await began.wait()
        with use_world(bench.world):
            await started.cancel()
        head = await bench.head(started)
        assert head.holder is not None
        assert await bench.world.runs.mark_dirty(head.run_id, head.birth, holder=head.holder, fence=head.fence)
        bench.clock.advance_to(bench.clock.now() + 11)
        while not (await bench.head(started)).ended:
            await asyncio.sleep(0)
        assert (await bench.head(started)).status == "cancelled"
        gate.set()
        assert await task

    run(test)


def test_a_copy_of_a_message_is_the_same_message_delayed_as_far_as_the_queue_can() -> None:
    async def test() -> None:
        bench = Bench(app)
        bench.world.queue.longest_delay = 900.0
        original = Message(kind="wake", run_id="r", birth="b", identity="i")
        for delay in (-5.0, 60.0, 5000.0):
            await outgoing.send_copy(bench.engine, original, delay)
        assert await bench.messages() == [original] * 3
        entries: Any = vars(bench.world.queue)["_entries"].values()
        assert [entry.ticket[0] - bench.clock.now() for entry in entries] == [0, 60, 900]
        assert msgspec.structs.asdict(original)["identity"] == "i"

    run(test)
