"""Records for the tests to write, each with one line of what matters in it."""

from __future__ import annotations

from typing import Any

import msgspec

from wdk_cloud.world.ports import Batch, Head, InboxItem, Lease, Message, RunStore, StepItem, Token

RUN = "run-1"
BIRTH = "birth-1"
OTHER_BIRTH = "birth-2"
NOW = 5_000.0
UNTIL = NOW + 30.0
LATER = UNTIL + 10.0  # the lease until UNTIL has run out


def a_head(run_id: str = RUN, **fields: Any) -> Head:
    defaults = {
        "birth": BIRTH,
        "workflow": "signup",
        "status": "running",
        "created_at": 1_000.0,
        "seed": bytes(range(32)),
        "input_digest": "digest",
        "wake_by": NOW + 3_600.0,
    }
    return Head(run_id=run_id, **{**defaults, **fields})


def a_batch(at: int, count: int = 1, nonce: str = "nonce-1", data: bytes = b"events", fence: int = 1) -> Batch:
    return Batch(at=at, count=count, fence=fence, nonce=nonce, data=data)


def an_item(key: str, data: bytes = b"payload") -> InboxItem:
    return InboxItem(key=key, kind="payload", data=data, time=NOW)


def a_token(run_id: str = RUN, birth: str = BIRTH, hook_id: str = "hook#1", data: bytes = b"") -> Token:
    return Token(digest="d" * 64, run_id=run_id, birth=birth, hook_id=hook_id, data=data)


def a_message(identity: str, **fields: Any) -> Message:
    return Message(**{"kind": "wake", "run_id": RUN, "birth": BIRTH, "identity": identity, **fields})


async def take(
    runs: RunStore,
    identity: str = "message-1",
    *,
    provider_id: str = "provider-1",
    now: float = NOW,
    until: float = UNTIL,
    **more: Any,
) -> Lease | Head | None:
    """Acquire the lease of RUN."""
    return await runs.acquire(RUN, BIRTH, identity=identity, provider_id=provider_id, now=now, until=until, **more)


async def taken(runs: RunStore, identity: str = "message-1", **more: Any) -> Lease:
    """Acquire the lease of RUN, and expect to get it."""
    lease = await take(runs, identity, **more)
    assert isinstance(lease, Lease)
    return lease


async def started(runs: RunStore, **fields: Any) -> Lease:
    """Create RUN and take its lease."""
    assert await runs.create(a_head(**fields)) is None
    return await taken(runs)


async def release(runs: RunStore, identity: str = "message-1", fence: int = 1) -> bool:
    done, _ = await runs.change(
        RUN, BIRTH, {"holder": None, "last": identity}, holder=identity, fence=fence, unless_dirty=True
    )
    return done


async def claim(
    runs: RunStore,
    identity: str = "message-1",
    *,
    provider_id: str = "provider-1",
    now: float = NOW,
    until: float = UNTIL,
) -> tuple[bool, StepItem]:
    """Claim the step STEP of RUN."""
    return await runs.claim_step(RUN, BIRTH, STEP, identity=identity, provider_id=provider_id, now=now, until=until)


STEP = "charge#1"


def without_places(items: list[InboxItem]) -> list[InboxItem]:
    """As they were put: only their worlds know what numbers say."""
    return [msgspec.structs.replace(item, place=0) for item in items]
