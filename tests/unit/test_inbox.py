"""What came from outside: admitted once, deleted only after the commit that admitted it, and only when it is worth it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import Bench, run
from wdk_cloud import FatalError, Workflows, set_attributes, sleep
from wdk_cloud.engine.inbox import KEPT, AttributesItem, encode_item
from wdk_cloud.engine.service import Engine
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import InboxItem, Message

if TYPE_CHECKING:
    from wdk_cloud.client import Run

app = Workflows()


@app.workflow
async def naps() -> str:
    await sleep("1 hour")
    return "rested"


@app.workflow
async def naps_side_by_side() -> float:
    """Two sleeps and a deadline; the deadline is none that `wake_up` ends."""
    async with asyncio.timeout(86_400):
        await asyncio.gather(sleep("1 hour"), sleep("2 hours"))
        await sleep("3 hours")
    return 0.0


@app.step
async def labels_twice() -> None:
    await set_attributes({"a": "1"})
    await set_attributes({"b": "2", "a": None})


@app.step
async def labels_too_many() -> str:
    await set_attributes({f"n{n}": "" for n in range(40)})
    try:
        await set_attributes({f"m{n}": "" for n in range(25)})
    except FatalError as error:
        return str(error)
    return "all of them"


@app.workflow
async def labelled() -> None:
    await labels_twice()


@app.workflow
async def labelled_too_much() -> str:
    return await labels_too_many()


class Calls(Plan):
    def __init__(self) -> None:
        self.made: list[tuple[str, Any]] = []

    def before(self, call: Call, life: Life) -> None:
        self.made.append((call.method, call.args))


async def wake(bench: Bench, started: Run[Any], identity: str) -> None:
    head = await bench.head(started)
    await bench.world.queue.send([(Message(kind="wake", run_id=head.run_id, birth=head.birth, identity=identity), 0.0)])


async def put_label(bench: Bench, started: Run[Any], key: str, size: int) -> None:
    """An inbox item of this many bytes, for a label that it sets."""
    head = await bench.head(started)
    least = len(encode_item(AttributesItem({key: ""})))
    data = encode_item(AttributesItem({key: "x" * (size - least)}))
    await bench.world.runs.put_item(head.run_id, head.birth, InboxItem(key=key, kind="attributes", data=data, time=0.0))


async def kept(bench: Bench, started: Run[Any]) -> list[str]:
    head = await bench.head(started)
    return [item.key for item in await bench.world.runs.items(head.run_id, head.birth)]


@pytest.mark.parametrize(("size", "stays"), [(KEPT // 2 - 1, True), (KEPT // 2, False)])
def test_admitted_items_stay_until_4_kilobytes_of_them_lie_there_and_then_go_together(size: int, stays: bool) -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        for n in (1, 2):
            await put_label(bench, started, f"k{n}", size)
            await wake(bench, started, f"w{n}")
            await bench.work(await bench.receive())
            assert await kept(bench, started) == (["k1", "k2"][:n] if stays or n == 1 else [])
        assert (await bench.types(started)).count("attributes_set") == 2

    run(test)


def test_an_item_that_stays_is_admitted_once_though_every_turn_reads_it() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        await put_label(bench, started, "k1", 100)
        for n, engine in enumerate((bench.engine, bench.engine, bench.new_engine())):
            await wake(bench, started, f"w{n}")
            await bench.work(await bench.receive(), engine)
            assert await kept(bench, started) == ["k1"]
        assert (await bench.types(started)).count("attributes_set") == 1

    run(test)


def test_what_is_deleted_was_admitted_by_a_commit_that_came_before() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        started = await bench.start(naps)
        await bench.work(await bench.receive())
        await put_label(bench, started, "k1", KEPT)
        await wake(bench, started, "w")
        engine = Engine(FaultyWorld(bench.world, Life(calls)), [app], bench.settings)
        await bench.work(await bench.receive(), engine)
        made = [method for method, _ in calls.made if method in {"items", "append", "drop_items"}]
        assert made == ["items", "append", "drop_items"]
        [dropped] = [args[2] for method, args in calls.made if method == "drop_items"]
        assert dropped == ["k1"]

    run(test)


def test_a_wake_up_ends_the_sleeps_that_wait_and_neither_deadlines_nor_later_sleeps() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(naps_side_by_side)
        await bench.work(await bench.receive())
        with use_world(bench.world):
            await started.wake_up()
        await bench.work(await bench.receive())
        types = await bench.types(started)
        assert types[2:] == [
            "wait_created",
            "wait_created",
            "wait_created",
            "wake_requested",
            "wait_completed",
            "wait_completed",
            "wait_created",
        ]
        assert (await bench.head(started)).status == "running"

    run(test)


def test_labels_that_an_inline_step_sets_ride_in_the_next_append_in_the_order_of_the_calls() -> None:
    async def test() -> None:
        bench, calls = Bench(app), Calls()
        started = await bench.start(labelled)
        await bench.work_all(Engine(FaultyWorld(bench.world, Life(calls)), [app], bench.settings))
        assert (await bench.types(started))[4:] == [
            "attributes_set",
            "attributes_set",
            "step_completed",
            "run_completed",
        ]
        assert [method for method, _ in calls.made].count("put_item") == 0
        head = await bench.head(started)
        assert dict((await bench.world.runs.labels(head.run_id, head.birth)).values) == {"b": "2"}

    run(test)


def test_the_limit_of_labels_counts_those_that_the_same_step_has_set_and_no_append_has_yet() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(labelled_too_much)
        await bench.work_all()
        assert (
            await bench.result(started)
            == "a run has at most 64 labels; with this change it would have 65: remove others in the same change"
        )

    run(test)
