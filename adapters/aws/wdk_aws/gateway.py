"""HTTP requests of function URLs and of API Gateway, answered by the ASGI app of `wdk_cloud.http`.

A function gives its answer as a whole. So a live stream is long polling here: the answer has the events that have come
by then, and its client comes back with `Last-Event-ID`, as every client of server-sent events does.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from wdk_aws import httpevents
from wdk_aws.answers import Collected, headers_of, is_live, refusal
from wdk_cloud.http import application, authentication
from wdk_cloud.http.problems import RETRY_AFTER
from wdk_cloud.http.served import Served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from starlette.requests import Request as AsgiRequest
    from starlette.types import ASGIApp, Message, Scope

    from wdk_aws.httpevents import Request
    from wdk_aws.serving import TimeLeft
    from wdk_aws.streamed import StreamedAnswer
    from wdk_cloud.app import Workflows
    from wdk_cloud.http.authentication import Authenticator
    from wdk_cloud.http.roles import Role

log = logging.getLogger("wdk_cloud.http")

MOST_BODY = 4_000_000
"""Bytes of a request's body. An event has 6 MB (AWS Lambda, quotas, "Invocation payload"), which bytes fill to a third
with their base64; what is larger than that never gets here, and a sender should meet one limit, not two."""

SIGNED = "wdk_aws.signed"
"""In the scope of a request: whether IAM has let it through."""

LONG_POLL = 20.0
"""Seconds that the answer of a live stream waits for its first event: API Gateway gives up after 30 (HTTP APIs)."""

GATHER = 0.1
"""Seconds after the first event in which more are waited for: they cost less in one answer."""


class Gateway:
    """Of one instance."""

    def __init__(self, apps: Sequence[Workflows], authenticator: Authenticator | None, role: Role) -> None:
        self._app: ASGIApp = application.build(
            Served(apps),
            authenticator or _signed_or(authentication.from_environment()),
            role,
            with_worker=False,
            read_delivery=None,  # messages come from SQS
        )

    async def answer(self, event: Mapping[str, Any], time: TimeLeft) -> dict[str, Any]:
        """The answer in the format of the event. Whatever goes wrong is an answer, too."""
        request = _read(event)
        answer = request if isinstance(request, Collected) else await _call(self._app, request, time)
        return answer.as_answer("httpMethod" in event)

    async def stream(self, event: Mapping[str, Any], time: TimeLeft, answer: StreamedAnswer) -> None:
        """Send the answer while it is made. Raises whatever goes wrong after the answer has begun."""
        request = _read(event)
        if isinstance(request, Collected):
            request.pass_to(answer)
            return
        try:
            await _pass_on(self._app, request, time, answer)
        except Exception:
            if answer.begun:
                raise
            log.exception("a request could not be answered")
            _failed().pass_to(answer)


def _signed_or(other: Authenticator) -> Authenticator:
    """Accepts whom IAM has let through, beside whom `other` accepts: a signature takes the header of a token, so that
    the clients of a function URL with AWS_IAM could not send one."""

    def accepts(request: AsgiRequest) -> bool | Awaitable[bool]:
        return request.scope.get(SIGNED) is True or other(request)

    return accepts


def unavailable() -> Collected:
    """While there is no code to answer with; who sends a webhook sends it again."""
    said = "the code of this service cannot be loaded now; its log says why"
    return refusal(503, "unavailable", said, {"retry-after": str(RETRY_AFTER)})


def _failed() -> Collected:
    return refusal(500, "internal", "something went wrong here; the log of the function says what")


def _late() -> Collected:
    return refusal(504, "timeout", "the answer has taken longer than this function may; ask again")


def _read(event: Mapping[str, Any]) -> Request | Collected:
    """The request; or the answer to one that cannot be taken."""
    try:
        request = httpevents.read(event)
    except httpevents.NoBase64:
        return refusal(400, "bad-request", "the body is no base64, though the event says so")
    if len(request.body) > MOST_BODY:
        said = f"the body is larger than the {MOST_BODY:,} bytes that a function on AWS Lambda takes"
        return refusal(413, "too-large", said)
    return request


def _scope(request: Request) -> Scope:
    headers = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in request.headers
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method.upper(),
        "scheme": "https",
        "path": unquote(request.path),
        "raw_path": request.path.encode("utf-8", "surrogateescape"),
        "root_path": request.stage,
        "query_string": request.query.encode("utf-8", "surrogateescape"),
        "headers": headers,
        SIGNED: request.signed,
        "client": (request.sender, 0),
        "server": (dict(request.headers).get("host", ""), 443),
    }


async def _call(app: ASGIApp, request: Request, time: TimeLeft) -> Collected:
    """Run the app once, and give what it has sent when it ends, or when the answer has to go."""
    collected = Collected()
    gone = asyncio.Event()
    requests: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        collected.add(cast("Mapping[str, Any]", message))

    running = asyncio.ensure_future(app(_scope(request), receive, send))
    polling = asyncio.ensure_future(_long_enough(collected, time))
    try:
        await asyncio.wait((running, polling), return_when=asyncio.FIRST_COMPLETED)
        gone.set()  # a live stream ends now; anything else has ended, or has had all the time that there was
        if not running.done() and not collected.live:
            running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            return _late()
        except Exception:
            log.exception("a request could not be answered as a whole")
            if not collected.whole:
                return _failed()
    finally:
        polling.cancel()
        with suppress(asyncio.CancelledError):
            await polling
    return collected


async def _long_enough(collected: Collected, time: TimeLeft) -> None:
    """Returns when the answer has to go, though the app goes on."""
    with suppress(TimeoutError):
        async with asyncio.timeout(time.limit):
            await collected.begun.wait()
            if not collected.live:
                await asyncio.Event().wait()  # it ends by itself, or in time
            with suppress(TimeoutError):
                async with asyncio.timeout(LONG_POLL):
                    await collected.something.wait()
            await asyncio.sleep(GATHER)


async def _pass_on(app: ASGIApp, request: Request, time: TimeLeft, answer: StreamedAnswer) -> None:
    """Run the app once, and send on what it sends. A live stream that has not ended in time ends there: its reader
    comes back for the rest."""
    gone = asyncio.Event()
    live = False
    requests: list[Message] = [{"type": "http.request", "body": request.body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal live
        if message["type"] == "http.response.start":
            headers = headers_of(message)
            live = is_live(headers)
            answer.begin(message["status"], headers)
        elif message["type"] == "http.response.body":
            answer.write(message.get("body", b""))

    running = asyncio.ensure_future(app(_scope(request), receive, send))
    await asyncio.wait((running,), timeout=time.limit)
    gone.set()
    if not running.done() and not live:
        running.cancel()
    try:
        await running
    except asyncio.CancelledError:
        if answer.begun:
            raise TimeoutError("the answer has taken longer than this function may; ask for less, or again") from None
        _late().pass_to(answer)
        return
    answer.end()
