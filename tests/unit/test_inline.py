"""Inline steps: how many at once, and what becomes of those that a death interrupted (docs/protocol.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.engine_bench import Bench, run, until
from wdk_cloud import StepFailedError, StepInterruptedError, WorkflowRunFailedError, Workflows
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.ports import Batch

if TYPE_CHECKING:
    from wdk_cloud.client import Run
    from wdk_cloud.world.ports import Delivery

app = Workflows()


class Floor:
    """Where the steps of a test stand: who has begun, how many at once, and whether they may end."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running = self.most = 0
        self.gate = asyncio.Event()
        self.failures = 0


floor = Floor()


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global floor
    floor = Floor()


async def stand(name: str) -> str:
    floor.begun.append(name)
    floor.running += 1
    floor.most = max(floor.most, floor.running)
    try:
        if floor.failures:
            floor.failures -= 1
            raise KeyError(name)
        await floor.gate.wait()
        return name
    finally:
        floor.running -= 1


tries_four_times = app.step(name="four", dispatch="inline")(stand)
tries_twice = app.step(name="two", dispatch="inline", max_retries=1)(stand)
tries_once = app.step(name="once", dispatch="inline", max_retries=0)(stand)
as_it_fits = app.step(name="auto")(stand)


@app.workflow
async def alone() -> str:
    return await tries_twice("a")


@app.workflow
async def never_twice() -> str:
    return await tries_once("a")


@app.workflow
async def together() -> list[str]:
    return list(await asyncio.gather(*(tries_four_times(name) for name in "abc")))


@app.workflow
async def two_together() -> list[str]:
    return list(await asyncio.gather(tries_twice("a"), tries_twice("b")))


@app.workflow
async def many(n: int) -> int:
    return len(await asyncio.gather(*(tries_four_times(str(i)) for i in range(n))))


@app.workflow
async def many_as_they_fit(n: int) -> int:
    return len(await asyncio.gather(*(as_it_fits(str(i)) for i in range(n))))


