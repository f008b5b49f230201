"""Handing on: a run that this process cannot go on with always has one message on its way, and can be cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import WorkflowRunCancelledError, WorkflowRunFailedError, Workflows, sleep
from wdk_cloud.engine import delivery as deliveries
from wdk_cloud.engine.turn import Turn
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Lease, Message

if TYPE_CHECKING:
    from wdk_cloud.client import Run
    from wdk_cloud.world.ports import Trouble

app = Workflows()
elsewhere = Workflows()
"""Code that does not have the workflow."""


@app.workflow
async def naps() -> str:
    await sleep("1 hour")
    return "rested"


async def wake(bench: Bench, started: Run[str], identity: str) -> None:
    birth = (await bench.head(started)).birth
    message = Message(kind="wake", run_id=started.run_id, birth=birth, identity=identity)
    await bench.world.queue.send([(message, 0.0)])


async def trouble(bench: Bench, started: Run[str]) -> Trouble:
    found = (await bench.head(started)).trouble
    assert found is not None
    return found


async def on_their_way(bench: Bench) -> list[str]:
    return [message.identity for message in await bench.messages() if message.kind == "continue"]


def test_a_run_that_is_handed_on_names_the_message_that_goes_on_with_it() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        assert await on_their_way(bench) == [(await trouble(bench, started)).onward]

    run(test)


def test_other_messages_for_it_send_no_further_one() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        [onward] = await on_their_way(bench)
        for n in range(3):
            await wake(bench, started, f"wake-{n}")
            await bench.work(await bench.receive())
        assert await on_their_way(bench) == [onward]
        found = await trouble(bench, started)
        assert (found.onward, found.count) == (onward, 4)

    run(test)


def test_each_try_sends_the_next_after_twice_the_time() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        times = [bench.clock.now()]
        for _ in range(12):
            await bench.work(await bench.receive_when_due())
            times.append(bench.clock.now())
        waits = [round(b - a, 3) for a, b in zip(times, times[1:], strict=False)]
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
        assert len(await on_their_way(bench)) == 1
        assert (await trouble(bench, started)).count == 13

    run(test)


def test_if_it_came_in_while_another_turn_held_the_run_another_is_sent() -> None:
    """That `continue` found the run held, set `dirty` and was acknowledged: nothing else would come."""

    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        [first] = await on_their_way(bench)
        await wake(bench, started, "wake-1")
        woken = await bench.receive()
        lease = await deliveries._acquire(bench.engine, woken)
        assert isinstance(lease, Lease)
        await bench.work(await bench.receive_when_due())
        assert await on_their_way(bench) == []
        assert await Turn(bench.engine, woken, lease).run()
        [second] = await on_their_way(bench)
        head = await bench.head(started)
        assert (head.holder, head.dirty) == (None, False)
        assert (await trouble(bench, started)).onward == second != first

    run(test)


def test_after_a_death_another_is_sent_and_the_earlier_one_begets_none() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        await wake(bench, started, "wake-1")
        dead = await bench.receive()
        assert isinstance(await deliveries._acquire(bench.engine, dead), Lease)
        bench.clock.advance_to(bench.clock.now() + 31)
        earlier = await bench.receive()
        assert earlier.message.kind == "continue"
        await bench.work(earlier)  # takes the lease that had run out: what was on its way may be gone
        [second] = await on_their_way(bench)
        assert (await trouble(bench, started)).onward == second
        await wake(bench, started, "wake-2")
        while (last := await bench.receive()).message.identity != "wake-2":
            await bench.work(last)
        await bench.work(last)
        assert await on_their_way(bench) == [second]

    run(test)


def test_a_run_whose_code_is_not_here_can_be_cancelled() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        with use_world(bench.world):
            await started.cancel("no longer wanted")
        await bench.work(await bench.receive())
        with pytest.raises(WorkflowRunCancelledError, match="no longer wanted"):
            await bench.result(started)
        assert await bench.types(started) == ["run_created", "cancel_requested", "run_cancelled"]

    run(test)


def test_a_run_that_was_never_begun_fails_after_a_day_with_a_whole_log() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        while await on_their_way(bench):
            await bench.work(await bench.receive_when_due())
        with pytest.raises(WorkflowRunFailedError) as caught:
            await bench.result(started)
        assert caught.value.error_code == "RUNTIME_ERROR"
        assert await bench.types(started) == ["run_created", "run_failed"]
        head = await bench.head(started)
        assert head.ended_at is not None
        assert 86_400 <= head.ended_at - head.created_at < 86_400 + 900

    run(test)


def test_a_run_that_goes_on_again_has_no_trouble() -> None:
    async def test() -> None:
        bench = Bench(elsewhere)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        whole = bench.new_engine(app=app)
        await bench.work(await bench.receive_when_due(), whole)
        assert (await bench.head(started)).trouble is None
        await bench.work(await bench.receive_when_due(), whole)
        assert await bench.result(started) == "rested"

    run(test)
