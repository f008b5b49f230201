"""Serving over HTTP: an ASGI app with the routes of webhooks, health, the API, and of worlds that push messages.

Needs the extra `http`; nothing of it is imported before `app()` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wdk_cloud.app import Workflows
from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from wdk_cloud.http.authentication import Authenticator

__all__ = ["app"]


def app(app: Workflows | None = None, authenticator: Authenticator | None = None) -> Starlette:
    """An ASGI app that serves these workflows, or those that WDK_APP names, on the world that is open.

    `authenticator` is asked with each request to the API and to the route of queue deliveries, and says whether it is
    accepted; it may be a coroutine function. Without one, a bearer token is, that of WDK_API_TOKEN; without that too,
    nobody. Webhooks and health are public. WDK_ROLE says which routes there are: `all`, `worker` (all but webhooks) or
    `receiver` (webhooks and health). On worlds that are asked for messages (`local`, `memory`) the app's lifespan runs
    a worker. Raises WorldConfigurationError for variables that make no sense, and without the extra `http`, `TypeError`
    for an `app` that is no `Workflows`.
    """
    if app is not None and not isinstance(app, Workflows):
        raise TypeError(f"http.app() takes the Workflows to serve, http.app(app), not {app!r}")
    try:
        from wdk_cloud.http import application
    except ModuleNotFoundError as error:
        raise WorldConfigurationError(
            f"http.app() cannot serve here ({error}); install wdk-cloud[http], which has what that needs"
        ) from error
    return application.from_environment(app, authenticator)
