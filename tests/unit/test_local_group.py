"""Grouped writes: one commit for all that wait, one answer for each."""

import asyncio
import sqlite3
import threading

import pytest

from wdk_cloud.errors import WorldUnavailableError
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.local import database as database_module
from wdk_cloud.world.ports import Batch, Head, Message


def on_world(path, body):
    async def main():
        world = LocalWorld(path)
        await world.open()
        try:
            return await body(world)
        finally:
            await world.close()

    return asyncio.run(main())


def batch(at, data=b"data", nonce="nonce"):
    return Batch(at=at, count=1, fence=1, nonce=nonce, data=data)


async def in_its_group(future_of):
    """As a task, so that it is asked for in the same round of the loop as its neighbours."""
    return await future_of()


def note_statements(world):
    noted = []
    world._database._host.set_trace_callback(lambda statement: noted.append(statement.split()[0]))
    return noted


def test_writes_of_one_round_of_the_loop_share_a_commit(tmp_path):
    async def body(world):
        noted = note_statements(world)
        answers = await asyncio.gather(*(world.runs.append(f"run{n}", "b", batch(1)) for n in range(50)))
        return noted, answers

    noted, answers = on_world(tmp_path / "local.db", body)
    assert noted == ["BEGIN", *["INSERT"] * 50, "COMMIT"]
    assert answers == [None] * 50


def test_a_large_group_is_cut_so_that_the_loop_breathes(tmp_path, monkeypatch):
    monkeypatch.setattr(database_module, "LARGEST_GROUP", 20)

    async def body(world):
        noted = note_statements(world)
        await asyncio.gather(*(world.runs.append("run", "b", batch(n)) for n in range(50)))
        return noted

    noted = on_world(tmp_path / "local.db", body)
    assert noted.count("COMMIT") == 3
    assert noted.count("INSERT") == 50


def test_each_of_a_group_gets_its_own_answer(tmp_path):
    async def body(world):
        return await asyncio.gather(
            world.runs.append("run", "b", batch(1, b"first", "x")),
            world.runs.append("run", "b", batch(1, b"second", "y")),
            world.runs.append("run", "b", batch(1, b"first", "x")),
            world.runs.append("run", "b", batch(2, b"third", "z")),
        )

    assert on_world(tmp_path / "local.db", body) == [None, batch(1, b"first", "x"), None, None]


def test_one_that_fails_undoes_no_other(tmp_path):
    def half(sql, key):
        sql.execute("INSERT INTO labels VALUES ('', ?, 'b', x'7b7d', 1)", (key,))
        sql.execute("INSERT INTO nowhere VALUES (1)")

    async def body(world):
        answers = await asyncio.gather(
            world.runs.append("run", "b", batch(1)),
            in_its_group(lambda: world._database.write_apart(half, "run")),
            world.runs.append("run", "b", batch(2, data="a\ud800")),
            world.runs.append("run", "b", batch(3)),
            return_exceptions=True,
        )
        return (
            answers,
            [found.at for found in await world.runs.read("run", "b", 0)],
            await world.runs.labels("run", "b"),
        )

    answers, positions, labels = on_world(tmp_path / "local.db", body)
    assert [type(answer) for answer in answers] == [type(None), WorldUnavailableError, UnicodeEncodeError, type(None)]
    assert positions == [1, 3]
    assert labels.values == {}


def test_all_are_told_when_the_transaction_is_lost(tmp_path):
    def lost(sql):
        sql.execute("ROLLBACK")  # SQLite does so by itself on some errors of the disk
        raise sqlite3.OperationalError("disk I/O error")

    async def body(world):
        answers = await asyncio.gather(
            world.runs.append("run", "b", batch(1)),
            in_its_group(lambda: world._database.write(lost)),
            world.runs.append("run", "b", batch(2)),
            return_exceptions=True,
        )
        await world.runs.append("run", "b", batch(3))
        return answers, [found.at for found in await world.runs.read("run", "b", 0)]

    answers, positions = on_world(tmp_path / "local.db", body)
    assert [type(answer) for answer in answers] == [WorldUnavailableError] * 3
    assert positions == [3]


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(tmp_path):
    async def body(world):
        ((pages,),) = world._database.read("PRAGMA page_count")
        world._database.read(f"PRAGMA max_page_count = {pages + 10}")
        told = []
        for at in range(100):
            try:
                await world.runs.append("run", "b", batch(at, bytes(4000)))
            except WorldUnavailableError as error:
                told.append(str(error))
                break
        found = await world.runs.read("run", "b", -1)
        world._database.read("PRAGMA max_page_count = 100000")
        after = await world.runs.append("run", "b", batch(len(found), bytes(4000)))
        return told, [one.at for one in found], after

    path = tmp_path / "local.db"
    told, positions, after = on_world(path, body)
    assert told == [f"the disk of {path} is full: nothing of this was written; make room, the runs go on by themselves"]
    assert positions == list(range(len(positions)))
    assert after is None


