"""What is served: apps, and the worlds of their namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.app import check_namespace
from wdk_cloud.http.answers import bad_input
from wdk_cloud.references import types_known_to
from wdk_cloud.worker import engine_for
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from wdk_cloud.app import Workflows
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.service import Engine


class Served:
    """Some apps. Engines are those of the workers beside, or made when the first message is pushed."""

    def __init__(self, apps: Sequence[Workflows]) -> None:
        self.apps = list(apps)
        self.namespaces = list(dict.fromkeys(app.namespace for app in apps)) or [""]
        self._engines: dict[str, Engine] = {}

    def namespace_of(self, request: Request) -> str:
        """That of the query; without one that of the apps, if they share it, else none."""
        named = request.query_params.get("namespace")
        if named is not None:
            with bad_input():
                return check_namespace(named)
        return self.namespaces[0] if len(self.namespaces) == 1 else ""

    def known(self, namespace: str) -> KnownTypes:
        """The types of the apps of a namespace."""
        known = types_known_to(None)
        for app in self.apps:
            if app.namespace == namespace:
                known.merge(app.known)
        return known

    def use(self, engines: Sequence[Engine]) -> None:
        """Pushed messages are worked on by these."""
        self._engines = {engine.world.namespace: engine for engine in engines}

    async def engine(self, namespace: str) -> Engine:
        if namespace not in self._engines:
            apps = [app for app in self.apps if app.namespace == namespace]
            self._engines[namespace] = engine_for(await current_world(namespace), apps)
        return self._engines[namespace]

    def close(self) -> None:
        for engine in self._engines.values():
            engine.close()
        self._engines.clear()
