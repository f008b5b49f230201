"""What callers ask of runs: start, cancel, wake up, and what became of them. No lease is taken here.

A caller puts its item first and sends its message then; it never touches the head of a running run.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from wdk_cloud import durations
from wdk_cloud.codec.errors import decode_error, error_summary
from wdk_cloud.codec.keyring import Keyring
from wdk_cloud.codec.limits import INLINE_LIMIT
from wdk_cloud.codec.values import decode
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.inbox import CancelItem, encode_item
from wdk_cloud.engine.keyrings import payloads_of
from wdk_cloud.engine.payloads import Payloads, check_size
from wdk_cloud.engine.runids import derived_run_id, time_of
from wdk_cloud.engine.settings import Settings
from wdk_cloud.errors import (
    CorruptedEventLogError,
    IdempotencyConflictError,
    RunExistsError,
    RunExpiredError,
    WorkflowRunCancelledError,
    WorkflowRunFailedError,
    WorkflowRunNotFoundError,
)
from wdk_cloud.world.ports import Batch, Head, InboxItem, Labels, Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.codec.keys import KeyService
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Status, World

INPUT_IN_HEAD = 512
"""Bytes of input that lie in the head until the first release: the head stays under 1 KB, one write unit."""

PENDING_GRACE = 300.0
"""Seconds after which a run that was created and never worked on is one for the sweep."""

FIRST_RUNS = 1_577_836_800.0
"""2020-01-01: no run is older, so most derived ids that look like one with a time are told apart."""

TOMBSTONES_KEPT = 60 * 86_400.0
"""Seconds, and twice the retention if that is longer, for which a tombstone stays: longer than any message or worker of
the run may come late."""


@dataclass(frozen=True, slots=True)
class Order:
    """A run to be created."""

    workflow: str
    input: bytes
    digest: str
    run_id: str
    version: str
    attributes: Mapping[str, str]
    not_before: float = 0.0
    idempotency_key: str | None = None
    parent: str | None = None
    root: str | None = None
    trace: str | None = None
    continued_from: str | None = None


def gone(world: World, run_id: str) -> RunExpiredError | WorkflowRunNotFoundError:
    """What it means that a run has no head: the time in its id tells an expired one from one that never was."""
    started = time_of(run_id)
    retention = Settings.from_environment().retention
    if started is not None and FIRST_RUNS <= started < world.clock.now() - retention:
        return RunExpiredError(run_id)
    return WorkflowRunNotFoundError(run_id)


def is_gone(world: World, head: Head) -> bool:
    """Deleted; or ended longer ago than the retention, where such runs go by themselves, some time after that. A run
    that has continued as another leads to that."""
    if head.status == "deleted":
        return True
    if head.ended_at is None or head.continued_to is not None or world.runs.keeps is None:
        return False
    return head.ended_at < world.clock.now() - Settings.from_environment().retention


class Started(NamedTuple):
    """What `start` has come to."""

    run_id: str
    payloads: Payloads | None
    """Of the run, if it is new. None: it was there before."""


async def create(world: World, keys: KeyService | None, order: Order) -> tuple[Head, Payloads | None]:
    """Create the run and send its first message; returns the head that is there, and if it is ours, its payloads.

    Head first, then the message: a caller that dies between the two got no answer and tries again; a head that is
    pending gets its message again.
    """
    now = world.clock.now()
    birth, seed = os.urandom(12).hex(), os.urandom(32)
    data_key = await keys.generate(order.run_id) if keys is not None else None
    payloads = Payloads(world.blobs, birth, Keyring(order.run_id, data_key.plain if data_key else None, keys))
    check_size(order.input, f"the input of {order.workflow}")
    sealed = await payloads.seal("input", "", order.input)
    in_head = len(sealed) <= INPUT_IN_HEAD and not order.attributes
    head = Head(
        run_id=order.run_id,
        birth=birth,
        workflow=order.workflow,
        created_at=now,
        seed=await payloads.seal_secret("seed", seed),
        input_digest=order.digest,
        input=sealed if in_head else None,
        not_before=order.not_before,
        data_key=data_key.wrapped if data_key else None,
        parent=order.parent,
        root=order.root,
        trace=order.trace,
        idempotency_key=order.idempotency_key,
        version=order.version,
        last_version=order.version,
        continued_from=order.continued_from,
        length=0 if in_head else 1,
        wake_by=max(now, order.not_before) + PENDING_GRACE,
    )
    if not in_head:
        await _write_first_batch(world, head, sealed, order)
    if order.attributes:  # before the head too: a caller that dies between the two must not leave a run without them
        await world.runs.put_labels(head.run_id, birth, Labels(values=dict(order.attributes), position=1))
    existing = await world.runs.create(head)
    if existing is not None and (not in_head or len(order.input) > INLINE_LIMIT):
        await world.runs.erase([(head.run_id, birth)])  # what we put under a head that did not come about
    there = existing or head
    if there.status == "pending":
        await _send_first(world, there)
    return there, payloads if existing is None else None


async def _write_first_batch(world: World, head: Head, sealed: bytes, order: Order) -> None:
    """A large input, or labels: the first event is in the log before the head, under the birth that only we know."""
    created = ev.RunCreated(
        time=head.created_at,
        workflow=head.workflow,
        input=ev.Raw(sealed),
        digest=head.input_digest,
        seed=head.seed,
        version=head.version,
        attributes=dict(order.attributes),
        parent=head.parent,
        root=head.root,
        trace=head.trace,
        continued_from=head.continued_from,
    )
    data = ev.encode_batch([created], head.version)
    batch = Batch(at=1, count=1, fence=0, nonce=head.birth, data=data)
    await world.runs.append(head.run_id, head.birth, batch)


async def _send_first(world: World, head: Head) -> None:
    now = world.clock.now()
    if head.not_before > now:
        delay = min(head.not_before - now, world.queue.callers_delay)
        hop = head.not_before - now > delay
        first = Message(
            kind="timer", run_id=head.run_id, birth=head.birth, identity=head.birth, due=head.not_before, hop=hop
        )
        await world.queue.send([(first, delay)])
    else:
        first = Message(kind="wake", run_id=head.run_id, birth=head.birth, identity=head.birth, trace=head.trace)
        await world.queue.send([(first, 0.0)])


async def start(world: World, keys: KeyService | None, order: Order) -> Started:
    """`create`, with the errors of `start`: an id that is taken, a key that was used with another input."""
    head, payloads = await create(world, keys, order)
    if payloads is not None:
        return Started(head.run_id, payloads)
    if is_gone(world, head):
        raise RunExpiredError(order.run_id)
    if order.idempotency_key is not None:
        if (head.workflow, head.input_digest) != (order.workflow, order.digest):
            raise IdempotencyConflictError(head.run_id, order.idempotency_key)
    elif order.parent is None or head.parent != order.parent:
        raise RunExistsError(head.run_id)
    return Started(head.run_id, None)


async def start_child(engine: Engine, *, parent: Head, root: str, call: str, order: Mapping[str, Any]) -> str:
    """A run started by a body: its id comes from the parent and the call, so that starting it twice is harmless."""
    world = engine.world
    idempotency_key = cast("str | None", order.get("idempotency_key"))
    workflow = cast("str", order["workflow"])
    chosen = cast("str | None", order.get("run_id"))
    if idempotency_key is not None:
        run_id = derived_run_id("key", workflow, idempotency_key)
    else:
        run_id = chosen or derived_run_id("child", parent.run_id, parent.birth, call)
    attributes = {
        **cast("dict[str, str]", order.get("attributes") or {}),
        "$parentRunId": parent.run_id,
        "$rootRunId": root,
    }
    child = Order(
        workflow=workflow,
        input=cast("bytes", order["input"]),
        digest=cast("str", order["digest"]),
        run_id=run_id,
        version=engine.version,
        attributes=attributes,
        not_before=cast("float", order.get("not_before") or 0.0),
        idempotency_key=idempotency_key,
        parent=None if idempotency_key is not None else f"{parent.run_id}/{parent.birth}/{call}",
        root=root,
    )
    return (await start(world, engine.keys, child)).run_id


async def require_head(world: World, run_id: str) -> Head:
    """The head; raises WorkflowRunNotFoundError, or RunExpiredError for a run that was deleted or has expired."""
    head = await world.runs.head(run_id)
    if head is None:
        raise gone(world, run_id)
    if is_gone(world, head):
        raise RunExpiredError(run_id)
    return head


async def last_of(world: World, run_id: str) -> Head:
    """The head of the run, or, where it has ended by `continue_as_new`, of the last of those that go on for it."""
    head = await require_head(world, run_id)
    while head.continued_to is not None:
        try:
            head = await require_head(world, head.continued_to)
        except WorkflowRunNotFoundError:  # it was there before a head named it
            raise RunExpiredError(head.continued_to) from None
    return head


async def watch(world: World, run_id: str, item: InboxItem) -> Head:
    """Register a watcher with the run, or with the one that goes on for it; returns the head as it is after that.

    It registers first and looks then: a run that ends meanwhile either finds the watcher or is found ended.
    """
    head = await last_of(world, run_id)
    while not head.ended:
        await world.runs.put_item(head.run_id, head.birth, item)
        after = await last_of(world, head.run_id)
        if after.run_id == head.run_id:
            return after
        head = after
    return head


async def put(world: World, head: Head, item: InboxItem) -> None:
    """The item, then a message: whoever holds the run, or receives the message, looks at it."""
    await world.runs.put_item(head.run_id, head.birth, item)
    wake = wake_of(head)
    await world.queue.send([(wake, 0.0)])


def wake_of(head: Head) -> Message:
    return Message(kind="wake", run_id=head.run_id, birth=head.birth, identity=os.urandom(12).hex())


async def cancel(world: World, run_id: str, reason: str | None, key: str = "cancel") -> None:
    """Ask for the run's end; cancelling an ended one changes nothing.

    It looks again after that, as a watcher does: a run that continues as another meanwhile may not have seen it.
    """
    head = await last_of(world, run_id)
    while not head.ended:
        data = encode_item(CancelItem(reason))
        await put(world, head, InboxItem(key=key, kind="cancel", data=data, time=world.clock.now()))
        after = await last_of(world, head.run_id)
        if after.run_id == head.run_id:
            break
        head = after


async def wake_up(world: World, run_id: str, key: str) -> None:
    """End the run's pending sleeps now."""
    head = await last_of(world, run_id)
    if not head.ended:
        await put(world, head, InboxItem(key=key, kind="wake_up", data=b"{}", time=world.clock.now()))


