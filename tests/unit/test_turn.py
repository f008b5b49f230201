"""docs/protocol.md, steps 3 to 9 and the end of a run: what a turn writes and sends, in which order, and what a turn of
another process makes of what it left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run, until
from wdk_cloud import (
    CorruptedEventLogError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    Workflows,
    WorldUnavailableError,
    get_run,
    sleep,
    start,
)
from wdk_cloud.codec.sealing import pack
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.inbox import StepEnd, encode_item
from wdk_cloud.engine.service import Engine
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Batch, InboxItem, Message, RunQuery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from wdk_cloud.client import Run
    from wdk_cloud.world.ports import Delivery, Head

app = Workflows()
ran: list[str] = []
gates: dict[str, asyncio.Event] = {}


@app.step
async def note(what: str) -> str:
    ran.append(what)
    return what


@app.step
async def gated(what: str) -> str:
    ran.append(what)
    await gates[what].wait()
    return what


@app.step(dispatch="queue")
async def elsewhere(what: str) -> str:
    ran.append(what)
    return what


@app.workflow
async def naps() -> str:
    await note("before")
    await sleep("1 hour")
    return await note("after")


@app.workflow
async def waits_for(what: str) -> str:
    return await gated(what)


@app.step(cancellable=True)
async def for_ever() -> None:
    ran.append("for ever")
    await asyncio.Event().wait()


@app.workflow
async def naps_then_waits_for_ever() -> None:
    await sleep("1 hour")
    await asyncio.gather(for_ever(), gated("here"))


@app.workflow
async def outside() -> str:
    return await elsewhere("outside")


@app.workflow
async def naps_then_outside() -> str:
    await sleep("1 hour")
    return await elsewhere("outside")


@app.workflow
async def parent(what: str) -> str:
    child = await start(waits_for, what)
    return "child: " + await child.return_value()


@pytest.fixture(autouse=True)
def _clean() -> None:
    ran.clear()
    gates.clear()


# -- means ------------------------------------------------------------------------------------------------------------


class Calls(Plan):
    """Notes what a worker asks of its world, with what matters of the arguments."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def before(self, call: Call, life: Life) -> None:
        match call.method, call.args:
            case "append", (_, _, Batch() as batch):
                self.made += [str(e.__struct_config__.tag) for e in ev.decode_batch(batch.data, "", batch.at).events]
            case "send", (messages,):
                self.made += [f"send {message.kind}" for message, _ in messages]
            case "change", (_, _, fields):
                self.made.append("release" if "holder" in fields else f"change {' '.join(sorted(fields))}")
            case _:
                self.made.append(call.method)


class Fails(Plan):
    """Calls of these methods meet an outage while it lasts."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods
        self.lasts = True

    def before(self, call: Call, life: Life) -> None:
        if self.lasts and call.method in self.methods:
            raise WorldUnavailableError(f"{call.method}: the network is gone")


class SlowToRefuse(Plan):
    """The answer to the second `acquire` takes two leases; meanwhile whoever holds one renews it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._asked = 0

    def after(self, call: Call, life: Life) -> None:
        self._asked += call.method == "acquire"
        if (call.method, self._asked) == ("acquire", 2):
            self._bench.clock.advance_to(self._bench.clock.now() + 2 * self._bench.engine.lease)


class Between:
    """A store in which something happens just before the first call of one method."""

    def __init__(self, store: Any, method: str, act: Callable[[], Awaitable[Any]]) -> None:
        self._store = store
        self._method = method
        self._acts = [act]

    def __getattr__(self, name: str) -> Any:
        there = getattr(self._store, name)
        if name != self._method:
            return there

        async def call(*args: Any, **kwargs: Any) -> Any:
            while self._acts:
                await self._acts.pop()()
            return await there(*args, **kwargs)

        return call


def process(bench: Bench, plan: Plan | None = None) -> Engine:
    """Another process, whose calls pass the plan."""
    return Engine(FaultyWorld(bench.world, Life(plan)), [app], bench.settings)


