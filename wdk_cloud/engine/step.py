"""A message for a queue-dispatched step: claimed, run, and its end told to the run (docs/protocol.md, "A message
for a step")."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Literal

import msgspec

from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.keyring import Keyring
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.context import StepContext, check_attribute_count
from wdk_cloud.engine import outgoing, producing, trouble
from wdk_cloud.engine.attempt import Attempt, Ending, exhausted
from wdk_cloud.engine.inbox import AttributesItem, StepEnd, encode_item
from wdk_cloud.engine.inline import INTERRUPTIONS_UNCHARGED
from wdk_cloud.engine.leasing import RENEW_AT
from wdk_cloud.engine.loading import unwrapped
from wdk_cloud.engine.orders import decode_order
from wdk_cloud.engine.patience import patiently
from wdk_cloud.engine.payloads import Payloads
from wdk_cloud.engine.results import encode_result
from wdk_cloud.engine.version import written_by_newer
from wdk_cloud.engine.writers import Writers
from wdk_cloud.errors import (
    SerializationError,
    StepInterruptedError,
    StepNotRegisteredError,
    StreamClosedError,
    WorldUnavailableError,
)
from wdk_cloud.streams import Handle, ReadableStream
from wdk_cloud.world.ports import InboxItem, Message

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from wdk_cloud.engine.orders import StepOrder
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Delivery, StepItem

log = logging.getLogger("wdk_cloud")

FRESH = 2.0
"""Seconds for which a message speaks for its run: as long as a cancellable step may take to see its cancellation. Steps
begin most often within milliseconds, and each look at the head that they are spared is a read."""

CANCEL_LOOK = 1.0
"""Seconds between two renewals of a cancellable step: it must see its cancellation within two seconds."""


class Claim:
    """A step item that is ours while we renew it."""

    def __init__(self, engine: Engine, delivery: Delivery, item: StepItem, cancellable: bool, asked: float) -> None:
        self._engine = engine
        self._delivery = delivery
        self._item = item
        self._loop = asyncio.get_running_loop()
        self._pause = CANCEL_LOOK if cancellable else engine.lease * RENEW_AT
        self.renew_after = engine.world.clock.monotonic() + self._pause
        self.attempt: Attempt | None = None
        self.lost = False
        self._asked = asked
        """When the claim was asked for, on the wall clock: from then on it counts."""

    def ensure(self) -> bool:
        """Directly before the body: the claim has a third of its length left, or is renewed; whether it is ours."""
        lease = self._engine.lease
        if self._engine.world.clock.now() - self._asked > lease * (1 - RENEW_AT):
            self.renew()  # its answer, or the input, has taken long: somebody else may have brought the step to its end
        return not self.lost

    def renew(self) -> None:
        engine, message = self._engine, self._delivery.message
        engine.world.queue.extend(self._delivery, 2 * engine.lease)
        self.renew_after = engine.world.clock.monotonic() + self._pause
        item = engine.world.runs.renew_step(
            message.run_id,
            message.birth,
            self._item.step_id,
            attempt=self._item.attempt,
            identity=message.identity,
            until=round(engine.world.clock.now() + engine.lease, 6),
        )
        if item is None:
            self.lost = True
            if self.attempt is not None and self.attempt.options.cancellable:
                self._loop.call_soon_threadsafe(self.attempt.abandon)
        elif item.cancelled and self.attempt is not None and self.attempt.options.cancellable:
            self._loop.call_soon_threadsafe(self.attempt.cancel)

    def abandon(self) -> None:
        """The worker shuts down: end the claim now, so that whoever receives the message next need not wait for it.

        Its holder stays in the item, by which the next claim sees that the attempt was interrupted."""
        engine, message, item = self._engine, self._delivery.message, self._item
        try:
            engine.world.runs.renew_step(
                message.run_id,
                message.birth,
                item.step_id,
                attempt=item.attempt,
                identity=message.identity,
                until=engine.world.clock.now(),
            )
        except WorldUnavailableError as error:
            log.warning("run %s: the claim of step %s runs out by itself: %s", message.run_id, item.step_id, error)


async def deliver(engine: Engine, delivery: Delivery) -> bool:
    """Whether to acknowledge."""
    message, world = delivery.message, engine.world
    assert message.step_id is not None  # step messages name their step
    run_id, birth, step_id = message.run_id, message.birth, message.step_id
    now = world.clock.now()
    if delivery.again:
        item = await world.runs.retire_step(run_id, birth, step_id, delivery.provider_id)
        held = item is not None and item.end is None and item.holder == message.identity
        await outgoing.send_copy(engine, message, item.until - now if item is not None and held else 0.0)
        return True
    order = decode_order(message.order)
    if _is_fresh(delivery, order, now):
        world.runs.sighted(run_id, birth)
    else:
        head = await world.runs.head(run_id)
        if head is None:
            log.warning("run %s: step %s has come for a run that is not here, and is dropped", run_id, step_id)
            return True
        if head.birth != birth or head.ended:
            return True
    if engine.step(order.name) is None and _may_be_deployed(engine, message, order):
        missing = f"newer code ({order.version}) asks for {order.name}, which this code does not declare"
        return await hand_on(engine, message, trouble.HandOn(missing, None))
    try:
        key = await unwrapped(engine, run_id, order.data_key)
    except trouble.HandOn as reason:
        return await hand_on(engine, message, reason)
    claimed, item = await world.runs.claim_step(
        run_id,
        birth,
        step_id,
        identity=message.identity,
        provider_id=delivery.provider_id,
        now=now,
        until=round(now + engine.lease, 6),
    )
    if not claimed:
        return await _refused(engine, delivery, item, now)
    payloads = Payloads(world.blobs, birth, Keyring(run_id, key, engine.keys))
    if (end := _over_already(engine, message, order, item)) is not None:
        return await _end(engine, delivery, payloads, item, "failed", end, attempt=item.attempt)
    return await _run(engine, delivery, payloads, order, item, now)


def _is_fresh(delivery: Delivery, order: StepOrder, now: float) -> bool:
    """Whether the message itself shows that the run lived a moment ago: its holder has just sent it. Three clocks have
    to agree on that, the sender's, the provider's and ours; a copy is younger than its order."""
    sent = delivery.sent_at
    return sent is not None and abs(now - sent) < FRESH and abs(sent - order.made) < FRESH


def _may_be_deployed(engine: Engine, message: Message, order: StepOrder) -> bool:
    """While newer code takes the place of this one, either may receive what the newer has sent."""
    if not order.version or not written_by_newer(order.version, engine.version):
        return False
    return trouble.handed_on_for(message.count) < engine.settings.code_wait


async def hand_on(engine: Engine, message: Message, reason: trouble.HandOn) -> bool:
    """docs/protocol.md 7b: nothing is claimed, so no attempt is counted; a copy comes back later. The head is its
    holder's, so why stands only in the log of this process."""
    count = message.count + 1
    log.error("run %s: step %s is handed on (%s. time): %s", message.run_id, message.step_id, count, reason)
    await outgoing.send_copy(engine, msgspec.structs.replace(message, count=count), trouble.onward_delay(count))
    return True


