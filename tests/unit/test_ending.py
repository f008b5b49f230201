"""The end of a run: queued steps hear of it, watchers are told, and doing it twice changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.unit.engine_bench import Bench, run
from wdk_cloud import WorkflowRunFailedError, Workflows, list_runs, sleep, start
from wdk_cloud.engine import ending
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.inbox import Watch, encode_item
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Batch, InboxItem

if TYPE_CHECKING:
    from wdk_cloud.client import Run

app = Workflows()


@app.step(dispatch="queue")
async def plain(n: int) -> int:
    return n


@app.step(dispatch="queue", cancellable=True)
async def stoppable(n: int) -> int:
    return n


@app.workflow
async def four_elsewhere() -> None:
    await asyncio.gather(plain(1), stoppable(2), plain(3), stoppable(4))


@app.workflow
async def leaves_one() -> str:
    try:
        await asyncio.wait_for(stoppable(1), 5)
    except TimeoutError:
        return "left"
    return "awaited"


@app.workflow
async def naps(text: str) -> str:
    await sleep("1 hour")
    return text


@app.workflow
async def watches() -> str:
    child = await start(naps, "x" * 600)
    try:
        return await child.return_value()
    except WorkflowRunFailedError as error:
        return f"{error.error_code}"


async def told_to_stop(bench: Bench, started: Run[Any]) -> dict[str, bool | None]:
    """For each step that was sent: whether it is told to stop; None if nobody has written an item of it."""
    head, found = await bench.head(started), dict[str, bool | None]()
    for message in await bench.messages():
        if message.kind == "step":
            assert message.step_id is not None
            item = await bench.world.runs.step(head.run_id, head.birth, message.step_id)
            found[message.step_id.rpartition("//")[2]] = None if item is None else item.cancelled
    return found


async def deliver_to_run(bench: Bench) -> None:
    """Deliver what comes next for the run itself; steps stay with somebody who never ends."""
    while (delivery := await bench.receive_when_due()).message.kind == "step":
        pass
    await bench.work(delivery)


# -- steps that run elsewhere -----------------------------------------------------------------------------------------


def test_the_cancel_of_a_run_tells_its_cancellable_queued_steps_and_no_others() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(four_elsewhere)
        await bench.work(await bench.receive())
        none = {"plain#1": None, "stoppable#1": None, "plain#2": None, "stoppable#2": None}
        assert await told_to_stop(bench, started) == none
        with use_world(bench.world):
            await started.cancel()
        await deliver_to_run(bench)
        assert (await bench.head(started)).status == "cancelled"
        assert await told_to_stop(bench, started) == {**none, "stoppable#1": True, "stoppable#2": True}

    run(test)


def test_a_run_that_ends_by_itself_tells_only_the_step_that_its_body_has_left() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(leaves_one)
        await bench.work(await bench.receive())
        assert await told_to_stop(bench, started) == {"stoppable#1": None}
        await deliver_to_run(bench)
        assert await bench.result(started) == "left"
        assert await told_to_stop(bench, started) == {"stoppable#1": True}

    run(test)


# -- who is told ------------------------------------------------------------------------------------------------------


async def watched_by(bench: Bench, started: Run[Any], *watchers: str) -> None:
    head = await bench.head(started)
    for n, watcher in enumerate(watchers):
        data = encode_item(Watch(watcher, "birth-" + watcher, f"return_value#{n}"))
        item = InboxItem(key=f"watch:{watcher}", kind="watch", data=data, time=bench.clock.now())
        await bench.world.runs.put_item(head.run_id, head.birth, item)


async def told(bench: Bench, watcher: str) -> list[tuple[str, str, bytes]]:
    items = await bench.world.runs.items(watcher, "birth-" + watcher)
    return [(item.key, item.kind, item.data) for item in items]


def test_each_watcher_gets_one_item_and_a_wake_and_a_second_time_no_second_item() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps, "x")
        await watched_by(bench, started, "a", "b")
        head = await bench.head(started)
        for times in (1, 2):
            await ending.follow(bench.engine, head)
            for n, watcher in enumerate("ab"):
                assert await told(bench, watcher) == [
                    (f"ended:{head.run_id}:{head.birth}:return_value#{n}", "operation", f"return_value#{n}".encode())
                ]
            wakes = [m for m in await bench.messages() if m.run_id in {"a", "b"}]
            assert [(m.kind, m.run_id, m.birth) for m in wakes] == [
                ("wake", "a", "birth-a"),
                ("wake", "b", "birth-b"),
            ] * times
            assert len({m.identity for m in wakes}) == 2 * times

    run(test)


def test_a_log_that_cannot_be_read_ends_the_run_in_its_head_and_its_watchers_are_told() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps, "x")
        await bench.work(await bench.receive())
        await watched_by(bench, started, "a")
        before = await bench.types(started)
        await _damage(bench, started)
        with use_world(bench.world):
            await started.wake_up()
        assert (await bench.head(started)).armed is not None
        await deliver_to_run_cold(bench)
        head = await bench.head(started)
        assert (head.status, head.error_code, head.end_at, head.armed) == ("failed", "CORRUPTED_EVENT_LOG", 0, None)
        assert head.ended_at == bench.clock.now()
        assert head.trouble is not None
        assert (head.trouble.since, head.trouble.interrupt) == (bench.clock.now(), False)
        assert len(await told(bench, "a")) == 1
        batches = await bench.world.runs.read(head.run_id, head.birth, 0)
        assert sum(batch.count for batch in batches) == len(before) + 1  # the damaged one; nothing was written

    run(test)


def test_a_body_that_waits_for_a_run_whose_log_is_damaged_gets_its_error() -> None:
    async def test() -> None:
        bench = Bench(app)
        parent = await bench.start(watches)
        for _ in range(4):
            await bench.work_all()
        with use_world(bench.world):
            [child] = await list_runs(workflow=naps)
        await _damage(bench, child)
        await deliver_to_run_cold(bench)
        await bench.work_all()
        assert await bench.result(parent) == "CORRUPTED_EVENT_LOG"

    run(test)


async def _damage(bench: Bench, started: Any) -> None:
    """A record behind a hole: something has deleted the one before it."""
    head = await bench.head(started)
    data = ev.encode_batch([ev.AttributesSet(time=0.0, key="k", changes={})], "1.test")
    batch = Batch(at=head.length + 2, count=1, fence=head.fence, nonce="x", data=data)
    await bench.world.runs.append(head.run_id, head.birth, batch)


async def deliver_to_run_cold(bench: Bench) -> None:
    assert await bench.work(await bench.receive_when_due(), bench.new_engine())