async def attributes(world: World, run_id: str) -> dict[str, str]:
    """In the order of their names: not every store keeps that in which they were set, and a body may ask."""
    head = await last_of(world, run_id)
    return dict(sorted((await world.runs.labels(head.run_id, head.birth)).values.items()))


async def end_of(world: World, keys: KeyService | None, head: Head) -> ev.AnyEvent | None:
    """The end event of an ended run; None if its log could not be read."""
    if not head.end_at:
        return None
    batch = await world.runs.read_at(head.run_id, head.birth, head.end_at)
    if batch is None:
        raise RunExpiredError(head.run_id)
    last = ev.decode_batch(batch.data, head.run_id, batch.at).events[-1]
    return await (await payloads_of(world, keys, head)).open_event(last)


async def result(
    world: World, keys: KeyService | None, head: Head, *, known: KnownTypes, returns: object = Any
) -> object:
    """The result of an ended run; raises what `return_value` does."""
    if head.status == "deleted":
        raise RunExpiredError(head.run_id)
    match await end_of(world, keys, head):
        case ev.RunCompleted(result=data):
            return decode(bytes(data), returns, known=known, path=f"the result of run {head.run_id}")
        case ev.RunCancelled(reason=reason):
            raise WorkflowRunCancelledError(head.run_id, reason)
        case ev.RunFailed(code=code, error=error):
            # From the record: the text of an exception that came back may raise, and that of a KeyError says nothing.
            told = error_summary(bytes(error))
            raise WorkflowRunFailedError(
                head.run_id,
                code,
                f"run {head.run_id} of {head.workflow} failed with {code}: {told.type_name}: {told.message}",
            ) from decode_error(bytes(error), known=known)
        case _:
            reason = head.trouble.reason if head.trouble is not None else f"the log of run {head.run_id} cannot be read"
            raise WorkflowRunFailedError(head.run_id, head.error_code or "") from CorruptedEventLogError(reason)


