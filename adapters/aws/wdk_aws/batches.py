"""A batch of SQS: each message becomes a delivery to the engine, and those that failed are told.

A batch has one message unless somebody sets another size; of several, all are worked on side by side, and
each comes back or not by itself.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from wdk_aws import deadletters, events, messages
from wdk_aws.schedules import DEAD
from wdk_cloud.app import NAMESPACE
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.records import Delivery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_aws.serving import Instance, TimeLeft

log = logging.getLogger("wdk_cloud")

LEASES = 2
"""For how many leases a message is kept invisible: as its renewals have it. A process that dies costs its run a minute,
though the queue's own visibility is longer than the function may take, as the event source mapping wants it."""

COME_BACK = 1.0
"""Seconds until a message that could not be worked on is visible again, doubled with each time that it was received."""

LONGEST_PAUSE = 60.0
"""Seconds: a message is received 1,000 times before it is a dead letter, which then takes most of a day."""

Source = Literal["flow", "step", "dead"]


class Received(NamedTuple):
    """A message of ours."""

    id: str
    """SQS's."""
    received: int
    source: Source
    namespace: str
    delivery: Delivery


async def work(instance: Instance, event: Mapping[str, Any], time: TimeLeft) -> dict[str, list[dict[str, str]]]:
    """The answer that a mapping with `ReportBatchItemFailures` understands."""
    batch = msgspec.convert(event, events.Batch)
    received: list[Received] = []
    failed: list[str] = []
    for record in batch.records:
        try:
            received.append(_read(instance, record, time))
        except NewerFormatError as error:  # a process of the newer version gets it, when the queue shows it again
            log.error("message %s of %s comes back: %s", record.message_id, record.source, error)
            failed.append(record.message_id)
        except ValueError as error:
            # It would come back for a fortnight and say nothing new; its content may be anybody's secret.
            log.error("message %s of %s is none of ours and is dropped: %s", record.message_id, record.source, error)
            instance.telemetry.count("ForeignMessages")
    for one in received:
        _shorten(instance, one)
    if received:
        _import_code(instance)
    if len(received) == 1:
        done = [await _work_on(instance, received[0])]  # the usual case needs no other task
    else:
        done = await asyncio.gather(*(_work_on(instance, one) for one in received))
    failed += [one.id for one, acknowledge in zip(received, done, strict=True) if not acknowledge]
    return {"batchItemFailures": [{"itemIdentifier": id} for id in failed]}


def _read(instance: Instance, record: events.Record, time: TimeLeft) -> Received:
    """Raises `ValueError` for what is none of ours."""
    namespace, message = messages.decode(record.body)
    if namespace and not NAMESPACE.fullmatch(namespace):  # it would become a part of keys
        raise ValueError("it is of no namespace that there can be")
    source = _source_of(instance, record)
    if message.kind == "step" and _is_of_flow(instance, record):
        raise ValueError("a step is ordered in the queue for steps alone")
    delivery = Delivery(
        message=message,
        provider_id=record.message_id,
        receipt=f"{source}:{record.receipt_handle}",
        again=record.received > 1,
        sent_at=record.sent,
        deadline=time.deadline,
        limit=time.limit,
    )
    return Received(record.message_id, record.received, source, namespace, delivery)


def _is_of_flow(instance: Instance, record: events.Record) -> bool:
    """Whether it came from the queue of flow messages, or its dead letters. Whoever starts runs may send there, the
    public receiver of webhooks too; what they may not is to have steps called with arguments of theirs."""
    settings = instance.world.settings
    account, flow = events.queue_of_url(settings.needed("flow_queue_url"))
    if settings.step_queue_url and events.queue_of_url(settings.step_queue_url) == (account, flow):
        return False  # somebody has one queue for both
    return record.queue in ((account, flow), (account, flow + DEAD))


def _source_of(instance: Instance, record: events.Record) -> Source:
    settings = instance.world.settings
    if record.queue == events.queue_of_url(settings.needed("flow_queue_url")):
        return "flow"
    if settings.step_queue_url and record.queue == events.queue_of_url(settings.step_queue_url):
        return "step"
    return "dead"


def _shorten(instance: Instance, one: Received) -> None:
    """Before user code is imported, which may take long or end the process."""
    if one.source != "dead":  # no such queue is ours to change
        _show_after(instance, one, LEASES * instance.settings.lease)


def _show_after(instance: Instance, one: Received, seconds: float) -> None:
    try:
        instance.world.scoped(one.namespace).queue.extend(one.delivery, seconds)
    except (WorldUnavailableError, WorldConfigurationError) as error:
        # A right that is missing stops no work: the message stays invisible for as long as its queue says.
        level = logging.ERROR if isinstance(error, WorldConfigurationError) else logging.WARNING
        run_id = one.delivery.message.run_id
        log.log(level, "run %s: if this fails its message comes back after its time-out only: %s", run_id, error)


def _import_code(instance: Instance) -> None:
    try:
        instance.engines.apps()
    except WorldConfigurationError:
        log.exception("the code of WDK_APP cannot be imported; runs are handed on until it can be")
        instance.telemetry.count("MissingCode")


async def _work_on(instance: Instance, one: Received) -> bool:
    """Whether to acknowledge. Whatever happens to one message is no matter of the others."""
    message = one.delivery.message
    with instance.telemetry.delivery(one.namespace, message):
        try:
            acknowledge = await _deliver(instance, one)
        except (Exception, KeyboardInterrupt):  # a step raises the latter: it is an interruption of that step
            log.exception("run %s: the delivery failed, its message comes back", message.run_id)
            acknowledge = False
        if not acknowledge:
            instance.telemetry.count("ReturnedMessages")
        if not acknowledge and one.source != "dead":
            _show_after(instance, one, min(COME_BACK * 2 ** min(one.received - 1, 20), LONGEST_PAUSE))
    return acknowledge


async def _deliver(instance: Instance, one: Received) -> bool:
    if one.source == "dead":
        instance.telemetry.count("DeadLetters")
        return await deadletters.revive(instance.world.scoped(one.namespace), one.delivery.message)
    return await instance.engines.deliver(one.namespace, one.delivery)
