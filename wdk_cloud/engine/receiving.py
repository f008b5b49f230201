"""A request to a webhook: its hook is found, what it says of itself is checked, it is put where the run finds it, and
its caller is answered as the webhook's terms say."""

from __future__ import annotations

import hashlib
import hmac
import os
from binascii import b2a_base64
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wdk_cloud import signatures
from wdk_cloud.codec.keys import KEY_BYTES
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.tags import TAGS
from wdk_cloud.codec.values import encode
from wdk_cloud.engine import replies, resuming
from wdk_cloud.errors import HookNotFoundError
from wdk_cloud.webmessages import ReplyAddress, Response, parts_of_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.engine import events as ev
    from wdk_cloud.engine.resuming import Found
    from wdk_cloud.webmessages import Request
    from wdk_cloud.world.ports import Head, World

_dump = msgspec.json.Encoder().encode

TOO_LARGE = Response(413, "the body is larger than this webhook takes")
FORGED = Response(401, "the signature does not fit")


async def find(world: World, digest: str) -> tuple[Found, ev.WebhookTerms]:
    """The live webhook that has the token of this digest. A hook that is none cannot be reached this way: raises
    HookNotFoundError for it as for a token that nobody has, so that callers cannot tell the two apart."""
    found = await resuming.find(world, digest)
    if found.data.webhook is None:
        raise HookNotFoundError(
            f"the hook with this token (SHA-256 {digest[:12]}…) is no webhook: send it a payload with resume_hook()"
        )
    return found, found.data.webhook


class Pending(NamedTuple):
    """The answer of a webhook that a step gives. The request is delivered; to wait for it no longer harms nobody."""

    world: World
    address: ReplyAddress
    timeout: float

    async def response(self) -> Response:
        return await replies.wait(self.world, self.address, self.timeout)


async def receive(
    world: World,
    keys: KeyService | None,
    digest: str,
    request: Request,
    *,
    found: tuple[Found, ev.WebhookTerms] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Response:
    """`accept`, and wait for the answer where a step gives it."""
    accepted = await accept(world, keys, digest, request, found=found, environ=environ)
    return await accepted.response() if isinstance(accepted, Pending) else accepted


async def accept(
    world: World,
    keys: KeyService | None,
    digest: str,
    request: Request,
    *,
    found: tuple[Found, ev.WebhookTerms] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Response | Pending:
    """Deliver a request, once, and say what its caller gets. The request is durable before that.

    A provider that sends one event again, as its own id of the event tells, is answered again and delivers nothing.
    Raises HookNotFoundError, and WorldConfigurationError where the secret that `verify=` names is not set.
    """
    there, terms = found or await find(world, digest)
    if len(request.body) > terms.max_body:
        return TOO_LARGE
    event_id: str | None = None
    environ = os.environ if environ is None else environ
    if terms.verify:
        try:
            event_id = signatures.check(terms.verify, request, environ, world.clock.now())
        except signatures.SignatureMismatch:
            return FORGED
    name = os.urandom(16).hex() if event_id is None else hashlib.sha256(event_id.encode()).hexdigest()[:32]
    address: ReplyAddress | None = None
    if terms.respond_with == "manual":
        head, id = there.head, f"reply:{name}"
        secret = signatures.secret_of(terms.verify, environ) if event_id is not None else None
        key = "" if head.data_key is None else _reply_key(secret, head, id)
        address = ReplyAddress(world.namespace, head.run_id, head.birth, id, key)
        request = request.with_reply(address)
    await resuming.resume(world, keys, digest, recorded(request), f"request:{name}", there)
    if address is not None:
        return Pending(world, address, terms.timeout)
    return Response(terms.status, terms.body, terms.headers)


def _reply_key(secret: bytes | None, head: Head, id: str) -> str:
    """What the answer is sealed with: a receiver cannot open what the run seals, so it sends a key with the request.

    A provider that sends an event again waits for the answer to the first request, which has the first key: so that of
    a signed event follows from the secret that signs it.
    """
    if secret is None:
        key = os.urandom(KEY_BYTES)
    else:
        key = hmac.digest(secret, "\n".join(("wdk reply", head.run_id, head.birth, id)).encode(), "sha256")
    return b2a_base64(key, newline=False).decode()


def recorded(request: Request) -> bytes:
    """What the codec makes of a request, without its search for what is none of JSON: each request pays for it."""
    body = TAGS[bytes]
    parts = {**parts_of_request(request), "body": {body.name: body.to_json(request.body)}}
    try:
        return _dump({"$request": parts})
    except UnicodeEncodeError:  # a lone surrogate, of a caller who has the request from elsewhere: told with its place
        return encode(request, path="the request", known=KnownTypes())
