"""The ASGI app: which routes there are, who may use them, and what runs beside them."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Route

from wdk_cloud import sources
from wdk_cloud.errors import WorkflowError
from wdk_cloud.http import authentication, flow, schema
from wdk_cloud.http.answers import Refused, document, handlers
from wdk_cloud.http.api import Api
from wdk_cloud.http.authentication import guarded
from wdk_cloud.http.problems import BAD_REQUEST
from wdk_cloud.http.receiver import Receiver
from wdk_cloud.http.roles import role_of
from wdk_cloud.http.secrecy import hide_tokens
from wdk_cloud.http.served import Served
from wdk_cloud.worker import checked_settings, sweep_each_minute, worker
from wdk_cloud.world.opening import close_worlds, current_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from wdk_cloud.app import Workflows
    from wdk_cloud.http.authentication import Authenticator, Endpoint
    from wdk_cloud.http.roles import Role

BASE = "/.well-known/workflow/v1"


def from_environment(app: Workflows | None, authenticator: Authenticator | None) -> Starlette:
    """With the app, or the apps of WDK_APP, and the role of WDK_ROLE."""
    role = role_of(os.environ.get("WDK_ROLE") or "all")
    spec = os.environ.get("WDK_APP")
    # A receiver runs no code of the app; it needs to know one only where that has a namespace.
    apps = [app] if app is not None else [] if role == "receiver" and not spec else sources.load_apps(spec)
    checked_settings()
    return build(Served(apps), authenticator or authentication.from_environment(), role)


def build(
    served: Served,
    authenticator: Authenticator,
    role: Role = "all",
    *,
    with_worker: bool = True,
    read_delivery: flow.ReadDelivery | None = flow.by_our_headers,
) -> Starlette:
    """`with_worker=False` where a worker runs beside already; `read_delivery` is how a pushing world's provider says
    which delivery of a message a request is, None where messages come another way."""
    hide_tokens()
    routes = [] if role == "worker" else _webhooks(served)
    routes += _route("health", health, "GET")
    if role != "receiver":
        if read_delivery is not None:
            routes += _route("flow", guarded(authenticator, flow.endpoint(served, read_delivery)), "POST")
        routes += _api(served, authenticator)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with running(served, worker_wanted=with_worker and role != "receiver"):
            yield

    app = Starlette(routes=routes, exception_handlers=handlers(), lifespan=lifespan)
    # A redirect to the path with or without a slash would lose bodies; both are served instead.
    app.router.redirect_slashes = False
    return app


@asynccontextmanager
async def running(served: Served, *, worker_wanted: bool) -> AsyncGenerator[None]:
    """A worker and its sweep on worlds that are asked for messages; at the end what was opened is closed."""
    try:
        world = await current_world(served.namespaces[0])
        if not worker_wanted or world.receiver is None:
            yield
            return
        async with worker(*served.apps) as workers:
            served.use([one.engine for one in workers])
            sweeping = asyncio.create_task(sweep_each_minute(workers))
            yield
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)
            served.use([])  # their workers close them
    finally:
        served.close()
        await close_worlds()


async def health(_: Request) -> Response:
    """Whether the world answers. It tells nobody more than that."""
    try:
        await (await current_world()).runs.head("health")
    except WorkflowError:
        return document({"status": "unavailable"}, 503)
    return document({"status": "ok"})


def _webhooks(served: Served) -> list[Route]:
    receiver = Receiver(served)
    return [Route(f"{BASE}/webhook/{{token}}{slash}", receiver) for slash in ("", "/")]


def _api(served: Served, authenticator: Authenticator) -> list[Route]:
    api = Api(served, f"{BASE}/api")
    routes = _route("api/openapi.json", guarded(authenticator, api.openapi), "GET")
    for path in dict.fromkeys(op.path for op in schema.OPERATIONS):
        by_method = {op.method: _checked(op, getattr(api, op.name)) for op in schema.OPERATIONS if op.path == path}
        endpoint = guarded(authenticator, _of_method(by_method))
        # A token, or a name, may have slashes in it; a path that ends in one is another token.
        whole = path.replace("{token}", "{token:path}").replace("{name}", "{name:path}")
        routes += _route(f"api/{whole}", endpoint, *by_method)
    return routes


def _checked(op: schema.Operation, endpoint: Endpoint) -> Endpoint:
    """What is misspelled in a query would change the answer and not be noticed."""
    names = {"namespace", *op.query}

    async def checked(request: Request) -> Response:
        for name in request.query_params:
            if name not in names:
                known = ", ".join(sorted(names))
                raise Refused(400, BAD_REQUEST, f"the query has an unknown {name!r:.80}; there are: {known}")
        return await endpoint(request)

    return checked


def _of_method(endpoints: dict[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return endpoint


def _route(path: str, endpoint: Endpoint, *methods: str) -> list[Route]:
    slashes: Sequence[str] = ("",) if path.endswith(":path}") else ("", "/")
    return [Route(f"{BASE}/{path}{slash}", endpoint, methods=list(methods)) for slash in slashes]
