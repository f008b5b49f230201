"""Answers to callers who wait for them: put by a step, read by whoever received the request.

A reply lies where the end of a step would lie: the first one counts, a second changes nothing, and it goes when the run
is erased. It is the caller's alone: no turn looks at it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.values import decode, encode
from wdk_cloud.engine import requests
from wdk_cloud.engine.inbox import StepEnd, encode_item
from wdk_cloud.engine.payloads import check_size
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError
from wdk_cloud.webmessages import Response

if TYPE_CHECKING:
    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.webmessages import ReplyAddress
    from wdk_cloud.world.ports import Head, World

FIRST_GAP, LONGEST_GAP, GROWTH = 0.005, 0.5, 1.5
"""Seconds between two looks at a reply, and what a gap is multiplied with: an answer that comes at once is seen at
once, one that takes the usual 25 s costs about 60 reads."""

UNANSWERED = Response(502, "the workflow has ended without an answer")
TOO_LATE = Response(504, "the workflow has not answered in time; it goes on with the request")


async def put(world: World, keys: KeyService | None, address: ReplyAddress, response: Response) -> None:
    """Answer, if nobody has. Where the run that received the request is erased nobody waits, and nothing is written."""
    data = check_size(encode(response, path="the response", known=KnownTypes()), "the response to a webhook")
    head = await world.runs.head(address.run_id)
    if head is None or head.birth != address.birth or head.status == "deleted":
        return
    sealed = await (await requests.payloads_of(world, keys, head)).seal("reply", address.id, data)
    end = encode_item(StepEnd(address.id, "completed", 0, msgspec.Raw(sealed)))
    await world.runs.end_step(address.run_id, address.birth, address.id, attempt=None, end=end)


async def wait(world: World, keys: KeyService | None, head: Head, id: str, timeout: float) -> Response:
    """The answer put under this id of the run that received the request; UNANSWERED once that run, or the last that
    goes on for it, has ended without one; TOO_LATE after `timeout` seconds of real time."""
    loop = asyncio.get_running_loop()
    deadline, gap = loop.time() + timeout, FIRST_GAP
    while True:
        over = await _is_over(world, head)
        found = await _look(world, keys, head, id)  # after the look at the run: what it answered last counts
        if found is not None:
            return found
        if over:
            return UNANSWERED
        if loop.time() >= deadline:
            return TOO_LATE
        await asyncio.sleep(min(gap, max(0.0, deadline - loop.time())))  # real time: the caller waits in it
        gap = min(gap * GROWTH, LONGEST_GAP)


async def _is_over(world: World, head: Head) -> bool:
    try:
        return (await requests.last_of(world, head.run_id)).ended
    except (RunExpiredError, WorkflowRunNotFoundError):
        return True


async def _look(world: World, keys: KeyService | None, head: Head, id: str) -> Response | None:
    item = await world.runs.step(head.run_id, head.birth, id)
    if item is None or not item.end:  # an empty end is that of an erased run
        return None
    end = msgspec.json.decode(item.end, type=StepEnd)
    data = await (await requests.payloads_of(world, keys, head)).open("reply", id, bytes(end.data))
    response = decode(data, known=KnownTypes(), path="the response")
    assert isinstance(response, Response)  # `put` writes nothing else
    return response
