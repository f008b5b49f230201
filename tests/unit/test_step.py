"""docs/protocol.md, "A message for a step": the claim in all its branches, retries, ends and nudges."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run, until
from wdk_cloud import (
    FatalError,
    RetryableError,
    RetryPolicy,
    StepFailedError,
    StepInterruptedError,
    StepNotRegisteredError,
    WorkflowRunFailedError,
    Workflows,
)
from wdk_cloud.codec.keys import LocalKeyService
from wdk_cloud.engine import step as steps
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.service import Engine
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Lease, StepItem

if TYPE_CHECKING:
    from wdk_cloud.app import Workflow
    from wdk_cloud.client import Run
    from wdk_cloud.world.ports import Delivery

app = Workflows()
ran: list[str] = []
fail_with: list[BaseException] = []
gate = asyncio.Event()


@app.step(dispatch="queue", max_retries=2, retry=RetryPolicy(delay="10s", backoff=3))
async def work(what: str) -> str:
    ran.append(what)
    if fail_with:
        raise fail_with[0]
    return what


@app.step(dispatch="queue", max_retries=0)
async def once(what: str) -> str:
    ran.append(what)
    if fail_with:
        raise fail_with[0]
    return what


@app.step(dispatch="queue", cancellable=True)
async def gated(what: str) -> str:
    ran.append(what)
    await gate.wait()
    return what


@app.workflow
async def one(what: str) -> str:
    return await work(what)


@app.workflow
async def one_once(what: str) -> str:
    return await once(what)


@app.workflow
async def one_gated(what: str) -> str:
    return await gated(what)


@pytest.fixture(autouse=True)
def _clean() -> None:
    global gate
    ran.clear()
    fail_with.clear()
    gate = asyncio.Event()


class Calls(Plan):
    def __init__(self) -> None:
        self.made: list[str] = []

    def before(self, call: Call, life: Life) -> None:
        self.made.append(call.method)


async def sent(bench: Bench, workflow: Workflow[..., Any] = one, what: str = "x") -> tuple[Run[Any], Delivery]:
    """A run whose only step is on its way; and its message, received."""
    started = await bench.start(workflow, what)
    await bench.work(await bench.receive())
    delivery = await bench.receive()
    assert delivery.message.kind == "step"
    return started, delivery


async def item_of(bench: Bench, delivery: Delivery) -> StepItem:
    message = delivery.message
    assert message.step_id is not None
    item = await bench.world.runs.step(message.run_id, message.birth, message.step_id)
    assert item is not None
    return item


async def claim(bench: Bench, delivery: Delivery, identity: str = "other", seconds: float = 30) -> StepItem:
    """What another worker does first."""
    message, now = delivery.message, bench.clock.now()
    assert message.step_id is not None
    done, item = await bench.world.runs.claim_step(
        message.run_id, message.birth, message.step_id, identity=identity, provider_id="p", now=now, until=now + seconds
    )
    assert done
    return item


async def renew(bench: Bench, delivery: Delivery, held: StepItem, seconds: float) -> None:
    message, until = delivery.message, bench.clock.now() + seconds
    assert message.step_id is not None and held.holder is not None
    asked = (message.run_id, message.birth, message.step_id)
    assert bench.world.runs.renew_step(*asked, attempt=held.attempt, identity=held.holder, until=until)


async def visible_in(bench: Bench, kind: str) -> list[float]:
    """Seconds until the messages of this kind can be received, those in somebody's hands left out."""
    now, queue = bench.clock.now(), bench.world.queue
    entries: Any = vars(queue)["_entries"].values()
    return [round(e.ticket[0] - now, 6) for e in entries if e.message.kind == kind and e.receipt is None]


# -- the claim --------------------------------------------------------------------------------------------------------


def test_a_claim_counts_the_attempt_before_the_body_and_the_end_frees_it() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        assert await bench.work(delivery)
        item = await item_of(bench, delivery)
        assert (item.attempt, item.holder, item.interrupted) == (1, None, 0)
        assert item.end is not None
        assert ran == ["x"]
        await bench.work_all()
        assert await bench.result(started) == "x"

    run(test)


def test_a_step_message_received_before_is_exchanged_and_its_first_receiver_cannot_claim() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        await claim(bench, delivery, "other", seconds=1)
        bench.clock.advance_to(bench.clock.now() + 1)
        assert await bench.work(msgspec.structs.replace(delivery, again=True))
        assert (await item_of(bench, delivery)).retired == (delivery.provider_id,)
        assert await visible_in(bench, "step") == [0]
        assert not await deliver(bench.new_engine(), delivery)
        assert ran == []

    run(test)


