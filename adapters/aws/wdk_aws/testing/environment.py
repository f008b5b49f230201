"""`lambda_env`: what `workflow_env` is for the other worlds, with the handler of the Lambda function for its worker."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from wdk_aws.testing.functions import Function
from wdk_cloud.app import Workflows
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings
    from wdk_aws.testing.stage import Stage
    from wdk_aws.world import AwsWorld
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.world.ports import Clock

    MakeWorld = Callable[[AwsSettings, Clients, Clock], AwsWorld]


class AwsEnv(WorkflowEnv):
    """A world on AWS's services, as they answer in this process, and its clock."""

    def __init__(self, world: AwsWorld, clock: VirtualClock, stage: Stage) -> None:
        super().__init__(world, clock)
        self.stage = stage


@asynccontextmanager
async def on_stage(
    stage: Stage,
    make_world: MakeWorld,
    apps: Sequence[Workflows] = (),
    settings: Settings | None = None,
    *,
    start_worker: bool = True,
) -> AsyncGenerator[AwsEnv]:
    """An environment on this stage, which is empty at first."""
    clock = VirtualClock()
    world = make_world(stage.begin(clock), stage.clients, clock)
    env = AwsEnv(world, clock, stage)
    async with AsyncExitStack() as stack:
        await world.open()
        stack.enter_context(use_world(world))
        if start_worker:
            function = Function(world, stage.timetable, apps or tuple(Workflows.all()), settings)
            await function.start()
            stack.push_async_callback(function.stop)
            env.workers = cast("Any", [function])
        yield env
