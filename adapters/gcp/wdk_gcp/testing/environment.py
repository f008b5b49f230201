"""`cloud_run_env`: what `workflow_env` is for the other worlds, with the handler of the service for its worker."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.app import Workflows
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world
from wdk_gcp.testing.services import Service
from wdk_gcp.testing.stage import Stage
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from wdk_cloud.engine.settings import Settings


class GcpEnv(WorkflowEnv):
    """A world on the servers of its `stage`, which are in this process, and its clock: what `cloud_run_env` gives."""

    def __init__(self, world: GcpWorld, clock: VirtualClock, stage: Stage) -> None:
        super().__init__(world, clock)
        self.stage = stage


@asynccontextmanager
async def cloud_run_env(*apps: Workflows, settings: Settings | None = None) -> AsyncGenerator[GcpEnv]:
    """A fresh world on Google Cloud that is the open one while the block runs, with a service that serves the given
    apps, or every `Workflows` of the process, and a clock that the test moves.

    Firestore, Cloud Tasks and Cloud Storage are the servers of `wdk_gcp.testing`, started for the block. `settings` are
    by default those of the environment.
    """
    with Stage() as stage:
        async with on_stage(stage, apps, settings) as env:
            yield env


@asynccontextmanager
async def on_stage(
    stage: Stage, apps: Sequence[Workflows] = (), settings: Settings | None = None, *, start_worker: bool = True
) -> AsyncGenerator[GcpEnv]:
    """An environment on this stage, which is empty at first."""
    clock = VirtualClock()
    world = GcpWorld(stage.begin(clock), clients=stage.clients, clock=clock)
    env = GcpEnv(world, clock, stage)
    async with AsyncExitStack() as stack:
        stack.callback(stage.end)
        await world.open()
        stack.enter_context(use_world(world))
        if start_worker:
            service = Service(world, stage, apps or tuple(Workflows.all()), settings)
            await service.start()
            stack.push_async_callback(service.stop)
            env.workers = cast("Any", [service])
        yield env
