"""The entry of the service on Cloud Run: `wdk_gcp.handler:app`, an ASGI app that serves the apps that WDK_APP names.

One service, or several from one image with other roles (WDK_ROLE), answer the queues, Cloud Scheduler and all others.
Importing this makes nothing: clients, loggers and the user's code come when the server starts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from wdk_cloud.app import Workflows
    from wdk_cloud.http.authentication import Authenticator
    from wdk_gcp.routes import Routes
    from wdk_gcp.serving import Instance

    Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

__all__ = ["app", "cloud_run_app"]


def cloud_run_app(*apps: Workflows, authenticator: Authenticator | None = None) -> Service:
    """An ASGI app that serves these apps; without any, those that WDK_APP names.

    `authenticator` is that of `wdk_cloud.http.app`: it is asked with each request to the API. Queues and schedules are
    let in by their tokens, whatever it says. Raises `TypeError` for what is no `Workflows`.
    """
    for app in apps:
        from wdk_cloud.app import Workflows

        if not isinstance(app, Workflows):
            raise TypeError(f"cloud_run_app() takes the Workflows to serve, cloud_run_app(app), not {app!r}")
    return Service(apps or None, authenticator)


class Service:
    """One instance of the service, on the event loop of its server."""

    def __init__(self, apps: tuple[Workflows, ...] | None, authenticator: Authenticator | None) -> None:
        self._apps = apps
        self._authenticator = authenticator
        self._instance: Instance | None = None
        self._routes: Routes | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        routes = await self._ready()
        await routes(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        """From the start of the server to its end, as ASGI has it."""
        from wdk_gcp.stopping import stopped_by_signal

        await receive()
        try:
            routes = await self._ready()
        except Exception as error:  # the server shows it, and ends: the revision before goes on serving
            await send({"type": "lifespan.startup.failed", "message": f"{type(error).__name__}: {error}"})
            return
        with stopped_by_signal(routes.stop):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _ready(self) -> Routes:
        """Also for a server that knows no lifespan. Raises WorldConfigurationError."""
        from wdk_cloud import bundle
        from wdk_gcp.routes import Routes
        from wdk_gcp.serving import Instance, Parts
        from wdk_gcp.telemetry import CloudLogging
        from wdk_gcp.world import GcpWorld

        if self._instance is None:
            bundle.apply(folder=Path.cwd())  # an image starts in the app's folder
            self._instance = Instance(self._apps, Parts(GcpWorld, CloudLogging, authenticator=self._authenticator))
        await self._instance.prepare()
        if self._routes is None:
            self._routes = Routes(self._instance)
        return self._routes

    async def close(self) -> None:
        """What it opened is closed."""
        if self._instance is not None:
            await self._instance.close()
            self._instance = self._routes = None


app = cloud_run_app()
