"""Handing events to the handler, on queues and a clock of a test's own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

from tests.aws.metering import Scales, weighed_stage
from wdk_aws.mapping import Context
from wdk_aws.serving import Instance, Parts
from wdk_aws.testing.environment import AwsEnv, on_stage
from wdk_aws.testing.stage import Stage
from wdk_cloud import Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.telemetry import Silent

T = TypeVar("T")

Played = Callable[..., Any]
"""`played_at`, with the endpoint given."""

SETTINGS = Settings(code_version="1")

TIMEOUT = 900.0


@functools.cache
def weighed_at(dynamodb: str) -> tuple[Stage, Scales]:
    """Of this process. What is asked of DynamoDB must cost what our meter says."""
    return weighed_stage(dynamodb)


def stage_at(dynamodb: str) -> Stage:
    return weighed_at(dynamodb)[0]


class Counted(Silent):
    """Keeps what is counted, and when it is written out."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, name: Any, value: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value


class Hands:
    """An instance of the function, and an environment whose queues nobody polls."""

    def __init__(self, env: AwsEnv, apps: tuple[Workflows, ...] | None, settings: Settings) -> None:
        self.env = env
        self.telemetry = Counted()
        self.instance = Instance(apps, Parts(lambda: env.world, lambda: self.telemetry, settings))

    async def invoke(self, event: dict[str, Any], timeout: float = TIMEOUT) -> Any:
        return await self.instance.handle(event, Context(timeout, self.env.clock.monotonic))

    def received(self, *names: str, most: int = 10) -> list[dict[str, Any]]:
        """The records of all messages that these queues show now, which are invisible from now on."""
        return [record for name in names for record in records(self.env, name, most)]

    def waiting(self, name: str) -> list[str]:
        """The bodies of all messages in a queue, visible or not, in their order."""
        return [letter.body for letter in self.env.stage.timetable.queue(name).letters.values()]


def records(env: AwsEnv, name: str, most: int = 10) -> list[dict[str, Any]]:
    from wdk_aws.testing.mapping import EventSourceMapping

    url = env.stage.timetable.make_queue(name)
    mapping = EventSourceMapping(env.stage.clients.sqs, url, batch_size=1)
    return [record for invocation in mapping.receive(most) for record in invocation.event["Records"]]


@contextlib.asynccontextmanager
async def hands(
    endpoint: str, *apps: Workflows, from_environment: bool = False, settings: Settings = SETTINGS
) -> AsyncIterator[Hands]:
    async with on_stage(stage_at(endpoint), start_worker=False) as env:
        made = Hands(env, None if from_environment else apps, settings)
        try:
            yield made
        finally:
            made.instance.close()
    weighed_at(endpoint)[1].finish()


def played_at(endpoint: str, scenario: Callable[[Hands], Awaitable[T]], *apps: Workflows, **options: Any) -> T:
    async def main() -> T:
        async with hands(endpoint, *apps, **options) as made:
            return await scenario(made)

    return asyncio.run(main())