def test_an_exchanged_message_that_holds_the_claim_comes_back_when_the_claim_has_run_out() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        await claim(bench, delivery, delivery.message.identity, seconds=20)
        assert await bench.work(msgspec.structs.replace(delivery, again=True))
        assert await visible_in(bench, "step") == [20]

    run(test)


def test_a_live_claim_of_the_same_message_delays_a_copy_to_its_end() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        await claim(bench, delivery, delivery.message.identity, seconds=20)
        assert await bench.work(delivery)
        assert await visible_in(bench, "step") == [20]
        assert ran == []

    run(test)


def test_copies_of_a_held_message_become_more_only_by_duplicates_and_all_go_when_the_step_has_ended() -> None:
    """docs/decisions/023: what a queue delivers twice at once is two copies, each lease anew."""

    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        held = await claim(bench, delivery, delivery.message.identity)
        assert await bench.work(delivery)
        assert await bench.work(delivery)  # the queue's duplicate, not counted
        assert await visible_in(bench, "step") == [30, 30]
        for copies in (2, 2, 3, 3):
            await renew(bench, delivery, held, seconds=60)
            bench.clock.advance_to(bench.clock.now() + 30)
            coming = [await bench.receive() for _ in await visible_in(bench, "step")]
            for each in [*coming, *([coming[0]] if copies > len(coming) else [])]:
                assert await bench.work(each)
            assert await visible_in(bench, "step") == [30] * copies
        message = delivery.message
        assert message.step_id is not None
        assert await bench.world.runs.end_step(message.run_id, message.birth, message.step_id, attempt=1, end=b"end")
        bench.clock.advance_to(bench.clock.now() + 30)
        for _ in range(3):
            step = await bench.receive()
            assert step.message.kind == "step" and await bench.work(step)
        assert await visible_in(bench, "step") == [] and ran == []
        assert await visible_in(bench, "wake") == [0, 0, 0]  # each that finds the end tells the run

    run(test)


def test_a_live_claim_of_another_message_lets_this_one_go() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        await claim(bench, delivery, "other")
        assert await bench.work(delivery)
        assert await bench.messages() == []
        assert ran == []

    run(test)


def test_a_claim_that_ran_out_is_taken_over_and_counts_as_interrupted() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        await claim(bench, delivery, "other", seconds=5)
        bench.clock.advance_to(bench.clock.now() + 5)
        assert await bench.work(delivery)
        item = await item_of(bench, delivery)
        assert (item.attempt, item.interrupted) == (2, 1)
        await bench.work_all()
        assert await bench.result(started) == "x"

    run(test)


def test_a_message_that_comes_before_the_retry_is_due_is_sent_on_with_the_rest_of_the_delay() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        message = delivery.message
        assert message.step_id is not None
        await claim(bench, delivery, message.identity)
        assert await bench.world.runs.retry_step(
            message.run_id,
            message.birth,
            message.step_id,
            attempt=1,
            identity=message.identity,
            retry_at=bench.clock.now() + 7,
        )
        assert await bench.work(delivery)
        assert await visible_in(bench, "step") == [7]
        assert ran == []

    run(test)


def test_a_step_message_for_an_ended_run_or_another_birth_claims_nothing() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        started, delivery = await sent(bench)
        engine = Engine(FaultyWorld(bench.world, Life(calls)), [app], bench.settings)
        stranger = msgspec.structs.replace(delivery.message, birth="another")
        assert await deliver(engine, msgspec.structs.replace(delivery, message=stranger))
        head = await bench.head(started)
        lease = await bench.world.runs.acquire(
            head.run_id, head.birth, identity="i", provider_id="p", now=bench.clock.now(), until=bench.clock.now() + 9
        )
        assert isinstance(lease, Lease)
        await bench.world.runs.change(
            head.run_id, head.birth, {"status": "cancelled"}, holder="i", fence=lease.head.fence
        )
        assert await deliver(engine, delivery)
        assert calls.made == ["head", "head"]
        assert ran == []

    run(test)


# -- a key that is not here -------------------------------------------------------------------------------------------

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))


def with_key(bench: Bench, key: bytes | None) -> Engine:
    return Engine(bench.world, [app], bench.settings, None if key is None else LocalKeyService(key))


