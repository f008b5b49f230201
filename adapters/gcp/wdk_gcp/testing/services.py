"""A deployed service on a clock that a test moves: Cloud Tasks posts to its handler, which is ours.

It has the place of a `Worker`. Everything is on the caller's event loop, in an order that is the same each time.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.telemetry import Silent
from wdk_cloud.testing.scheduler import Scheduler
from wdk_gcp.callers import Callers, Certificates
from wdk_gcp.queue import AUDIENCE, ROUTE
from wdk_gcp.routes import Routes
from wdk_gcp.serving import Instance, Parts
from wdk_gcp.testing.dispatching import Receiver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from wdk_cloud.app import Workflows
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.telemetry import Telemetry
    from wdk_gcp.testing.stage import Stage
    from wdk_gcp.world import GcpWorld

log = logging.getLogger("wdk_cloud")


class Known(Certificates):
    """Those of a server in this process: nothing has to be fetched, in a thread, while a test waits for quiet."""

    def __init__(self, found: Mapping[str, str]) -> None:
        self._known = found

    async def with_key(self, key_id: str) -> Mapping[str, str]:
        return self._known


class Service:
    """One service with one instance, which keeps bodies warm if the settings say so."""

    def __init__(
        self,
        world: GcpWorld,
        stage: Stage,
        apps: Sequence[Workflows] | None,
        settings: Settings | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.world = world
        self._stage = stage
        self._told = telemetry or Silent()
        callers = Callers(world.settings.invoker, Known(stage.tasks.signer.certificates()), verified_before=False)
        parts = Parts(lambda: world, self._telemetry, settings, callers=callers)
        self.instance = Instance(apps, parts)
        self._scheduler = Scheduler(world.clock, self._tick)

    def _telemetry(self, _: GcpWorld) -> Telemetry:
        return self._told

    # -- in the place of a worker -----------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """Of the first app's namespace."""
        namespaces = [app.namespace for app in self.instance.engines.apps()] or [""]
        return self.instance.engines.any(namespaces[0])

    @property
    def receiver(self) -> Service:
        return self

    @property
    def idle(self) -> bool:
        return not self._stage.dispatcher.working(self._received) and self._scheduler.idle

    def busy(self) -> bool:
        """Whether a task is due or being worked on."""
        due = self._stage.tasks.next_due()
        return not self.idle or (due is not None and due <= self.world.clock.now())

    async def prepare(self) -> None:
        """It answers what is posted to it, and Cloud Tasks does not know it yet."""
        await self.instance.prepare()
        self._received = Receiver(Routes(self.instance))

    async def post(self, path: str, body: bytes = b"", **headers: str) -> httpx.Response:
        """To a route below the base, with a token of the invoker unless another one is given."""
        signed = f"Bearer {self._stage.tasks.signer.token(AUDIENCE, self.world.settings.invoker)}"
        return await self._received.request("POST", self._url(path), {"Authorization": signed, **_named(headers)}, body)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self._received.request("GET", self._url(path), _named(headers), b"")

    def _url(self, path: str) -> str:
        return f"{self.world.settings.worker_url}{ROUTE.removesuffix('flow')}{path}"

    async def start(self) -> None:
        await self.prepare()
        for app in self.instance.engines.apps():  # as in one that has had requests before
            self.instance.engines.of(app.namespace)
        self._stage.dispatcher.attach(self._received)
        self._scheduler.serve(self.instance.engines.apps())

    async def stop(self) -> None:
        """The service is taken away. What it worked on comes back at once to whoever is there."""
        await self._scheduler.stop()
        await self._stage.dispatcher.detach(self._received)
        await self.leave()

    def vanish(self) -> None:
        """Its instance is dead: tasks find nobody here."""
        self._stage.dispatcher.lose(self._received)

    async def leave(self) -> None:
        """What `prepare` made is closed."""
        await self._received.close()
        self.instance.leave()

    async def _tick(self, workflow: str, tick: int) -> None:
        """As Cloud Scheduler has it."""
        time = datetime.fromtimestamp(tick, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = msgspec.json.encode({"workflow": workflow})
        answer = await self.post("tick", body, X_CloudScheduler_ScheduleTime=time, Content_Type="application/json")
        if answer.status_code != 200:
            log.error("the tick of %s at %s has started nothing: %s", workflow, tick, answer.text)


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    """Names of arguments have no dashes."""
    return {name.replace("_", "-"): value for name, value in headers.items()}
