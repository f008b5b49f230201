"""Two namespaces of one file, over every method of every port: what one does, the other neither sees nor changes.

The rows themselves are compared. A method that is added to a port has to be added here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.records import (
    BIRTH,
    LATER,
    NOW,
    RUN,
    STEP,
    a_batch,
    a_head,
    a_message,
    a_token,
    an_item,
    claim,
    take,
)
from wdk_cloud import IdempotencyConflictError, Workflows, get_run, list_runs, start
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.ports import BlobStore, Delivery, Labels, Queue, Receiver, RunQuery, RunStore, StreamStore

Do = Callable[[LocalWorld], Any]

TABLES = ("heads", "log", "inbox", "steps", "labels", "tokens", "blobs", "chunks", "marks", "messages")

FILL: dict[str, Do] = {
    "runs.create": lambda w: w.runs.create(a_head(idempotency_key="key", wake_by=1.0)),
    "runs.acquire": lambda w: take(w.runs),
    "runs.append": lambda w: w.runs.append(RUN, BIRTH, a_batch(1)),
    "runs.put_item": lambda w: w.runs.put_item(RUN, BIRTH, an_item("a")),
    "runs.claim_step": lambda w: claim(w.runs),
    "runs.put_labels": lambda w: w.runs.put_labels(RUN, BIRTH, Labels(values={"a": "1"}, position=1)),
    "runs.claim_token": lambda w: w.runs.claim_token(a_token()),
    "blobs.put_blob": lambda w: w.blobs.put_blob(RUN, BIRTH, "blob", b"blob"),
    "streams.put": lambda w: w.streams.put(RUN, BIRTH, "log", 0, b"object"),
    "streams.mark": lambda w: w.streams.mark(RUN, BIRTH, "log", NOW),
    "queue.send": lambda w: w.queue.send([(a_message("m"), 0.0), (a_message("later"), 60.0)]),
}
"""Writes that put something of every kind there."""

READ: dict[str, Do] = {
    "runs.head": lambda w: w.runs.head(RUN),
    "runs.read": lambda w: w.runs.read(RUN, BIRTH, 0),
    "runs.read_at": lambda w: w.runs.read_at(RUN, BIRTH, 1),
    "runs.items": lambda w: w.runs.items(RUN, BIRTH),
    "runs.step": lambda w: w.runs.step(RUN, BIRTH, STEP),
    "runs.labels": lambda w: w.runs.labels(RUN, BIRTH),
    "runs.token": lambda w: w.runs.token(a_token().digest),
    "runs.list_heads": lambda w: w.runs.list_heads(RunQuery()),
    "runs.overdue": lambda w: w.runs.overdue(NOW, 10),
    "blobs.get_blob": lambda w: w.blobs.get_blob(RUN, BIRTH, "blob"),
    "streams.get": lambda w: w.streams.get(RUN, BIRTH, "log", 0, 100),
    "streams.length": lambda w: w.streams.length(RUN, BIRTH, "log"),
    "streams.marked": lambda w: w.streams.marked(RUN, BIRTH, "log"),
    "receiver.busy": lambda w: w.receiver.busy(),
}


async def buried_and_forgotten(world: LocalWorld) -> None:
    await world.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER)
    await world.runs.forget(RUN, BIRTH)


CHANGE: dict[str, Do] = {
    "runs.mark_dirty": lambda w: w.runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=1),
    "runs.renew": lambda w: w.runs.renew(RUN, BIRTH, holder="message-1", fence=1, until=LATER),
    "runs.retire": lambda w: w.runs.retire(RUN, BIRTH, "p"),
    "runs.change": lambda w: w.runs.change(RUN, BIRTH, {"length": 7}, holder="message-1", fence=1),
    "runs.drop_items": lambda w: w.runs.drop_items(RUN, BIRTH, ["a"]),
    "runs.renew_step": lambda w: w.runs.renew_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER),
    "runs.retire_step": lambda w: w.runs.retire_step(RUN, BIRTH, STEP, "p"),
    "runs.retry_step": lambda w: w.runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER),
    "runs.cancel_step": lambda w: w.runs.cancel_step(RUN, BIRTH, STEP),
    "runs.end_step": lambda w: w.runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end"),
    "runs.free_token": lambda w: w.runs.free_token(a_token()),
    "runs.bury": lambda w: w.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=LATER),
    "runs.erase": lambda w: w.runs.erase([(RUN, BIRTH)]),
    "runs.forget": lambda w: buried_and_forgotten(w),
}
"""Writes that change or remove what is there."""

OF_A_DELIVERY = {"queue.extend", "receiver.receive", "receiver.acknowledge", "receiver.put_back"}
"""They deal with what was received: a test of their own."""

WHERE_THINGS_GO_BY_THEMSELVES = {"runs.aging", "runs.refresh", "runs.sighted"}
"""They do nothing here."""

OF_THE_ENDED = {"runs.removable"}
"""It shows runs that have ended, and none of those is: a test of its own."""


async def done(do: Do, world: LocalWorld) -> Any:
    answer = do(world)
    return await answer if isinstance(answer, Awaitable) else answer


def rows(world: LocalWorld, namespace: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that lies in the file under a namespace. The rows' own numbers count all of them, so they tell nothing."""
    return {
        table: world._database.read(f"SELECT * FROM {table} WHERE namespace = ? ORDER BY 1, 2, 3, 4", (namespace,))
        for table in TABLES
    }


