"""The worker: it goes on receiving whatever the queue raises, stops cleanly, and says what the process lacks."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.faults import Call, FaultyWorld, Life, Plan
from tests.unit.engine_bench import run
from wdk_cloud import Workflows, WorldConfigurationError, WorldUnavailableError
from wdk_cloud.client import start
from wdk_cloud.testing import workflow_env
from wdk_cloud.worker import COME_BACK, worker
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld

if TYPE_CHECKING:
    from wdk_cloud.testing import WorkflowEnv

app = Workflows()


@app.step(dispatch="queue")
async def forever() -> None:
    began.set()
    await asyncio.Event().wait()


@app.workflow
async def answer() -> int:
    return 42


@app.workflow
async def waits_elsewhere() -> None:
    await forever()


began = asyncio.Event()


class BrokenReceive(Plan):
    """The first so many requests for messages fail."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left = failures
        self.error = error

    def before(self, call: Call, life: Life) -> None:
        if call.method == "receive" and self.left:
            self.left -= 1
            raise self.error


async def pauses_until_it_works(env: WorkflowEnv, plan: BrokenReceive) -> list[float]:
    """Move the clock until the queue answers; the times that passed between two requests."""
    pauses: list[float] = []
    while plan.left:
        await env.settle()
        due = env.clock.next_due()
        assert due is not None
        pauses.append(round(due - env.clock.now(), 6))
        left = plan.left
        env.clock.advance_to(due)
        await env.settle()
        assert plan.left == left - 1
    return pauses


@pytest.mark.parametrize("error", [KeyError("a bug"), WorldUnavailableError("no network")], ids=["bug", "outage"])
def test_a_queue_that_fails_is_asked_again_after_growing_pauses_up_to_half_a_minute(error: Exception) -> None:
    async def test() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            plan = BrokenReceive(8, error)
            async with worker(app, world=FaultyWorld(env.world, Life(plan))):
                started = await start(answer)
                assert await pauses_until_it_works(env, plan) == [1, 2, 4, 8, 16, 30, 30]
                env.clock.advance_to(env.clock.now() + 30)
                assert await started.return_value(timeout=5) == 42

    run(test)


def test_a_queue_that_has_worked_again_is_asked_soon_after_the_next_failure() -> None:
    async def test() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            plan = BrokenReceive(3, KeyError("a bug"))
            async with worker(app, world=FaultyWorld(env.world, Life(plan))):
                await pauses_until_it_works(env, plan)
                await env.advance(4)
                assert await (await start(answer)).return_value(timeout=5) == 42
                await env.settle()
                plan.left = 2
                started = await start(answer)  # the request that waits is answered, the next one fails
                assert await started.return_value(timeout=5) == 42
                assert await pauses_until_it_works(env, plan) == [1]

    run(test)


def test_what_nobody_expected_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            plan = BrokenReceive(1, KeyError("a bug"))
            async with worker(app, world=FaultyWorld(env.world, Life(plan))):
                await env.settle()

    run(test)
    [record] = [record for record in caplog.records if "no messages can be received" in record.message]
    assert (record.levelno, record.message) == (
        logging.ERROR,
        "no messages can be received, tried again in 1.0 s: KeyError('a bug')",
    )
    assert record.exc_info


def test_an_outage_is_a_warning_without_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            plan = BrokenReceive(1, WorldUnavailableError("no network"))
            async with worker(app, world=FaultyWorld(env.world, Life(plan))):
                await env.settle()

    run(test)
    [record] = [record for record in caplog.records if "no messages can be received" in record.message]
    assert (record.levelno, bool(record.exc_info)) == (logging.WARNING, False)


def test_a_worker_whose_queue_fails_stops_cleanly() -> None:
    async def test() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            before = asyncio.all_tasks()
            async with worker(app, world=FaultyWorld(env.world, Life(BrokenReceive(100, KeyError("a bug"))))):
                await env.settle()
            assert asyncio.all_tasks() == before
            assert env.clock.next_due() is None

    run(test)


def test_a_worker_that_stops_interrupts_its_steps_and_puts_their_messages_back() -> None:
    async def test() -> None:
        began.clear()
        async with workflow_env("memory", start_worker=False) as env:
            async with worker(app):
                await start(waits_elsewhere)
                await began.wait()
            receiver = env.world.receiver
            assert receiver is not None
            assert receiver.busy()  # the step's message is visible at once
            [delivery] = await receiver.receive(10)
            assert (delivery.message.kind, delivery.again) == ("step", True)

    run(test)


def test_a_worker_without_an_app_is_refused() -> None:
    async def test() -> None:
        with pytest.raises(TypeError, match="takes the Workflows to serve"):
            async with worker():
                pass

    run(test)


class Delivering(FaultyWorld):
    """A world like the clouds', which have no receiver."""

    def scoped(self, namespace: str) -> FaultyWorld:
        self.receiver = None
        return self


def test_a_world_that_delivers_by_itself_needs_no_worker() -> None:
    async def test() -> None:
        with pytest.raises(WorldConfigurationError, match="delivers its messages itself"):
            async with worker(app, world=Delivering(MemoryWorld(VirtualClock()), Life())):
                pass

    run(test)


SERVE = """
import asyncio, os
from wdk_cloud import Workflows
from wdk_cloud.worker import COME_BACK, worker
from wdk_cloud.world.memory import MemoryWorld

async def main():
    async with worker(Workflows(), world=MemoryWorld()):
        pass

late = os.environ.pop("SET_LATE", None)
if late:
    os.environ["PYTHONHASHSEED"] = late
asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("environment", "warned"),
    [
        ({}, True),
        ({"PYTHONHASHSEED": "random"}, True),
        ({"PYTHONHASHSEED": "0"}, False),
        ({"PYTHONHASHSEED": "123"}, False),
        ({"SET_LATE": "0"}, True),
    ],
    ids=["unset", "random", "zero", "a number", "set after the start"],
)
def test_a_worker_warns_of_a_hash_seed_that_is_not_fixed(environment: dict[str, str], warned: bool) -> None:
    others = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    done = subprocess.run(
        [sys.executable, "-c", SERVE], env=others | environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert ("PYTHONHASHSEED is not a fixed number" in done.stderr) is warned


@pytest.mark.parametrize(
    ("error", "level", "said"),
    [
        (WorldConfigurationError("no such table; set WDK_TABLE"), "ERROR", "the delivery failed, its message comes"),
        (WorldUnavailableError("gone"), "WARNING", "the world is unavailable, its message comes back: gone"),
        (ZeroDivisionError("oops"), "ERROR", "the delivery failed, its message comes back"),
    ],
    ids=["configuration", "outage", "anything else"],
)
def test_whatever_escapes_a_delivery_is_a_line_with_the_run_and_brings_the_message_back(
    error: Exception, level: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Plan):
        def before(self, call: Call, life: Life) -> None:
            if call.method == "acquire":
                raise error

    async def test() -> None:
        async with workflow_env("memory", start_worker=False) as env:
            started = await start(waits_elsewhere)
            async with worker(app, world=FaultyWorld(env.world, Life(Broken()))):
                await env.settle()
            [line] = [one for one in caplog.records if one.levelname == level]
            assert line.getMessage().startswith(f"run {started.run_id}: {said}")
            env.clock.advance_to(env.clock.now() + COME_BACK)
            assert env.world.receiver is not None
            assert env.world.receiver.busy()

    run(test)