def meets(bench: Bench, method: str, act: Callable[[], Awaitable[Any]], *, queue: bool = False) -> Engine:
    """Another process; `act` happens just before its first call of this method."""
    world = FaultyWorld(bench.world, Life())
    if queue:
        world.queue = Between(bench.world.queue, method, act)
    else:
        world.runs = Between(bench.world.runs, method, act)
    return Engine(world, [app], bench.settings)


async def wake(bench: Bench, head: Head, kind: Any = "wake", identity: str = "w") -> Delivery:
    message = Message(kind=kind, run_id=head.run_id, birth=head.birth, identity=identity)
    await bench.world.queue.send([(message, 0.0)])
    while (delivery := await bench.receive()).message.identity != identity:
        pass
    return delivery


async def kinds(bench: Bench) -> list[str]:
    return [message.kind for message in await bench.messages()]


async def suspended(bench: Bench, delivery: Delivery, what: str) -> asyncio.Task[bool]:
    """A turn of a process that stands still while its step runs: its lease runs out under it."""
    gates[what] = asyncio.Event()
    engine = bench.new_engine()
    task = asyncio.create_task(deliver(engine, delivery))
    await until(lambda: what in ran)
    engine.keeper.close()
    bench.clock.advance_to(bench.clock.now() + 31)
    return task


async def append(bench: Bench, head: Head, *events: ev.AnyEvent) -> None:
    """What a worker whose lease is gone still writes: the position decides, nothing else."""
    batches = await bench.world.runs.read(head.run_id, head.birth, 0)
    at = 1 + sum(batch.count for batch in batches)
    data = ev.encode_batch(list(events), "1.test")
    batch = Batch(at=at, count=len(events), fence=head.fence, nonce="zombie", data=data)
    assert await bench.world.runs.append(head.run_id, head.birth, batch) is None


# -- the order of the calls -------------------------------------------------------------------------------------------


def test_a_turn_writes_before_it_sends_and_sends_before_it_releases() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        await bench.start(naps)
        assert await deliver(process(bench, calls), await bench.receive())
        assert calls.made == [
            "acquire",
            *("run_created", "run_started", "step_created", "step_started"),
            *("step_completed", "wait_created"),
            "send timer",
            "release",
        ]

    run(test)


def test_the_end_is_in_the_log_then_in_the_head_then_the_inbox_is_read_once_more() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        await bench.start(naps)
        await bench.work(await bench.receive())
        bench.clock.advance_to(bench.clock.now() + 3600)
        assert await deliver(process(bench, calls), await bench.receive())
        assert calls.made[-4:] == [
            *("step_completed", "run_completed"),
            "change armed end_at ended_at error_code input last_version length status trouble",
            "items",
        ]

    run(test)


def test_the_first_delivery_reads_neither_log_nor_inbox_and_a_later_one_both() -> None:
    async def test() -> None:
        bench, first, later = Bench(app), Calls(), Calls()
        await bench.start(naps)
        await bench.work(await bench.receive(), process(bench, first))
        bench.clock.advance_to(bench.clock.now() + 3600)
        await bench.work(await bench.receive(), process(bench, later))
        assert {"read", "items"} & set(first.made) == set()
        assert later.made[:3] == ["acquire", "read", "items"]

    run(test)


def test_a_step_that_runs_elsewhere_is_sent_only_after_its_creation_is_in_the_log() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        await bench.start(outside)
        await bench.work(await bench.receive(), process(bench, calls))
        made = calls.made
        assert made.index("step_created") < made.index("send step") < made.index("release")

    run(test)


# -- unclean turns ----------------------------------------------------------------------------------------------------


def test_a_log_longer_than_the_last_release_knew_is_sent_again_in_whole() -> None:
    """A zombie wrote after a clean release, and died before it sent."""

    async def test() -> None:
        bench, twin = Bench(app), Bench(app)
        started, other = await bench.start(naps_then_outside), await twin.start(naps_then_outside)
        for one in (bench, twin):
            await one.work(await one.receive())
        twin.clock.advance_to((await twin.head(other)).armed or 0.0)
        await twin.work(await twin.receive())
        lives = await twin.head(other)
        *_, last = await twin.world.runs.read(lives.run_id, lives.birth, 0)
        head = await bench.head(started)
        await append(bench, head, *ev.decode_batch(last.data, "", last.at).events)
        await bench.work(await wake(bench, head), bench.new_engine())
        assert await kinds(bench) == ["timer", "step"]
        assert (await bench.head(started)).length == lives.length == head.length + 2

    run(test)


