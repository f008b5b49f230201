"""Each write of a store with what comes before it, and what of a store it may have changed: for worlds whose clients
send a request again when its answer is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.contract.records import BIRTH, LATER, RUN, STEP, UNTIL, a_batch, a_head, a_token, an_item, claim, take
from wdk_cloud.world.ports import Labels, RunStore

HELD: dict[str, Any] = {"holder": "message-1", "fence": 4, "until": UNTIL}

Call = Callable[[RunStore], Awaitable[object]]


def create(**fields: Any) -> Call:
    return lambda runs: runs.create(a_head(**fields))


async def renew(runs: RunStore) -> object:
    return await asyncio.to_thread(runs.renew, RUN, BIRTH, holder="message-1", fence=4, until=LATER)


async def renew_step(runs: RunStore) -> object:
    return await asyncio.to_thread(runs.renew_step, RUN, BIRTH, STEP, attempt=1, identity="message-1", until=LATER)


async def bury(runs: RunStore) -> object:
    return await runs.bury(RUN, BIRTH, holder="message-1", fence=4, now=LATER)


def change(fields: Any, **more: Any) -> Call:
    return lambda runs: runs.change(RUN, BIRTH, fields, holder="message-1", fence=4, **more)


WRITES: dict[str, tuple[list[Call], Call]] = {
    "create": ([], create()),
    "acquire a free lease": ([create()], take),
    "acquire a lease of a pending run": ([create(status="pending")], take),
    "acquire before the time": ([create(status="pending", not_before=LATER)], take),
    "acquire a lease that ran out": (
        [create(**HELD)],
        lambda runs: take(runs, "message-2", now=LATER, until=LATER + 9),
    ),
    "acquire with the armed timer": ([create(armed=60.5)], lambda runs: take(runs, due=60.5)),
    "acquire with another timer": ([create(armed=60.5)], lambda runs: take(runs, due=50.5)),
    "mark": ([create(**HELD)], lambda runs: runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=4)),
    "mark with another timer": (
        [create(**HELD, armed=60.5)],
        lambda runs: runs.mark_dirty(RUN, BIRTH, holder="message-1", fence=4, due=50.5),
    ),
    "retire": ([create()], lambda runs: runs.retire(RUN, BIRTH, "p")),
    "retire the seventeenth": (
        [create(retired=tuple(f"p{number}" for number in range(16)))],
        lambda runs: runs.retire(RUN, BIRTH, "p"),
    ),
    "renew": ([create(**HELD)], renew),
    "change": ([create(**HELD)], change({"length": 7})),
    "change if it is not dirty": ([create(**HELD)], change({"length": 7}, unless_dirty=True)),
    "end": ([create(**HELD)], change({"status": "completed", "ended_at": 9.5, "end_at": 3})),
    "release": ([create(**HELD)], change({"holder": None, "last": "message-1"}, unless_dirty=True)),
    "append": ([create()], lambda runs: runs.append(RUN, BIRTH, a_batch(1))),
    "put an item": ([create()], lambda runs: runs.put_item(RUN, BIRTH, an_item("a"))),
    "drop items": (
        [create(), lambda runs: runs.put_item(RUN, BIRTH, an_item("a"))],
        lambda runs: runs.drop_items(RUN, BIRTH, ["a"]),
    ),
    "claim a step": ([create()], claim),
    "claim a step that was interrupted": ([create(), claim], lambda runs: claim(runs, now=LATER, until=LATER + 30)),
    "renew a step": ([create(), claim], renew_step),
    "retire in a step": ([create(), claim], lambda runs: runs.retire_step(RUN, BIRTH, STEP, "p")),
    "end a step": ([create(), claim], lambda runs: runs.end_step(RUN, BIRTH, STEP, attempt=1, end=b"end")),
    "end a step of any attempt": ([create()], lambda runs: runs.end_step(RUN, BIRTH, STEP, attempt=None, end=b"end")),
    "retry a step": (
        [create(), claim],
        lambda runs: runs.retry_step(RUN, BIRTH, STEP, attempt=1, identity="message-1", retry_at=LATER),
    ),
    "cancel a step": ([create(), claim], lambda runs: runs.cancel_step(RUN, BIRTH, STEP)),
    "put labels": ([create()], lambda runs: runs.put_labels(RUN, BIRTH, Labels(values={"a": "1"}, position=3))),
    "claim a token": ([create()], lambda runs: runs.claim_token(a_token())),
    "take a token over": (
        [create(), lambda runs: runs.claim_token(a_token("run-2"))],
        lambda runs: runs.claim_token(a_token(), instead_of=a_token("run-2")),
    ),
    "free a token": ([create(), lambda runs: runs.claim_token(a_token())], lambda runs: runs.free_token(a_token())),
    "bury": ([create(**HELD)], bury),
    "erase": (
        [
            create(**HELD),
            lambda runs: runs.claim_token(a_token()),
            lambda runs: runs.append(RUN, BIRTH, a_batch(1)),
            bury,
        ],
        lambda runs: runs.erase([(RUN, BIRTH)]),
    ),
    "forget": ([create(**HELD), bury], lambda runs: runs.forget(RUN, BIRTH)),
}


async def state(runs: RunStore) -> list[object]:
    return [
        await runs.head(RUN),
        await runs.read(RUN, BIRTH, 0),
        await runs.items(RUN, BIRTH),
        await runs.step(RUN, BIRTH, STEP),
        await runs.labels(RUN, BIRTH),
        await runs.token(a_token().digest),
    ]
