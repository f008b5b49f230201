"""docs/protocol.md, steps 0 to 3 and 8: what a message does to a run, by the state that it finds."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import (
    MaxDeliveriesExceededError,
    WorkflowNotRegisteredError,
    WorkflowRunFailedError,
    Workflows,
    sleep,
)
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.ports import HeadFields, Lease, Message

app = Workflows()
ran: list[str] = []


@app.step
async def note(what: str) -> str:
    ran.append(what)
    return what


@app.workflow
async def naps() -> str:
    await note("before")
    await sleep("1 hour")
    return await note("after")


@pytest.fixture(autouse=True)
def _clean() -> None:
    ran.clear()


def test_a_first_delivery_runs_to_the_sleep_arms_one_timer_and_releases() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        assert await bench.work(await bench.receive())
        head = await bench.head(started)
        [timer] = await bench.messages()
        assert (timer.kind, timer.due, timer.hop) == ("timer", bench.clock.now() + 3600, False)
        assert (head.status, head.holder, head.armed, head.fence) == ("running", None, timer.due, 1)
        assert (head.length, head.stalls, head.input) == (6, 0, None)
        assert ran == ["before"]

    run(test)


def test_a_timer_message_is_proof_that_its_time_has_come() -> None:
    """Its delay led all the way; this machine's clock lags."""

    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        [timer] = await bench.messages()
        early = msgspec.structs.replace(timer, identity="sent-again")
        await bench.world.queue.send([(early, 0.0)])
        await bench.work(await bench.receive())
        assert await bench.result(started) == "after"

    run(test)


def test_a_hop_is_sent_on_without_touching_the_run() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        before = await bench.head(started)
        [timer] = await bench.messages()
        await bench.world.queue.send([(msgspec.structs.replace(timer, identity="hop", hop=True), 0.0)])
        assert await bench.work(await bench.receive())
        sent = [message for message in await bench.messages() if message.identity == "hop"]
        assert [message.hop for message in sent] == [False]
        assert await bench.head(started) == before

    run(test)


def test_a_message_received_before_is_exchanged_for_a_copy() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        delivery = msgspec.structs.replace(await bench.receive(), again=True)
        assert await bench.work(delivery)
        [copy] = await bench.messages()
        assert copy.identity == delivery.message.identity
        assert (await bench.head(started)).retired == (delivery.provider_id,)
        assert ran == []

    run(test)


def test_an_earlier_receiver_of_an_exchanged_message_cannot_take_the_lease() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        earlier = await bench.receive()
        await bench.work(msgspec.structs.replace(earlier, again=True))
        assert not await deliver(bench.new_engine(), earlier)
        assert (await bench.head(started)).fence == 0
        assert ran == []

    run(test)


def test_a_message_that_finds_the_run_held_sets_dirty_and_is_let_go() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        head = await bench.head(started)
        now = bench.clock.now()
        lease = await bench.world.runs.acquire(
            head.run_id, head.birth, identity="other", provider_id="p", now=now, until=now + 30
        )
        assert isinstance(lease, Lease)
        assert await bench.work(await bench.receive())
        assert (await bench.head(started)).dirty
        assert await bench.messages() == []

    run(test)


def test_a_timer_that_finds_the_run_held_clears_armed_if_it_is_its_own() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head, now = await bench.head(started), bench.clock.now()
        await bench.world.runs.acquire(
            head.run_id, head.birth, identity="other", provider_id="p", now=now, until=now + 7200
        )
        bench.clock.advance_to(now + 3600)
        assert await bench.work(await bench.receive())
        after = await bench.head(started)
        assert (after.dirty, after.armed) == (True, None)

    run(test)


def test_the_holders_own_message_is_copied_to_the_end_of_the_lease() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        delivery = await bench.receive()
        head, now = await bench.head(started), bench.clock.now()
        await bench.world.runs.acquire(
            head.run_id, head.birth, identity=delivery.message.identity, provider_id="p", now=now, until=now + 30
        )
        assert await bench.work(delivery)
        assert not bench.visible()
        bench.clock.advance_to(now + 30)
        assert bench.visible()

    run(test)


def test_a_message_whose_turn_released_last_is_let_go() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        delivery = await bench.receive()
        assert await bench.work(delivery)
        before = await bench.head(started)
        assert await deliver(bench.engine, delivery)
        assert await bench.head(started) == before

    run(test)


def test_a_message_of_another_birth_makes_no_ghost() -> None:
    async def test() -> None:
        bench = Bench(app)
        await bench.world.queue.send([(Message(kind="wake", run_id="gone", birth="b", identity="i"), 0.0)])
        assert await bench.work(await bench.receive())
        assert await bench.world.runs.head("gone") is None

    run(test)


