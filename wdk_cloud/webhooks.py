"""Webhooks: hooks that anybody can reach by HTTP who has their URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from wdk_cloud import durations, sizes
from wdk_cloud.context import require_body
from wdk_cloud.hooks import Hook, digest_of, encoded, namespaced, open_hook, random_token
from wdk_cloud.signatures import Verify
from wdk_cloud.webmessages import Request, Response
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from datetime import datetime

    from wdk_cloud.engine import events as ev

ROUTE = "/.well-known/workflow/v1/webhook/"
"""Behind the public base; then the token."""

DEFAULT_BASE = "http://127.0.0.1:8787"
"""Where `wdk dev` listens."""

MAX_BODY = 100_000_000
"""Bytes: in a record it is a third longer, and has to stay under what one value may measure."""

MAX_FIXED = 16_384
"""Bytes of a fixed response: it lies beside the token, where each request reads it."""

LONGEST_WAIT = 3600.0
"""Seconds for which a caller can be kept waiting; no provider or proxy holds a connection for longer."""


class Webhook(Hook[Request]):
    """A webhook, which `create_webhook` gives. As a `Hook`, whose payloads are requests; `url` is what others call, and
    a secret like its token."""

    def __init__(
        self, token: str, hook_id: str, run_id: str, created_at: datetime, metadata: Any = None, url: str = ""
    ) -> None:
        super().__init__(token, hook_id, run_id, created_at, metadata)
        self.url = url


def create_webhook(
    respond_with: Response | Literal["manual"] | None = None,
    metadata: object = None,
    timeout: durations.Duration = "25 s",
    max_body: str | int = "10 MB",
    verify: Verify | None = None,
) -> Webhook:
    """A webhook of this run; works in a body only. Its token has 128 random bits and cannot be chosen.

    Whoever calls `url` is answered with 202 at once; or with the `Response` given here, of at most 16 KB; or, with
    `"manual"`, with what a step says in `request.respond_with(Response(…))`: then the caller waits `timeout`, at most
    an hour, gets 504 after that, and 502 if the run ends without an answer. A body beyond `max_body` (at most 100 MB)
    is refused with 413. `verify`: `github("NAME_OF_A_VARIABLE")`, `stripe(…)` or `slack(…)`; a request that is not
    signed with the secret in that variable is refused with 401, an event that comes again is delivered once.
    `metadata` is as in `create_hook`. Raises `ValueError` and `TypeError` for terms that make no sense,
    SerializationError, WorkflowContextError outside a body.
    """
    body = require_body("create_webhook()")
    terms = _terms(respond_with, timeout, max_body, verify, body.url or DEFAULT_BASE)
    token = random_token(body)
    own = body.create_hook(digest_of(token), encoded(metadata, "the metadata of a webhook"), Any, terms)
    base = own.webhook.base if own.webhook is not None else ""
    return open_hook(Webhook, body, own, token, metadata, url=base.rstrip("/") + ROUTE + token)


def _terms(respond_with: object, timeout: object, max_body: object, verify: object, base: str) -> ev.WebhookTerms:
    from wdk_cloud.engine import events as ev

    seconds = durations.seconds(timeout, "timeout=")
    if not 0 < seconds <= LONGEST_WAIT:
        raise ValueError(f"timeout= is more than nothing and at most {LONGEST_WAIT:g} s, not {timeout!r}")
    size = sizes.in_bytes(max_body, "max_body=")
    if size > MAX_BODY:
        raise ValueError(
            f"max_body= is at most {MAX_BODY:,} bytes; let the caller upload more than that, and send a link"
        )
    if verify is not None and not isinstance(verify, Verify):
        raise TypeError(f'verify= is github("NAME"), stripe("NAME") or slack("NAME"), not {type(verify).__name__}')
    common: dict[str, Any] = {
        "timeout": seconds,
        "max_body": size,
        "verify": "" if verify is None else str(verify),
        "base": base,
    }
    if respond_with is None:
        return ev.WebhookTerms(**common)
    if isinstance(respond_with, Response):
        if len(respond_with.body) > MAX_FIXED:
            raise ValueError(f'a fixed response has at most {MAX_FIXED:,} bytes; answer with more by "manual"')
        headers = list(respond_with.headers.pairs)
        return ev.WebhookTerms("fixed", respond_with.status, headers, respond_with.body, **common)
    if respond_with == "manual":
        return ev.WebhookTerms("manual", **common)
    raise ValueError(f'respond_with= is None, a Response or "manual", not {respond_with!r}')


async def resume_webhook(token: str | Webhook, request: Request, *, namespace: str | None = None) -> Response:
    """What the public route does with a request: deliver it, and say what its caller gets. Not in a body.

    Raises HookNotFoundError when no live webhook has the token, `TypeError` for a `request` that is none,
    WorkflowContextError in a body. `namespace` is that of its app, as in `get_run`.
    """
    from wdk_cloud.app import current_body
    from wdk_cloud.encryption import keys_of
    from wdk_cloud.engine import receiving
    from wdk_cloud.errors import WorkflowContextError

    if current_body() is not None:
        raise WorkflowContextError("resume_webhook() may wait for an answer; call it in a step, or outside a workflow")
    if not isinstance(request, Request):
        raise TypeError(f"resume_webhook takes a Request, not {type(request).__name__}")
    digest = digest_of(token.token if isinstance(token, Hook) else token)
    world = await current_world(namespaced(namespace))
    return await receiving.receive(world, keys_of(world), digest, request)
