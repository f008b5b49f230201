"""What a second death, or an outage, must not undo: who runs alone, who is told, what was asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import Call, Dead, DieAt, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run, until
from wdk_cloud import Workflows, get_run, sleep, start
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.history import History
from wdk_cloud.engine.service import Engine
from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Batch, Message

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.world.ports import Delivery

app = Workflows()


class Floor:
    """Where the steps of a test stand: how many at once, and whether they may end."""

    def __init__(self) -> None:
        self.running = self.most = self.begun = 0
        self.gate = asyncio.Event()


floor = Floor()


@app.step
async def stand(name: str) -> str:
    floor.begun += 1
    floor.running += 1
    floor.most = max(floor.most, floor.running)
    try:
        await floor.gate.wait()
        await asyncio.sleep(0)
        return name
    finally:
        floor.running -= 1


@app.workflow
async def trio() -> list[str]:
    return list(await asyncio.gather(*(stand(name) for name in "abc")))


@app.step(dispatch="queue", cancellable=True)
async def elsewhere() -> None:
    await asyncio.Event().wait()


@app.workflow
async def leaves_a_step() -> None:
    try:
        await asyncio.wait_for(elsewhere(), 60)
    except TimeoutError:
        await sleep("1 day")


@app.workflow
async def asks(other: str) -> str:
    try:
        return await get_run(other).status()
    except KeyError as error:
        return f"caught {error!r}"


@app.workflow
async def labelled() -> None:
    await sleep("1 day")


async def killed(bench: Bench, delivery: Delivery, when: Callable[[], bool]) -> None:
    """Deliver, and shut the worker down when the time has come; the message goes back."""
    assert bench.world.receiver is not None
    task = asyncio.create_task(deliver(bench.new_engine(), delivery))
    await until(when)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.world.receiver.put_back(delivery, 0.0)


async def types(bench: Bench, run: Any, *wanted: str) -> list[str]:
    return [type for type in await bench.types(run) if type in wanted]


def test_steps_that_were_interrupted_together_still_go_alone_after_a_second_death() -> None:
    async def test() -> None:
        global floor
        floor = Floor()
        bench = Bench(app)
        started = await bench.start(trio)
        await killed(bench, await bench.receive(), lambda: floor.running == 3)
        await bench.work(await bench.receive())  # received before: exchanged
        floor.most = 0
        await killed(bench, await bench.receive(), lambda: floor.running == 1)
        await bench.work(await bench.receive())
        floor.gate.set()
        await bench.work_all()
        assert await bench.result(started) == ["a", "b", "c"]
        assert floor.most == 1
        assert floor.begun == 3 + 1 + 3
        with use_world(bench.world):
            charged = [event.data.get("charged", False) async for event in started.events() if "interr" in event.type]
        assert charged == [False, False, False, True]

    run(test)


def test_a_step_beside_one_that_the_body_has_left_was_not_alone() -> None:
    two = Workflows()

    @two.step
    async def waits(name: str) -> str:
        return await stand(name)

    @two.workflow
    async def leaves_one() -> str:
        left = asyncio.create_task(waits("left"))
        try:
            await asyncio.wait_for(left, 5)
        except TimeoutError:
            return await waits("wanted")
        return "never"

    async def test() -> None:
        global floor
        floor = Floor()
        bench = Bench(two)
        started = await bench.start(leaves_one)

        def both() -> bool:
            if floor.running == 1 and bench.clock.monotonic() < 5:
                bench.clock.advance_to(bench.clock.now() + 5)
            return floor.running == 2

        await killed(bench, await bench.receive(), both)
        await bench.work(await bench.receive())
        floor.gate.set()
        await bench.work_all()
        assert await bench.result(started) == "wanted"
        with use_world(bench.world):
            found = [event.data async for event in started.events() if event.type == "step_interrupted"]
        assert [data.get("charged", False) for data in found] == [False]

    run(test)


class Unavailable(Plan):
    """The first call of a method meets an outage."""

    def __init__(self, method: str) -> None:
        self.method: str | None = method

    def before(self, call: Call, life: Life) -> None:
        if call.method == self.method:
            self.method = None
            raise WorldUnavailableError("an outage")


def test_a_step_elsewhere_hears_that_the_body_left_it_though_an_outage_came_between() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(leaves_a_step)
        world: Any = FaultyWorld(bench.world, Life(Unavailable("cancel_step")))
        engine = Engine(world, [app], bench.settings)
        await bench.work(await bench.receive(), engine)
        [step] = [message for message in await bench.messages() if message.kind == "step"]
        assert step.step_id is not None
        assert bench.world.receiver is not None
        await bench.world.receiver.acknowledge(await bench.receive())  # somebody works on the step
        timer = await bench.receive_when_due()
        assert timer.message.kind == "timer"
        assert not await bench.work(timer, engine)
        assert "step_cancelled" in await bench.types(started)
        assert await bench.world.runs.step(*await key(bench, started), step.step_id) is None
        await bench.world.receiver.put_back(timer, 1.0)
        for _ in range(2):  # exchanged, then worked on
            await bench.work(await bench.receive_when_due(), engine)
        item = await bench.world.runs.step(*await key(bench, started), step.step_id)
        assert item is not None
        assert item.cancelled

    run(test)


async def key(bench: Bench, started: Any) -> tuple[str, str]:
    return started.run_id, (await bench.head(started)).birth


class Broken(Plan):
    """A bug in an adapter."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def before(self, call: Call, life: Life) -> None:
        if call.method == "head" and call.args[0] == self.run_id:
            raise KeyError("a bug")


