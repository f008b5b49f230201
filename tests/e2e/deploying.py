"""What is deployed takes the place of workers, in the ways that play tests through the handler of a cloud."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import Any

from wdk_cloud import Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.opening import current_world

Deploy = Callable[[Any, Sequence[Workflows], Settings | None], Any]
"""Makes what serves these apps on this world, and can be started and stopped."""


@contextlib.contextmanager
def deployed_for_workers(deploy: Deploy, *of_the_world: str) -> Iterator[None]:
    """While this lasts, whoever asks for workers gets one deployment for all of their apps. `of_the_world` are what it
    asks of its world beyond the ports."""
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
            for name in of_the_world:
                setattr(world, name, getattr(there, name))
        one = deploy(seen, apps, settings)
        await one.start()
        try:
            yield [one]
        finally:
            await one.stop()

    workers.serving = deployed
    try:
        yield
    finally:
        workers.serving = serving
