"""What callers do with a token: find its hook, and send it a payload."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wdk_cloud.engine import events as ev
from wdk_cloud.engine import requests, tokens
from wdk_cloud.engine.inbox import HookItem, encode_item
from wdk_cloud.engine.payloads import check_size
from wdk_cloud.errors import HookNotFoundError, RunExpiredError, WorkflowRunNotFoundError
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from wdk_cloud.codec.keys import KeyService
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
        "ended; wdk inspect hooks shows those of a run"
    )


async def metadata(world: World, keys: KeyService | None, found: Found) -> bytes:
    """What the hook was made with, as JSON text."""
    owner = await requests.require_head(world, found.token.run_id)
    payloads = await requests.payloads_of(world, keys, owner)
    return await payloads.open("metadata", found.token.hook_id, bytes(found.data.metadata))


async def resume(
    world: World, keys: KeyService | None, digest: str, payload: bytes, key: str | None, found: Found | None = None
) -> Found:
    """Put the payload (JSON text) where the run finds it, then tell the run. It is durable when this returns.

    As a request to cancel it looks again afterwards: a run that goes on as another meanwhile may have passed on what
    it found before the payload came.
    """
    check_size(payload, "the payload of a hook")
    found = found or await find(world, digest)
    name = f"hook:{digest[:32]}:{os.urandom(12).hex() if key is None else key}"
    head = found.head
    while True:
        await put(world, keys, head, digest, name, payload)
        try:
            after = await requests.last_of(world, head.run_id)
        except (RunExpiredError, WorkflowRunNotFoundError):
            return found
        if after.run_id == head.run_id or after.ended:
            return found
        head = after


async def put(world: World, keys: KeyService | None, head: Head, digest: str, name: str, payload: bytes) -> None:
    sealed = await (await requests.payloads_of(world, keys, head)).seal("payload", digest, payload)
    item = encode_item(HookItem(digest, msgspec.Raw(sealed)))
    await requests.put(world, head, InboxItem(key=name, kind="hook", data=item, time=world.clock.now()))


async def pass_on(world: World, keys: KeyService | None, head: Head) -> None:
    """Of a run that has continued as another: payloads that its body has not taken, and those that it has not even
    admitted, go to the one that is alive, in this order."""
    items = [item for item in await world.runs.items(head.run_id, head.birth, ()) if item.kind == "hook"]
    last = await world.runs.read_at(head.run_id, head.birth, head.end_at)
    end = None if last is None else ev.decode_batch(last.data, head.run_id, last.at).events[-1]
    unread = end.unread if isinstance(end, ev.RunContinued) else []
    if not items and not unread:
        return
    payloads = await requests.payloads_of(world, keys, head)
    admitted: dict[str | None, Waiting] = {}
    for event in await _received(world, head):
        digest, data = event
        admitted[data.key] = Waiting(digest, await payloads.open("payload", data.id, bytes(data.payload)))
    found = [(key, admitted[key]) for key in unread]
    for item in items:
        if item.key not in admitted:
            there = msgspec.json.decode(item.data, type=HookItem)
            found.append(
                (item.key, Waiting(there.digest, await payloads.open("payload", there.digest, bytes(there.payload))))
            )
    for key, waiting in found:
        try:
            alive = await requests.last_of(world, head.run_id)
        except (RunExpiredError, WorkflowRunNotFoundError):
            return
        if not alive.ended:
            await put(world, keys, alive, waiting.digest, key, waiting.payload)


class Waiting(NamedTuple):
    digest: str
    payload: bytes


async def _received(world: World, head: Head) -> list[tuple[str, ev.HookReceived]]:
    """What a run has admitted, with the digests of the tokens that it came to."""
    digests: dict[str, str] = {}
    found: list[tuple[str, ev.HookReceived]] = []
    for batch in await world.runs.read(head.run_id, head.birth, 0):
        for event in ev.decode_batch(batch.data, head.run_id, batch.at).events:
            if type(event) is ev.HookCreated:
                digests[event.id] = event.digest
            elif type(event) is ev.HookReceived:
                found.append((digests[event.id], event))
    return found