@pytest.mark.parametrize("key", [None, OTHER_KEY], ids=["no key", "another key"])
def test_a_worker_that_cannot_open_the_runs_key_claims_nothing_and_sends_the_message_on_with_growing_delays(
    key: bytes | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(KEY).decode())

    async def test() -> None:
        bench = Bench(app)
        bench.engine = with_key(bench, KEY)
        started, delivery = await sent(bench, one_once)
        identity, strange, waits = delivery.message.identity, with_key(bench, key), list[float]()
        for _ in range(12):
            assert await bench.work(delivery, strange)
            then = bench.clock.now()
            delivery = await bench.receive_when_due()
            waits.append(round(bench.clock.now() - then, 3))
            assert (delivery.message.kind, delivery.message.identity) == ("step", identity)
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
        message = delivery.message
        assert message.step_id is not None
        assert await bench.world.runs.step(message.run_id, message.birth, message.step_id) is None
        reasons = [r.getMessage() for r in caplog.records if "is handed on" in r.getMessage()]
        assert len(reasons) == 12
        assert reasons[0].startswith(f"run {message.run_id}: step {message.step_id} is handed on (1. time): ")
        assert all("WDK_ENCRYPTION_KEY" in reason for reason in reasons)
        assert await bench.work(delivery)
        assert (await item_of(bench, delivery)).attempt == 1
        await bench.work_all()
        assert await bench.result(started) == "x"
        assert ran == ["x"]

    run(test)


def test_a_step_that_no_worker_can_open_is_dropped_when_its_run_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(KEY).decode())

    async def test() -> None:
        bench = Bench(app)
        bench.engine = with_key(bench, KEY)
        started, delivery = await sent(bench)
        strange = with_key(bench, None)
        assert await bench.work(delivery, strange)
        with use_world(bench.world):
            await started.cancel()
        while [m.kind for m in await bench.messages()] != ["step"]:
            await bench.work(await bench.receive())
        assert await bench.work(await bench.receive_when_due(), strange)
        assert await bench.messages() == []

    run(test)


# -- failures ---------------------------------------------------------------------------------------------------------


def test_a_failed_attempt_frees_the_claim_and_sends_a_copy_with_the_delay_and_no_turn() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        fail_with.append(KeyError("no"))
        before = await bench.head(started)
        assert await bench.work(delivery)
        item = await item_of(bench, delivery)
        assert (item.attempt, item.holder, item.retry_at, item.end) == (1, None, bench.clock.now() + 10, None)
        assert await visible_in(bench, "step") == [10]
        assert await visible_in(bench, "wake") == []
        assert await bench.head(started) == before

    run(test)


def test_pauses_grow_by_the_policy_and_the_last_failure_is_what_the_body_sees() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        fail_with.append(KeyError("no"))
        pauses: list[float] = []
        while True:
            await bench.work(delivery)
            if (await item_of(bench, delivery)).end is not None:
                break
            pauses += await visible_in(bench, "step")
            delivery = await bench.receive_when_due()
        assert pauses == [10, 30]
        assert ran == ["x", "x", "x"]
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        error = failed.value.__cause__
        assert isinstance(error, StepFailedError)
        assert error.attempts == 3
        assert repr(error.__cause__) == "KeyError('no')"

    run(test)


def test_a_fatal_error_ends_the_step_at_once() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        fail_with.append(FatalError("never"))
        await bench.work(delivery)
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert repr(failed.value.__cause__) == "FatalError('never')"
        assert ran == ["x"]

    run(test)


def test_a_retryable_error_says_itself_when() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        fail_with.append(RetryableError("busy", retry_after="2 min"))
        await bench.work(delivery)
        assert await visible_in(bench, "step") == [120]

    run(test)


def test_a_failure_of_an_attempt_that_lost_its_claim_is_not_acknowledged() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        fail_with.append(KeyError("no"))
        retry_step = bench.world.runs.retry_step

        async def taken_over(*args: Any, **kwargs: Any) -> bool:
            bench.clock.advance_to(bench.clock.now() + 31)
            await claim(bench, delivery, "other")
            return await retry_step(*args, **kwargs)

        seen = FaultyWorld(bench.world, Life())
        seen.runs = Changed(bench.world.runs, retry_step=taken_over)
        engine = Engine(seen, [app], bench.settings)
        engine.keeper.keep = lambda renewable: None  # this process stands still
        assert not await deliver(engine, delivery)
        item = await item_of(bench, delivery)
        assert (item.holder, item.attempt, item.end) == ("other", 2, None)
        assert await visible_in(bench, "step") == []

    run(test)


class Changed:
    """A store with some of its methods replaced."""

    def __init__(self, store: Any, **methods: Any) -> None:
        self._store = store
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._store, name)


