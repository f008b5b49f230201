"""`lambda_env`: what `workflow_env` is for the other worlds, with the handler of the Lambda function for its worker."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from wdk_aws.testing.functions import Function
from wdk_aws.testing.stage import Stage
from wdk_aws.world import AwsWorld
from wdk_cloud.app import Workflows
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from contextlib import AbstractContextManager

    from wdk_cloud.engine.settings import Settings


class AwsEnv(WorkflowEnv):
    """A world on AWS's services, as they answer in this process on their `stage`, and its clock: what `lambda_env`
    gives."""

    def __init__(self, world: AwsWorld, clock: VirtualClock, stage: Stage) -> None:
        super().__init__(world, clock)
        self.stage = stage


@asynccontextmanager
async def lambda_env(
    *apps: Workflows, settings: Settings | None = None, endpoint: str | None = None
) -> AsyncGenerator[AwsEnv]:
    """A fresh world on AWS that is the open one while the block runs, with a function that serves the given apps, or
    every `Workflows` of the process, and a clock that the test moves.

    SQS, EventBridge Scheduler and S3 answer in this process. DynamoDB is at `endpoint`; without one moto answers for
    it, which the extra `testing` installs. `settings` are by default those of the environment.
    """
    with nullcontext() if endpoint is not None else _moto():
        async with on_stage(Stage(endpoint), apps, settings) as env:
            yield env


def _moto() -> AbstractContextManager[object]:
    import moto

    # It would answer for the others, too, and its answer would not be taken.
    mocked: Any = moto.mock_aws(config={"core": {"passthrough": {"services": ["sqs", "scheduler", "s3"]}}})
    return mocked


@asynccontextmanager
async def on_stage(
    stage: Stage, apps: Sequence[Workflows] = (), settings: Settings | None = None, *, start_worker: bool = True
) -> AsyncGenerator[AwsEnv]:
    """An environment on this stage, which is empty at first."""
    clock = VirtualClock()
    world = AwsWorld(stage.begin(clock), clients=stage.clients, clock=clock)
    env = AwsEnv(world, clock, stage)
    async with AsyncExitStack() as stack:
        stack.callback(stage.end)
        await world.open()
        stack.push_async_callback(world.close)
        stack.enter_context(use_world(world))
        if start_worker:
            function = Function(world, stage.timetable, apps or tuple(Workflows.all()), settings)
            await function.start()
            stack.push_async_callback(function.stop)
            env.workers = cast("Any", [function])
        yield env