async def dies(bench: Bench, begun: int, delivery: Delivery) -> Delivery:
    """A process works on the message and dies when so many bodies have begun; the message as it comes back."""
    assert bench.world.receiver is not None
    task = asyncio.create_task(deliver(bench.new_engine(), delivery))
    await until(lambda: len(floor.begun) == begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.world.receiver.acknowledge(delivery)
    await bench.world.queue.send([(delivery.message, 0.0)])
    return await bench.receive()


async def goes_on(bench: Bench, delivery: Delivery) -> None:
    floor.gate.set()
    assert await bench.work(delivery, bench.new_engine())


async def steps_of(bench: Bench, started: Run[Any]) -> list[str]:
    """The events of the steps, as `completed four#1.2` for the second attempt of the first call of `four`."""
    head = await bench.head(started)
    events = [
        event
        for batch in await bench.world.runs.read(head.run_id, head.birth, 0)
        for event in ev.decode_batch(batch.data, "", batch.at).events
    ]
    return [
        f"{str(e.__struct_config__.tag).removeprefix('step_')} {e.id}.{e.attempt}"
        + " charged" * (isinstance(e, ev.StepInterrupted) and e.charged)
        for e in events
        if isinstance(e, ev.StepStarted | ev.StepInterrupted | ev.StepRetrying | ev.StepCompleted | ev.StepFailed)
    ]


async def cause_of(bench: Bench, started: Run[Any]) -> BaseException | None:
    with pytest.raises(WorkflowRunFailedError) as failed:
        await bench.result(started)
    return failed.value.__cause__


def test_steps_that_were_interrupted_together_run_one_at_a_time_and_none_is_charged() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(together)
        delivery = await dies(bench, 3, await bench.receive())
        floor.most = floor.running = 0
        await goes_on(bench, delivery)
        assert await bench.result(started) == ["a", "b", "c"]
        assert floor.most == 1
        assert await steps_of(bench, started) == [
            *("started four#1.1", "started four#2.1", "started four#3.1"),
            *("interrupted four#1.1", "interrupted four#2.1", "interrupted four#3.1"),
            *("started four#1.2", "completed four#1.2"),
            *("started four#2.2", "completed four#2.2"),
            *("started four#3.2", "completed four#3.2"),
        ]

    run(test)


def test_only_the_one_that_ran_alone_is_charged() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(together)
        delivery = await dies(bench, 3, await bench.receive())
        delivery = await dies(bench, 4, delivery)
        await goes_on(bench, delivery)
        assert await bench.result(started) == ["a", "b", "c"]
        interrupted = [line for line in await steps_of(bench, started) if line.startswith("interrupted")]
        assert interrupted == [
            *("interrupted four#1.1", "interrupted four#2.1", "interrupted four#3.1"),
            "interrupted four#1.2 charged",
        ]

    run(test)


def test_a_step_that_ran_alone_when_its_process_died_has_lost_a_try() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(alone)
        delivery = await dies(bench, 1, await bench.receive())
        delivery = await dies(bench, 2, delivery)
        await goes_on(bench, delivery)
        error = await cause_of(bench, started)
        assert isinstance(error, StepFailedError)
        assert (error.step_name, error.attempts) == ("two", 2)
        assert isinstance(error.__cause__, StepInterruptedError)
        assert floor.begun == ["a", "a"]
        assert (await steps_of(bench, started))[-2:] == ["interrupted two#1.2 charged", "failed two#1.2"]

    run(test)


def test_an_interrupted_last_attempt_after_a_failure_has_the_interruption_as_its_cause() -> None:
    async def test() -> None:
        bench = Bench(app)
        floor.failures = 1
        started = await bench.start(alone)
        delivery = await dies(bench, 2, await bench.receive())
        await goes_on(bench, delivery)
        error = await cause_of(bench, started)
        assert isinstance(error, StepFailedError)
        assert isinstance(error.__cause__, StepInterruptedError)
        assert await steps_of(bench, started) == [
            *("started two#1.1", "retrying two#1.1", "started two#1.2"),
            *("interrupted two#1.2 charged", "failed two#1.2"),
        ]

    run(test)


def test_a_step_without_retries_is_never_begun_twice() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(never_twice)
        await goes_on(bench, await dies(bench, 1, await bench.receive()))
        error = await cause_of(bench, started)
        assert isinstance(error, StepInterruptedError)
        assert "it may have happened, wholly or in part" in str(error)
        assert floor.begun == ["a"]

    run(test)


def test_an_interruption_beside_others_leaves_the_tries_whole() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(two_together)
        delivery = await dies(bench, 2, await bench.receive())
        floor.failures = 1
        await goes_on(bench, delivery)
        assert await bench.result(started) == ["a", "b"]
        assert (await steps_of(bench, started))[4:] == [
            *("started two#1.2", "retrying two#1.2"),
            *("started two#2.2", "completed two#2.2", "started two#1.3", "completed two#1.3"),
        ]

    run(test)


@pytest.mark.parametrize(("earlier", "charged"), [(3, ""), (4, " charged")])
def test_the_fifth_interruption_beside_others_is_charged(earlier: int, charged: str) -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(together)
        delivery = await dies(bench, 3, await bench.receive())
        head = await bench.head(started)
        ids, time = ("four#1", "four#2", "four#3"), bench.clock.now()
        more: list[ev.AnyEvent] = []
        for n in range(1, earlier + 1):
            more += [ev.StepInterrupted(time=time, id=id, attempt=n) for id in ids]
            more += [ev.StepStarted(time=time, id=id, attempt=n + 1) for id in ids]
        at = 1 + sum(batch.count for batch in await bench.world.runs.read(head.run_id, head.birth, 0))
        data = ev.encode_batch(more, "1.test")
        await bench.world.runs.append(
            head.run_id, head.birth, Batch(at=at, count=len(more), fence=1, nonce="n", data=data)
        )
        await goes_on(bench, delivery)
        last = [line for line in await steps_of(bench, started) if line.startswith("interrupted")][-3:]
        assert last == [f"interrupted {id}.{earlier + 1}{charged}" for id in ids]

    run(test)


def test_no_more_inline_steps_run_at_once_than_the_limit_and_the_rest_wait() -> None:
    async def test() -> None:
        bench = Bench(app, Settings(code_version="1.test", inline_limit=3))
        started = await bench.start(many, 8)
        task = asyncio.create_task(bench.work(await bench.receive()))
        await until(lambda: floor.running == 3)
        floor.gate.set()
        assert await task
        assert await bench.result(started) == 8
        assert floor.most == 3
        assert floor.begun == [str(n) for n in range(8)]

    run(test)


def test_automatic_steps_beyond_the_limit_run_elsewhere_and_that_is_decided_once() -> None:
    async def test() -> None:
        bench = Bench(app, Settings(code_version="1.test", inline_limit=3))
        started = await bench.start(many_as_they_fit, 5)
        floor.gate.set()
        assert await bench.work(await bench.receive())
        assert [message.kind for message in await bench.messages()] == ["step", "step"]
        assert floor.begun == ["0", "1", "2"]
        wider = Settings(code_version="1.test", inline_limit=10)
        await bench.work_all(bench.new_engine(wider))
        assert await bench.result(started) == 5
        assert sorted(floor.begun) == list("01234")

    run(test)


def test_an_attempt_is_in_the_log_before_its_body_begins() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(alone)
        task = asyncio.create_task(bench.work(await bench.receive()))
        await until(lambda: floor.begun)
        assert await steps_of(bench, started) == ["started two#1.1"]
        floor.gate.set()
        assert await task

    run(test)
