"""The public route of webhooks: whoever knows a token sends a request, and is answered as the webhook's terms say."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest

from wdk_cloud.encryption import keys_of
from wdk_cloud.engine import receiving
from wdk_cloud.errors import HookNotFoundError, WorkflowError, WorldUnavailableError
from wdk_cloud.hooks import digest_of
from wdk_cloud.http import bodies
from wdk_cloud.http.answers import Refused, hung_up
from wdk_cloud.http.problems import BAD_REQUEST, RETRY_AFTER
from wdk_cloud.webhooks import ROUTE
from wdk_cloud.webmessages import Request, Response
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from wdk_cloud.engine import events as ev
    from wdk_cloud.engine.resuming import Found
    from wdk_cloud.http.served import Served
    from wdk_cloud.world.ports import World

log = logging.getLogger("wdk_cloud.http")

NOT_FOUND = Response(404)
"""Of a token that nobody has, of one that was disposed of, of a plain hook's: nobody can tell them apart."""

TAKEN = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
LOOKED_AT = Response(204, None, {"Allow": TAKEN})
"""To HEAD and OPTIONS, which deliver nothing: those who send them only look, scanners of mail among them."""

OF_THE_CONNECTION = frozenset(
    ("connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
)
"""Headers that the server writes itself."""

NOT_KEPT = ((b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"))
"""Beside a body, unless the answer says otherwise: its URL is a secret, and an answer is for its caller."""


class Receiver:
    """An ASGI app of one route, which has a `token` in its path."""

    def __init__(self, served: Served) -> None:
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(HttpRequest(scope, receive))
        except ClientDisconnect:
            return  # its request never came whole, or it no longer waits
        except WorldUnavailableError as error:
            log.warning("a request to a webhook could not be taken: %s", error)
            response = Response(503, None, {"Retry-After": str(RETRY_AFTER)})
        except WorkflowError as error:
            log.error("a request to a webhook could not be taken: %s", error)
            response = Response(500)  # what is wrong here is no matter of the public
        await _send(response, send)

    async def _answer(self, request: HttpRequest) -> Response:
        token: str = request.path_params["token"]
        try:
            digest = digest_of(token)
            world, found = await self._find(digest)
        except (ValueError, HookNotFoundError):
            return NOT_FOUND
        if request.method in ("HEAD", "OPTIONS"):
            return LOOKED_AT
        _, terms = found
        body = await bodies.read(request, terms.max_body)
        delivered = _message(request, terms.base.rstrip("/") + ROUTE + token, body)
        accepted = await receiving.accept(world, keys_of(world), digest, delivered, found=found)
        if isinstance(accepted, receiving.Pending):
            return await _while_they_wait(request, accepted)
        return accepted

    async def _find(self, digest: str) -> tuple[World, tuple[Found, ev.WebhookTerms]]:
        for namespace in self._served.namespaces[:-1]:
            try:
                world = await current_world(namespace)
                return world, await receiving.find(world, digest)
            except HookNotFoundError:
                continue
        world = await current_world(self._served.namespaces[-1])
        return world, await receiving.find(world, digest)


def _message(request: HttpRequest, url: str, body: bytes) -> Request:
    """As its sender sent it; the URL is the public one, whatever proxies made of it."""
    query = request.scope["query_string"].decode("latin-1")
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    try:
        return Request(request.method, f"{url}?{query}" if query else url, headers, body)
    except ValueError as error:
        raise Refused(400, BAD_REQUEST, str(error)) from None


async def _while_they_wait(request: HttpRequest, pending: receiving.Pending) -> Response:
    """The answer, unless its caller hangs up: then nobody waits, and the run goes on with the request."""
    answer = asyncio.ensure_future(pending.response())
    gone = asyncio.ensure_future(hung_up(request.receive))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        for task in (answer, gone):
            task.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _send(response: Response, send: Send) -> None:
    headers = [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers.pairs
        if name not in OF_THE_CONNECTION
    ]
    if response.body:
        headers += [(name, value) for name, value in NOT_KEPT if name.decode() not in response.headers]
    bodiless = response.status in (204, 304)
    if not bodiless:
        headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if bodiless else response.body})