def test_a_log_as_long_as_the_last_release_knew_sends_nothing_again() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        await bench.work(await wake(bench, await bench.head(started)), bench.new_engine())
        assert await kinds(bench) == ["timer"]

    run(test)


def test_an_unclean_turn_sends_the_message_of_a_step_elsewhere_again() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(outside)
        await bench.work(await bench.receive())
        await bench.work(await wake(bench, await bench.head(started), "sweep"), bench.new_engine())
        assert await kinds(bench) == ["step", "step"]

    run(test)


def test_a_sweep_makes_a_turn_unclean_and_counts_no_stall() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        await bench.work(await wake(bench, await bench.head(started), "sweep"))
        assert await kinds(bench) == ["timer", "timer"]
        assert (await bench.head(started)).stalls == 0

    run(test)


# -- two writers ------------------------------------------------------------------------------------------------------


def test_a_worker_whose_lease_ran_out_cannot_write_where_its_successor_wrote() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(waits_for, "x")
        zombie = await suspended(bench, await bench.receive(), "x")
        successor = asyncio.create_task(bench.work(await wake(bench, await bench.head(started)), bench.new_engine()))
        await until(lambda: ran == ["x", "x"])
        gates["x"].set()
        acknowledged = await zombie
        await successor
        assert not acknowledged
        assert await bench.result(started) == "x"
        assert await bench.types(started) == [
            *("run_created", "run_started", "step_created", "step_started"),
            *("step_interrupted", "step_started", "step_completed", "run_completed"),
        ]

    run(test)


def test_a_holder_whose_position_is_taken_reads_again_and_sends_everything() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        bench.clock.advance_to(head.armed or 0.0)

        async def zombie_writes() -> None:
            await append(bench, head, ev.AttributesSet(time=bench.clock.now(), key="k", changes={"a": "b"}))

        assert await bench.work(await bench.receive(), meets(bench, "append", zombie_writes))
        assert await bench.result(started) == "after"
        assert (await bench.types(started))[6:] == [
            *("attributes_set", "wait_completed", "step_created", "step_started", "step_completed", "run_completed")
        ]
        assert ran == ["before", "after"]

    run(test)


def test_a_holder_that_finds_the_end_written_by_another_ends_the_head() -> None:
    """The other one lost its lease before it could say so in the head: nobody else will."""

    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        bench.clock.advance_to(head.armed or 0.0)

        async def zombie_ends() -> None:
            await append(bench, head, ev.RunCancelled(time=bench.clock.now()))

        assert await bench.work(await bench.receive(), meets(bench, "append", zombie_ends))
        assert (await bench.head(started)).status == "cancelled"
        with pytest.raises(WorkflowRunCancelledError):
            await bench.result(started)

    run(test)


def test_a_cancellable_step_hears_of_an_end_that_another_wrote() -> None:
    async def test() -> None:
        bench, gates["here"] = Bench(app), asyncio.Event()
        started = await bench.start(naps_then_waits_for_ever)
        await bench.work(await bench.receive())
        bench.clock.advance_to((await bench.head(started)).armed or 0.0)
        working = asyncio.create_task(bench.work(await bench.receive()))
        await until(lambda: sorted(ran) == ["for ever", "here"])
        await append(bench, await bench.head(started), ev.RunCancelled(time=bench.clock.now()))
        gates["here"].set()
        assert await working
        assert (await bench.head(started)).status == "cancelled"

    run(test)


