"""The tokens of hooks (docs/protocol.md): claimed after the log has the hook, freed after the log has its end.

A token whose owner has ended is free. So nothing depends on its being freed: whoever meets one reads the head of the
owner, and takes it over, asking that it still is the one seen.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.engine import events as ev
from wdk_cloud.engine import passing, requests, runids
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError, WorldUnavailableError
from wdk_cloud.world.ports import Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.engine.history import History
    from wdk_cloud.engine.turn import Turn
    from wdk_cloud.world.ports import Head, World


class TokenData(msgspec.Struct, frozen=True):
    """What lies beside a token for whoever resumes the hook."""

    created_at: float
    metadata: msgspec.Raw
    """Sealed as in its event."""
    webhook: ev.WebhookTerms | None = None
    schema: str = ""
    """Where the class is declared that payloads have to fit, `module:qualified name`; empty where they may be
    anything, or what they have to fit has no such place."""
    delivered: list[str] = []
    """Marks of keys with which the runs before this one, of those that go on for each other, have received payloads:
    who sends one of them again is turned away. The last REMEMBERED of them."""


REMEMBERED = 100
"""Keys, 17 bytes each: beside a token they cost two write units more, once for each run; callers repeat themselves
seconds after the first time, not a hundred payloads later."""


def mark_of(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:14]  # 56 bits: one of a hundred fits by chance once in 10^14


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def settle(turn: Turn, batch: Sequence[ev.AnyEvent], *, everything: bool) -> None:
    """Free and claim, in the order of the log, what these events (or all of the log) make of the run's tokens."""
    history, world = turn.history, turn.engine.world
    if everything:
        gone = list(history.disposed.values())
        made = list(history.hooks.values())
    else:
        gone = [history.disposed[event.id] for event in batch if type(event) is ev.HookDisposed]
        made = [event for event in batch if type(event) is ev.HookCreated and event.id in history.hooks]
    if gone:
        await asyncio.gather(*(world.runs.free_token(_token(turn.head, event)) for event in gone))
    by_token: dict[str, list[ev.HookCreated]] = {}
    for event in made:
        by_token.setdefault(event.digest, []).append(event)
    for conflicts in await asyncio.gather(*(_claim_all(turn, events) for events in by_token.values())):
        turn.conflicts += conflicts
    if made and turn.inbox.early:
        turn.inbox.unread = True


async def _claim_all(turn: Turn, hooks: Sequence[ev.HookCreated]) -> list[ev.HookConflict]:
    """Claim one token for several hooks, one after the other: the oldest is to have it, as the history says."""
    return [
        ev.HookConflict(time=turn.now(), id=event.id, run_id=owner)
        for event in hooks
        if (owner := await claim_of(turn, event)) is not None
    ]


async def claim_of(turn: Turn, event: ev.HookCreated) -> str | None:
    """None: the token is ours. Else the run that owns it."""
    metadata = await turn.payloads.seal("metadata", event.id, bytes(event.metadata))
    data = TokenData(event.time, msgspec.Raw(metadata), event.webhook, _schema_of(turn, event))
    bare = _token(turn.head, event)
    token = msgspec.structs.replace(bare, data=msgspec.json.encode(data))
    there = await turn.engine.world.runs.claim_token(token)
    while there is not None:
        delivered = await _left_by(turn, there)
        if delivered is None:
            return there.run_id
        data = msgspec.structs.replace(data, delivered=delivered)
        token = msgspec.structs.replace(bare, data=msgspec.json.encode(data))
        there = await turn.engine.world.runs.claim_token(token, instead_of=there)
    return None


def _schema_of(turn: Turn, event: ev.HookCreated) -> str:
    hook = turn.body.hooks.get(event.id) if turn.body is not None else None
    cls = None if hook is None else hook.returns
    return f"{cls.__module__}:{cls.__qualname__}" if isinstance(cls, type) and event.webhook is None else ""


async def _left_by(turn: Turn, token: Token) -> list[str] | None:
    """None: the hook that has the token can still receive something that is not for this run. Else marks of what it has
    received for this one.

    Of a run for which this one goes on it takes over the token, once that one's head says so: only then nobody puts
    payloads there that would come to this one behind later ones. What lies there comes over first.
    """
    world, me = turn.engine.world, turn.head
    if (token.run_id, token.birth) == (me.run_id, me.birth):
        # If it is gone: a late claim, by a worker that did not know.
        return [] if token.hook_id in turn.history.disposed else None
    head = await owner_of(world, token)
    if head is None or head.ended:
        return []
    if head.run_id == me.run_id:
        return await _come_over(turn, token)
    if await _goes_on_as(world, head, me):
        raise WorldUnavailableError(
            f"the head of run {head.run_id} does not say yet that {me.run_id} goes on for it; try again when it does"
        )
    return [] if await _is_disposed(world, token) else None


async def _is_disposed(world: World, token: Token) -> bool:
    """A worker that did not know has claimed it late: its run lives, and the hook receives nothing any more."""
    return any(
        type(event) is ev.HookDisposed and event.id == token.hook_id
        for batch in await world.runs.read(token.run_id, token.birth, 0)
        for event in ev.decode_batch(batch.data, token.run_id, batch.at).events
    )


async def _come_over(turn: Turn, token: Token) -> list[str]:
    """Payloads from the run before, and the marks of those that it has received."""
    world = turn.engine.world
    first = await world.runs.head(token.run_id)
    if first is None:
        return []  # erased just now
    await passing.pass_on_to_the_last(world, turn.engine.keys, first)
    marks = [mark_of(key) for key in await passing.keys_received(world, first, token.digest)]
    return [*msgspec.json.decode(token.data, type=TokenData).delivered, *marks][-REMEMBERED:]


async def _goes_on_as(world: World, head: Head, me: Head) -> bool:
    """Whether this run is among those that go on for that one, though not every head says so yet."""
    following: Head | None = head
    while following is not None and following.run_id != me.run_id:
        following = await world.runs.head(following.continued_to or runids.successor_id(following))
    return following is not None


async def owner_of(world: World, token: Token) -> Head | None:
    """The head of the run that has the token, or of the last that goes on for it; None if it is gone."""
    head = await world.runs.head(token.run_id)
    if head is None or head.birth != token.birth or head.status == "deleted":
        return None
    try:
        return head if head.continued_to is None else await requests.last_of(world, head.continued_to)
    except (RunExpiredError, WorkflowRunNotFoundError):
        return None


async def free(world: World, head: Head, history: History) -> None:
    """At the end of a run. Where another goes on for it, the tokens stay: by them payloads find their way to that."""
    if isinstance(history.end, ev.RunContinued):
        return
    await asyncio.gather(*(world.runs.free_token(_token(head, event)) for event in history.hooks.values()))


def _token(head: Head, event: ev.HookCreated) -> Token:
    return Token(digest=event.digest, run_id=head.run_id, birth=head.birth, hook_id=event.id)
