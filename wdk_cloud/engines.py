"""What a process that is pushed its messages keeps of its code: the apps, and an engine for each namespace, also for
those of which there is no code."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from wdk_cloud import sources
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.worker import engine_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wdk_cloud.app import Workflows
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.http.roles import Role
    from wdk_cloud.world.ports import World
    from wdk_cloud.world.records import Delivery

log = logging.getLogger("wdk_cloud")


class Engines:
    """Of one process and one world. Code is imported when it is asked for; code that cannot be is tried again."""

    def __init__(
        self, world: Callable[[], World], given: Sequence[Workflows] | None, settings: Settings | None = None
    ) -> None:
        """`world` is asked when a message comes. `given`: the apps to serve; None: those of WDK_APP."""
        self._world = world
        self._given = given
        self._settings = settings
        self._loaded: list[Workflows] | None = None
        self._engines: dict[str, Engine] = {}
        self._without_code: dict[str, Engine] = {}

    @property
    def world(self) -> World:
        return self._world()

    def apps(self) -> Sequence[Workflows]:
        """Raises WorldConfigurationError for code that cannot be imported; the next call tries again."""
        if self._given is not None:
            return self._given
        if self._loaded is None:
            self._loaded = sources.load_apps(os.environ.get("WDK_APP"))
        return self._loaded

    def apps_of_routes(self, role: Role) -> Sequence[Workflows]:
        """Those of whom HTTP is about. Raises as `apps`."""
        # A receiver runs no code of the app; it needs to know one only where that has a namespace.
        if role == "receiver" and self._given is None and not os.environ.get("WDK_APP"):
            return ()
        return self.apps()

    def of(self, namespace: str) -> Engine | None:
        """The engine with the code of a namespace; None: no app of it is served here. Raises as `apps`."""
        if namespace not in self._engines:
            apps = [app for app in self.apps() if app.namespace == namespace]
            if not apps:
                return None
            self._engines[namespace] = engine_for(self._world().scoped(namespace), apps, self._settings)
        return self._engines[namespace]

    def without_code(self, namespace: str) -> Engine:
        """It hands every run on, as a workflow that it does not have is none of the run's faults."""
        if namespace not in self._without_code:
            world = self._world().scoped(namespace)
            self._without_code[namespace] = engine_for(world, [], self._settings)
        return self._without_code[namespace]

    def any(self, namespace: str) -> Engine:
        """The one with code, if there is any. Raises as `apps`."""
        return self.of(namespace) or self.without_code(namespace)

    async def deliver(self, namespace: str, delivery: Delivery) -> bool:
        """Work on one message, with code or without; whether to acknowledge. Raises what `delivery.deliver` does."""
        from wdk_cloud.engine.delivery import deliver

        try:
            engine = self.of(namespace)
        except WorldConfigurationError:
            engine = None  # whoever imports it first says so
        if engine is not None:
            return await deliver(engine, delivery)
        return await _without_code(self.without_code(namespace), namespace, delivery)

    def close(self) -> None:
        for engine in (*self._engines.values(), *self._without_code.values()):
            engine.close()
        self._engines.clear()
        self._without_code.clear()


async def _without_code(engine: Engine, namespace: str, delivery: Delivery) -> bool:
    """docs/protocol.md 7b. A step is put off; after as long a time as a run it fails, for only its run waits for it."""
    from wdk_cloud.engine import delivery as deliveries
    from wdk_cloud.engine import step, trouble

    message = delivery.message
    waited = trouble.handed_on_for(message.count)
    if message.kind == "step" and not delivery.again and waited < engine.settings.code_wait:
        missing = f"no code of the namespace {namespace!r} is here; look for an error at the import of WDK_APP"
        return await step.hand_on(engine, message, trouble.HandOn(missing, None))
    return await deliveries.deliver(engine, delivery)
