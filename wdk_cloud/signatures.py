"""Requests that their providers sign: GitHub, Stripe and Slack, each in the way that its documentation describes.

What a webhook checks is named by `github("ENV_NAME")` and its siblings: the variable holds the secret, in the process
that receives requests. The log, the store and the workflow never see it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from wdk_cloud.webmessages import Request

TOLERANCE = 300.0
"""Seconds that the time in a signature may be off: what Stripe's and Slack's documentation recommend. It bounds for how
long a request that somebody has overheard can be sent again."""

_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


class SignatureMismatch(Exception):
    """The request is not from whom it should be, or too old, or its signature is missing."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Who signs the requests of a webhook, and the name of the variable that holds the secret."""

    provider: str
    variable: str

    def __post_init__(self) -> None:
        if not isinstance(self.variable, str) or not re.fullmatch(_VARIABLE, self.variable):
            # Not shown: it may be the secret itself, given by mistake.
            raise ValueError(f"{self.provider}() takes the name of an environment variable that holds the secret")

    def __str__(self) -> str:
        return f"{self.provider}:{self.variable}"


def github(variable: str) -> Verify:
    """Requests signed by GitHub: the HMAC-SHA256 of the body in `X-Hub-Signature-256`; `X-GitHub-Delivery` names the
    event. `variable`: the environment variable with the webhook's secret."""
    return Verify("github", variable)


def stripe(variable: str) -> Verify:
    """Requests signed by Stripe: time and HMAC-SHA256 in `Stripe-Signature`, at most five minutes old; the `id` in the
    body names the event. `variable`: the environment variable with the endpoint's signing secret (`whsec_…`)."""
    return Verify("stripe", variable)


def slack(variable: str) -> Verify:
    """Requests signed by Slack: HMAC-SHA256 in `X-Slack-Signature`, at most five minutes old; the `event_id` in the
    body, where there is one, names the event. `variable`: the environment variable with the app's signing secret."""
    return Verify("slack", variable)


def check(verify: str, request: Request, environ: Mapping[str, str], now: float) -> str | None:
    """The provider's id of the event, if it has one. Raises SignatureMismatch, and WorldConfigurationError when the
    variable is not set."""
    provider = verify.partition(":")[0]
    event_id = _CHECKS[provider](request, secret_of(verify, environ), now)
    return None if event_id is None else f"{provider}:{event_id}"


def secret_of(verify: str, environ: Mapping[str, str]) -> bytes:
    """Raises WorldConfigurationError when the variable is not set."""
    provider, _, variable = verify.partition(":")
    secret = environ.get(variable)
    if not secret:
        raise WorldConfigurationError(
            f"a webhook checks signatures of {provider} with the secret in the variable {variable}, which is not set "
            "here: set it where requests are received"
        )
    return secret.encode()


def _github(request: Request, secret: bytes, now: float) -> str | None:
    _compare("sha256=" + _mac(secret, request.body), [request.headers.get("x-hub-signature-256", "")])
    return request.headers.get("x-github-delivery")


def _stripe(request: Request, secret: bytes, now: float) -> str | None:
    parts = [part.strip().partition("=") for part in request.headers.get("stripe-signature", "").split(",")]
    time = next((value for name, _, value in parts if name == "t"), "")
    _check_time(time, now)
    expected = _mac(secret, time.encode() + b"." + request.body)
    _compare(expected, [value for name, _, value in parts if name == "v1"])  # several while a secret is changed
    return _member(request, "id")


def _slack(request: Request, secret: bytes, now: float) -> str | None:
    time = request.headers.get("x-slack-request-timestamp", "")
    _check_time(time, now)
    expected = "v0=" + _mac(secret, b"v0:" + time.encode() + b":" + request.body)
    _compare(expected, [request.headers.get("x-slack-signature", "")])
    return _member(request, "event_id")


_CHECKS: dict[str, Callable[[Request, bytes, float], str | None]] = {
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
}


def _mac(secret: bytes, data: bytes) -> str:
    import hmac

    return hmac.new(secret, data, "sha256").hexdigest()


def _compare(expected: str, given: list[str]) -> None:
    """In constant time, each: how long it takes tells nothing of the signature that would fit."""
    from hmac import compare_digest

    fits = [compare_digest(expected.encode(), one.encode()) for one in given]
    if not any(fits):
        raise SignatureMismatch


def _check_time(text: str, now: float) -> None:
    if not (text.isascii() and text.isdigit()) or abs(now - int(text[:20])) > TOLERANCE:
        raise SignatureMismatch


def _member(request: Request, name: str) -> str | None:
    import json

    try:
        found: Any = json.loads(request.body)
    except ValueError:
        return None  # signed, and no JSON: Slack's commands are forms
    value = cast("dict[str, object]", found).get(name) if isinstance(found, dict) else None
    return value if isinstance(value, str) else None
