"""An event source mapping: what polls a queue for Lambda, builds the event, invokes the function, and deletes.

As AWS documents it ("Using Lambda with Amazon SQS"): of a batch whose function returns, all but the reported failures
are deleted; one whose function raises, or reports what is not understood, comes back as a whole.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

    from wdk_aws.handler import Handler

MOST = 10
"""Messages that one receive brings at most (SQS, ReceiveMessage)."""

FUNCTION = "wdk-worker"


class Context:
    """Lambda's context object, of an invocation that ends when `monotonic` has come so far."""

    function_name = FUNCTION
    function_version = "$LATEST"
    invoked_function_arn = f"arn:aws:lambda:eu-central-1:123456789012:function:{FUNCTION}"
    memory_limit_in_mb = "512"
    log_group_name = f"/aws/lambda/{FUNCTION}"
    log_stream_name = "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef"
    identity = None
    client_context = None

    def __init__(self, timeout: float, monotonic: Callable[[], float] = time.monotonic, number: int = 0) -> None:
        self._monotonic = monotonic
        self._end = monotonic() + timeout
        self.aws_request_id = f"00000000-0000-4000-8000-{number:012x}"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._end - self._monotonic()) * 1000))


@dataclass
class Mischief:
    """What queues do that programs had better not rely on. `seed` decides when; each is a share of the batches."""

    seed: int = 0
    duplicate: float = 0.0
    """It is handed out twice, the second time with what it was the first time."""
    shuffle: bool = False
    """The messages of one receive come in any order."""
    crash: float = 0.0
    """The function has done its work, and dies before anything is deleted."""
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 -- tests, and they are to come out alike

    def batches(self, messages: list[MessageTypeDef], size: int) -> list[list[MessageTypeDef]]:
        if self.shuffle:
            self.random.shuffle(messages)
        batches = [messages[at : at + size] for at in range(0, len(messages), size)]
        return [batch for one in batches for batch in ([one, one] if self.random.random() < self.duplicate else [one])]

    def crashes(self) -> bool:
        return self.random.random() < self.crash


class Invocation(NamedTuple):
    """One batch, on its way to the function and back."""

    messages: Sequence[MessageTypeDef]
    event: dict[str, Any]


class EventSourceMapping:
    """Of one queue. `batch_size` and `timeout` are those that the mapping and the function are set to."""

    def __init__(
        self,
        sqs: SQSClient,
        queue_url: str,
        *,
        batch_size: int = 1,
        timeout: float = 900.0,
        region: str = "eu-central-1",
        mischief: Mischief | None = None,
    ) -> None:
        self._sqs = sqs
        self._url = queue_url
        self._batch_size = batch_size
        self._timeout = timeout
        self._region = region
        self._mischief = mischief or Mischief()
        account, _, name = queue_url.rpartition("/")
        self.arn = f"arn:aws:sqs:{region}:{account.rpartition('/')[2]}:{name}"
        self.invocations = 0

    def receive(self, most: int = MOST, wait: int = 0) -> list[Invocation]:
        """What is visible now, in batches; `wait` seconds for something if nothing is."""
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        batches = self._mischief.batches(answer.get("Messages", []), self._batch_size)
        return [Invocation(batch, self._event(batch)) for batch in batches]

    def context(self, monotonic: Callable[[], float] = time.monotonic) -> Context:
        self.invocations += 1
        return Context(self._timeout, monotonic, self.invocations)

    def settle(self, invocation: Invocation, answer: object) -> None:
        """After the function has returned: delete what it has not reported as failed."""
        if self._mischief.crashes():
            return
        failed = _failed(answer, {message.get("MessageId", "") for message in invocation.messages})
        if failed is None:
            return
        done = [message for message in invocation.messages if message.get("MessageId", "") not in failed]
        if done:
            self._sqs.delete_message_batch(
                QueueUrl=self._url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": message.get("ReceiptHandle", "")}
                    for number, message in enumerate(done)
                ],
            )

    def show_again(self, invocation: Invocation) -> None:
        """The function was taken away in the middle: another one begins at once, rather than after the time-out."""
        for message in invocation.messages:
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message.get("ReceiptHandle", ""), VisibilityTimeout=0
            )

    def poll(self, handler: Handler, *, wait: int = 0) -> int:
        """Receive once and invoke the handler with each batch, one after the other; how many batches there were."""
        invocations = self.receive(wait=wait)
        for invocation in invocations:
            try:
                answer = handler(invocation.event, self.context())
            except Exception:  # noqa: S112 -- Lambda's runtime logs it, and so does the handler
                continue
            self.settle(invocation, answer)
        return len(invocations)

    def _event(self, batch: Sequence[MessageTypeDef]) -> dict[str, Any]:
        return {"Records": [self._record(message) for message in batch]}

    def _record(self, message: MessageTypeDef) -> dict[str, Any]:
        return {
            "messageId": message.get("MessageId", ""),
            "receiptHandle": message.get("ReceiptHandle", ""),
            "body": message.get("Body", ""),
            "attributes": dict(message.get("Attributes", {})),
            "messageAttributes": dict(message.get("MessageAttributes", {})),
            "md5OfBody": message.get("MD5OfBody", ""),
            "eventSource": "aws:sqs",
            "eventSourceARN": self.arn,
            "awsRegion": self._region,
        }


class _Failure(msgspec.Struct, rename="camel"):
    item_identifier: str


class _Answer(msgspec.Struct, rename="camel"):
    batch_item_failures: list[_Failure] | None = None


def _failed(answer: object, ids: set[str]) -> set[str] | None:
    """The ids of the messages that come back; None: all of them, for it is not understood, or names one too many."""
    try:
        failures = msgspec.convert(answer or {}, _Answer).batch_item_failures or ()
    except msgspec.ValidationError:
        return None
    failed = {failure.item_identifier for failure in failures}
    return failed if failed <= ids else None