@pytest.mark.parametrize("error", [KeyError("no"), FatalError("no")], ids=["the last one", "fatal"])
def test_a_last_failure_of_an_attempt_that_lost_its_claim_is_no_end(error: Exception) -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench, one_once)
        fail_with.append(error)
        end_step = bench.world.runs.end_step

        async def taken_over(*args: Any, **kwargs: Any) -> bool:
            bench.clock.advance_to(bench.clock.now() + 31)
            await claim(bench, delivery, "other")
            return await end_step(*args, **kwargs)

        seen = FaultyWorld(bench.world, Life())
        seen.runs = Changed(bench.world.runs, end_step=taken_over)
        engine = Engine(seen, [app], bench.settings)
        engine.keeper.keep = lambda renewable: None  # this process stands still
        assert not await deliver(engine, delivery)
        item = await item_of(bench, delivery)
        assert (item.holder, item.attempt, item.end) == ("other", 2, None)

    run(test)


def test_a_success_of_an_attempt_that_lost_its_claim_is_the_end_if_there_is_none() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench, one_gated)
        engine = bench.new_engine()
        task = asyncio.create_task(bench.work(delivery, engine))
        await until(lambda: ran)
        engine.keeper.close()
        bench.clock.advance_to(bench.clock.now() + 31)
        await claim(bench, delivery, "other")
        gate.set()
        assert await task
        await bench.work_all()
        assert await bench.result(started) == "x"

    run(test)


def test_of_two_ends_the_first_one_counts_and_both_are_acknowledged() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench, one_gated)
        engine = bench.new_engine()
        first = asyncio.create_task(deliver(engine, delivery))
        await until(lambda: ran)
        engine.keeper.close()
        bench.clock.advance_to(bench.clock.now() + 31)
        second = asyncio.create_task(deliver(bench.new_engine(), delivery))
        await until(lambda: len(ran) == 2)
        gate.set()
        assert await first
        end = (await item_of(bench, delivery)).end
        assert await second
        assert (await item_of(bench, delivery)).end == end

    run(test)


# -- interruptions -----------------------------------------------------------------------------------------------------


async def dies(bench: Bench, delivery: Delivery, times: int) -> None:
    for _ in range(times):
        await claim(bench, delivery, "dead", seconds=1)
        bench.clock.advance_to(bench.clock.now() + 1)


def test_an_interrupted_attempt_of_a_step_without_retries_is_not_begun_again() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench, one_once)
        await dies(bench, delivery, 1)
        assert await bench.work(delivery)
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert isinstance(failed.value.__cause__, StepInterruptedError)
        assert ran == []

    run(test)


@pytest.mark.parametrize(("deaths", "begins"), [(4, True), (6, True), (7, False)])
def test_the_fifth_interruption_and_each_after_it_counts_as_a_try(deaths: int, begins: bool) -> None:
    """Two retries are three tries: the fifth, sixth and seventh interruption use them up."""

    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        await dies(bench, delivery, deaths)
        await bench.work(delivery)
        await bench.work_all()
        assert ran == ["x"] * begins
        if not begins:
            with pytest.raises(WorkflowRunFailedError) as failed:
                await bench.result(started)
            error = failed.value.__cause__
            assert isinstance(error, StepFailedError)
            assert error.attempts == deaths
            assert isinstance(error.__cause__, StepInterruptedError)

    run(test)


def test_in_a_process_of_its_own_every_interruption_counts() -> None:
    """Where a world delivers one message to a process at a time, no other step can have brought it down."""

    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        await dies(bench, delivery, 3)
        seen = FaultyWorld(bench.world, Life())
        seen.receiver = None
        assert await deliver(Engine(seen, [app], bench.settings), delivery)
        assert ran == []
        assert (await item_of(bench, delivery)).end is not None

    run(test)


def test_a_step_that_this_code_does_not_have_fails_with_a_word_on_what_to_do() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        await bench.work(delivery, bench.new_engine(app=Workflows()))
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert isinstance(failed.value.__cause__, StepNotRegisteredError)

    run(test)


# -- renewals ---------------------------------------------------------------------------------------------------------


def test_a_claim_is_renewed_while_its_body_runs() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench, one_gated)
        task = asyncio.create_task(deliver(bench.engine, delivery))
        await until(lambda: ran)
        bench.clock.advance_to(bench.clock.now() + 25)
        assert (await item_of(bench, delivery)).until == bench.clock.now() + 30
        gate.set()
        assert await task

    run(test)


def test_a_cancellable_step_sees_within_two_seconds_that_it_was_cancelled() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench, one_gated)
        task = asyncio.create_task(deliver(bench.engine, delivery))
        await until(lambda: ran)
        message = delivery.message
        assert message.step_id is not None
        await bench.world.runs.cancel_step(message.run_id, message.birth, message.step_id)
        bench.clock.advance_to(bench.clock.now() + 1)
        bench.clock.advance_to(bench.clock.now() + 1)
        assert await asyncio.wait_for(task, 5)
        end = (await item_of(bench, delivery)).end
        assert end is not None
        assert b"CancelledError" in end

    run(test)


