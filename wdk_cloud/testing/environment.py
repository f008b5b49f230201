"""`workflow_env`: a world of its own with a worker on the caller's loop and a clock that the test moves."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from wdk_cloud import client, durations
from wdk_cloud.app import Workflows
from wdk_cloud.worker import Worker, serving, worker
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import timedelta
    from pathlib import Path

    from wdk_cloud.app import Workflow
    from wdk_cloud.client import Run
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.world.ports import World

P = ParamSpec("P")
T = TypeVar("T")

SPINS = 30
"""Turns of the host's loop without anything ready after which it counts as quiet; one is enough for a callback, a few
more let the futures of a group commit and of executors settle."""


ENDED = ("completed", "failed", "cancelled")


class RunWorkflow(Protocol):
    """The type of the pytest fixture `run_workflow`."""

    def __call__(self, workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class WorkflowEnv:
    """What a test holds: the `world`, its `clock`, and the means to move both. `workflow_env` gives it."""

    def __init__(self, world: World, clock: VirtualClock) -> None:
        self.world = world
        self.clock = clock
        self.workers: list[Worker] = []

    async def start(self, workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Run[T]:
        """Start a run of `workflow` on this world; raises as `wdk_cloud.start`."""
        return await client.start(workflow, *args, **kwargs)

    async def advance(self, duration: str | float | timedelta) -> None:
        """Move the clock on by `duration` (text, seconds or a `timedelta`) at once, whatever steps are running; what
        falls due happens in order of its time."""
        target = self.clock.now() + durations.seconds(duration)
        await self.settle()
        while (due := self.clock.next_due()) is not None and due <= target:
            self.clock.advance_to(due)
            await self.settle()
        self.clock.advance_to(target)
        await self.settle()

    async def run_until_blocked(self) -> None:
        """Return when no delivery is being worked on (a running step counts) and none is due."""
        while True:
            await self.settle()
            if self._idle():
                return
            await asyncio.sleep(0.0005)  # a step in a thread, or one that waits for something real

    def _idle(self) -> bool:
        return all(one.idle and not one.receiver.busy() for one in self.workers)

    async def run_to_end(self, run: Run[T], timeout: float = 60) -> T:
        """Move the clock from one due time to the next until the run has ended; its result, or what it raises.

        Raises `AssertionError` for a run that waits for something which no time brings, and `TimeoutError` when
        `timeout` seconds of real time do not suffice, as for a run that sleeps again and again.
        """
        async with asyncio.timeout(timeout):
            while True:
                await self.run_until_blocked()
                if await run.status() in ENDED:
                    return await run.return_value()
                due = self.clock.next_due()
                if due is None:
                    raise AssertionError(
                        f"run {run.run_id} waits for something that no time brings, a hook or a webhook perhaps: in a "
                        "test with workflow_env send it that (resume_hook, resume_webhook), then call run_to_end"
                    )
                self.clock.advance_to(due)

    async def settle(self) -> None:
        """Let the host's loop run until it has nothing ready; steps that wait for something real keep waiting."""
        ready: Any = getattr(asyncio.get_running_loop(), "_ready", ())
        quiet = 0
        while quiet < SPINS:
            await asyncio.sleep(0)
            quiet = quiet + 1 if not ready else 0


@asynccontextmanager
async def workflow_env(
    world: str | World = "memory",
    *apps: Workflows,
    settings: Settings | None = None,
    path: str | Path | None = None,
    start_worker: bool = True,
) -> AsyncGenerator[WorkflowEnv]:
    """A fresh world (`memory`, `local` with a `path`, or one of yours) that is the open one while the block runs.

    The worker serves the given apps, or every `Workflows` of the process, with `settings`, by default those of the
    environment; with `start_worker=False` there is none. Raises `ValueError` for a world that it does not know,
    `TypeError` for one of yours whose clock is no `VirtualClock`.
    """
    clock = VirtualClock()
    opened = _make(world, clock, path) if isinstance(world, str) else world
    if not isinstance(opened.clock, VirtualClock):
        raise TypeError("workflow_env needs a world with a VirtualClock")
    env = WorkflowEnv(opened, opened.clock)
    async with AsyncExitStack() as stack:
        await opened.open()
        stack.push_async_callback(opened.close)
        stack.enter_context(use_world(opened))
        if start_worker:
            # Of all that the process has made, apps of earlier tests may still be there, with the same ids.
            crew = worker(*apps, settings=settings) if apps else serving(tuple(Workflows.all()), settings=settings)
            env.workers = await stack.enter_async_context(crew)
        yield env


def _make(name: str, clock: VirtualClock, path: str | Path | None) -> World:
    if name == "memory":
        from wdk_cloud.world.memory import MemoryWorld

        return MemoryWorld(clock)
    if name == "local":
        from wdk_cloud.world.local import LocalWorld

        return LocalWorld(path, clock=clock)
    raise ValueError(f'workflow_env knows the worlds "memory" and "local", not {name!r}')
