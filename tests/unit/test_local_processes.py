"""Several processes on one file: who is gone, who is woken, and what a death leaves."""

import asyncio
import multiprocessing
import os
import signal
import socket
from contextlib import contextmanager

import pytest

from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.local import notices as notices_module
from wdk_cloud.world.local.bell import MARKS_PER_DATAGRAM, MESSAGES, RUNS, Bell, parse, ring
from wdk_cloud.world.local.notices import run_mark
from wdk_cloud.world.local.processes import INITIAL_PID_NAMESPACE, Process, is_gone, this_process
from wdk_cloud.world.ports import Head, Message

SPAWN = multiprocessing.get_context("spawn")


def wake(identity="m1", run_id="run"):
    return Message(kind="wake", run_id=run_id, birth="b", identity=identity)


def head(run_id="run", **fields):
    return Head(run_id=run_id, birth="b", workflow="w", created_at=1.0, seed=b"", input_digest="", **fields)


def on_world(path, body, **options):
    async def main():
        world = LocalWorld(path, **options)
        await world.open()
        try:
            return await body(world)
        finally:
            await world.close()

    return asyncio.run(main())


@contextmanager
def other_process(target, path):
    """A process that runs `target(path, pipe)`; what comes out is our end of the pipe and the process."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=target, args=(path, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        assert ours.recv() == "ready"
        yield ours, process
    finally:
        process.kill()
        process.join()
        ours.close()


# -- what runs in the other process -----------------------------------------------------------------------------------


def hold_everything(path, pipe):
    """Take a message, a lease and a claim, and live on."""

    async def body(world):
        await world.runs.create(head())
        await world.queue.send([(wake(), 0.0)])
        (delivery,) = await world.receiver.receive(1)
        now = world.clock.now()
        await world.runs.acquire(
            "run", "b", identity="m1", provider_id=delivery.provider_id, now=now, until=now + 30_000
        )
        await world.runs.claim_step("run", "b", "s", identity="m1", provider_id="p", now=now, until=now + 30_000)
        pipe.send("ready")
        pipe.recv()

    on_world(path, body)


def receive_and_report(path, pipe):
    async def body(world):
        receiving = asyncio.ensure_future(world.receiver.receive(1))
        while not world._database.notices._waiters:
            await asyncio.sleep(0)
        pipe.send("ready")
        pipe.send([delivery.message.identity for delivery in await receiving])
        pipe.recv()

    notices_module.LOOK_EVERY = 3600.0  # the datagram or nothing
    on_world(path, body)


def end_the_run(path, pipe):
    async def body(world):
        pipe.send("ready")
        pipe.recv()
        await world.runs.change("run", "b", {"status": "completed"}, holder="m1", fence=1)
        pipe.recv()

    on_world(path, body)


# -- is it gone? ------------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_its_text():
    us = this_process()
    assert Process.from_text(str(us)) == us
    assert us.pid == os.getpid()


def test_who_lives_is_not_gone():
    us = this_process()
    assert not is_gone(str(us), us)


@pytest.mark.parametrize("text", ["", "x", "a/b/c/d/e", "a/b/c/-1/e", "a/b/c/1"])
def test_a_text_that_says_nothing_is_not_judged(text):
    assert Process.from_text(text) is None
    assert not is_gone(text, this_process())


def test_a_pid_that_is_used_again_is_another_process():
    us = this_process()
    assert is_gone(str(us._replace(started="1")), us)


def test_a_pid_that_nobody_has_is_gone():
    us = this_process()
    assert is_gone(str(us._replace(pid=2**22 + 1)), us)  # above the kernel's highest pid_max


def test_another_pid_namespace_is_not_judged():
    us = this_process()
    assert not is_gone(str(us._replace(pid_namespace="1", started="1")), us)


def test_another_boot_is_gone_only_on_the_machine_itself():
    us = this_process()._replace(machine="here", boot="now", pid_namespace=INITIAL_PID_NAMESPACE)
    before = us._replace(boot="before")
    assert is_gone(str(before), us)
    assert not is_gone(str(before._replace(machine="there")), us)
    assert not is_gone(str(before._replace(machine="")), us._replace(machine=""))
    assert not is_gone(str(before._replace(pid_namespace="1")), us._replace(pid_namespace="1"))
    assert not is_gone(str(before._replace(boot="")), us)


# -- a death ----------------------------------------------------------------------------------------------------------


def test_what_a_killed_process_held_is_free_at_once(tmp_path):
    path = tmp_path / "local.db"

    async def body(world):
        (delivery,) = await world.receiver.receive(1)
        retired = await world.runs.retire("run", "b", delivery.provider_id)
        now = world.clock.now()
        lease = await world.runs.acquire("run", "b", identity="m2", provider_id="p2", now=now, until=now + 30)
        claim = await world.runs.claim_step("run", "b", "s", identity="m2", provider_id="p2", now=now, until=now + 30)
        return delivery, retired, now, lease, claim

    with other_process(hold_everything, path) as (_, process):
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        delivery, retired, now, lease, (claimed, item) = on_world(path, body)
    assert (delivery.message, delivery.again) == (wake(), True)
    assert retired.until <= now
    assert (lease.unclean, lease.head.fence, lease.head.stalls, lease.head.holder) == (True, 2, 1, "m2")
    assert (claimed, item.attempt, item.interrupted, item.holder) == (True, 2, 1, "m2")


def test_what_a_living_process_holds_stays_held(tmp_path):
    path = tmp_path / "local.db"

    async def body(world):
        now = world.clock.now()
        refused = await world.runs.acquire("run", "b", identity="m2", provider_id="p2", now=now, until=now + 30)
        claimed, _ = await world.runs.claim_step("run", "b", "s", identity="m2", provider_id="p2", now=now, until=now)
        receiving = asyncio.ensure_future(world.receiver.receive(1))
        await asyncio.sleep(0)
        waits = not receiving.done()
        receiving.cancel()
        return refused.holder, claimed, waits, world.receiver.busy()

    with other_process(hold_everything, path):
        assert on_world(path, body) == ("m1", False, True, True)


def test_a_zombie_that_nobody_has_waited_for_is_gone(tmp_path):
    path = tmp_path / "local.db"

    async def body(world):
        (delivery,) = await world.receiver.receive(1)
        return delivery.again

    with other_process(hold_everything, path) as (_, process):
        os.kill(process.pid, signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert on_world(path, body) is True


def test_a_waiting_worker_notices_a_death_by_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(notices_module, "LOOK_EVERY", 0.01)
    path = tmp_path / "local.db"

    with other_process(hold_everything, path) as (_, process):

        async def body(world):
            receiving = asyncio.ensure_future(world.receiver.receive(1))
            await asyncio.sleep(0)
            os.kill(process.pid, signal.SIGKILL)
            (delivery,) = await receiving
            return delivery.again, world._database.read("SELECT count(*) FROM listeners")

        assert on_world(path, body) == (True, [(1,)])


# -- waking -----------------------------------------------------------------------------------------------------------


def test_a_message_from_another_process_wakes_a_receiver_by_datagram(tmp_path):
    path = tmp_path / "local.db"

    async def body(world):
        await world.queue.send([(wake("theirs"), 0.0)])

    with other_process(receive_and_report, path) as (pipe, _):
        on_world(path, body)
        assert pipe.recv() == ["theirs"]


def test_an_end_in_another_process_notifies_a_subscription_by_datagram(tmp_path, monkeypatch):
    monkeypatch.setattr(notices_module, "LOOK_EVERY", 3600.0)
    path = tmp_path / "local.db"

    async def body(world):
        subscription = world.subscribe("run")
        other = world.subscribe("other run")
        await world.runs.create(head())
        await world.runs.acquire("run", "b", identity="m1", provider_id="p", now=1.0, until=1e10)
        pipe.send("go")
        notified = await subscription.wait(30.0), await other.wait(0.0)
        subscription.close()
        other.close()
        return notified

    with other_process(end_the_run, path) as (pipe, _):
        assert on_world(path, body) == (True, False)


def test_what_a_lost_datagram_would_have_told_is_seen_by_looking(tmp_path, monkeypatch):
    monkeypatch.setattr(notices_module, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(notices_module, "ring", lambda ports, wants, marks: None)
    monkeypatch.setattr(notices_module, "_open_here", {})
    path = tmp_path / "local.db"

    async def body(world):
        await world.runs.create(head(holder="m1", fence=1))
        receiving = asyncio.ensure_future(world.receiver.receive(1))
        subscription = world.subscribe("run")
        other = LocalWorld(path)
        await other.open()
        notices_module._open_here.clear()
        await other.queue.send([(wake(), 0.0)])
        await other.runs.change("run", "b", {"status": "failed"}, holder="m1", fence=1)
        await other.close()
        (delivery,) = await receiving
        return delivery.message, await subscription.wait(30.0)

    assert on_world(path, body) == (wake(), True)


def test_worlds_of_one_process_wake_each_other_without_a_datagram(tmp_path, monkeypatch):
    monkeypatch.setattr(notices_module, "LOOK_EVERY", 3600.0)
    path = tmp_path / "local.db"
    clock = VirtualClock()

    async def body(world):
        other = LocalWorld(path, clock=clock)
        await other.open()
        receiving = asyncio.ensure_future(other.receiver.receive(5))
        for _ in range(3):
            await asyncio.sleep(0)
        subscription = other.subscribe("run")
        await world.runs.create(head(holder="m1", fence=1))
        await world.queue.send([(wake("late"), 10.0)])
        for _ in range(3):
            await asyncio.sleep(0)
        assert clock.next_due() == clock.now() + 10.0
        await world.queue.send([(wake("soon"), 0.0)])
        first = await receiving
        await world.runs.change("run", "b", {"status": "cancelled"}, holder="m1", fence=1)
        notified = await subscription.wait(0.0)
        await other.close()
        return [delivery.message.identity for delivery in first], notified

    assert on_world(path, body, clock=clock) == (["soon"], True)


def test_namespaces_do_not_see_each_other(tmp_path):
    async def body(world):
        shop = world.scoped("shop")
        await world.runs.create(head())
        await world.queue.send([(wake(), 0.0)])
        receiving = asyncio.ensure_future(shop.receiver.receive(1))
        await asyncio.sleep(0)
        seen = await shop.runs.head("run"), receiving.done(), shop.receiver.busy()
        receiving.cancel()
        return seen, world.receiver.busy()

    assert on_world(tmp_path / "local.db", body) == ((None, False, False), True)


def test_a_cancelled_receive_loses_no_message(tmp_path):
    async def body(world):
        for _ in range(20):
            receiving = asyncio.ensure_future(world.receiver.receive(1))
            await asyncio.sleep(0)
            sending = asyncio.ensure_future(world.queue.send([(wake(), 0.0)]))
            await asyncio.sleep(0)
            await sending
            receiving.cancel()
            found = await asyncio.gather(receiving, return_exceptions=True)
            if isinstance(found[0], asyncio.CancelledError):
                found = [await world.receiver.receive(1)]
            ((delivery,),) = found
            assert not delivery.again
            await world.receiver.acknowledge(delivery)
        return world.receiver.busy()

    assert on_world(tmp_path / "local.db", body) is False


def test_extending_to_an_earlier_time_wakes_a_receiver(tmp_path):
    clock = VirtualClock()

    async def body(world):
        await world.queue.send([(wake(), 0.0)])
        (delivery,) = await world.receiver.receive(1)
        receiving = asyncio.ensure_future(world.receiver.receive(1))
        await asyncio.sleep(0)
        world.queue.extend(delivery, 5.0)
        while clock.next_due() != clock.now() + 5.0:
            await asyncio.sleep(0)
        clock.advance_to(clock.now() + 5.0)
        (again,) = await receiving
        return again.again, again.provider_id == delivery.provider_id

    assert on_world(tmp_path / "local.db", body, clock=clock) == (True, True)


def test_an_earlier_receivers_acknowledgement_takes_nothing_away(tmp_path):
    clock = VirtualClock()

    async def body(world):
        await world.queue.send([(wake(), 0.0)])
        (first,) = await world.receiver.receive(1)
        clock.advance_to(clock.now() + 60.0)
        (second,) = await world.receiver.receive(1)
        await world.receiver.acknowledge(first)
        busy = world.receiver.busy()
        await world.receiver.acknowledge(second)
        return busy, world.receiver.busy()

    assert on_world(tmp_path / "local.db", body, clock=clock) == (True, False)


def test_a_message_of_an_unknown_kind_is_left_for_newer_code(tmp_path, caplog):
    async def body(world):
        await world.queue.send([(wake("known"), 0.0), (wake("unknown"), 0.0)])
        world._database.read("UPDATE messages SET body = replace(CAST(body AS TEXT), 'wake', 'nap') WHERE id = 2")
        deliveries = await world.receiver.receive(2)
        ((left,),) = world._database.read("SELECT count(*) FROM messages WHERE id = 2")
        return [delivery.message.identity for delivery in deliveries], left

    assert on_world(tmp_path / "local.db", body) == (["known"], 1)
    assert "message 2 is of a kind that this version does not know" in caplog.text


# -- the datagrams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "meaning"),
    [
        (b"", (0, ())),
        (b"\x01", (MESSAGES, ())),
        (b"\x02abc", (RUNS, ())),
        (b"\x03\x01\0\0\0\xff", (MESSAGES | RUNS, (1,))),
    ],
)
def test_any_datagram_can_be_read(data, meaning):
    assert parse(data) == meaning


def test_many_ends_are_told_in_several_datagrams():
    marks = set(range(2 * MARKS_PER_DATAGRAM + 1))

    async def main():
        told = asyncio.Queue()
        bell = Bell(asyncio.get_running_loop(), lambda wants, heard: told.put_nowait((wants, set(heard))))
        try:
            ring([bell.port], RUNS, marks)
            heard = set()
            while heard != marks:
                wants, more = await told.get()
                assert wants == RUNS
                heard |= more
        finally:
            bell.close()

    asyncio.run(main())


def test_a_listener_that_is_gone_does_no_harm():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    ring([port], MESSAGES, ())


def test_the_mark_of_a_run_is_the_same_in_every_process():
    assert run_mark("", "run") == 0x8E73A2CE
