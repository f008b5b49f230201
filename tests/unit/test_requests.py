"""What callers ask of runs: created once, the item before its message, and what an ended run answers."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from tests.faults import Call, Dead, DieAt, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run
from wdk_cloud import (
    CorruptedEventLogError,
    IdempotencyConflictError,
    RunExistsError,
    RunExpiredError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    WorkflowRunNotFoundError,
    Workflows,
    WorldConfigurationError,
    sleep,
)
from wdk_cloud.codec.keyring import HOW
from wdk_cloud.codec.keys import LocalKeyService
from wdk_cloud.codec.values import encode_arguments
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import requests, runids
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.ports import Lease

app = Workflows()
KEY = bytes(range(32))


@app.workflow
async def echo(what: str) -> str:
    if what == "fail":
        raise KeyError("no")
    if what == "wait":
        await sleep("1 hour")
    return what


def order(what: str = "x", run_id: str = "r", **fields: Any) -> requests.Order:
    data, digest = encode_arguments({"what": what}, known=app.known)
    return requests.Order(echo.id, data, digest, run_id, "1.test", fields.pop("attributes", {}), **fields)


class Calls(Plan):
    def __init__(self) -> None:
        self.made: list[str] = []

    def before(self, call: Call, life: Life) -> None:
        self.made.append(call.method)


def counted(bench: Bench) -> tuple[Any, list[str]]:
    """The world of a caller, and the calls it has made on it."""
    calls = Calls()
    return FaultyWorld(bench.world, Life(calls)), calls.made


async def created(bench: Bench, *orders: requests.Order) -> list[str]:
    return [run_id for each in orders for run_id, _ in [await requests.start(bench.world, None, each)]]


async def sent(bench: Bench) -> list[tuple[str, str, str]]:
    return [(m.kind, m.run_id, m.identity) for m in await bench.messages()]


# -- ids --------------------------------------------------------------------------------------------------------------


def test_a_new_id_is_random_first_then_the_milliseconds_of_its_time() -> None:
    first, second = runids.new_run_id(1_700_000_000.0), runids.new_run_id(1_700_000_000.001)
    assert len(first) == len(second) == 5 + 16 + 10
    assert (first[-10:], second[-10:]) == ("01hf7yat00", "01hf7yat01")
    assert first[5:21] != second[5:21]
    assert set(first[5:]) <= set(runids.ALPHABET)


def test_a_derived_id_is_the_same_for_the_same_parts_and_another_for_parts_cut_elsewhere() -> None:
    assert runids.derived_run_id("key", "w", "k") == "wrun_4vr3k2gjfv5k75wx3p5gjm0j5z"
    assert runids.derived_run_id("key", "wk", "") != requests.derived_run_id("key", "w", "k")


# -- start ------------------------------------------------------------------------------------------------------------


def test_a_small_run_is_one_head_and_one_message_whose_identity_is_the_birth() -> None:
    async def test() -> None:
        bench = Bench(app)
        world, calls = counted(bench)
        started = await requests.start(world, None, order())
        assert started.run_id == "r"
        assert started.payloads is not None
        assert calls == ["create", "send"]
        head = await bench.world.runs.head("r")
        assert head is not None
        assert (head.input, head.length, head.status) == (order().input, 0, "pending")
        assert await sent(bench) == [("wake", "r", head.birth)]

    run(test)


@pytest.mark.parametrize(("size", "in_head"), [(512, True), (513, False)])
def test_an_input_of_up_to_512_bytes_lies_in_the_head_and_a_larger_one_in_the_log_before_it(
    size: int, in_head: bool
) -> None:
    async def test() -> None:
        bench = Bench(app)
        world, calls = counted(bench)
        big = order()
        big = dataclasses.replace(big, input=big.input + b" " * (size - len(big.input)))
        await requests.start(world, None, big)
        assert calls == (["create", "send"] if in_head else ["append", "create", "send"])
        head = await bench.world.runs.head("r")
        assert head is not None
        assert (head.input is not None, head.length) == (in_head, 0 if in_head else 1)

    run(test)


def test_labels_are_there_before_the_head_that_makes_the_run_visible() -> None:
    async def test() -> None:
        bench = Bench(app)
        world, calls = counted(bench)
        await requests.start(world, None, order(attributes={"team": "red"}))
        assert calls == ["append", "put_labels", "create", "send"]
        assert await requests.attributes(bench.world, "r") == {"team": "red"}

    run(test)


def test_a_caller_that_died_before_it_sent_starts_the_same_run_when_it_comes_again() -> None:
    async def test() -> None:
        bench = Bench(app)
        dying: Any = FaultyWorld(bench.world, Life(DieAt(2, "before")))
        with pytest.raises(Dead):
            await requests.start(dying, None, order(idempotency_key="k"))
        assert await sent(bench) == []
        first = await bench.world.runs.head("r")
        assert first is not None
        assert await requests.start(bench.world, None, order(idempotency_key="k")) == ("r", None)
        assert await sent(bench) == [("wake", "r", first.birth)]

    run(test)


def test_a_pending_run_that_is_started_again_gets_its_message_again_and_a_running_one_does_not() -> None:
    async def test() -> None:
        bench = Bench(app)
        again = order(idempotency_key="k")
        assert await created(bench, again, again) == ["r", "r"]
        assert len(await sent(bench)) == 2
        await bench.work_all()
        assert await created(bench, again) == ["r"]
        assert await sent(bench) == []

    run(test)


def test_a_key_that_was_used_with_another_input_or_workflow_is_a_conflict_that_names_the_run() -> None:
    async def test() -> None:
        bench = Bench(app)
        await created(bench, order("x", idempotency_key="k"))
        for other in (
            order("y", idempotency_key="k"),
            dataclasses.replace(order("x", idempotency_key="k"), workflow="workflow//another"),
        ):
            with pytest.raises(IdempotencyConflictError) as conflict:
                await created(bench, other)
            assert (conflict.value.run_id, conflict.value.idempotency_key) == ("r", "k")

    run(test)


def test_an_id_that_is_taken_is_refused_even_with_the_same_input_unless_the_same_body_asks_again() -> None:
    async def test() -> None:
        bench = Bench(app)
        await created(bench, order(run_id="plain"), order(run_id="child", parent="p/b/start#1"))
        with pytest.raises(RunExistsError) as taken:
            await created(bench, order(run_id="plain"))
        assert taken.value.run_id == "plain"
        assert await created(bench, order(run_id="child", parent="p/b/start#1")) == ["child"]
        for parent in ("p/b/start#2", None):
            with pytest.raises(RunExistsError):
                await created(bench, order(run_id="child", parent=parent))

    run(test)


@pytest.mark.parametrize(("longest", "delay", "hop"), [(900.0, 900.0, True), (86_400.0, 3600.0, False)])
def test_a_delayed_run_is_sent_as_a_timer_as_far_as_the_queue_can(longest: float, delay: float, hop: bool) -> None:
    async def test() -> None:
        bench = Bench(app)
        bench.world = MemoryWorld(bench.clock, longest_delay=longest)
        due = bench.clock.now() + 3600
        await created(bench, order(not_before=due))
        [message] = await bench.messages()
        assert (message.kind, message.due, message.hop) == ("timer", due, hop)
        entries: Any = vars(bench.world.queue)["_entries"].values()
        assert [entry.ticket[0] - bench.clock.now() for entry in entries] == [delay]

    run(test)


def test_a_caller_delays_by_no_more_than_callers_can_and_a_worker_carries_it_on() -> None:
    async def test() -> None:
        bench = Bench(app)
        bench.world.queue.callers_delay = 900.0
        due = bench.clock.now() + 3600
        await created(bench, order(not_before=due))
        bench.clock.advance_to(bench.clock.now() + 900)
        hop = await bench.receive()
        assert (hop.message.kind, hop.message.due, hop.message.hop) == ("timer", due, True)
        assert await bench.work(hop)
        bench.clock.advance_to(due)
        timer = await bench.receive()
        assert (timer.message.due, timer.message.hop, timer.message.identity) == (due, False, hop.message.identity)

    run(test)


def test_a_delay_that_is_over_is_none() -> None:
    assert [requests.due_of(delay, 1000.0) for delay in (None, 0, "1 min", 2.5)] == [0.0, 0.0, 1060.0, 1002.5]


# -- asking a run -----------------------------------------------------------------------------------------------------


def test_a_caller_puts_its_item_before_it_sends_and_touches_no_head() -> None:
    async def test() -> None:
        bench = Bench(app)
        await created(bench, order())
        world, calls = counted(bench)
        before = await bench.world.runs.head("r")
        await requests.cancel(world, "r", "why")
        await requests.wake_up(world, "r", "w1")
        # A cancel looks once more: the run may have gone on as another meanwhile.
        assert calls == ["head", "put_item", "send", "head", "head", "put_item", "send"]
        assert await bench.world.runs.head("r") == before

    run(test)


def test_two_cancels_are_one_item_and_the_first_reason_stands() -> None:
    async def test() -> None:
        bench = Bench(app)
        await created(bench, order())
        for reason in ("first", "second"):
            await requests.cancel(bench.world, "r", reason)
        head = await requests.require_head(bench.world, "r")
        assert [(i.key, i.data) for i in await bench.world.runs.items("r", head.birth)] == [
            ("cancel", b'{"reason":"first"}')
        ]
        assert len(await sent(bench)) == 3

    run(test)


def test_what_is_asked_of_an_ended_run_writes_and_sends_nothing() -> None:
    async def test() -> None:
        bench = Bench(app)
        await created(bench, order())
        await bench.work_all()
        world, calls = counted(bench)
        await requests.cancel(world, "r", None)
        await requests.wake_up(world, "r", "w1")
        assert calls == ["head", "head"]

    run(test)


def test_a_run_that_is_not_there_and_one_that_was_deleted_are_told_apart() -> None:
    async def test() -> None:
        bench = Bench(app)
        with pytest.raises(WorkflowRunNotFoundError):
            await requests.cancel(bench.world, "r", None)
        await created(bench, order(idempotency_key="k"))
        head = await requests.require_head(bench.world, "r")
        lease = await bench.world.runs.acquire(
            "r", head.birth, identity="i", provider_id="p", now=bench.clock.now(), until=bench.clock.now() + 9
        )
        assert isinstance(lease, Lease)
        await bench.world.runs.change("r", head.birth, {"status": "deleted"}, holder="i", fence=lease.head.fence)
        for asked in (
            requests.cancel(bench.world, "r", None),
            requests.wake_up(bench.world, "r", "w"),
            requests.attributes(bench.world, "r"),
            requests.info(bench.world, "r"),
            requests.start(bench.world, None, order(idempotency_key="k")),
        ):
            with pytest.raises(RunExpiredError):
                await asked

    run(test)


# -- what became of it ------------------------------------------------------------------------------------------------


async def answer(bench: Bench, keys: LocalKeyService | None = None) -> object:
    return await requests.result(bench.world, keys, await requests.require_head(bench.world, "r"), known=app.known)


def test_an_ended_run_gives_its_result_or_raises_what_it_ended_with() -> None:
    async def test() -> None:
        for what in ("fine", "fail", "wait"):
            bench = Bench(app)
            await created(bench, order(what))
            if what == "wait":
                await requests.cancel(bench.world, "r", "enough")
            await bench.work_all()
            if what == "fine":
                assert await answer(bench) == "fine"
            elif what == "fail":
                with pytest.raises(WorkflowRunFailedError) as failed:
                    await answer(bench)
                assert str(failed.value) == f"run r of {echo.id} failed with USER_ERROR: KeyError: 'no'"
                assert repr(failed.value.__cause__) == "KeyError('no')"
            else:
                with pytest.raises(WorkflowRunCancelledError, match="enough"):
                    await answer(bench)

    run(test)


def test_a_run_whose_end_could_not_be_written_to_its_log_says_why_from_its_head() -> None:
    async def test() -> None:
        bench = Bench(app)
        await created(bench, order("y" * 600))
        head = await requests.require_head(bench.world, "r")
        hole = ev.encode_batch([ev.AttributesSet(time=0.0, key="k", changes={})], "1.test")
        batch = requests.Batch(at=3, count=1, fence=1, nonce="x", data=hole)
        await bench.world.runs.append("r", head.birth, batch)
        await bench.work_all()
        assert await requests.end_of(bench.world, None, await requests.require_head(bench.world, "r")) is None
        with pytest.raises(WorkflowRunFailedError) as failed:
            await answer(bench)
        assert failed.value.error_code == "CORRUPTED_EVENT_LOG"
        assert type(failed.value.__cause__) is CorruptedEventLogError
        assert "its log has a hole at position 2" in str(failed.value.__cause__)

    run(test)


def test_the_result_of_an_encrypted_run_needs_the_key_it_was_started_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(KEY).decode())

    async def test() -> None:
        bench, keys = Bench(app), LocalKeyService(KEY)
        await requests.start(bench.world, keys, order("secret"))
        bench.engine.keys = keys
        await bench.work_all()
        assert await answer(bench, keys) == "secret"
        with pytest.raises(WorldConfigurationError) as refused:
            await answer(bench)
        assert str(refused.value) == f"run r is encrypted; {HOW}"

    run(test)