def on_file(folder: Path, body: Callable[[LocalWorld], Awaitable[None]]) -> None:
    async def main() -> None:
        world = LocalWorld(folder / "local.db", clock=VirtualClock())
        await world.open()
        try:
            await body(world)
        finally:
            await world.close()

    asyncio.run(main())


def test_every_method_of_every_port_is_tried_here() -> None:
    ports = {"runs": RunStore, "blobs": BlobStore, "streams": StreamStore, "queue": Queue, "receiver": Receiver}
    methods = {
        f"{name}.{method}"
        for name, port in ports.items()
        for method, what in vars(port).items()
        if callable(what) and not method.startswith("_")
    }
    assert {*FILL, *READ, *CHANGE, *OF_A_DELIVERY, *OF_THE_ENDED, *WHERE_THINGS_GO_BY_THEMSELVES} == methods


def test_every_table_that_belongs_to_a_namespace_is_compared(tmp_path: Path) -> None:
    async def body(world: LocalWorld) -> None:
        tables = [name for (name,) in world._database.read("SELECT name FROM sqlite_master WHERE type = 'table'")]
        with_it = {
            name
            for name in tables
            if "namespace" in [row[1] for row in world._database.read(f"PRAGMA table_info({name})")]
        }
        assert with_it == set(TABLES)
        assert set(tables) - with_it == {"listeners", "sqlite_sequence"}

    on_file(tmp_path, body)


@pytest.mark.parametrize(("ours", "theirs"), [("", "shop"), ("shop", ""), ("shop", "shop2"), ("shop", "Shop")])
def test_nothing_of_one_namespace_is_seen_from_another(ours: str, theirs: str, tmp_path: Path) -> None:
    async def body(world: LocalWorld) -> None:
        here, there = world.scoped(ours), world.scoped(theirs)
        before = {name: await done(do, there) for name, do in READ.items()}
        for do in FILL.values():
            await done(do, here)
        assert all(rows(world, ours).values()), "a table that nothing was put into"
        seen = {name: await done(do, here) for name, do in READ.items()}
        assert [name for name in READ if seen[name] == before[name]] == [], "a read that shows nothing even here"
        assert {name: await done(do, there) for name, do in READ.items()} == before
        assert not any(rows(world, theirs).values())

    on_file(tmp_path, body)


@pytest.mark.parametrize(("ours", "theirs"), [("", "shop"), ("shop", "")])
@pytest.mark.parametrize("name", CHANGE)
def test_nothing_that_is_done_in_one_namespace_changes_another(
    name: str, ours: str, theirs: str, tmp_path: Path
) -> None:
    async def body(world: LocalWorld) -> None:
        here, there = world.scoped(ours), world.scoped(theirs)
        for do in FILL.values():
            await done(do, here)
        before = rows(world, ours)
        await done(CHANGE[name], there)
        assert rows(world, ours) == before
        assert rows(world, theirs)["heads"] == []
        for do in FILL.values():  # the same keys: each namespace has room for them
            await done(do, there)
        await done(CHANGE[name], there)
        assert rows(world, ours) == before
        await done(CHANGE[name], here)
        assert rows(world, ours) != before, f"{name} changes nothing even here"

    on_file(tmp_path, body)


