"""The queue: a standard queue of SQS for runs, one for steps, and EventBridge Scheduler for longer delays."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
from botocore.exceptions import ClientError

from wdk_aws import messages
from wdk_aws.failures import code
from wdk_aws.schedules import Schedules
from wdk_aws.settings import VARIABLES
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mypy_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef, SendMessageBatchRequestEntryTypeDef

    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings
    from wdk_cloud.world.ports import Clock, Delivery, Message

LONGEST_OF_SQS = 900.0
"""Seconds: the largest `DelaySeconds` (SQS, "Quotas related to messages")."""

YEAR = 365 * 86_400.0
"""Seconds: no limit of a schedule's date is documented, and a hop a year costs nothing."""

LONGEST_INVISIBLE = 43_200
"""Seconds: the largest `VisibilityTimeout` (SQS, "Quotas related to messages")."""

BATCH = 10
"""Entries of a `SendMessageBatch` (its API reference)."""

BATCH_BYTES = 1_048_576
"""Of all bodies of a `SendMessageBatch` together (its API reference)."""

PAUSES = (0.1, 0.2, 0.4, 0.8, 0.0)
"""Seconds after each send of entries that fail while the request does not: 1.5 s in all, a small part of a lease."""

# Of ChangeMessageVisibility: the message was acknowledged, is visible again, is with a later receiver, or has been
# invisible for as long as it may. In each case there is nothing to extend.
_GONE = frozenset(
    (
        "AWS.SimpleQueueService.MessageNotInflight",
        "InvalidParameterValue",
        "MessageNotInflight",
        "ReceiptHandleIsInvalid",
    )
)


class SqsQueue:
    """Messages of every namespace share the queues; their bodies say whose they are.

    A delivery's receipt is the name of its queue, a colon and SQS's own handle: `flow:AQEB…`, `step:AQEB…`.
    """

    longest_delay = YEAR
    callers_delay = LONGEST_OF_SQS  # a caller has no right to create schedules

    def __init__(self, settings: AwsSettings, clients: Clients, clock: Clock, namespace: str) -> None:
        self._settings = settings
        self._clients = clients
        self._namespace = namespace
        self._schedules = Schedules(settings, clients, clock, namespace)

    # -- sending ----------------------------------------------------------------------------------------------------

    async def send(self, messages: Sequence[tuple[Message, float]]) -> None:
        """Of several requests each is tried, whatever becomes of the others: what is sent need not be sent again."""
        soon: defaultdict[str, list[SendMessageBatchRequestEntryTypeDef]] = defaultdict(list)
        later = [(message, delay) for message, delay in messages if delay > LONGEST_OF_SQS]
        hops = await asyncio.gather(*(self._schedule(*one) for one in later)) if later else []
        near = [(message, delay) for message, delay in messages if delay <= LONGEST_OF_SQS]
        for number, (message, delay) in enumerate((*near, *(hop for hop in hops if hop is not None))):
            soon[_field_of(message)].append(self._entry(number, message, delay))
        requests = [self._send_batch(field, batch) for field, entries in soon.items() for batch in _batches(entries)]
        if len(requests) == 1:  # the usual case needs no other task
            await requests[0]
            return
        answers = await asyncio.gather(*requests, return_exceptions=True)
        for answer in answers:
            if answer is not None:
                raise answer

    async def _schedule(self, message: Message, delay: float) -> tuple[Message, float] | None:
        """None: a schedule brings it. Else a hop to send instead: `due` in a timer message, `retry_at` in a step's item
        and the lease of a run say to whoever gets it early what is left."""
        if await self._schedules.create(message, delay, _field_of(message)):
            return None
        return as_hop(message), LONGEST_OF_SQS

    def _entry(self, number: int, message: Message, delay: float) -> SendMessageBatchRequestEntryTypeDef:
        # Up to the next second: a timer message that comes says that its time has come.
        return {
            "Id": str(number),
            "MessageBody": messages.encode(message, self._namespace),
            "DelaySeconds": math.ceil(max(0.0, delay)),
        }

    async def _send_batch(self, field: str, entries: Sequence[SendMessageBatchRequestEntryTypeDef]) -> None:
        url, setting, left = self._settings.needed(field), VARIABLES[field], entries
        for pause in PAUSES:
            try:
                sent = await self._clients.ask(
                    setting, self._clients.sqs.send_message_batch, QueueUrl=url, Entries=left
                )
            except ClientError as error:  # one of the kind FIFO asks for a group of each message
                raise WorldConfigurationError(
                    f"the queue that {setting} names does not take messages of ours ({code(error)}); set it to a "
                    "standard queue that wdk aws create has made"
                ) from error
            failures = sent.get("Failed", [])
            if not failures:
                return
            _raise_if_refused(setting, failures)
            failed = {failure["Id"] for failure in failures}
            left = [entry for entry in left if entry["Id"] in failed]
            await asyncio.sleep(pause)
        raise WorldUnavailableError(
            f"SQS took {len(entries) - len(left)} of {len(entries)} messages for {setting}; it is tried again"
        )

    # -- a message in the hands of its receiver -----------------------------------------------------------------------

    def extend(self, delivery: Delivery, seconds: float) -> None:
        # Beside it, the message may have become visible and be with another receiver: then its newest handle counts.
        name, _, handle = delivery.receipt.partition(":")
        field = "step_queue_url" if name == "step" else "flow_queue_url"
        try:
            self._clients.ask_now(
                VARIABLES[field],
                self._clients.sqs.change_message_visibility,
                QueueUrl=self._settings.needed(field),
                ReceiptHandle=handle,
                VisibilityTimeout=min(max(0, math.ceil(seconds)), LONGEST_INVISIBLE),
            )
        except ClientError as error:
            if code(error) not in _GONE:
                raise


def as_hop(message: Message) -> Message:
    """Only a timer message can say that it comes early."""
    return msgspec.structs.replace(message, hop=True) if message.kind == "timer" else message


def _field_of(message: Message) -> str:
    return "step_queue_url" if message.kind == "step" else "flow_queue_url"


def _batches(
    entries: Sequence[SendMessageBatchRequestEntryTypeDef],
) -> Iterator[list[SendMessageBatchRequestEntryTypeDef]]:
    """As few requests as their limits allow. A message that alone is too large is for SQS to refuse."""
    batch: list[SendMessageBatchRequestEntryTypeDef] = []
    size = 0
    for entry in entries:
        length = len(entry["MessageBody"])
        if batch and (len(batch) == BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def _raise_if_refused(setting: str, failures: Sequence[BatchResultErrorEntryTypeDef]) -> None:
    """For what fails again however often it is sent."""
    refused = [failure["Code"] for failure in failures if failure["SenderFault"]]
    if refused:
        raise WorldConfigurationError(
            f"SQS refuses {len(refused)} messages for {setting} ({', '.join(sorted(set(refused)))}); look at the "
            "encryption of that queue and at the rights to it"
        )