def test_the_holders_own_message_is_kept_when_the_answer_about_it_comes_after_the_lease_that_it_names() -> None:
    async def test() -> None:
        bench, gates["here"] = Bench(app), asyncio.Event()
        engine = Engine(FaultyWorld(bench.world, Life(SlowToRefuse(bench))), [app], bench.settings)
        started = await bench.start(waits_for, "here")
        delivery = await bench.receive()
        working = asyncio.create_task(bench.work(delivery, engine))
        await until(lambda: ran == ["here"])
        await bench.world.queue.send([(delivery.message, 0.0)])
        assert await bench.work(await bench.receive(), engine)
        assert not (await bench.head(started)).dirty
        assert [one.identity for one in await bench.messages()] == 2 * [delivery.message.identity]
        gates["here"].set()
        assert await working

    run(test)


def test_an_end_that_is_found_in_the_log_is_written_to_the_head() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        await append(bench, head, ev.RunCancelled(time=bench.clock.now()))
        assert await bench.work(await wake(bench, head), bench.new_engine())
        after = await bench.head(started)
        assert (after.status, after.holder, after.end_at) == ("cancelled", "w", head.length + 1)

    run(test)


def test_a_write_whose_answer_was_lost_counts_as_written() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        world = FaultyWorld(bench.world, Life())
        store: Any = bench.world.runs

        class Repeats:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            async def append(self, run_id: str, birth: str, batch: Batch) -> Batch | None:
                await store.append(run_id, birth, batch)
                return await store.append(run_id, birth, batch)

        world.runs = Repeats()
        await bench.work(await bench.receive(), Engine(world, [app], bench.settings))
        assert (await bench.types(started)).count("step_completed") == 1
        assert ran == ["before"]

    run(test)


# -- releases ---------------------------------------------------------------------------------------------------------


def test_what_comes_in_just_before_the_release_is_taken_in_by_this_turn() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        first = await bench.receive()

        async def cancel() -> None:
            with use_world(bench.world):
                await started.cancel("enough")
            assert await bench.work(await bench.receive(), bench.new_engine())  # it finds the run held

        # the last call before the release is the sending of the timer
        assert await bench.work(first, meets(bench, "send", cancel, queue=True))
        head = await bench.head(started)
        assert (head.status, head.dirty) == ("cancelled", False)

    run(test)


def test_a_turn_that_finds_itself_dirty_takes_over_what_is_armed() -> None:
    """A timer message came while the run was held: none is on its way any more, and another is sent."""

    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        [timer] = await bench.messages()
        head = await bench.head(started)

        async def timer_comes() -> None:
            now = await bench.head(started)
            assert now.holder is not None
            assert now.armed == timer.due
            told = await bench.world.runs.mark_dirty(
                head.run_id, head.birth, holder=now.holder, fence=now.fence, due=timer.due
            )
            assert told

        # nothing is new: the first change of the head is the release
        await bench.work(await wake(bench, head), meets(bench, "change", timer_comes))
        after = await bench.head(started)
        assert (after.armed, after.dirty, after.holder) == (timer.due, False, None)
        assert await kinds(bench) == ["timer", "timer"]

    run(test)


def test_a_release_resets_what_was_counted_and_remembers_who_and_how_far() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        await bench.world.runs.acquire(
            head.run_id, head.birth, identity="dead", provider_id="p", now=bench.clock.now(), until=bench.clock.now()
        )
        await bench.work(await wake(bench, head, identity="mine"), bench.new_engine())
        after = await bench.head(started)
        assert (after.holder, after.last, after.length, after.stalls) == (None, "mine", 6, 0)

    run(test)


def test_a_turn_that_lost_its_lease_stops_without_acknowledging() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        first = await bench.receive()

        async def taken_over() -> None:
            bench.clock.advance_to(bench.clock.now() + 31)
            head, now = await bench.head(started), bench.clock.now()
            await bench.world.runs.acquire(
                head.run_id, head.birth, identity="other", provider_id="p", now=now, until=now + 30
            )

        engine = meets(bench, "change", taken_over)
        engine.keeper.keep = lambda renewable: None  # the renewing thread of this process is stuck
        assert not await deliver(engine, first)
        head = await bench.head(started)
        assert (head.holder, head.fence, head.status) == ("other", 2, "running")

    run(test)


