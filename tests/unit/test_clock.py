"""Clocks: the virtual one moves only when it is moved; the machine's ticks from a thread."""

from __future__ import annotations

import asyncio
import threading
import time

from wdk_cloud.world.clock import SystemClock, VirtualClock


def test_a_virtual_clock_calls_back_in_order_of_time_and_then_of_making() -> None:
    clock = VirtualClock(start=100.0)
    seen: list[tuple[str, float]] = []
    for name, when in (("late", 103.0), ("first", 101.0), ("second", 101.0), ("never", 104.5)):
        clock.call_at(when, lambda name=name: seen.append((name, clock.now())))
    clock.advance_to(104.0)
    assert seen == [("first", 101.0), ("second", 101.0), ("late", 103.0)]
    assert (clock.now(), clock.monotonic(), clock.next_due()) == (104.0, 4.0, 104.5)


def test_a_callback_may_ask_for_another_within_the_same_move() -> None:
    clock = VirtualClock(start=0.0)
    seen: list[float] = []

    def again() -> None:
        seen.append(clock.now())
        clock.call_at(clock.now() + 1, again)

    clock.call_at(1.0, again)
    clock.advance_to(3.0)
    assert seen == [1.0, 2.0, 3.0]


def test_a_cancelled_callback_is_neither_called_nor_due() -> None:
    clock = VirtualClock(start=0.0)
    clock.call_at(1.0, lambda: 1 / 0).cancel()
    assert clock.next_due() is None
    clock.advance_to(2.0)


def test_a_virtual_clock_never_goes_back() -> None:
    clock = VirtualClock(start=100.0)
    clock.advance_to(50.0)
    seen: list[float] = []
    clock.call_at(10.0, lambda: seen.append(clock.now()))
    clock.advance_to(101.0)
    assert (seen, clock.now()) == ([100.0], 101.0)


def test_what_is_called_periodically_is_called_before_each_moment_at_which_something_happens() -> None:
    clock = VirtualClock(start=0.0)
    seen: list[str] = []
    handle = clock.every(10.0, lambda: seen.append(f"renewed at {clock.now():g}"))
    clock.call_at(25.0, lambda: seen.append("happens"))
    clock.advance_to(5.0)
    clock.advance_to(30.0)
    clock.advance_to(40.0)
    handle.cancel()
    handle.cancel()
    clock.advance_to(100.0)
    assert seen == ["renewed at 25", "happens", "renewed at 40"]


def test_the_clock_of_the_machine_tells_its_time_to_the_microsecond() -> None:
    before, now, after = time.time_ns() // 1_000, SystemClock().now(), time.time_ns() // 1_000
    assert before <= round(now * 1_000_000) <= after


def test_the_machines_periodic_calls_come_from_a_thread_of_their_own_until_cancelled() -> None:
    threads: list[str] = []
    twice = threading.Event()

    def tick() -> None:
        threads.append(threading.current_thread().name)
        if len(threads) == 2:
            twice.set()

    ticker = SystemClock().every(0.001, tick)
    assert twice.wait(10)
    ticker.cancel()
    ticker.join(10)
    assert not ticker.is_alive()
    assert set(threads) == {"wdk-ticker"}


def test_a_call_at_a_time_that_is_over_comes_at_once() -> None:
    async def test() -> None:
        called = asyncio.Event()
        SystemClock().call_at(0.0, called.set)
        await asyncio.wait_for(called.wait(), 10)

    asyncio.run(test())
