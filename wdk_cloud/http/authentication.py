"""Who may use the API and the route of queue deliveries."""

from __future__ import annotations

import hmac
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.requests import Request

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.http.answers import Refused

if TYPE_CHECKING:
    from starlette.responses import Response

Authenticator = Callable[[Request], bool | Awaitable[bool]]
Endpoint = Callable[[Request], "Awaitable[Response]"]

VARIABLE = "WDK_API_TOKEN"

SHORTEST = 16
"""Characters of a bearer token: fewer are guessed, or are a mistake."""


class BearerToken:
    """Accepts `Authorization: Bearer …` with this token."""

    def __init__(self, token: str) -> None:
        if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
            raise WorldConfigurationError(
                f"{VARIABLE} must have at least {SHORTEST} printable ASCII characters and no spaces; make one with "
                'python -c "import secrets; print(secrets.token_urlsafe())"'
            )
        self._token = token.encode()

    def __call__(self, request: Request) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # In constant time: how long it takes tells nothing of the token that would fit.
        fits = hmac.compare_digest(self._token, given.strip().encode("utf-8", "surrogateescape"))
        return fits and scheme.lower() == "bearer"


def nobody(_: Request) -> bool:
    raise Refused(
        401,
        "unauthorized",
        f"nobody may use this here: set {VARIABLE} to a secret of yours, or pass http.app(authenticator=…)",
        {"www-authenticate": "Bearer"},
    )


def from_environment() -> Authenticator:
    token = os.environ.get(VARIABLE)
    return BearerToken(token) if token else nobody


def guarded(authenticator: Authenticator, endpoint: Endpoint) -> Endpoint:
    """The endpoint, for those whom the authenticator accepts. Nothing of a request is read before."""

    async def guard(request: Request) -> Response:
        accepted = authenticator(request)
        if inspect.isawaitable(accepted):
            accepted = await accepted
        if accepted is not True:  # whatever else it gives back by mistake opens nothing
            raise Refused(
                401,
                "unauthorized",
                "this needs Authorization: Bearer and the token of this service; wdk dev prints its own",
                {"www-authenticate": "Bearer"},
            )
        return await endpoint(request)

    return guard