# -- the lease directly before a body ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "renewals"), [(19, 0), (21, 1)])
def test_a_lease_of_which_less_than_a_third_is_left_is_renewed_before_a_body_begins(late: float, renewals: int) -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        await bench.start(naps)
        first = await bench.receive()
        engine = process(bench, calls)
        engine.keeper.keep = lambda renewable: None  # nothing renews meanwhile
        world: Any = engine.world

        async def slow() -> None:
            bench.clock.advance_to(bench.clock.now() + late)

        world.runs = Between(world.runs, "append", slow)
        assert await deliver(engine, first)
        assert calls.made.count("renew") == renewals
        assert ran == ["before"]

    run(test)


def test_a_body_does_not_begin_when_the_lease_turns_out_to_be_lost() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        first = await bench.receive()

        async def slow() -> None:
            bench.clock.advance_to(bench.clock.now() + 31)
            head, now = await bench.head(started), bench.clock.now()
            await bench.world.runs.acquire(
                head.run_id, head.birth, identity="other", provider_id="p", now=now, until=now + 30
            )

        engine = meets(bench, "append", slow)
        engine.keeper.keep = lambda renewable: None
        assert not await deliver(engine, first)
        assert ran == []

    run(test)


# -- outages ----------------------------------------------------------------------------------------------------------


def test_an_outage_of_the_queue_takes_its_stall_back_and_is_tried_again_after_growing_pauses() -> None:
    async def test() -> None:
        bench, outage = Bench(app), Fails("send")
        started = await bench.start(naps)
        first = await bench.receive()
        engine = process(bench, outage)
        pauses: list[float] = []
        stalls: list[int] = []
        for _ in range(14):  # more than the stalls that end a run
            assert not await deliver(engine, first)
            head = await bench.head(started)
            assert head.holder == first.message.identity
            pauses.append(round(head.until - bench.clock.now(), 6))
            stalls.append(head.stalls)
            bench.clock.advance_to(head.until)
        assert pauses == [1, 2, 4, 8, 16, *[30] * 9]
        assert stalls == [0] * 14
        outage.lasts = False
        assert await deliver(engine, first)
        assert await kinds(bench) == ["wake", "timer"]
        assert ran == ["before"]
        assert (await bench.head(started)).status == "running"

    run(test)


def test_after_a_turn_that_succeeds_the_next_outage_is_tried_again_soon() -> None:
    async def test() -> None:
        bench, outage = Bench(app), Fails("send")
        started = await bench.start(naps)
        first = await bench.receive()
        engine = process(bench, outage)
        for _ in range(3):
            assert not await deliver(engine, first)
            bench.clock.advance_to((await bench.head(started)).until)
        outage.lasts = False
        assert await bench.work(first, engine)
        outage.methods, outage.lasts = ("append",), True
        bench.clock.advance_to((await bench.head(started)).armed or 0.0)
        assert not await deliver(engine, await bench.receive())
        assert (await bench.head(started)).until == bench.clock.now() + 1

    run(test)


def test_an_outage_while_reading_fails_no_run() -> None:
    async def test() -> None:
        bench, outage = Bench(app), Fails("read")
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        engine = process(bench, outage)
        message = await wake(bench, await bench.head(started))
        for _ in range(14):
            assert not await deliver(engine, message)
            bench.clock.advance_to((await bench.head(started)).until)
        outage.lasts = False
        assert await deliver(engine, message)
        assert (await bench.head(started)).status == "running"

    run(test)


# -- continuations ----------------------------------------------------------------------------------------------------


async def too_late(bench: Bench, delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, deadline=bench.clock.monotonic() + 0.5, limit=10.0)


def test_a_continuation_comes_after_a_second() -> None:
    async def test() -> None:
        bench = Bench(app)
        await bench.start(naps)
        await bench.work(await too_late(bench, await bench.receive()))
        assert not bench.visible()
        assert bench.clock.next_due() is None
        before = bench.clock.now()
        assert (await bench.receive_when_due()).message.kind == "continue"
        assert bench.clock.now() - before == 1

    run(test)


