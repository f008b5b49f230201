"""What callers do with a token: find its hook, and send it a payload."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from wdk_cloud.codec.values import decode
from wdk_cloud.engine import keyrings, passing, requests, tokens
from wdk_cloud.engine.payloads import check_size
from wdk_cloud.errors import HookNotFoundError, RunExpiredError, WorkflowRunNotFoundError

if TYPE_CHECKING:
    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.world.ports import Head, Token, World


class Found(NamedTuple):
    """A hook that can receive."""

    token: Token
    head: Head
    """Of the run that receives: the owner of the token, or the last that goes on for it."""
    data: tokens.TokenData


async def find(world: World, digest: str) -> Found:
    """Raises HookNotFoundError if no live hook has the token of this digest; the token itself is in no message."""
    there = await world.runs.token(digest)
    if there is not None:
        head = await tokens.owner_of(world, there)
        if head is not None and not head.ended:
            return Found(there, head, msgspec.json.decode(there.data, type=tokens.TokenData))
    raise HookNotFoundError(
        f"no live hook has this token (SHA-256 {digest[:12]}…): it was never made, was disposed of, or its run has "
        "ended; see wdk inspect hooks, and make sure of the namespace"
    )


async def find_for_payload(world: World, digest: str) -> Found:
    """As `find`, of a hook that takes any payload. Raises HookNotFoundError for a webhook's, which takes requests."""
    found = await find(world, digest)
    if found.data.webhook is not None:
        raise HookNotFoundError(
            f"the token (SHA-256 {digest[:12]}…) is that of a webhook of run {found.head.run_id}, which takes requests "
            "only: send one to its URL, or use resume_webhook()"
        )
    return found


async def metadata(world: World, keys: KeyService | None, found: Found) -> bytes:
    """What the hook was made with, as JSON text."""
    owner = await requests.require_head(world, found.token.run_id)
    payloads = await keyrings.payloads_of(world, keys, owner)
    return await payloads.open("metadata", found.token.hook_id, bytes(found.data.metadata))


def check(found: Found, payload: bytes, known: KnownTypes) -> None:
    """Raises SerializationError for a payload that does not fit the hook's schema, where this process has loaded that.

    The body would find it out, and has to deal with it: a caller who can be told at once should be.
    """
    module, _, name = found.data.schema.partition(":")
    cls: Any = sys.modules.get(module)
    for part in name.split("."):
        cls = getattr(cls, part, None)
    if isinstance(cls, type):
        decode(payload, cls, known=known, path="payload")


async def resume(
    world: World, keys: KeyService | None, digest: str, payload: bytes, key: str | None, found: Found | None = None
) -> Found:
    """Put the payload (JSON text) where the run finds it, then tell the run. It is durable when this returns.

    What lies in a run that has gone on as another is passed on first: it may be the same caller's, and earlier. As a
    request to cancel it looks again afterwards: the run may go on meanwhile, and have looked before the payload came.
    With a key that such a run has received before there is nothing to do.
    """
    check_size(payload, "the payload of a hook")
    found = found or await find_for_payload(world, digest)
    name = passing.name_of(digest, key)
    if key is not None and tokens.mark_of(name) in found.data.delivered:
        return found
    if found.head.run_id != found.token.run_id:
        await _pass_on(world, keys, found.token.run_id)
        if key is not None and await _received_before(world, found, name):
            return found
    sealed = await (await keyrings.sender_to(world, keys, found.head)).seal("payload", digest, payload)
    await passing.put(world, found.head, digest, name, sealed)
    await _pass_on(world, keys, found.head.run_id)
    return found


async def _received_before(world: World, found: Found, name: str) -> bool:
    """Whether one of the runs from the token's on has received it, up to the one that lives; that one knows itself."""
    following = await world.runs.head(found.token.run_id)
    while following is not None and following.run_id != found.head.run_id:
        if name in await passing.keys_received(world, following, found.token.digest):
            return True
        following = None if following.continued_to is None else await world.runs.head(following.continued_to)
    return False


async def _pass_on(world: World, keys: KeyService | None, run_id: str) -> None:
    try:
        head = await requests.require_head(world, run_id)
    except (RunExpiredError, WorkflowRunNotFoundError):
        return
    await passing.pass_on_to_the_last(world, keys, head, closed=True)