def test_a_step_that_the_workers_end_interrupts_keeps_its_message_and_its_holder_and_ends_its_claim() -> None:
    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench, one_gated)
        task = asyncio.create_task(deliver(bench.engine, delivery))
        await until(lambda: ran)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        item = await item_of(bench, delivery)
        assert (item.end, item.attempt, item.holder) == (None, 1, delivery.message.identity)
        assert item.until == bench.clock.now()

    run(test)


# -- nudges -----------------------------------------------------------------------------------------------------------


async def hold(bench: Bench, started: Run[Any]) -> Lease:
    head, now = await bench.head(started), bench.clock.now()
    lease = await bench.world.runs.acquire(
        head.run_id, head.birth, identity="holder", provider_id="p", now=now, until=now + 3600
    )
    assert isinstance(lease, Lease)
    return lease


def test_an_end_wakes_a_run_that_nobody_holds() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        await bench.work(delivery)
        [message] = await bench.messages()
        assert (message.kind, message.run_id) == ("wake", started.run_id)

    run(test)


def test_an_end_sets_dirty_on_a_run_that_is_held_and_sends_nothing() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        await hold(bench, started)
        await bench.work(delivery)
        assert (await bench.head(started)).dirty
        assert await bench.messages() == []

    run(test)


def test_an_end_adds_nothing_to_a_run_that_is_held_and_dirty() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        started, delivery = await sent(bench)
        lease = await hold(bench, started)
        head = lease.head
        assert await bench.world.runs.mark_dirty(head.run_id, head.birth, holder="holder", fence=head.fence)
        await bench.work(delivery, Engine(FaultyWorld(bench.world, Life(calls)), [app], bench.settings))
        assert calls.made == ["head", "claim_step", "end_step", "head"]

    run(test)


def test_a_dirty_flag_on_a_free_lease_counts_for_nothing() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        lease = await hold(bench, started)
        head = lease.head
        assert await bench.world.runs.mark_dirty(head.run_id, head.birth, holder="holder", fence=head.fence)
        await bench.world.runs.change(head.run_id, head.birth, {"holder": None}, holder="holder", fence=head.fence)
        assert (await bench.head(started)).dirty
        await bench.work(delivery)
        assert [message.kind for message in await bench.messages()] == ["wake"]

    run(test)


def test_a_holder_that_releases_while_it_is_nudged_is_looked_at_again() -> None:
    """The first look sees it held, the mark finds it gone: a message is sent after all."""

    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        lease = await hold(bench, started)
        store: Any = bench.world.runs
        tried: list[int] = []

        async def too_late(run_id: str, birth: str, **kwargs: Any) -> bool:
            tried.append(kwargs["fence"])
            await store.change(run_id, birth, {"holder": None}, holder="holder", fence=lease.head.fence)
            return await store.mark_dirty(run_id, birth, **kwargs)

        seen = FaultyWorld(bench.world, Life())
        seen.runs = Changed(store, mark_dirty=too_late)
        await bench.work(delivery, Engine(seen, [app], bench.settings))
        assert tried == [lease.head.fence]
        assert not (await bench.head(started)).dirty
        assert [message.kind for message in await bench.messages()] == ["wake"]

    run(test)


def test_nudging_a_run_that_has_ended_or_lives_again_does_nothing() -> None:
    async def test() -> None:
        bench = Bench(app)
        started, delivery = await sent(bench)
        await bench.work(delivery)
        await bench.work_all()
        assert await bench.result(started) == "x"
        head = await bench.head(started)
        await steps.nudge(bench.engine, head.run_id, head.birth)
        await steps.nudge(bench.engine, head.run_id, "another")
        await steps.nudge(bench.engine, "gone", head.birth)
        assert await bench.messages() == []
        assert await bench.head(started) == head

    run(test)


def test_a_step_message_that_comes_again_after_the_end_nudges_again() -> None:
    """A death after the end was written and before the run was told."""

    async def test() -> None:
        bench = Bench(app)
        _, delivery = await sent(bench)
        await deliver(bench.engine, delivery)
        assert [m.kind for m in await bench.messages()] == ["step", "wake"]
        assert await deliver(bench.new_engine(), delivery)
        assert [m.kind for m in await bench.messages()] == ["step", "wake", "wake"]
        assert ran == ["x"]

    run(test)
