"""Runs with large logs: what an event costs does not depend on how many came before it.

Counted are calls of functions, so that nothing depends on the machine; `make bench` has larger logs, and memory.
"""

import asyncio

import pytest

from benchmarks.growth import GROWTH, Counted, calls_of
from benchmarks.workflows import SHAPES, elsewhere_in_a_row
from benchmarks.workflows import app as measured
from tests.faults import FaultyWorld, Life
from wdk_cloud import Workflows, create_hook, resume_hook, start, use_world, worker
from wdk_cloud.testing import workflow_env
from wdk_cloud.world.memory import MemoryWorld

app = Workflows()


@app.workflow
async def cancels_many(width):
    """`width` sleeps that all end at once, because a group is left by an error."""

    async def fails():
        await asyncio.sleep(1)
        raise ValueError("enough")

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(asyncio.sleep(1000))
            group.create_task(fails())
    except* ValueError:
        pass
    return "left"


@app.workflow
async def takes_many():
    taken = 0
    async for payload in create_hook("token", schema=str):
        if not payload:
            break
        taken += 1
    return taken


@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_costs_as_much_in_a_long_run_as_in_a_short_one(shape, tmp_path):
    small, large = (asyncio.run(calls_of(shape, steps, tmp_path / "unused.db")) for steps in (60, 600))
    for what, few, many in zip(("warm", "replayed"), small, large, strict=True):
        assert many / 600 <= GROWTH * few / 60, what


def test_the_ends_of_steps_that_are_over_are_not_read_again():
    answers = []

    def watch(call, answer):
        if call.method == "items":
            answers.append(len(answer))

    async def main():
        async with workflow_env("memory", start_worker=False) as env:
            run = await env.start(elsewhere_in_a_row, 30)
            async with worker(measured, world=FaultyWorld(env.world, Life(watch=watch))) as env.workers:
                await env.run_until_blocked()
                return await run.return_value(timeout=5)

    assert asyncio.run(main()) == sum(range(30))
    assert max(answers) == 1


@pytest.mark.parametrize("size", [50, 4000])
def test_a_payload_costs_as_much_after_ten_thousand_as_the_first_one_did(size):
    """Calls of the worker on its world, the bytes that go with them, and calls of functions: in windows of 40 payloads,
    since what was admitted is deleted from the inbox every so many bytes."""
    seen = []

    def watch(call, answer):
        seen.append((call.method, weight_of(answer) + sum(map(weight_of, call.args))))

    async def window(env, payload):
        seen.clear()
        with Counted() as counted:
            for _ in range(40):
                await resume_hook("token", payload)
                await env.run_until_blocked()
        return len(seen), sum(weight for _, weight in seen), counted.calls

    async def main():
        async with workflow_env("memory", start_worker=False) as env:
            run = await env.start(takes_many)
            async with worker(app, world=FaultyWorld(env.world, Life(watch=watch))) as env.workers:
                await env.run_until_blocked()
                first, sent = None, 0
                for level in (0, 100, 1000, 10_000):
                    while sent < level:
                        await resume_hook("token", "x" * size)
                        sent += 1
                        if sent % 100 == 0:
                            await env.run_until_blocked()
                    await env.run_until_blocked()
                    cost = calls, weight, functions = await window(env, "x" * size)
                    sent += 40
                    first = first or cost
                    print(f"after {level:,} payloads of {size} bytes: {calls / 40} calls, {weight / 40:,} bytes each")
                    assert calls <= first[0] + 1  # a window may have one deletion more than another
                    assert weight <= GROWTH * first[1]
                    assert functions <= GROWTH * first[2]
                await resume_hook("token", "")
                assert await env.run_to_end(run) == sent

    asyncio.run(main())


def weight_of(value):
    """Bytes of records, and of what is a text."""
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(weight_of, value))
    return len(getattr(value, "data", b""))


def test_queue_dispatched_steps_in_a_row_follow_each_other_at_once():
    """The end of one that comes while its run looks elsewhere is not waited for until the next look, up to a second
    later: then thirty of them take half a minute."""

    async def main():
        world = MemoryWorld()
        await world.open()
        with use_world(world):
            async with worker(measured, world=world):
                return await (await start(elsewhere_in_a_row, 30)).return_value(timeout=10)

    assert asyncio.run(main()) == sum(range(30))


def test_a_gather_five_thousand_wide_is_left_by_an_error_at_once(tmp_path):
    async def main():
        async with workflow_env("memory", app) as env:
            run = await env.start(cancels_many, 5000)
            await env.advance("1 second")
            return await run.return_value(timeout=5), [event.type async for event in run.events()]

    value, types = asyncio.run(main())
    assert value == "left"
    assert types.count("wait_cancelled") == 5000
