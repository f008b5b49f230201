"""Beside libraries that freeze or move the host's clock: a body keeps its own time, the host has the other."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from time import time as seconds
from typing import Any

import freezegun
import pytest
import time_machine

from tests.e2e.running import Finished, Play, finish
from wdk_cloud import Workflows, now, sleep
from wdk_cloud.testing.environment import WorkflowEnv

pytestmark = [
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning"),
    pytest.mark.not_on_cloudrun(
        "gRPC takes the deadline of a request from time.time(), which is moved: each would be over at once"
    ),
]

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
"""When the clock of these runs begins."""

HOST_YEAR = 1985

MOMENT = datetime(HOST_YEAR, 10, 26, tzinfo=UTC)

FROZEN: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "time-machine": lambda: time_machine.travel(MOMENT, tick=False),
    "time-machine that ticks": lambda: time_machine.travel(MOMENT),
    "freezegun": lambda: freezegun.freeze_time(MOMENT, real_asyncio=True),
    "freezegun that ticks": lambda: freezegun.freeze_time(MOMENT, tick=True, real_asyncio=True),
}


def years() -> list[int]:
    """What each clock says, in a body or out of it."""
    tell = [datetime.now().year, datetime.now(UTC).year, datetime.utcnow().year, datetime.today().year]
    tell += [date.today().year, time.gmtime().tm_year, time.localtime().tm_year, int(time.strftime("%Y"))]
    return [
        *tell,
        time.gmtime(time.time()).tm_year,
        time.gmtime(seconds()).tm_year,
        time.gmtime(time.time_ns() / 1e9).tm_year,
    ]


CLOCKS = 11

App = tuple[Workflows, Any, list[list[int]], list[list[int]]]


def declare() -> App:
    """A body that looks at the clocks, sleeps and looks again, and what it and its step saw each time."""
    app = Workflows()
    executions: list[list[int]] = []
    steps: list[list[int]] = []

    @app.step
    async def look(told: datetime) -> datetime:
        steps.append(years())
        return told

    @app.workflow
    async def body() -> list[Any]:
        executions.append(years())
        first = [now(), datetime.now(UTC), time.time()]
        echoed = await look(datetime.now(UTC))
        await sleep("400 days")
        return [first, echoed, now() - first[0], datetime.now(UTC) - first[1], years()]

    return app, body, executions, steps


def check(finished: Finished, executions: list[list[int]], steps: list[list[int]], played: Play) -> None:
    first, echoed, *passed, after = finished.value
    assert first == [NEW_YEAR, NEW_YEAR, NEW_YEAR.timestamp()]
    assert echoed == NEW_YEAR
    assert passed == [timedelta(days=400)] * 2
    assert after == [2027] * CLOCKS
    assert executions == [[2026] * CLOCKS] * (2 if played.cold else 1)
    assert len(steps) == 1


@pytest.mark.parametrize("library", FROZEN)
def test_a_body_keeps_its_own_time_while_the_hosts_clock_is_another(play: Play, library: str) -> None:
    app, body, executions, steps = declare()

    async def scenario(env: WorkflowEnv) -> tuple[Finished, list[int]]:
        finished = await finish(env, await env.start(body))
        return finished, years()

    with FROZEN[library]():
        finished, host = play.scene(scenario, app)
        assert years() == [HOST_YEAR] * CLOCKS
    check(finished, executions, steps, play)
    assert steps == [[HOST_YEAR] * CLOCKS]
    assert host == [HOST_YEAR] * CLOCKS
    assert years()[0] > HOST_YEAR


@pytest.mark.parametrize("library", FROZEN)
def test_the_hosts_clock_may_be_moved_and_put_right_between_two_deliveries(play: Play, library: str) -> None:
    app, body, executions, steps = declare()

    async def scenario(env: WorkflowEnv) -> Finished:
        run = await env.start(body)
        with FROZEN[library]():
            await env.run_until_blocked()
        await env.advance("1 day")
        with FROZEN[library]():
            await env.advance("200 days")
        return await finish(env, run)

    finished = play.scene(scenario, app)
    check(finished, executions, steps, play)
    assert steps == [[HOST_YEAR] * CLOCKS]


def test_both_libraries_at_once_are_borne(play: Play) -> None:
    _, body, executions, steps = declare()
    with time_machine.travel(0, tick=False), freezegun.freeze_time(MOMENT, real_asyncio=True):
        finished = play(body)
    check(finished, executions, steps, play)
    assert steps == [[HOST_YEAR] * CLOCKS]


LOADED_LATE = """
import asyncio, datetime, freezegun
from wdk_cloud import Workflows, start
from wdk_cloud.testing import workflow_env

app = Workflows()

@app.workflow
async def body() -> int:
    return datetime.datetime.now().year

async def year() -> int:
    async with workflow_env("memory", app) as env:
        run = await start(body)
        await env.run_until_blocked()
        return await run.return_value()

with freezegun.freeze_time("1985-10-26", real_asyncio=True):
    print(asyncio.run(year()), datetime.datetime.now().year, end=" ")
print(asyncio.run(year()), datetime.datetime.now().year > 2024)
"""


def test_the_engine_may_be_loaded_while_the_host_is_frozen() -> None:
    """What it guards then is the clock of the standard library, not the one that freezegun has put in its place."""
    done = subprocess.run([sys.executable, "-c", LOADED_LATE], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("2026 1985 2026 True\n", "")
