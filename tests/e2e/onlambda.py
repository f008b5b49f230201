"""The fourth way to play a test: through the handler of the Lambda function, its event source mappings, and boto3."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from wdk_aws import messages
from wdk_aws.testing.functions import Function
from wdk_aws.testing.queues import Letter, Queue
from wdk_aws.testing.stage import Stage
from wdk_aws.testing.timetable import Timetable
from wdk_cloud import Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.opening import current_world
from wdk_cloud.world.ports import Clock


class Exact(Timetable):
    """SQS counts whole seconds. So that a log may be compared with those of worlds that do not, timer messages are shown
    at their due time here; whatever else is delayed by a part of a second is not the same."""

    def send(self, queue: Queue, body: str, delay: float) -> Letter:
        due = messages.decode(body)[1].due
        left = delay if due is None else due - self.clock.now()
        return super().send(queue, body, left if delay - 1 < left < delay else delay)


class ExactStage(Stage):
    def timetable_on(self, clock: Clock) -> Timetable:
        return Exact(clock)


@functools.cache
def stage_at(dynamodb: str) -> Stage:
    """Of this process; `dynamodb` is the URL of the component that stands in for it. What our meter says of each request
    must be what DynamoDB reports."""
    stage = ExactStage(dynamodb)
    scales_of(dynamodb).attach(stage.session, dynamodb)
    return stage


@functools.cache
def scales_of(dynamodb: str) -> Any:
    from tests.aws.metering import Scales  # which needs boto3: other Pythons are tested without it

    return Scales()


@contextlib.contextmanager
def functions_for_workers(stage: Stage) -> Iterator[None]:
    """While this lasts, whoever asks for workers gets a function for all of their apps."""
    workers: Any = importlib.import_module("wdk_cloud.worker")  # the function has the same name
    serving = workers.serving

    @contextlib.asynccontextmanager
    async def deployed(
        apps: Sequence[Workflows], *, world: Any = None, settings: Settings | None = None
    ) -> AsyncGenerator[list[Any]]:
        seen = await current_world() if world is None else world
        if seen.receiver is not None:  # a world of the test's own
            async with serving(apps, world=world, settings=settings) as there:
                yield there
            return
        if world is not None and not hasattr(world, "settings"):  # a faulty one, before that of the scene
            there = await current_world()
            world.settings, world.clients = there.settings, there.clients
        async with function_of(seen, stage, apps, settings) as function:
            yield [function]

    workers.serving = deployed
    try:
        yield
    finally:
        workers.serving = serving


@contextlib.asynccontextmanager
async def function_of(
    world: Any, stage: Stage, apps: Sequence[Workflows], settings: Settings | None
) -> AsyncGenerator[Function]:
    function = Function(world, stage.timetable, apps, settings)
    await function.start()
    try:
        yield function
    finally:
        await function.stop()