async def _refused(engine: Engine, delivery: Delivery, item: StepItem, now: float) -> bool:
    message = delivery.message
    if delivery.provider_id in item.retired:
        return False
    if item.end is not None:
        await nudge(engine, message.run_id, message.birth)
        return True
    if item.holder is not None and item.until > now:
        if item.holder == message.identity:
            await outgoing.send_copy(engine, message, item.until - now)
        return True
    await outgoing.send_copy(engine, message, item.retry_at - now)
    return True


def _over_already(engine: Engine, message: Message, order: StepOrder, item: StepItem) -> bytes | None:
    """The error of a step that must not begin (again), or None."""
    step = engine.step(order.name)
    if step is None:
        error = StepNotRegisteredError(
            f"run {message.run_id}: step {order.name} is not registered; this code does not declare it. Start or "
            "deploy a worker that does, or keep its old id with @app.step(name=…)"
        )
        return encode_error(error, known=KnownTypes())
    if not item.interrupted or (order.max_retries and _tries(engine, item) <= order.max_retries):
        return None
    lost = StepInterruptedError(
        f"run {message.run_id}: the process died while attempt {item.attempt - 1} of step {order.name} ran; it may "
        "have happened, wholly or in part: make the step idempotent, or look before you repeat it"
    )
    if order.max_retries == 0:
        return encode_error(lost, known=step.app.known)
    return exhausted(order.name, item.attempt - 1, lost, step.app.known)


