"""An event source mapping: what polls a queue for Lambda, builds the event, invokes the function, and deletes.

As AWS documents it ("Using Lambda with Amazon SQS"): of a batch whose function returns, all but the reported failures
are deleted; one whose function raises, or reports what is not understood, comes back as a whole.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

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


class Invocation(NamedTuple):
    """One batch, on its way to the function and back."""

    messages: Sequence[MessageTypeDef]
    event: dict[str, Any]


class EventSourceMapping:
    """Of one queue: `sqs` is a client of boto3's, `queue_url` what it polls, `region` what its events name.

    `batch_size` (messages) and `timeout` (seconds) are those that the mapping and the function are set to.
    `invocations` counts them.
    """

    def __init__(
        self,
        sqs: SQSClient,
        queue_url: str,
        *,
        batch_size: int = 1,
        timeout: float = 900.0,
        region: str = "eu-central-1",
    ) -> None:
        self._sqs = sqs
        self._url = queue_url
        self._batch_size = batch_size
        self._timeout = timeout
        self._region = region
        account, _, name = queue_url.rpartition("/")
        self.arn = f"arn:aws:sqs:{region}:{account.rpartition('/')[2]}:{name}"
        self.invocations = 0

    def receive(self, most: int = MOST, wait: int = 0) -> list[Invocation]:
        """What is visible now, at `most` so many messages (10 at most), in batches; `wait` seconds for something if
        nothing is."""
        answer = self._sqs.receive_message(
            QueueUrl=self._url,
            MaxNumberOfMessages=most,
            WaitTimeSeconds=wait,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        return [Invocation(batch, self._event(batch)) for batch in self._batches(answer.get("Messages", []))]

    def context(self, monotonic: Callable[[], float] = time.monotonic) -> Context:
        """Lambda's context for the next invocation, whose time runs by `monotonic`, in seconds."""
        self.invocations += 1
        return Context(self._timeout, monotonic, self.invocations)

    def settle(self, invocation: Invocation, answer: object) -> None:
        """After the function has returned this `answer` to an `invocation`: delete what it has not reported as
        failed."""
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
        """The function was taken away in the middle of an `invocation`: another one begins at once, rather than after
        the time-out."""
        for message in invocation.messages:
            self._sqs.change_message_visibility(
                QueueUrl=self._url, ReceiptHandle=message.get("ReceiptHandle", ""), VisibilityTimeout=0
            )

    def _batches(self, messages: list[MessageTypeDef]) -> list[list[MessageTypeDef]]:
        return [messages[at : at + self._batch_size] for at in range(0, len(messages), self._batch_size)]

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
