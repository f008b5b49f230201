"""Handing requests to the service, on the servers and the clock of an environment whose tasks nobody delivers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from wdk_cloud import Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.telemetry import Silent
from wdk_gcp.testing.environment import GcpEnv, on_stage
from wdk_gcp.testing.queues import TaskState
from wdk_gcp.testing.services import Service
from wdk_gcp.testing.stage import Stage

T = TypeVar("T")

SETTINGS = Settings(code_version="1")


class Counted(Silent):
    """Keeps what is counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def count(self, name: Any, value: int = 1) -> None:
        self.counts[name] += value


class Hands:
    def __init__(self, env: GcpEnv, apps: tuple[Workflows, ...] | None) -> None:
        self.env = env
        self.telemetry = Counted()
        self.service = Service(env.world, env.stage, apps, SETTINGS, self.telemetry)
        self.instance = self.service.instance

    def tasks(self) -> list[TaskState]:
        """Those of both queues, in the order in which they were sent."""
        queues = self.env.stage.tasks.queues.values()
        return [task for queue in queues for task in queue.tasks.values()]

    async def deliver(self, task: TaskState, **headers: str) -> httpx.Response:
        """As Cloud Tasks would; what is acknowledged is gone."""
        _, _, query = task.task.http_request.url.partition("/flow")
        named = {name.replace("-", "_"): value for name, value in task.headers().items()}
        answer = await self.service.post(f"flow{query}", task.task.http_request.body, **{**named, **headers})
        if answer.status_code == 200:
            queue = self.env.stage.tasks.queues[task.name.partition("/tasks/")[0]]
            queue.remove(task, self.env.clock.now())
        return answer

    async def bring(self, body: bytes, path: str = "flow", **headers: str) -> httpx.Response:
        """A task that nobody has sent."""
        named = {"X_CloudTasks_TaskName": "handed", "X_CloudTasks_TaskRetryCount": "0", **headers}
        return await self.service.post(path, body, **named)

    async def work(self) -> None:
        """Deliver what is due until nothing is."""
        while due := [task for task in self.tasks() if task.due <= self.env.clock.now()]:
            for task in due:
                assert (await self.deliver(task)).status_code == 200


def handed(stage: Stage, scenario: Callable[[Hands], Awaitable[T]], *apps: Workflows) -> T:
    """Without apps the service serves those of WDK_APP."""

    async def main() -> T:
        async with on_stage(stage, start_worker=False) as env:
            hands = Hands(env, apps or None)
            await hands.service.prepare()
            try:
                return await scenario(hands)
            finally:
                await hands.service.leave()

    return asyncio.run(main())
