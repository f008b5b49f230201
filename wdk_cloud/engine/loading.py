"""What a turn begins with: the log past what this process has, and the body that it leads to."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud.codec.keyring import HOW, Keyring
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import trouble
from wdk_cloud.engine.history import History
from wdk_cloud.engine.leasing import LeaseLost
from wdk_cloud.engine.payloads import Payloads
from wdk_cloud.engine.replay import Body
from wdk_cloud.errors import BUG, CorruptedEventLogError, SerializationError, WorldConfigurationError

if TYPE_CHECKING:
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.turn import Turn
    from wdk_cloud.world.ports import Batch


class Loaded(NamedTuple):
    history: History
    payloads: Payloads
    body: Body | None
    """A body that was kept warm."""
    events: list[ev.AnyEvent]
    """What neither the history nor the warm body had: the history has it now, the body has not."""
    longer: bool
    """The log is longer than the last release knew."""
    read_inbox: bool


async def load(turn: Turn) -> Loaded:
    """Read the log. Raises CorruptedEventLogError, NewerFormatError for a record of a newer format, or LeaseLost when
    the log shows that the lease has passed on."""
    head, engine = turn.head, turn.engine
    warm = engine.take_warm(turn.key)
    if warm is not None:
        history, payloads, body = warm.history, warm.payloads, warm.body
    else:
        key = await unwrapped(engine, head.run_id, head.data_key)
        history, body = History(head.run_id), None
        payloads = Payloads(engine.world.blobs, head.birth, Keyring(head.run_id, key, engine.keys))
    first = head.fence == 1 and turn.delivery.message.identity == head.birth and head.input is not None
    events: list[ev.AnyEvent] = []
    try:
        if not first:
            for batch in await _dense(turn, history.position):
                if batch.fence > head.fence:
                    # Written under a later lease than ours: somebody whose clock is ahead has taken over, and may be at
                    # work. What that one has begun was not interrupted.
                    raise LeaseLost
                decoded = ev.decode_batch(batch.data, head.run_id, batch.at)
                opened = [await payloads.open_event(event) for event in decoded.events]
                history.extend(opened, decoded.version)
                events.extend(opened)
        if history.created is None:
            await _create(turn, history, payloads)
    except BaseException:
        if body is not None:
            body.discard()
        raise
    return Loaded(history, payloads, body, events, not first and history.position > head.length, not first)


async def unwrapped(engine: Engine, run_id: str, wrapped: str | None) -> bytes | None:
    """The run's key, None if the run has none. Raises HandOn when this process cannot open it."""
    if wrapped is None:
        return None
    if engine.keys is None:
        raise trouble.HandOn(f"run {run_id} is encrypted and this process has no key; {HOW}", None)
    try:
        return await engine.keys.unwrap(run_id, wrapped)
    except (SerializationError, WorldConfigurationError) as error:  # another key, or no right: not the run's fault
        raise trouble.HandOn(str(error), None) from error


async def _dense(turn: Turn, after: int) -> list[Batch]:
    """The batches past a position without a hole, as far as the last release knew them at least. A query is no
    snapshot: a hole is read again by its key."""
    expected, dense = after + 1, list["Batch"]()
    for batch in await turn.engine.world.runs.read(*turn.key, after):
        while batch.at > expected:
            dense.append(await _again(turn, expected))
            expected += dense[-1].count
        if batch.at == expected:
            dense.append(batch)
            expected += batch.count
    while expected <= turn.head.length:
        dense.append(await _again(turn, expected))
        expected += dense[-1].count
    return dense


async def _again(turn: Turn, at: int) -> Batch:
    batch = await turn.engine.world.runs.read_at(*turn.key, at)
    if batch is None:
        raise CorruptedEventLogError(
            f"run {turn.head.run_id}: its log has a hole at position {at}; something else than wdk-cloud deleted a "
            "record: restore it, or start the run again"
        )
    return batch


async def _create(turn: Turn, history: History, payloads: Payloads) -> None:
    """The first event of a run whose input still lies in its head."""
    head = turn.head
    if head.input is None:
        raise CorruptedEventLogError(
            f"run {head.run_id}: its log does not begin and its head has no input. {BUG}fence {head.fence}, "
            f"length {head.length}"
        )
    created = ev.RunCreated(
        time=head.created_at,
        workflow=head.workflow,
        input=ev.Raw(await payloads.open("input", "", head.input)),
        digest=head.input_digest,
        seed=await payloads.open_secret("seed", head.seed),
        version=head.version,
        parent=head.parent,
        root=head.root,
        trace=head.trace,
        continued_from=head.continued_from,
    )
    history.created = created
    history.last_time = created.time
    turn.batch.append(created)


async def bring_up(turn: Turn, loaded: Loaded) -> Body | None:
    """The body, up to the end of the log. A divergence is tried once more, from a fresh read without the warm body."""
    history = loaded.history
    if history.end is not None:
        if loaded.body is not None:
            loaded.body.discard()
        return None
    workflow = turn.engine.workflow(turn.head.workflow)
    if workflow is None:
        raise trouble.not_registered(turn)
    body = loaded.body or Body(workflow, history, turn.engine.settings.public_url)
    turn.body = body  # from here on the turn closes it
    body.load(loaded.events)
    body.replay()
    if body.differences:
        raise trouble.Diverged
    return body
