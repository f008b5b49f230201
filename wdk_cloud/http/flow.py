"""The route of queue deliveries, for worlds that push their messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.requests import Request

from wdk_cloud.engine.delivery import deliver
from wdk_cloud.http import bodies
from wdk_cloud.http.answers import Refused, document, refusal
from wdk_cloud.http.problems import BAD_REQUEST, RETRY_AFTER
from wdk_cloud.world.ports import Delivery, Message

if TYPE_CHECKING:
    from starlette.responses import Response

    from wdk_cloud.http.authentication import Endpoint
    from wdk_cloud.http.served import Served

MAX_MESSAGE = 1_000_000
"""Bytes: what the largest queue of the providers takes."""

LONGEST_ID = 512

ReadDelivery = Callable[[Request, Message], Delivery]
"""How a provider says which delivery of which message a request is."""


def by_our_headers(request: Request, message: Message) -> Delivery:
    """`WDK-Delivery-Id` is the provider's id of the message, `WDK-Delivery-Count` how often it was delivered before."""
    provider_id = request.headers.get("wdk-delivery-id", "")
    if not 0 < len(provider_id) <= LONGEST_ID:
        raise Refused(400, BAD_REQUEST, f"WDK-Delivery-Id names the message, in 1 to {LONGEST_ID} characters")
    count = bodies.whole_number(request.headers.get("wdk-delivery-count", "0"), "WDK-Delivery-Count", 0, 10**9 - 1)
    return Delivery(message=message, provider_id=provider_id, receipt=provider_id, again=count > 0)


def endpoint(served: Served, read: ReadDelivery) -> Endpoint:
    """Hands a message to the engine. 200: it is done; anything else: the queue has to bring it again."""

    async def flow(request: Request) -> Response:
        message = await bodies.read_document(request, Message, most=MAX_MESSAGE)
        namespace = served.namespace_of(request)
        if namespace not in served.namespaces:
            raise Refused(400, BAD_REQUEST, f"no app of the namespace {namespace!r} is served here")
        engine = await served.engine(namespace)
        if await deliver(engine, read(request, message)):
            return document({"acknowledged": True})
        again = {"retry-after": str(RETRY_AFTER)}
        return refusal(503, "not-acknowledged", "the message is to be delivered again", again)

    return flow