def test_a_release_for_a_continuation_that_finds_dirty_sends_another_with_twice_the_delay() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        late = await too_late(bench, await bench.receive())

        async def told() -> None:
            head = await bench.head(started)
            assert head.holder is not None
            assert await bench.world.runs.mark_dirty(head.run_id, head.birth, holder=head.holder, fence=head.fence)

        assert await bench.work(late, meets(bench, "change", told))
        assert (await bench.head(started)).holder is None
        delays: list[float] = []
        before = bench.clock.now()
        for _ in range(2):
            delivery = await bench.receive_when_due()
            assert delivery.message.kind == "continue"
            delays.append(bench.clock.now() - before)
        assert delays == [1, 2]

    run(test)


def test_the_count_of_continuations_begins_anew_when_the_log_has_grown() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await too_late(bench, await bench.receive()))
        [onward] = await bench.messages()
        await bench.work(await too_late(bench, await bench.receive_when_due()))
        [second] = await bench.messages()
        head = await bench.head(started)
        await append(bench, head, ev.AttributesSet(time=bench.clock.now(), key="k", changes={"a": "b"}))
        await bench.work(await too_late(bench, await bench.receive_when_due()))
        [third] = await bench.messages()
        assert [(m.count, m.length) for m in (onward, second, third)] == [(1, 3), (2, 3), (1, 4)]

    run(test)


# -- what follows the end ---------------------------------------------------------------------------------------------


async def child_of(bench: Bench, started: Run[Any]) -> Run[Any]:
    head = await bench.head(started)
    page = await bench.world.runs.list_heads(RunQuery(workflow=waits_for.id))
    [child] = [one for one in page.heads if (one.parent or "").startswith(head.run_id)]
    return get_run(child.run_id)


def test_after_a_death_behind_the_end_the_message_that_the_head_names_tells_the_watchers() -> None:
    async def test() -> None:
        bench, dead = Bench(app), Fails("put_item")
        gates["c"] = asyncio.Event()
        gates["c"].set()
        started = await bench.start(parent, "c")
        await bench.work(await bench.receive())
        for_child = await bench.receive()
        child = await child_of(bench, started)
        assert not await deliver(process(bench, dead), for_child)
        assert (await bench.head(child)).status == "completed"
        assert [message.kind for message in await bench.messages()] == ["wake"]  # its own: the parent knows nothing
        assert await bench.work(for_child, bench.new_engine())
        [told] = await bench.messages()
        assert (told.kind, told.run_id) == ("wake", started.run_id)
        await bench.work_all()
        assert await bench.result(started) == "child: c"

    run(test)


def test_a_message_that_the_head_of_an_ended_run_does_not_name_is_let_go() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        gates["c"] = asyncio.Event()
        gates["c"].set()
        started = await bench.start(waits_for, "c")
        await bench.work(await bench.receive())
        assert await bench.work(await wake(bench, await bench.head(started)), process(bench, calls))
        assert calls.made == ["acquire"]

    run(test)


# -- records of another format ----------------------------------------------------------------------------------------


def test_a_record_of_a_newer_format_never_fails_a_run() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        newer = pack(b'{"v":2,"version":"9.new","events":[]}')
        batch = Batch(at=head.length + 1, count=1, fence=1, nonce="new", data=newer)
        await bench.world.runs.append(head.run_id, head.birth, batch)
        began = bench.clock.now()
        engine = bench.new_engine()
        await bench.work(await wake(bench, head), engine)
        while bench.clock.now() - began < 3 * 86400:
            await bench.work(await bench.receive_when_due(), engine)
        after = await bench.head(started)
        assert (after.status, after.holder) == ("running", None)
        assert after.trouble is not None
        assert "has format 2, this code reads up to 1" in after.trouble.reason

    run(test)


def test_a_log_with_a_hole_fails_the_run_in_its_head() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        data = ev.encode_batch([ev.AttributesSet(time=0.0, key="k", changes={})], "1.test")
        await bench.world.runs.append(
            head.run_id, head.birth, Batch(at=head.length + 2, count=1, fence=1, nonce="x", data=data)
        )
        assert await bench.work(await wake(bench, head), bench.new_engine())
        after = await bench.head(started)
        assert (after.status, after.error_code, after.end_at) == ("failed", "CORRUPTED_EVENT_LOG", 0)
        assert after.trouble is not None
        assert "its log has a hole at position 7" in after.trouble.reason

    run(test)


