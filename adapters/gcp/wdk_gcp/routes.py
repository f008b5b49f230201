"""The routes of the service: those of the queues and of Cloud Scheduler, health, and the ones of `wdk_cloud.http`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from wdk_cloud import direct
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.http import application, authentication, bodies
from wdk_cloud.http.answers import Refused, document, handlers, refusal
from wdk_cloud.http.problems import BAD_REQUEST, RETRY_AFTER
from wdk_cloud.http.secrecy import hide_tokens
from wdk_cloud.http.served import Served
from wdk_gcp.callers import INSTEAD, NotAccepted
from wdk_gcp.deliveries import Task
from wdk_gcp.queue import ROUTE

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from wdk_cloud.http.authentication import Endpoint
    from wdk_gcp.serving import Instance

log = logging.getLogger("wdk_cloud")

MOST = 1_000_000
"""Bytes of a body from a queue or a scheduler: a task has 100 KB at most."""

LONGEST_NAME = 512
"""Characters of a task's name: it has 500 at most (Cloud Tasks, `Task.name`)."""

PATIENCE = 4.0
"""Seconds of the ten that Cloud Run gives, in which what is under way may end by itself."""


class Routes:
    """Of one instance."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._rest: ASGIApp | None = None
        self._gone = asyncio.Event()
        """Whoever waits for something is hung up on."""
        routes = [Route(f"{application.BASE}/health", self._health, methods=["GET"])]
        if instance.role != "receiver":
            guarded = {"flow": self._flow, "tick": self._tick, "sweep": self._sweep}
            routes += [
                Route(f"{ROUTE.removesuffix('flow')}{name}", self._guarded(endpoint), methods=["POST"])
                for name, endpoint in guarded.items()
            ]
        hide_tokens()
        self._app: ASGIApp = Starlette(routes=[*routes, Mount("/", self._others)], exception_handlers=handlers())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, self._until_gone(receive), send)

    def stop(self) -> None:
        """The process is to end: what is under way may go on for a moment, then it is handed over."""
        asyncio.get_running_loop().call_later(PATIENCE, self._end)

    def _end(self) -> None:
        self._instance.deliveries.hand_over()
        self._gone.set()

    # -- queues and schedules ---------------------------------------------------------------------------------------

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guard(request: Request) -> Response:
            try:
                given = request.headers.get("authorization", "")
                await self._instance.callers.check(given, instead=INSTEAD in request.headers)
            except NotAccepted as reason:
                log.warning("a request to %s was refused: %s", request.url.path, reason)
                self._instance.telemetry.count("RefusedCallers")
                said = "this is for the queues and schedules of this deployment"
                raise Refused(401, "unauthorized", said, {"www-authenticate": "Bearer"}) from None
            return await endpoint(request)

        return guard

    async def _flow(self, request: Request) -> Response:
        if await self._instance.deliveries.work(await _task_of(request)):
            return document({"acknowledged": True})
        return refusal(503, "not-acknowledged", "the message is to be delivered again", _LATER)

    async def _tick(self, request: Request) -> Response:
        order = await bodies.read_document(request, dict[str, Any], optional=True, most=MOST)
        scheduled = request.headers.get("x-cloudscheduler-scheduletime")
        if order.get("workflow") is not None and scheduled is not None:
            order = {"time": scheduled, **order}
        return await self._obey("tick", order)

    async def _sweep(self, request: Request) -> Response:
        return await self._obey("sweep", await bodies.read_document(request, dict[str, Any], optional=True, most=MOST))

    async def _obey(self, kind: direct.Kind, order: dict[str, Any]) -> Response:
        try:
            return document(await direct.obey(self._instance.engines, self._instance.telemetry, kind, order))
        except (TypeError, ValueError) as error:
            log.error("a %s cannot be obeyed: %s", kind, error)
            raise Refused(400, BAD_REQUEST, str(error)) from error

    # -- all else ---------------------------------------------------------------------------------------------------

    async def _health(self, request: Request) -> Response:
        """Whether the world answers and, where bodies run, the code is there."""
        if self._instance.role != "receiver" and not self._instance.has_code():
            return document({"status": "unavailable"}, 503)
        return await application.health(request)

    async def _others(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._rest is None:
            try:
                self._rest = self._built()
            except WorldConfigurationError:
                log.exception("the code of WDK_APP cannot be imported: HTTP requests get 503 until it can be")
                self._instance.telemetry.count("MissingCode")
                said = "the code of this service cannot be loaded now; its log says why"
                await refusal(503, "unavailable", said, _LATER)(scope, receive, send)
                return
        await self._rest(scope, receive, send)

    def _built(self) -> ASGIApp:
        role = self._instance.role
        return application.build(
            Served(self._instance.engines.apps_of_routes(role)),
            self._instance.parts.authenticator or authentication.from_environment(),
            role,
            with_worker=False,
            read_delivery=None,  # messages have a route of their own here
        )

    def _until_gone(self, receive: Receive) -> Receive:
        """As if every client hung up when the process has to end: live streams end, and are asked for again."""

        async def received() -> Message:
            gone = asyncio.ensure_future(self._gone.wait())
            coming = asyncio.ensure_future(receive())
            try:
                await asyncio.wait((coming, gone), return_when=asyncio.FIRST_COMPLETED)
                return coming.result() if coming.done() else {"type": "http.disconnect"}
            finally:
                gone.cancel()
                coming.cancel()

        return received


_LATER = {"retry-after": str(RETRY_AFTER)}


async def _task_of(request: Request) -> Task:
    """Raises Refused for what no queue of Cloud Tasks has sent."""
    name = request.headers.get("x-cloudtasks-taskname", "")
    if not 0 < len(name) <= LONGEST_NAME:
        raise Refused(400, BAD_REQUEST, "this is for Cloud Tasks, which names the task in X-CloudTasks-TaskName")
    count = request.headers.get("x-cloudtasks-taskretrycount", "")
    return Task(
        name=name,
        queue=request.headers.get("x-cloudtasks-queuename", ""),
        # What says nothing of itself may have been delivered before.
        retry_count=int(count) if count.isdecimal() else 1,
        sent_at=_seconds(request.headers.get("x-cloudtasks-tasketa", "")),
        namespace=request.query_params.get("namespace", ""),
        body=await bodies.read(request, MOST),
    )


def _seconds(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