async def info(world: World, run_id: str) -> tuple[dict[str, object], Head]:
    """The fields of a run, its end being that of the last run that goes on for it; and the head of that one."""
    head = await require_head(world, run_id)
    last = head if head.continued_to is None else await last_of(world, head.continued_to)
    end = {"status": status_of(last, run_id), "ended_at": last.ended_at, "error_code": last.error_code}
    return described(head) | end, last


def status_of(last: Head, asked: str) -> Status:
    """Of the run that was asked for, with the last one of its chain: one that goes on has been begun long ago."""
    return "running" if last.status == "pending" and last.run_id != asked else last.status


def described(head: Head) -> dict[str, object]:
    return {
        "run_id": head.run_id,
        "workflow_name": head.workflow,
        "status": head.status,
        "created_at": head.created_at,
        "ended_at": head.ended_at,
        "error_code": head.error_code,
        "version": head.version,
        "parent": head.parent,
        "idempotency_key": head.idempotency_key,
        "continued_from": head.continued_from,
        "continued_to": head.continued_to,
    }


def due_of(delay: object, now: float) -> float:
    """The `not_before` of a delay for `start`; 0.0 without one."""
    if delay is None:
        return 0.0
    due = durations.due(delay, now, "delay")
    return round(due, 6) if due > now else 0.0