async def is_corrupted(bench: Bench, started: Run[Any]) -> None:
    """The run has failed in its head alone, and whoever asks for its result is told why."""
    head = await bench.head(started)
    assert (head.status, head.error_code, head.end_at) == ("failed", "CORRUPTED_EVENT_LOG", 0)
    with pytest.raises(WorkflowRunFailedError) as caught:
        await bench.result(started)
    assert type(caught.value.__cause__) is CorruptedEventLogError
    text = str(caught.value.__cause__)
    assert text.startswith(f"run {started.run_id}: the error of {elsewhere.id}#1 cannot be read (")
    assert text.endswith("restore it, or start the run again")


@pytest.fixture(params=[b"7", b'{"$error":7}', b'{"$error":{"type":7,"args":[]}}'], ids=["number", "body", "type"])
def no_error(request: pytest.FixtureRequest) -> msgspec.Raw:
    """Well-formed JSON, and the record of no exception."""
    return msgspec.Raw(request.param)


async def waits_outside(bench: Bench) -> tuple[Run[Any], Head]:
    """A run whose body, kept warm here, waits for a step that is to run in another process."""
    started = await bench.start(outside)
    await bench.work(await bench.receive())
    return started, await bench.head(started)


def test_an_error_in_the_log_that_is_the_record_of_none_fails_the_run_in_its_head(no_error: msgspec.Raw) -> None:
    async def test() -> None:
        bench = Bench(app)
        started, head = await waits_outside(bench)
        await append(bench, head, ev.StepFailed(time=0.0, id=f"{elsewhere.id}#1", attempt=1, error=no_error))
        assert await bench.work(await wake(bench, head), bench.new_engine())
        await is_corrupted(bench, started)

    run(test)


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_an_error_in_the_inbox_that_is_the_record_of_none_fails_the_run_in_its_head(
    no_error: msgspec.Raw, warm: bool
) -> None:
    async def test() -> None:
        bench = Bench(app)
        started, head = await waits_outside(bench)
        before = await bench.types(started)
        end = StepEnd(f"{elsewhere.id}#1", "failed", 1, no_error)
        item = InboxItem(key=f"step:{end.id}", kind="step", data=encode_item(end), time=0.0)
        await bench.world.runs.put_item(head.run_id, head.birth, item)
        assert await bench.work(await wake(bench, head), bench.engine if warm else bench.new_engine())
        await is_corrupted(bench, started)
        assert await bench.types(started) == before

    run(test)


def test_an_end_in_the_inbox_that_cannot_be_opened_fails_the_run_in_its_head() -> None:
    """Its blob is gone."""

    async def test() -> None:
        bench = Bench(app)
        started, head = await waits_outside(bench)
        data = msgspec.Raw(msgspec.json.encode({"$blob": "0" * 64, "size": 10_000}))
        end = StepEnd(f"{elsewhere.id}#1", "completed", 1, data)
        item = InboxItem(key=f"step:{end.id}", kind="step", data=encode_item(end), time=0.0)
        await bench.world.runs.put_item(head.run_id, head.birth, item)
        assert await bench.work(await wake(bench, head))
        after = await bench.head(started)
        assert (after.status, after.error_code) == ("failed", "CORRUPTED_EVENT_LOG")
        assert after.trouble is not None
        assert f"the blob {'0' * 64} that its log names is gone" in after.trouble.reason

    run(test)


def test_a_hole_that_a_second_look_fills_is_none() -> None:
    """A query is no snapshot."""

    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        bench.clock.advance_to((await bench.head(started)).armed or 0.0)
        store: Any = bench.world.runs

        class Blinks:
            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

            async def read(self, run_id: str, birth: str, after: int) -> list[Batch]:
                batches = await store.read(run_id, birth, after)
                return [batches[0], *batches[2:]] if len(batches) > 2 else batches[1:]

        world = FaultyWorld(bench.world, Life())
        world.runs = Blinks()
        await bench.work(await bench.receive(), Engine(world, [app], bench.settings))
        assert await bench.result(started) == "after"

    run(test)