def test_ten_stalls_without_growth_end_the_run_before_its_code_is_loaded() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        first = await bench.receive()
        for _ in range(11):
            head, now = await bench.head(started), bench.clock.now()
            lease = await bench.world.runs.acquire(
                head.run_id, head.birth, identity="dead", provider_id="p", now=now, until=now + 1
            )
            assert isinstance(lease, Lease)
            bench.clock.advance_to(now + 2)
        await bench.work(first)
        assert (await bench.head(started)).error_code == "MAX_DELIVERIES_EXCEEDED"
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert isinstance(failed.value.__cause__, MaxDeliveriesExceededError)
        assert ran == []

    run(test)


def test_stalls_begin_anew_when_the_log_has_grown() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        head, now = await bench.head(started), bench.clock.now()
        await bench.world.runs.acquire(head.run_id, head.birth, identity="d", provider_id="p", now=now, until=now + 1)
        await bench.world.runs.change(
            head.run_id, head.birth, HeadFields(stalls=9, stalls_length=2), holder="d", fence=head.fence + 1
        )
        bench.clock.advance_to(now + 3600)
        await bench.work_all()
        assert await bench.result(started) == "after"

    run(test)


def test_a_workflow_that_is_not_here_is_handed_on_with_growing_delays_and_fails_after_a_day() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        other = bench.new_engine(app=Workflows())
        delays: list[float] = []
        while not (head := await bench.head(started)).ended:
            before = bench.clock.now()
            delivery = await bench.receive_when_due()
            if bench.clock.now() > before:
                delays.append(bench.clock.now() - before)
            assert await bench.work(delivery, other)
        assert delays[:11] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]
        assert head.error_code == "RUNTIME_ERROR"
        assert 86400 <= sum(delays) < 86400 + 900
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert isinstance(failed.value.__cause__, WorkflowNotRegisteredError)

    run(test)


def test_a_run_that_was_handed_on_goes_on_when_its_code_comes_back() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive(), bench.new_engine(app=Workflows()))
        trouble = (await bench.head(started)).trouble
        assert trouble is not None
        assert "is not registered" in trouble.reason
        bench.clock.advance_to(bench.clock.now() + 1)
        await bench.work_all()
        head = await bench.head(started)
        assert (head.trouble, ran) == (None, ["before"])

    run(test)


def test_too_little_time_sends_a_continue_before_releasing() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        short = msgspec.structs.replace(await bench.receive(), deadline=bench.clock.monotonic() + 0.5, limit=10.0)
        assert await bench.work(short)
        [onward] = await bench.messages()
        assert (onward.kind, onward.count) == ("continue", 1)
        assert (await bench.head(started)).holder is None
        assert ran == []
        bench.clock.advance_to(bench.clock.now() + 1)
        await bench.work_all()
        assert ran == ["before"]

    run(test)


def test_continues_without_growth_of_the_log_end_the_run() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        turns = 0
        while not (await bench.head(started)).ended:
            delivery = await bench.receive()
            late = msgspec.structs.replace(delivery, deadline=bench.clock.monotonic() + 0.5, limit=10.0)
            await bench.work(late)
            turns += 1
            bench.clock.advance_to(bench.clock.now() + 1)
        head = await bench.head(started)
        assert (head.error_code, turns) == ("RUNTIME_ERROR", 101)

    run(test)


def test_an_unclean_turn_sends_again_what_is_outstanding() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        [timer] = await bench.messages()
        head, now = await bench.head(started), bench.clock.now()
        await bench.world.runs.acquire(head.run_id, head.birth, identity="d", provider_id="p", now=now, until=now + 1)
        bench.clock.advance_to(now + 2)
        await bench.world.queue.send([(Message(kind="wake", run_id=head.run_id, birth=head.birth, identity="w"), 0.0)])
        await bench.work(await bench.receive())
        assert [message.due for message in await bench.messages()] == [timer.due, timer.due]

    run(test)


def test_a_warm_body_and_a_cold_one_write_the_same_log() -> None:
    async def test() -> None:
        logs: list[list[str]] = []
        for cached in (1000, 0):
            bench = Bench(app, Settings(cached_runs=cached, code_version="1.test"))
            started = await bench.start(naps)
            await bench.work_all()
            bench.clock.advance_to(bench.clock.now() + 3600)
            await bench.work_all()
            assert await bench.result(started) == "after"
            logs.append(await bench.types(started))
        assert logs[0] == logs[1]

    run(test)