def test_an_interrupt_in_the_middle_leaves_nothing_and_the_world_goes_on(tmp_path):
    def interrupted(sql):
        sql.execute("INSERT INTO labels VALUES ('', 'run', 'b', x'7b7d', 1)")
        raise KeyboardInterrupt

    async def body(world):
        waiting = asyncio.ensure_future(world.runs.append("run", "b", batch(1)))
        await asyncio.sleep(0)
        with pytest.raises(KeyboardInterrupt):
            world._database.write_now(interrupted)
        with pytest.raises(WorldUnavailableError, match="was interrupted; it did not happen"):
            await waiting
        await world.runs.append("run", "b", batch(2))
        return [one.at for one in await world.runs.read("run", "b", 0)], await world.runs.labels("run", "b")

    positions, labels = on_world(tmp_path / "local.db", body)
    assert positions == [2]
    assert labels.position == 0


def test_a_write_whose_caller_was_cancelled_before_the_commit_does_not_happen(tmp_path):
    async def body(world):
        writing = asyncio.ensure_future(world.runs.append("run", "b", batch(1)))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await world.runs.append("run", "b", batch(2))
        return [one.at for one in await world.runs.read("run", "b", 0)]

    assert on_world(tmp_path / "local.db", body) == [2]


def test_closing_writes_what_waits(tmp_path):
    path = tmp_path / "local.db"

    async def main():
        world = LocalWorld(path)
        await world.open()
        writing = asyncio.ensure_future(world.runs.append("run", "b", batch(1)))
        await asyncio.sleep(0)
        await world.close()
        return await writing

    assert asyncio.run(main()) is None

    async def body(world):
        return [one.at for one in await world.runs.read("run", "b", 0)]

    assert on_world(path, body) == [1]


def test_a_lock_of_another_process_is_waited_for_without_stopping_the_loop(tmp_path):
    path = tmp_path / "local.db"

    async def body(world):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        writing = asyncio.ensure_future(world.runs.append("run", "b", batch(1)))
        for _ in range(3):
            await asyncio.sleep(0.001)
        before = writing.done()
        holder.execute("COMMIT")
        holder.close()
        return before, await writing

    assert on_world(path, body) == (False, None)


def test_a_lock_that_stays_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "local.db"
    monkeypatch.setattr(database_module, "PATIENCE", 0.0)

    async def body(world):
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        try:
            with pytest.raises(WorldUnavailableError, match="stayed locked by another process"):
                await world.runs.append("run", "b", batch(1))
        finally:
            holder.close()
        return await world.runs.append("run", "b", batch(1))

    assert on_world(path, body) is None


def test_leases_claims_and_messages_are_renewed_from_other_threads_beside_the_host(tmp_path):
    async def body(world):
        await world.runs.create(Head(run_id="run", birth="b", workflow="w", created_at=1.0, seed=b"", input_digest=""))
        await world.runs.acquire("run", "b", identity="m", provider_id="p", now=1.0, until=2.0)
        await world.runs.claim_step("run", "b", "s", identity="m", provider_id="p", now=1.0, until=2.0)
        await world.queue.send([(Message(kind="wake", run_id="run", birth="b", identity="m"), 0.0)])
        (delivery,) = await world.receiver.receive(1)
        answers = []

        def renew():
            for n in range(50):
                head = world.runs.renew("run", "b", holder="m", fence=1, until=10.0 + n)
                step = world.runs.renew_step("run", "b", "s", attempt=1, identity="m", until=10.0 + n)
                world.queue.extend(delivery, 100.0)
                answers.append((head.until, step.until))

        threads = [threading.Thread(target=renew) for _ in range(2)]
        for thread in threads:
            thread.start()
        for n in range(200):
            await world.runs.append("run", "b", batch(n))
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.001)
        lost = world.runs.renew("run", "b", holder="m", fence=2, until=99.0)
        return answers, lost, (await world.runs.head("run")).until

    answers, lost, until = on_world(tmp_path / "local.db", body)
    assert sorted(answers) == sorted([(10.0 + n, 10.0 + n) for n in range(50)] * 2)
    assert lost is None
    assert until == 59.0


@pytest.mark.parametrize("sleeping", [1, 2_000])
def test_what_a_worker_asks_again_and_again_looks_at_no_sleeping_message(tmp_path, sleeping):
    """Counted in SQLite's own steps: a hundred thousand sleeps must not slow down the one who is awake."""

    async def body(world):
        message = Message(kind="timer", run_id="run", birth="b", identity="m")
        await world.queue.send([(message, 3600.0)] * sleeping)
        await world.queue.send([(message, 0.0)])
        steps = 0

        def count():
            nonlocal steps
            steps += 1

        world._database._host.set_progress_handler(count, 1)
        busy = world.receiver.busy()
        (delivery,) = await world.receiver.receive(10)
        await world.receiver.acknowledge(delivery)
        idle = world.receiver.busy()
        world._database._host.set_progress_handler(None, 1)
        return busy, idle, steps < 400

    assert on_world(tmp_path / "local.db", body) == (True, False, True)
