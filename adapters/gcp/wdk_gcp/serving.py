"""What an instance of the service keeps from one request to the next: its world, its code, who may call it."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud.engines import Engines
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.http.roles import role_of
from wdk_cloud.worker import checked_settings, warn_of_hash_seed
from wdk_cloud.world.opening import use_world
from wdk_gcp.callers import callers_of, certificates_url
from wdk_gcp.deliveries import Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wdk_cloud.app import Workflows
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.http.authentication import Authenticator
    from wdk_cloud.http.roles import Role
    from wdk_cloud.telemetry import Telemetry
    from wdk_gcp.callers import Callers
    from wdk_gcp.world import GcpWorld

log = logging.getLogger("wdk_cloud")


class Parts(NamedTuple):
    """What an instance is made of; those of a test are other ones."""

    world: Callable[[], GcpWorld]
    telemetry: Callable[[GcpWorld], Telemetry]
    settings: Settings | None = None
    authenticator: Authenticator | None = None
    callers: Callers | None = None
    """Without it, those whom Google's certificates verify."""


class Instance:
    """One instance, which works on several requests at once. Code of the app is imported by the first of them."""

    def __init__(self, given: Sequence[Workflows] | None, parts: Parts) -> None:
        """`given`: the apps to serve; None: those of WDK_APP."""
        self.parts = parts
        self._given = given
        self._open = ExitStack()
        self.role: Role
        self.world: GcpWorld
        self.telemetry: Telemetry
        self.settings: Settings
        self.engines: Engines
        self.deliveries: Deliveries
        self._callers = parts.callers
        self._prepared = False

    async def prepare(self) -> None:
        """Raises WorldConfigurationError."""
        if self._prepared:
            return
        self.role = role_of(os.environ.get("WDK_ROLE") or "all")
        self.settings = checked_settings(self.parts.settings)
        self.world = self.parts.world()
        _ = self.world.settings.split, certificates_url()  # or it is told now
        self.telemetry = self.parts.telemetry(self.world)
        self.engines = Engines(lambda: self.world, self._given, self.parts.settings)
        self.deliveries = Deliveries(self)
        await self.world.open()
        # For as long as the instance lives: what steps start, and what the routes ask, is in this world.
        self._open.enter_context(use_world(self.world))
        if self.role != "receiver":  # which runs no bodies
            warn_of_hash_seed()
        self._prepared = True

    @property
    def callers(self) -> Callers:
        """Raises WorldConfigurationError without WDK_GCP_INVOKER."""
        if self._callers is None:
            settings = self.world.settings
            self._callers = callers_of(settings.needed("invoker"), self.world.clock, verified_before=settings.split)
        return self._callers

    def has_code(self) -> bool:
        """Whether the code of the app could be imported. What is wrong with it is logged, and the next call tries it
        again."""
        try:
            self.engines.apps()
        except WorldConfigurationError:
            log.exception("the code of WDK_APP cannot be imported; runs are handed on until it can be")
            self.telemetry.count("MissingCode")
            return False
        return True

    async def close(self) -> None:
        if self._prepared:
            self.leave()
            await self.world.close()

    def leave(self) -> None:
        """Let go of all but the world, which may be somebody else's too."""
        self._prepared = False
        self.engines.close()
        self._open.close()