def test_messages_go_to_the_receivers_of_their_namespace(tmp_path: Path) -> None:
    async def body(world: LocalWorld) -> None:
        here, there = world.scoped("here"), world.scoped("there")
        for number in range(3):
            await here.queue.send([(a_message(f"here-{number}"), 0.0)])
            await there.queue.send([(a_message(f"there-{number}"), 0.0)])
        mine = await here.receiver.receive(10)
        assert [one.message.identity for one in mine] == ["here-0", "here-1", "here-2"]
        before = rows(world, "there")
        waiting = asyncio.ensure_future(here.receiver.receive(10))
        await asyncio.sleep(0)
        assert not waiting.done()
        await here.receiver.acknowledge(mine[0])
        await here.receiver.put_back(mine[1], 0.0)
        here.queue.extend(mine[2], 0.0)
        again: list[Delivery] = await waiting
        assert {one.message.identity for one in again} <= {"here-1", "here-2"}
        assert rows(world, "there") == before
        theirs = await there.receiver.receive(10)
        assert [one.message.identity for one in theirs] == ["there-0", "there-1", "there-2"]
        assert not any(one.again for one in theirs)

    on_file(tmp_path, body)


def test_the_end_of_a_run_is_told_in_its_namespace_only(tmp_path: Path) -> None:
    async def body(world: LocalWorld) -> None:
        here, there = world.scoped("here"), world.scoped("there")
        ours, theirs = here.subscribe(RUN), there.subscribe(RUN)
        for one in (here, there):
            await one.runs.create(a_head())
            await take(one.runs)
        await here.runs.change(RUN, BIRTH, {"status": "completed"}, holder="message-1", fence=1)
        assert (await ours.wait(0.0), await theirs.wait(0.0)) == (True, False)

    on_file(tmp_path, body)


def test_the_runs_to_remove_are_those_of_the_namespace(tmp_path: Path) -> None:
    async def body(world: LocalWorld) -> None:
        here, there = world.scoped("here"), world.scoped("there")
        for run_id, more in (("ended", {"status": "failed"}), ("a", {"status": "deleted"}), ("leads", {})):
            fields = {"status": "completed", "ended_at": 1.0, "wake_by": 0.0, "continued_to": "there", **more}
            await here.runs.create(a_head(run_id, **fields))
        await there.runs.create(a_head("there", status="running"))
        asked = {"ended_before": 2.0, "buried_before": 2.0, "limit": 9}
        assert [head.run_id for head in await here.runs.removable(**asked)] == ["ended", "leads", "a"]
        assert await there.runs.removable(**asked) == []

    on_file(tmp_path, body)


# -- the same through the public functions ----------------------------------------------------------------------------


def doubling(namespace: str | None, factor: int) -> Workflows:
    app = Workflows(namespace)

    @app.workflow(name="times")
    async def times(n: int) -> int:
        return factor * n

    return app


def test_apps_of_two_namespaces_share_ids_and_idempotency_keys_without_meeting(tmp_path: Path) -> None:
    twice, thrice = doubling(None, 2), doubling("thrice", 3)

    async def main() -> None:
        async with workflow_env("local", twice, thrice, path=tmp_path / "local.db") as env:
            two, three = (app.workflows["times"] for app in (twice, thrice))
            one = await start(two.with_options(idempotency_key="key"), 1)
            with pytest.raises(IdempotencyConflictError):
                await start(two.with_options(idempotency_key="key"), 5)
            other = await start(three.with_options(idempotency_key="key"), 5)
            named = [await start(w.with_options(run_id="named"), 7) for w in (two, three)]
            await env.run_until_blocked()
            assert [await run.return_value(timeout=5) for run in (one, other, *named)] == [2, 15, 14, 21]
            for namespace, runs in ((None, (one, named[0])), ("thrice", (other, named[1]))):
                listed = await list_runs(namespace=namespace)
                assert Counter(info.run_id for info in listed) == Counter(run.run_id for run in runs)
            assert await get_run("named").return_value() == 14
            assert await get_run("named", namespace="thrice").return_value() == 21

    asyncio.run(main())