def _tries(engine: Engine, item: StepItem) -> int:
    """Attempts before this one that count. In a process that serves many deliveries at once another step may have
    brought it down; an interruption is then charged from the fifth on (docs/protocol.md), but `max_retries=0` never
    begins twice."""
    failures = item.attempt - 1 - item.interrupted
    if engine.world.receiver is None:
        return failures + item.interrupted
    return failures + max(0, item.interrupted - INTERRUPTIONS_UNCHARGED)


async def _run(
    engine: Engine, delivery: Delivery, payloads: Payloads, order: StepOrder, item: StepItem, asked: float
) -> bool:
    message, step = delivery.message, engine.step(order.name)
    assert step is not None  # looked up before
    context = StepContext(
        run_id=message.run_id,
        call_id=item.step_id,
        step_name=order.name,
        attempt=item.attempt,
        first_started=item.first_started,
        workflow_name=order.workflow,
        run_started=order.run_started,
        url=engine.settings.public_url,
        set_attributes=_attributes_setter(engine, message, item),
        streams=Writers(
            engine.world, engine.keys, (message.run_id, message.birth), payloads, item.step_id, step.app.known
        ),
    )
    arguments = await payloads.open("input", item.step_id, bytes(order.input))
    claim = Claim(engine, delivery, item, order.cancellable, asked)
    if not claim.ensure():
        return False
    attempt = claim.attempt = Attempt(step, order.options, arguments, context, engine.world.clock, engine.executor)
    if step.is_generator:
        return await _produce(engine, delivery, payloads, order, item, attempt)
    engine.keeper.keep(claim)
    try:
        ending = await attempt.run()
        if ending.kind == "interrupted" and not claim.lost and isinstance(ending.cause, asyncio.CancelledError):
            raise ending.cause
        if attempt.thread is not None and not _is_last(engine, order, item, ending):
            await asyncio.wait([attempt.thread])  # the next attempt begins when it has returned
    except asyncio.CancelledError:
        engine.keeper.drop(claim)
        claim.abandon()
        raise
    finally:
        engine.keeper.drop(claim)
    if claim.lost and ending.kind == "interrupted":
        return False
    return await _ended(engine, delivery, payloads, order, item, attempt, ending)


async def _produce(
    engine: Engine, delivery: Delivery, payloads: Payloads, order: StepOrder, item: StepItem, attempt: Attempt
) -> bool:
    """The step is complete as soon as its stream is there; what it yields comes after that."""
    message, context = delivery.message, attempt.context
    place = await context.streams.place(message.run_id, producing.stream_of(item.step_id))
    try:
        produced = attempt.step.signature.call(attempt.arguments())
        upload = await producing.begin(place)
    except StreamClosedError:
        return True  # the run has ended
    except (SerializationError, TypeError) as error:  # arguments that do not fit
        failed = attempt.failed(error)
        return await _ended(engine, delivery, payloads, order, item, attempt, failed)
    handle = Handle(message.run_id, place.stream, attempt.step.app.namespace)
    result = encode_result(ReadableStream[object](handle), f"step {attempt.step.id}", attempt.known)
    # From here on nobody else produces: who comes later finds the end of the step.
    if not await _record(engine, delivery, payloads, item, "completed", result, attempt=item.attempt, patient=True):
        return await _is_over(engine, message, item)
    await patiently(lambda: nudge(engine, message.run_id, message.birth))
    await producing.fill(engine, delivery, upload, context, produced)
    return True


def _is_last(engine: Engine, order: StepOrder, item: StepItem, ending: Ending) -> bool:
    """Whether no attempt follows a failed one."""
    return ending.kind == "failed" and (ending.final or _tries(engine, item) + 1 > order.max_retries)


