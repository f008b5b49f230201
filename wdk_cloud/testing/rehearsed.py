"""What a deployment on this machine, of whichever cloud, does for a test: it works on runs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from wdk_cloud import client
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from wdk_cloud.app import Workflow
    from wdk_cloud.world.ports import World

P = ParamSpec("P")
T = TypeVar("T")

ENDS_WITHIN = 120.0
"""Seconds for a run. Sleeps are real here."""


class Rehearsed(ABC):
    """A deployment that clients reach through a world."""

    @abstractmethod
    def world(self) -> World:
        """That of a client outside; close it after use."""

    def run(self, workflow: Workflow[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of a run of `workflow`, called with `args` and `kwargs`, which the deployment works on. Raises as
        `Run.return_value`, and `TimeoutError` after two minutes."""
        return asyncio.run(self.arun(workflow, *args, **kwargs))

    async def arun(self, workflow: Workflow[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As `run`, with its `workflow`, `args` and `kwargs`, in a coroutine."""
        world = self.world()
        try:
            with use_world(world):
                run = await client.start(workflow, *args, **kwargs)
                return await run.return_value(timeout=ENDS_WITHIN)
        finally:
            await world.close()
