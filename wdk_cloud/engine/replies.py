"""Answers to callers who wait for them: put by a step, read by whoever received the request.

A reply lies where the end of a step would lie: the first one counts, a second changes nothing, and it goes when the run
is erased. It is the caller's alone: no turn looks at it.
"""

from __future__ import annotations

import asyncio
from binascii import a2b_base64
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.codec.keyring import Keyring
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.values import decode, encode
from wdk_cloud.engine import requests
from wdk_cloud.engine.inbox import StepEnd, encode_item
from wdk_cloud.engine.payloads import Payloads, check_size
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError
from wdk_cloud.webmessages import Response

if TYPE_CHECKING:
    from wdk_cloud.webmessages import ReplyAddress
    from wdk_cloud.world.ports import World

FIRST_GAP, LONGEST_GAP, GROWTH = 0.005, 0.5, 1.5
"""Seconds between two looks at a reply, and what a gap is multiplied with: an answer that comes at once is seen at
once, one that takes the usual 25 s costs about 60 reads."""

INLINE = 200_000
"""Bytes of an answer that lies where it is looked for: a public receiver may open no blobs, which are everybody's. A
record has 400 KB at most on DynamoDB, and what is sealed grows by a third."""

UNANSWERED = Response(502, "the workflow has ended without an answer")
TOO_LATE = Response(504, "the workflow has not answered in time; it goes on with the request")


async def put(world: World, address: ReplyAddress, response: Response) -> None:
    """Answer, if nobody has. Where the run that received the request is erased nobody waits, and nothing is written."""
    data = check_size(encode(response, path="the response", known=KnownTypes()), "the response to a webhook")
    head = await world.runs.head(address.run_id)
    if head is None or head.birth != address.birth or head.status == "deleted":
        return
    sealed = await _payloads(world, address).seal("reply", address.id, data)
    end = encode_item(StepEnd(address.id, "completed", 0, msgspec.Raw(sealed)))
    await world.runs.end_step(address.run_id, address.birth, address.id, attempt=None, end=end)


async def wait(world: World, address: ReplyAddress, timeout: float) -> Response:
    """The answer put there; UNANSWERED once the run that received the request, or the last that goes on for it, has
    ended without one; TOO_LATE after `timeout` seconds of real time."""
    loop = asyncio.get_running_loop()
    deadline, gap = loop.time() + timeout, FIRST_GAP
    while True:
        over = await _is_over(world, address.run_id)
        found = await _look(world, address)  # after the look at the run: what it answered last counts
        if found is not None:
            return found
        if over:
            return UNANSWERED
        if loop.time() >= deadline:
            return TOO_LATE
        await asyncio.sleep(min(gap, max(0.0, deadline - loop.time())))  # real time: the caller waits in it
        gap = min(gap * GROWTH, LONGEST_GAP)


async def _is_over(world: World, run_id: str) -> bool:
    try:
        return (await requests.last_of(world, run_id)).ended
    except (RunExpiredError, WorkflowRunNotFoundError):
        return True


async def _look(world: World, address: ReplyAddress) -> Response | None:
    item = await world.runs.step(address.run_id, address.birth, address.id)
    if item is None or not item.end:  # an empty end is that of an erased run
        return None
    end = msgspec.json.decode(item.end, type=StepEnd)
    data = await _payloads(world, address).open("reply", address.id, bytes(end.data))
    response = decode(data, known=KnownTypes(), path="the response")
    assert isinstance(response, Response)  # `put` writes nothing else
    return response


def _payloads(world: World, address: ReplyAddress) -> Payloads:
    """Of the answer alone: whoever waits for it has its key, and can open nothing else of the run."""
    key = a2b_base64(address.key, strict_mode=True) if address.key else None
    return Payloads(world.blobs, address.birth, Keyring(address.run_id, key), inline=INLINE)
