"""What stops a turn: an interrupt leaves a note and a lease that ends soon, a divergence is judged by whose log it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run
from wdk_cloud import (
    MaxDeliveriesExceededError,
    NondeterminismError,
    WorkflowRunFailedError,
    Workflows,
    WorldConfigurationError,
    sleep,
    start,
)
from wdk_cloud.engine import trouble
from wdk_cloud.engine.service import Engine
from wdk_cloud.engine.settings import Settings

if TYPE_CHECKING:
    from wdk_cloud.client import Run
    from wdk_cloud.world.ports import Trouble

app = Workflows()
changed = Workflows()
"""Other code for the workflow `pays`."""
raised: list[BaseException] = []


@app.step(name="charge")
async def charge(amount: int) -> int:
    return amount


@changed.step(name="charge")
async def charge_more(amount: int) -> int:
    return amount


@app.workflow(name="pays")
async def pays() -> int:
    paid = await charge(5)
    await sleep("1 hour")
    return paid


@changed.workflow(name="pays")
async def pays_more() -> int:
    paid = await charge_more(6)
    await sleep("1 hour")
    return paid


@app.workflow
async def breaks() -> str:
    if raised:
        raise raised[0]
    return "whole"


@pytest.fixture(autouse=True)
def _clean() -> None:
    raised.clear()


async def note(bench: Bench, started: Run[object]) -> Trouble:
    found = (await bench.head(started)).trouble
    assert found is not None
    return found


def version(bench: Bench, text: str, of: Workflows = changed, **settings: float) -> Engine:
    return bench.new_engine(Settings(code_version=text, cached_runs=0, **settings), of)  # type: ignore[arg-type]


# -- delays -----------------------------------------------------------------------------------------------------------


def test_delays_of_what_is_handed_on_double_up_to_a_quarter_of_an_hour() -> None:
    assert [trouble.onward_delay(n) for n in (1, 2, 3, 10, 11, 12, 5000)] == [1, 2, 4, 512, 900, 900, 900]


# -- interrupts -------------------------------------------------------------------------------------------------------


def test_an_interrupted_body_records_nothing_and_leaves_a_note_and_a_lease_that_ends_soon() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(breaks)
        raised.append(MemoryError("x" * 600))
        delivery = await bench.receive()
        assert not await bench.work(delivery)
        head, found = await bench.head(started), await note(bench, started)
        assert (found.reason, found.interrupt, found.count) == ("MemoryError: " + "x" * 487, True, 1)
        assert (head.holder, head.until - bench.clock.now()) == (delivery.message.identity, 1)
        assert await bench.types(started) == []

    run(test)


def test_each_interrupt_in_a_row_waits_twice_as_long_up_to_a_lease_and_after_ten_stalls_the_run_fails_with_the_last() -> (
    None
):
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(breaks)
        raised.append(RecursionError("too deep"))
        waits: list[float] = []
        assert bench.world.receiver is not None
        while not (await bench.head(started)).ended:
            delivery = await bench.receive_when_due()
            if await bench.work(delivery):
                continue  # it was exchanged for a copy
            waits.append(round((await bench.head(started)).until - bench.clock.now(), 6))
            await bench.world.receiver.put_back(delivery, 0.0)
        assert waits == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, 30]
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert failed.value.error_code == "MAX_DELIVERIES_EXCEEDED"
        error = failed.value.__cause__
        assert type(error) is MaxDeliveriesExceededError
        assert "the last met RecursionError: too deep" in str(error)
        assert str(error.__cause__) == "RecursionError: too deep"

    run(test)


def test_a_run_that_was_interrupted_and_then_handed_on_counts_from_there() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(breaks)
        raised.append(MemoryError())
        assert bench.world.receiver is not None
        delivery = await bench.receive()
        await bench.work(delivery)
        await bench.world.receiver.put_back(delivery, 500.0)
        while not await bench.work(await bench.receive_when_due(), version(bench, "1.test")) or (
            (await note(bench, started)).interrupt
        ):
            pass
        found = await note(bench, started)
        assert (found.count, found.since, found.interrupt) == (1, bench.clock.now(), False)
        assert "is not registered" in found.reason

    run(test)


# -- divergence -------------------------------------------------------------------------------------------------------

DIFFERENCE = "charge#1 (position 3): argument amount was 5 and is now 6"


async def resting(bench: Bench) -> Run[int]:
    """Its log was written by 0000000002.two; the step has ended and the sleep waits."""
    bench.engine = bench.new_engine(Settings(code_version="0000000002.two", cached_runs=0))
    started = await bench.start(pays)
    await bench.work_all()
    return started


@pytest.mark.parametrize("mine", ["0000000002.two", "0000000003.three"], ids=["same", "newer"])
def test_code_as_new_as_the_log_that_diverges_fails_the_run(mine: str) -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await resting(bench)
        assert await bench.work(await bench.receive_when_due(), version(bench, mine))
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert failed.value.error_code == "REPLAY_DIVERGENCE"
        error = failed.value.__cause__
        assert type(error) is NondeterminismError
        assert DIFFERENCE in str(error)
        assert (await bench.types(started))[-1] == "run_failed"
        assert await bench.messages() == []

    run(test)


def test_a_log_that_newer_code_wrote_is_handed_on_to_it() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await resting(bench)
        before = await bench.types(started)
        assert await bench.work(await bench.receive_when_due(), version(bench, "0000000001.one"))
        found = await note(bench, started)
        assert found.reason.startswith("the log was written by newer code (0000000002.two): ")
        assert DIFFERENCE in found.reason
        assert (found.count, await bench.types(started)) == (1, before)
        [onward] = await bench.messages()
        assert (onward.kind, onward.identity) == ("continue", found.onward)
        await bench.work(await bench.receive_when_due(), bench.engine)
        assert await bench.result(started) == 5

    run(test)


def test_when_no_newer_code_came_for_a_day_it_fails_as_diverged() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await resting(bench)
        older = version(bench, "0000000001.one", code_wait=10.0)
        first = await bench.receive_when_due()
        begun = bench.clock.now()
        await bench.work(first, older)
        while await bench.messages():
            await bench.work(await bench.receive_when_due(), older)
        assert bench.clock.now() - begun == 1 + 2 + 4 + 8
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert failed.value.error_code == "REPLAY_DIVERGENCE"
        assert type(failed.value.__cause__) is NondeterminismError

    run(test)


# -- a world that is not set up for it ----------------------------------------------------------------------------------


@app.workflow
async def starts_another() -> str:
    child = await start(breaks)
    return await child.return_value()


class NotSetUp(Plan):
    """Some calls are refused as an administrator's mistake would have it, until it is mended."""

    def __init__(self, *methods: str) -> None:
        self.methods = methods

    def before(self, call: Call, life: Life) -> None:
        if call.method in self.methods:
            raise WorldConfigurationError(f"this process may not {call.method}; give its role the right")


def faulty(bench: Bench, plan: Plan) -> Engine:
    return Engine(FaultyWorld(bench.world, Life(plan)), [app], bench.settings)


def test_what_a_body_asks_of_a_world_that_is_not_set_up_for_it_is_no_failure_of_the_body() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(starts_another)
        engine = faulty(bench, NotSetUp("create"))
        assert await bench.work(await bench.receive(), engine)
        found = await note(bench, started)
        assert (found.reason, found.count) == ("this process may not create; give its role the right", 1)
        assert await bench.types(started) == ["run_created", "run_started", "operation_created"]
        await bench.work(await bench.receive_when_due())
        await bench.work_all()
        assert await bench.result(started) == "whole"
        assert (await bench.head(started)).trouble is None

    run(test)


def test_where_it_cannot_even_be_handed_on_its_lease_ends_soon_and_its_stall_is_taken_back() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(starts_another)
        engine = faulty(bench, NotSetUp("create", "send"))
        delivery = await bench.receive()
        assert not await bench.work(delivery, engine)
        head = await bench.head(started)
        assert (head.holder, head.until - bench.clock.now(), head.stalls) == (delivery.message.identity, 1, 0)

    run(test)