async def _ended(
    engine: Engine,
    delivery: Delivery,
    payloads: Payloads,
    order: StepOrder,
    item: StepItem,
    attempt: Attempt,
    ending: Ending,
) -> bool:
    if ending.kind == "interrupted":
        if isinstance(ending.cause, KeyboardInterrupt):
            raise ending.cause
        log.error("run %s: step %s was interrupted: %r", delivery.message.run_id, item.step_id, ending.cause)
        return False
    if ending.kind == "completed":
        return await _end(engine, delivery, payloads, item, "completed", ending.data, attempt=None)
    tries = _tries(engine, item) + 1
    if ending.final:
        return await _end(engine, delivery, payloads, item, "failed", ending.data, attempt=item.attempt)
    if tries > order.max_retries:
        error = exhausted(order.name, item.attempt, ending.cause, attempt.known)
        return await _end(engine, delivery, payloads, item, "failed", error, attempt=item.attempt)
    return await _retry(engine, delivery, order, item, ending, tries)


async def _retry(
    engine: Engine, delivery: Delivery, order: StepOrder, item: StepItem, ending: Ending, tries: int
) -> bool:
    """One update, then the copy with the delay, then the acknowledgement: no turn of the run."""
    message, now = delivery.message, engine.world.clock.now()
    pause = order.options.retry.pause(tries, engine.draw())
    retry_at = ending.retry_at if ending.retry_at is not None else round(now + pause, 6)
    freed = await engine.world.runs.retry_step(
        message.run_id, message.birth, item.step_id, attempt=item.attempt, identity=message.identity, retry_at=retry_at
    )
    if not freed:
        return False
    await outgoing.send_copy(engine, message, retry_at - now)
    return True


async def _end(
    engine: Engine,
    delivery: Delivery,
    payloads: Payloads,
    item: StepItem,
    kind: Literal["completed", "failed"],
    data: bytes,
    *,
    attempt: int | None,
) -> bool:
    """The first end wins: a success asks only that there is none, a failure that the claim is still ours."""
    message = delivery.message
    if not await _record(engine, delivery, payloads, item, kind, data, attempt=attempt):
        return await _is_over(engine, message, item)
    await nudge(engine, message.run_id, message.birth)
    return True


async def _record(
    engine: Engine,
    delivery: Delivery,
    payloads: Payloads,
    item: StepItem,
    kind: Literal["completed", "failed"],
    data: bytes,
    *,
    attempt: int | None,
    patient: bool = False,
) -> bool:
    """Whether this end stands."""
    message = delivery.message
    field = "result" if kind == "completed" else "error"
    sealed = await payloads.seal(field, item.step_id, data)
    end = encode_item(StepEnd(item.step_id, kind, item.attempt, msgspec.Raw(sealed)))

    def put() -> Awaitable[bool]:
        return engine.world.runs.end_step(message.run_id, message.birth, item.step_id, attempt=attempt, end=end)

    return await (patiently(put) if patient else put())


async def _is_over(engine: Engine, message: Message, item: StepItem) -> bool:
    """After an end that was refused: whether another one stands, of which the run is told once more."""
    there = await engine.world.runs.step(message.run_id, message.birth, item.step_id)
    if there is None or there.end is None:
        return False
    await nudge(engine, message.run_id, message.birth)
    return True


async def nudge(engine: Engine, run_id: str, birth: str) -> None:
    """Make sure that somebody will look into the inbox: its holder, or whoever receives a `wake`."""
    while True:
        head = await engine.world.runs.head(run_id)
        if head is None or head.birth != birth or head.ended:
            return
        if head.holder is None:
            wake = Message(kind="wake", run_id=run_id, birth=birth, identity=engine.identity())
            await engine.world.queue.send([(wake, 0.0)])
            return
        if head.dirty or await engine.world.runs.mark_dirty(run_id, birth, holder=head.holder, fence=head.fence):
            turn = engine.live.get((run_id, birth))
            if turn is not None and turn.fence == head.fence:
                turn.told()
            return


def _attributes_setter(engine: Engine, message: Message, item: StepItem):
    count = 0

    async def set_attributes(changes: dict[str, str | None]) -> None:
        nonlocal count
        labels = await engine.world.runs.labels(message.run_id, message.birth)
        check_attribute_count(set(labels.values), changes)
        count += 1
        key = f"attributes:{item.step_id}:{item.attempt}:{count}"
        data = encode_item(AttributesItem(changes))
        put = InboxItem(key=key, kind="attributes", data=data, time=engine.world.clock.now())
        await engine.world.runs.put_item(message.run_id, message.birth, put)

    return set_attributes
