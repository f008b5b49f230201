"""Reading one run for people and programs: its head, its labels and its log, without its code."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from wdk_cloud.cli.console import CommandError, UsageError
from wdk_cloud.cli.timeline import Timeline
from wdk_cloud.client import get_run
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.encryption import keys_of
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import keyrings, requests
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wdk_cloud.client import Run
    from wdk_cloud.engine.payloads import Payloads
    from wdk_cloud.world.ports import Head, InboxItem, StepItem, World

HIDDEN = msgspec.Raw(b'{"$encrypted":true}')
"""Stands for a payload that is encrypted and was not asked for with `--decrypt`."""

MOST_READS = 100
"""Steps that run elsewhere, and runs that are waited for, are each a read of their own."""


@dataclass(frozen=True, slots=True)
class Logged:
    """An event and where it lies in the log."""

    position: int
    event: ev.AnyEvent


@dataclass(frozen=True, slots=True)
class RunView:
    """All that `wdk inspect run` shows."""

    head: Head
    labels: dict[str, str]
    timeline: Timeline
    input: bytes | None
    """JSON text as the codec writes it."""
    queued: dict[str, StepItem]
    """Steps that run in deliveries of their own, by their call."""
    now: float
    awaited: dict[str, Head] = field(default_factory=dict[str, "Head"])
    """The runs whose results the body waits for, by the operation that does."""
    asked: tuple[str, ...] = ()
    """What was asked of the run (`cancel`, `wake_up`) and no worker has seen to yet."""
    arrived: int = 0
    """Payloads that were sent to its hooks and no worker has taken in yet."""


def run_of(run_id: str, namespace: str) -> Run[Any]:
    """A handle; raises UsageError for what cannot be a run id."""
    try:
        return get_run(run_id, namespace=namespace)
    except ValueError as error:
        raise UsageError(str(error)) from None


async def find_head(world: World, run_id: str) -> Head:
    run_of(run_id, world.namespace)
    return await requests.require_head(world, run_id)


async def read_log(world: World, head: Head, *, decrypt: bool) -> list[Logged]:
    """The events of a run as they are now. Of an encrypted run the payloads stay hidden unless asked for."""
    payloads = await _payloads(world, head, decrypt=decrypt)
    found: list[Logged] = []
    try:
        for batch in await world.runs.read(head.run_id, head.birth, 0):
            events = ev.decode_batch(batch.data, head.run_id, batch.at).events
            for position, event in enumerate(events, batch.at):
                found.append(Logged(position, hidden(event) if payloads is None else await payloads.open_event(event)))
    except NewerFormatError as error:
        raise CommandError(f"{error}; a newer wdk-cloud wrote it: upgrade this one") from None
    return found


async def read_run(world: World, run_id: str, *, decrypt: bool) -> RunView:
    head = await find_head(world, run_id)
    events = await read_log(world, head, decrypt=decrypt)
    timeline = Timeline.of((logged.position, logged.event) for logged in events)
    data = None if timeline.created is None else bytes(timeline.created.input)
    if data is None and head.input is not None:
        payloads = await _payloads(world, head, decrypt=decrypt)
        data = bytes(HIDDEN) if payloads is None else await payloads.open("input", "", head.input)
    items = [] if head.ended else await world.runs.items(head.run_id, head.birth, ())
    return RunView(
        head=head,
        labels=await requests.attributes(world, run_id),
        timeline=timeline,
        input=data,
        queued={} if head.ended else await _queued_steps(world, head, timeline),
        now=world.clock.now(),
        awaited={} if head.ended else await _awaited_runs(world, timeline),
        asked=_asked(items),
        arrived=sum(item.kind == "hook" and item.key not in timeline.admitted for item in items),
    )


async def _queued_steps(world: World, head: Head, timeline: Timeline) -> dict[str, StepItem]:
    open_calls = [step.call for step in timeline.open_steps() if step.queued][:MOST_READS]
    found = [await world.runs.step(head.run_id, head.birth, call) for call in open_calls]
    return {item.step_id: item for item in found if item is not None}


async def _awaited_runs(world: World, timeline: Timeline) -> dict[str, Head]:
    found: dict[str, Head] = {}
    for operation in timeline.open_operations()[:MOST_READS]:
        run_id = operation.awaited_run
        if run_id is not None:
            with contextlib.suppress(WorkflowRunNotFoundError, RunExpiredError):  # the body is about to be told so
                found[operation.id] = await requests.last_of(world, run_id)
    return found


def _asked(items: Sequence[InboxItem]) -> tuple[str, ...]:
    kinds = {item.kind for item in items}
    return tuple(kind for kind in ("cancel", "wake_up") if kind in kinds)


async def _payloads(world: World, head: Head, *, decrypt: bool) -> Payloads | None:
    if head.data_key is not None and not decrypt:
        return None
    return await keyrings.payloads_of(world, keys_of(world), head)


def hidden(event: ev.AnyEvent) -> ev.AnyEvent:
    return event if event.PAYLOAD is None else msgspec.structs.replace(event, **{event.PAYLOAD: HIDDEN})


def page_of(positions: Sequence[int], limit: int | None, cursor: str | None) -> tuple[slice, str | None]:
    """Which of the things at these rising positions are on a page, and the cursor of the next one (None: no more)."""
    try:
        after = int(cursor or 0)
    except ValueError:
        raise UsageError(
            f"--cursor {cursor!r} is none that this command has given; pass the one that came with the last page"
        ) from None
    first = sum(position <= after for position in positions)
    last = len(positions) if limit is None else min(len(positions), first + limit)
    return slice(first, last), str(positions[last - 1]) if last < len(positions) else None
