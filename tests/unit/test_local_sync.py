"""What waits for the disk with `sync="full"`: all that a power cut must not take, and nothing else."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.contract.records import BIRTH, NOW, RUN, UNTIL, a_batch, a_head, a_message, a_token, an_item
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.ports import HeadFields, Labels, World

Call = Callable[[World], Awaitable[object]]

HOLDER = {"holder": "message-1", "fence": 1}


async def acquire(world: World) -> object:
    return await world.runs.acquire(RUN, BIRTH, identity="message-1", provider_id="p", now=NOW, until=UNTIL)


async def change(world: World, **fields: object) -> object:
    return await world.runs.change(RUN, BIRTH, HeadFields(**fields), **HOLDER)  # type: ignore[typeddict-item]


async def receive(world: World) -> object:
    return await world.receiver.receive(1)


async def receive_and_acknowledge(world: World) -> None:
    (delivery,) = await world.receiver.receive(1)
    await world.receiver.acknowledge(delivery)


def waits_of(path, call: Call, sync: str = "full") -> list[bool]:
    """Of each commit of the call whether it waited for the disk. There are a run, its lease and a message."""

    async def main() -> list[bool]:
        world = LocalWorld(path, sync=sync)
        await world.open()
        try:
            await world.runs.create(a_head())
            await acquire(world)
            await world.queue.send([(a_message("message-1"), 0.0)])
            await receive_and_acknowledge(world)  # from now on it listens, which it writes down once
            await world.queue.send([(a_message("message-2"), 0.0)])
            seen: list[bool] = []

            def note(statement: str) -> None:
                if statement == "COMMIT":
                    ((level,),) = host.execute("PRAGMA synchronous").fetchall()
                    seen.append(level == 2)

            host = world._database._host
            host.set_trace_callback(note)
            await call(world)
            host.set_trace_callback(None)
            return seen
        finally:
            await world.close()

    return asyncio.run(main())


LASTING: dict[str, Call] = {
    "a run": lambda world: world.runs.create(a_head("run-2")),
    "events": lambda world: world.runs.append(RUN, BIRTH, a_batch(1)),
    "a message": lambda world: world.queue.send([(a_message("message-3"), 0.0)]),
    "messages": lambda world: world.queue.send([(a_message("message-3"), 0.0), (a_message("message-4"), 5.0)]),
    "what is for the run": lambda world: world.runs.put_item(RUN, BIRTH, an_item("item-1")),
    "that there is something for the run": lambda world: world.runs.mark_dirty(RUN, BIRTH, **HOLDER),
    "the run's end": lambda world: change(world, status="completed"),
    "labels": lambda world: world.runs.put_labels(RUN, BIRTH, Labels(values={"order": "1"})),
    "the token of a hook": lambda world: world.runs.claim_token(a_token()),
    "a large payload": lambda world: world.blobs.put_blob(RUN, BIRTH, "blob", b"data"),
}

PASSING: dict[str, Call] = {
    "a lease": acquire,
    "its release": lambda world: change(world, holder=None, until=0.0),
    "that a message is taken": receive,
}


@pytest.mark.parametrize("what", LASTING)
def test_what_must_outlive_a_power_cut_waits_for_the_disk(what: str, tmp_path) -> None:
    assert waits_of(tmp_path / "local.db", LASTING[what]) == [True]


@pytest.mark.parametrize("what", PASSING)
def test_who_holds_something_does_not(what: str, tmp_path) -> None:
    assert waits_of(tmp_path / "local.db", PASSING[what]) == [False]


def test_that_a_message_is_done_with_does_not_either(tmp_path) -> None:
    assert waits_of(tmp_path / "local.db", receive_and_acknowledge) == [False, False]


def test_together_they_wait(tmp_path) -> None:
    async def both(world: World) -> None:
        await asyncio.gather(acquire(world), world.runs.append(RUN, BIRTH, a_batch(1)))

    assert waits_of(tmp_path / "local.db", both) == [True]


def test_each_commit_decides_anew(tmp_path) -> None:
    async def by_turns(world: World) -> None:
        await receive(world)
        await world.runs.append(RUN, BIRTH, a_batch(1))
        await change(world, holder=None, until=0.0)
        await world.runs.append(RUN, BIRTH, a_batch(2))

    assert waits_of(tmp_path / "local.db", by_turns) == [False, True, False, True]


def test_nothing_waits_by_default(tmp_path) -> None:
    async def by_turns(world: World) -> None:
        await receive(world)
        await world.runs.append(RUN, BIRTH, a_batch(1))

    assert waits_of(tmp_path / "local.db", by_turns, sync="normal") == [False, False]
