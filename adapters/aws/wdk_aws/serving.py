"""What an instance of the function keeps from one event to the next: its world, its code, an engine per namespace."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Protocol

from wdk_aws import events
from wdk_cloud.engines import Engines
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.http.roles import role_of
from wdk_cloud.worker import checked_settings, warn_of_hash_seed
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from wdk_aws.gateway import Gateway
    from wdk_aws.streamed import StreamedAnswer
    from wdk_aws.world import AwsWorld
    from wdk_cloud.app import Workflows
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.http.authentication import Authenticator
    from wdk_cloud.http.roles import Role
    from wdk_cloud.telemetry import Telemetry

log = logging.getLogger("wdk_cloud")

MARGIN = 2.0
"""Seconds that a turn leaves at the end of its invocation: for a last append, a message to the next one and the release
of the lease, each of which may be tried again once."""

MARGIN_SHARE = 0.1
"""The most that the margin takes of a function whose whole time is short."""


class Context(Protocol):
    """What of Lambda's context object is asked."""

    def get_remaining_time_in_millis(self) -> int: ...


class TimeLeft(NamedTuple):
    """Of one invocation, less the margin."""

    deadline: float
    """On the world's monotonic clock."""
    limit: float
    """What a fresh invocation has in all: as much as this one had when it began."""


class Parts(NamedTuple):
    """What an instance is made of; those of a test are other ones."""

    world: Callable[[], AwsWorld]
    telemetry: Callable[[], Telemetry]
    settings: Settings | None = None
    authenticator: Authenticator | None = None


class Instance:
    """One instance. It works on one event at a time, as Lambda has it; nothing is made before the first one."""

    def __init__(self, given: Sequence[Workflows] | None, parts: Parts) -> None:
        """`given`: the apps to serve; None: those of WDK_APP."""
        self.parts = parts
        self.engines = Engines(lambda: self.world, given, parts.settings)
        self._open = ExitStack()
        self._gateway: Gateway | None = None
        self.role: Role
        self.world: AwsWorld
        self.telemetry: Telemetry
        self.settings: Settings
        self._prepared = False

    async def handle(self, event: Mapping[str, Any], context: Context) -> object:
        """Answer one event. Raises for one that cannot be answered, which its sender then keeps or is told."""
        await self.prepare()
        time = self._time_left(context)
        try:
            kind = events.kind_of(event)
            events.refuse_unless_answered(kind, self.role)
            if kind == "messages":
                from wdk_aws import batches

                return await batches.work(self, event, time)
            if kind == "http":
                return await self._answer(event, time)
            if kind == "doctor":
                from wdk_aws import inside

                return await inside.examine(self)
            from wdk_cloud import direct

            return await direct.obey(self.engines, self.telemetry, kind, event[kind])
        finally:
            self.telemetry.flush()

    async def prepare(self) -> None:
        """Raises WorldConfigurationError; the next event tries again."""
        if self._prepared:
            return
        self.telemetry = self.parts.telemetry()
        self.role = role_of(os.environ.get("WDK_ROLE") or "all")
        self.settings = checked_settings(self.parts.settings)
        self.world = self.parts.world()
        await self.world.open()
        # For as long as the instance lives: what steps start, and what the routes ask, is in this world.
        self._open.enter_context(use_world(self.world))
        if self.role != "receiver":  # which runs no bodies
            warn_of_hash_seed()
        self._prepared = True

    def _time_left(self, context: Context) -> TimeLeft:
        left = context.get_remaining_time_in_millis() / 1000
        left -= min(MARGIN, left * MARGIN_SHARE)
        return TimeLeft(self.world.clock.monotonic() + left, left)

    async def stream(self, event: Mapping[str, Any], context: Context, answer: StreamedAnswer) -> bool:
        """Answer an HTTP event of the format 2.0 while its answer is made; False: it is none, and `handle` answers."""
        if not isinstance(event.get("requestContext"), dict) or "httpMethod" in event:
            return False
        await self.prepare()
        try:
            gateway = self._reached()
            if gateway is None:
                from wdk_aws.gateway import unavailable

                unavailable().pass_to(answer)
            else:
                await gateway.stream(event, self._time_left(context), answer)
        finally:
            self.telemetry.flush()
        return True

    async def _answer(self, event: Mapping[str, Any], time: TimeLeft) -> dict[str, Any]:
        gateway = self._reached()
        if gateway is None:
            from wdk_aws.gateway import unavailable

            return unavailable().as_answer("httpMethod" in event)
        return await gateway.answer(event, time)

    def _reached(self) -> Gateway | None:
        """None while the code of the app cannot be imported."""
        from wdk_aws.gateway import Gateway

        if self._gateway is None:
            try:
                apps = self.engines.apps_of_routes(self.role)
            except WorldConfigurationError:
                log.exception("the code of WDK_APP cannot be imported: HTTP requests get 503 until it can be")
                self.telemetry.count("MissingCode")
                return None
            self._gateway = Gateway(apps, self.parts.authenticator, self.role)
        return self._gateway

    def close(self) -> None:
        """What Lambda never does: it freezes an instance, and thaws it or not."""
        self.engines.close()
        self._open.close()
        self._prepared = False