def test_an_operation_that_meets_a_bug_fails_and_is_not_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(asks, "another")
        world: Any = FaultyWorld(bench.world, Life(Broken("another")))
        await bench.work(await bench.receive(), Engine(world, [app], bench.settings))
        assert await bench.result(started) == "caught KeyError('a bug')"

    run(test)
    assert "please report" in caplog.text


def test_a_caller_that_dies_in_start_leaves_no_run_without_its_labels() -> None:
    async def test() -> None:
        labels = {"team": "blue"}
        workflow = labelled.with_options(idempotency_key="once", attributes=labels)
        for number in range(1, 6):
            for moment in ("before", "after"):
                bench = Bench(app)
                world: Any = FaultyWorld(bench.world, Life(DieAt(number, moment)))  # type: ignore[arg-type]
                died = asyncio.create_task(_start_in(world, workflow))
                await asyncio.wait([died])
                assert number > 4 or isinstance(died.exception(), Dead)
                with use_world(bench.world):
                    again = await start(workflow)
                    await bench.work_all()
                    assert await again.attributes() == labels
                    assert await again.status() == "running"

    run(test)


async def _start_in(world: Any, workflow: Any) -> None:
    with use_world(world):
        await start(workflow)


def test_sleeps_that_a_wake_up_ended_are_known_when_their_completions_were_cut_off() -> None:
    history = History("run")
    asked = ev.WakeRequested(time=2.0, key="wake")
    waits = [ev.WaitCreated(time=1.0, id=id, due=9.0) for id in ("sleep#1", "sleep#2", "timeout#1")]
    history.extend([*waits, asked, ev.WaitCompleted(time=2.0, id="sleep#1")], "1")
    assert history.woken == {"sleep#2"}
    history.extend([ev.WaitCompleted(time=2.0, id="sleep#2")], "1")
    assert history.woken == set()


def test_sleeps_whose_completions_were_cut_off_end_with_the_next_turn() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(labelled)
        await bench.work(await bench.receive())
        head = await bench.head(started)
        cut = ev.encode_batch([ev.WakeRequested(time=bench.clock.now(), key="wake")], "1.test")
        at = head.length + 1
        await bench.world.runs.append(head.run_id, head.birth, Batch(at=at, count=1, fence=1, nonce="n", data=cut))
        message = Message(kind="wake", run_id=head.run_id, birth=head.birth, identity="anybody")
        await bench.world.queue.send([(message, 0.0)])
        await bench.work(await bench.receive(), bench.new_engine())
        assert (await bench.types(started))[-3:] == ["wake_requested", "wait_completed", "run_completed"]

    run(test)
