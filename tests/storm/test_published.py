"""The published storm: runs whose steps end at the same time, runs that get payloads at the same time, and controls.

Nothing goes wrong here on purpose: the clock is real, and several workers share the world, on a file each with
connections of its own. Each log must be one history, and each payload be taken once, in the order of its sender.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.histories import check_one_history, read_log
from wdk_cloud import Run, Workflows, create_hook, get_workflow_metadata, resume_hook, start, worker
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import World

COMPLETIONS, PAYLOADS, CONTROLS = 600, 600, 200

WORKERS = 3
AT_ONCE = 40
"""Runs that are alive together."""

STEPS = 6
SENDERS, EACH = 4, 3
"""Senders of a run, and payloads of each."""

app = Workflows()

offered: dict[str, asyncio.Event] = {}
"""By the token: set when its hook can receive."""


@app.step(dispatch="queue")
async def elsewhere(n: int) -> int:
    await asyncio.sleep(0)
    return n


@app.step
async def here(n: int) -> int:
    await asyncio.sleep(0)
    return n


@app.step
async def offer(token: str) -> None:
    offered[token].set()


@app.workflow
async def completes() -> list[int]:
    """Steps that end at once, in several workers and in the turn itself."""
    return await asyncio.gather(*((here if n % 3 == 0 else elsewhere)(n) for n in range(STEPS)))


@app.workflow
async def receives() -> list[list[int]]:
    """Payloads that come at once, while a step ends elsewhere."""
    hook = create_hook(get_workflow_metadata().run_id, schema=list[int])
    step = asyncio.ensure_future(elsewhere(1))
    await offer(hook.token)
    found = [await hook for _ in range(SENDERS * EACH)]
    await step
    return found


@app.workflow
async def control() -> int:
    return await here(await here(1))


async def send_to(run: Run[Any]) -> None:
    await offered[run.run_id].wait()

    async def send(sender: int) -> None:
        for n in range(EACH):
            await resume_hook(run.run_id, [sender, n])

    await asyncio.gather(*(send(sender) for sender in range(SENDERS)))


# -- carrying them out, and judging -----------------------------------------------------------------------------------


@asynccontextmanager
async def several_workers(make: Callable[[], World]) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        worlds = [make() for _ in range(WORKERS)]
        for world in worlds:
            await world.open()
            stack.push_async_callback(world.close)
        stack.enter_context(use_world(worlds[0]))
        for world in worlds:
            await stack.enter_async_context(worker(app, world=world, settings=Settings(code_version="1")))
        yield worlds[0]


async def storm(world: World) -> Counter[str]:
    """How many runs of each kind were as they must be."""
    room, right = asyncio.Semaphore(AT_ONCE), Counter[str]()

    async def one(kind: str, n: int, check: Callable[[World, str], Awaitable[None]]) -> None:
        async with room:
            await check(world, f"{kind}-{n}")
            right[kind] += 1

    kinds = (("completions", COMPLETIONS, complete), ("payloads", PAYLOADS, receive), ("controls", CONTROLS, be_plain))
    async with asyncio.TaskGroup() as group:
        for kind, count, check in kinds:
            for n in range(count):
                group.create_task(one(kind, n, check))
    return right


async def complete(world: World, run_id: str) -> None:
    run = await start(completes.with_options(run_id=run_id))
    assert await run.return_value() == list(range(STEPS))
    events = await log_of(world, run_id)
    assert Counter(type(event) for event in events)[ev.StepCompleted] == STEPS


async def receive(world: World, run_id: str) -> None:
    offered[run_id] = asyncio.Event()
    run = await start(receives.with_options(run_id=run_id))
    await send_to(run)
    found = await run.return_value()
    assert sorted(found) == [[sender, n] for sender in range(SENDERS) for n in range(EACH)]
    for sender in range(SENDERS):
        assert [n for one, n in found if one == sender] == list(range(EACH))
    events = await log_of(world, run_id)
    assert Counter(type(event) for event in events)[ev.HookReceived] == SENDERS * EACH


async def be_plain(world: World, run_id: str) -> None:
    run = await start(control.with_options(run_id=run_id))
    assert await run.return_value() == 1
    await log_of(world, run_id)


async def log_of(world: World, run_id: str) -> list[ev.AnyEvent]:
    """Raises where it is not one history."""
    return check_one_history(*await read_log(world, run_id))


def publish(world_name: str, folder: Path) -> Counter[str]:
    async def main() -> Counter[str]:
        memory = MemoryWorld()
        make = {"memory": lambda: memory, "local": lambda: LocalWorld(folder / "wdk.db")}[world_name]
        async with several_workers(make) as world:
            return await storm(world)

    return asyncio.run(main())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("world_name", ["memory", "local"])
def test_ends_and_payloads_that_come_at_once_leave_one_history(world_name: str, tmp_path: Path) -> None:
    right = publish(world_name, tmp_path)
    assert right == {"completions": COMPLETIONS, "payloads": PAYLOADS, "controls": CONTROLS}
