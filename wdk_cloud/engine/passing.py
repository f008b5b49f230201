"""Payloads of hooks, from a run that has gone on as another to that one: each once, and before any that come later.

The worker that ended the run does it, and so does whoever comes before it: the run that goes on, before its hook takes
the token, and a caller, before it puts a payload there. All of them put the same keys, and what a run has admitted and
its body has taken goes no further; so it is harmless when done twice, also when the next run has ended meanwhile.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from wdk_cloud.codec.sealing import is_blob
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import keyrings, letters, requests
from wdk_cloud.engine.inbox import HookItem, encode_item
from wdk_cloud.errors import CorruptedEventLogError, RunExpiredError, WorkflowRunNotFoundError
from wdk_cloud.world.ports import InboxItem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.world.ports import Head, World


class Payload(NamedTuple):
    """One on its way to a hook, as it lies in the run that has it."""

    key: str
    digest: str
    record: bytes
    id: str
    """What it is bound to there, besides run and kind."""
    admitted: bool
    """It is in the log, sealed under the run's own key."""
    place: int
    """Among all that are passed on; what comes to the next run by itself is behind them."""


async def put(world: World, head: Head, digest: str, key: str, sealed: bytes, *, place: int = 0) -> None:
    """Into the inbox; a run that lives is told."""
    data = encode_item(HookItem(digest, msgspec.Raw(sealed)))
    item = InboxItem(key=key, kind="hook", data=data, time=world.clock.now(), place=place)
    if head.ended:
        await world.runs.put_item(head.run_id, head.birth, item)
    else:
        await requests.put(world, head, item)


async def pass_on(
    world: World, keys: KeyService | None, head: Head, items: Sequence[InboxItem], end: ev.End | None
) -> None:
    """What an ended run has for its successor. `items` are those of its inbox; its end is read if it is not known."""
    if left := await _left_in(world, head, items, end):
        following = await _next(world, head, left, keys, closed=False)
        if following is not None:
            await pass_on_to_the_last(world, keys, following)


async def pass_on_to_the_last(world: World, keys: KeyService | None, head: Head, *, closed: bool = False) -> None:
    """What this run and those that went on for it have left goes to the one that lives. `closed`: by a caller, who
    cannot open what is encrypted; it grows by the name of each run that it comes through."""
    following: Head | None = head
    while following is not None and following.continued_to is not None:
        following = await _next(world, following, await _left_in(world, following), keys, closed=closed)


async def _next(world: World, head: Head, left: list[Payload], keys: KeyService | None, *, closed: bool) -> Head | None:
    """Put it into the successor; the successor's head as it is after that."""
    assert head.continued_to is not None  # the callers have looked
    try:
        following = await requests.require_head(world, head.continued_to)
        if not left:
            return following
        if closed and head.data_key is not None:
            for payload in left:
                sealed = await _closed(world, head, head.data_key, following, payload)
                await put(world, following, payload.digest, payload.key, sealed, place=payload.place)
        else:
            await _seal_again(world, keys, head, following, left)
        return await requests.require_head(world, head.continued_to)
    except (RunExpiredError, WorkflowRunNotFoundError):
        return None  # erased, with whatever it has


async def _seal_again(world: World, keys: KeyService | None, head: Head, following: Head, left: list[Payload]) -> None:
    own = await keyrings.payloads_of(world, keys, head)
    sender = await keyrings.sender_to(world, keys, following)
    for payload in left:
        opens = own.open if payload.admitted else own.open_letter
        data = await opens("payload", payload.id, payload.record)
        sealed = await sender.seal("payload", payload.digest, data)
        await put(world, following, payload.digest, payload.key, sealed, place=payload.place)


async def _closed(world: World, head: Head, data_key: str, following: Head, payload: Payload) -> bytes:
    """The record for the successor, and its blob, if it has one, beside it."""
    letter = letters.is_letter(payload.record)
    blob = is_blob(payload.record if letter is None else bytes(letter.sealed))
    if blob is not None:
        data = await world.blobs.get_blob(head.run_id, head.birth, blob.name)
        if data is None:
            raise CorruptedEventLogError(
                f"run {head.run_id}: the blob {blob.name} of a payload is gone; it was deleted by something else than "
                "wdk-cloud: restore it, or start the run again"
            )
        await world.blobs.put_blob(following.run_id, following.birth, blob.name, data)
    return letters.passed_on(payload.record, key=data_key, run=(head.run_id, head.birth), id=payload.id)


async def _left_in(
    world: World, head: Head, items: Sequence[InboxItem] | None = None, end: ev.AnyEvent | None = None
) -> list[Payload]:
    """What its hooks have received and its body has not taken, then what was not even admitted."""
    if items is None:
        items = await world.runs.items(head.run_id, head.birth, ())
    items = [item for item in items if item.kind == "hook"]
    if end is None and (last := await world.runs.read_at(head.run_id, head.birth, head.end_at)) is not None:
        end = ev.decode_batch(last.data, head.run_id, last.at).events[-1]
    unread = end.unread if isinstance(end, ev.RunContinued) else []
    if not items and not unread:
        return []
    received = await _received(world, head)
    found: list[Payload] = []
    for place, key in enumerate(unread, 1):  # before any number that a clock gives
        digest, event = received[key]
        found.append(Payload(key, digest, bytes(event.payload), event.id, admitted=True, place=place))
    for item in items:
        if item.key not in received:
            there = msgspec.json.decode(item.data, type=HookItem)
            found.append(
                Payload(item.key, there.digest, bytes(there.payload), there.digest, admitted=False, place=item.place)
            )
    return found


def name_of(digest: str, key: str | None) -> str:
    """Of the item that carries a payload: the same for the same key of a caller's."""
    return f"hook:{digest[:32]}/{os.urandom(12).hex()}" if key is None else f"hook:{digest[:32]}:{key}"


async def keys_received(world: World, head: Head, digest: str) -> list[str]:
    """The names of what a run has received for this token with a caller's key, in their order."""
    return [key for key in await _received(world, head) if key.startswith(name_of(digest, ""))]


async def _received(world: World, head: Head) -> dict[str, tuple[str, ev.HookReceived]]:
    """What a run has admitted, by the keys, with the digests of the tokens that it came to."""
    digests: dict[str, str] = {}
    found: dict[str, tuple[str, ev.HookReceived]] = {}
    for batch in await world.runs.read(head.run_id, head.birth, 0):
        for event in ev.decode_batch(batch.data, head.run_id, batch.at).events:
            if type(event) is ev.HookCreated:
                digests[event.id] = event.digest
            elif type(event) is ev.HookReceived and event.key is not None:
                found[event.key] = (digests[event.id], event)
    return found
