"""What runs cost on Google Cloud, to the document: a change that needs one more, or one less, shows here first."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.gcp.driving import Driver
from tests.gcp.stage import Servers
from wdk_cloud import Workflows, start

app = Workflows()


@app.step
async def add(a: int, b: int) -> int:
    return a + b


@app.step(dispatch="queue")
async def add_elsewhere(a: int, b: int) -> int:
    return a + b


@app.workflow
async def in_a_row(steps: int) -> int:
    total = 0
    for number in range(steps):
        total = await add(total, number)
    return total


@app.workflow
async def sleeper(time: float) -> None:
    await asyncio.sleep(time)


@app.workflow
async def sender() -> int:
    return await add_elsewhere(1, 2)


async def to_the_end(servers: Servers, workflow: Any, *arguments: Any) -> Counter[str]:
    """What a run takes from its start to its end."""
    with Driver(servers, app) as driver:
        before, sent = servers.firestore.usage, servers.tasks.calls["CreateTask"]
        await start(workflow, *arguments)
        await driver.until_quiet()
        used = servers.firestore.usage - before
        return Counter({**used, "tasks": servers.tasks.calls["CreateTask"] - sent, "deliveries": driver.delivered})


DAY = 86_400.0
COSTS: dict[str, tuple[Any, tuple[Any, ...], dict[str, int]]] = {
    "empty": (in_a_row, (0,), {"writes": 4, "reads": 3, "tasks": 1, "deliveries": 1}),
    "ten": (in_a_row, (10,), {"writes": 14, "reads": 3, "tasks": 1, "deliveries": 1}),
    "sleep": (sleeper, (600.0,), {"writes": 7, "reads": 7, "tasks": 2, "deliveries": 2}),
    "a sleep of 60 days": (sleeper, (60 * DAY,), {"writes": 7, "reads": 7, "tasks": 4, "deliveries": 4}),
    "a queued step": (sender, (), {"writes": 9, "reads": 12, "tasks": 3, "deliveries": 3}),
}
BUDGET = {"writes": 17, "reads": 4, "tasks": 1}
"""Of ten inline steps (DESIGN.md, "Budgets")."""


@pytest.mark.parametrize("name", COSTS)
def test_each_row_costs_what_it_did(gcp_standing: Servers, name: str) -> None:
    workflow, arguments, cost = COSTS[name]
    assert asyncio.run(to_the_end(gcp_standing, workflow, *arguments)) == cost


def test_ten_inline_steps_are_within_their_budget() -> None:
    assert [what for what, most in BUDGET.items() if COSTS["ten"][2][what] > most] == []


def test_a_further_inline_step_is_one_document_write(gcp_standing: Servers) -> None:
    ten = asyncio.run(to_the_end(gcp_standing, in_a_row, 10))
    eleven = asyncio.run(to_the_end(gcp_standing, in_a_row, 11))
    assert eleven - ten == {"writes": 1}
