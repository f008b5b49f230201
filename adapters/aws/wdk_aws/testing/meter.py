"""Counts what a program asks of AWS and what DynamoDB charges for it, from item sizes, without asking DynamoDB.

    session = boto3.Session()
    meter = Meter()
    meter.attach(session)                      # before its clients are made
    world = AwsWorld(clients=Clients(session))
    …
    print(meter.tally().write, meter.tally().requests["sqs.SendMessage"])

Each attempt of a request is a call of its own, as it is on the bill: those that botocore repeats by itself count as
often as they are sent. Units follow the documented rules (`capacity.py`); where a request does not show the items
concerned they are read aside, uncounted (`pricing.py`). Nothing of an item is kept but its key, unless the meter is
told that it is alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from wdk_aws.testing.pricing import READS, UNPRICED, WRITES, Locks, Request, Tables, Units

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping

    from boto3.session import Session

SQS_CHUNK = 64 * 1024
"""Bytes of a payload that SQS charges as one request: https://aws.amazon.com/sqs/pricing/."""

_PARAMS = "wdk.params"
_REQUEST = "wdk.request"


@dataclass(frozen=True)
class Call:
    """One attempt of a request."""

    service: str
    operation: str
    target: str = ""
    """The table, queue, bucket, schedule group or key."""
    key: str = ""
    """DynamoDB: the item's, or those of a batch; S3: the object's."""
    read: float = 0.0
    write: int = 0
    """Those of the indexes included."""
    indexes: Mapping[str, int] = field(default_factory=dict[str, int])
    requests: int = 1
    """As they are charged: SQS counts each 64 KB of a payload."""
    messages: int = 0
    """SQS: how many were accepted, or came."""
    error: str = ""
    """The code of the answer, or `unanswered`; "" for a success."""

    @property
    def name(self) -> str:
        return f"{self.service}.{self.operation}"

    def __str__(self) -> str:
        units = [f"{self.write} write"] * bool(self.write) + [f"{self.read:g} read"] * bool(self.read)
        parts = [*units, *(f"{count} in {index}" for index, count in self.indexes.items())]
        parts += [f"{self.messages} messages"] * bool(self.messages) + [self.error] * bool(self.error)
        return f"{self.name} {self.key or self.target}: {', '.join(parts) or 'no units'}"


@dataclass(frozen=True)
class Tally:
    """Some calls, added up."""

    read: float
    write: int
    requests: Counter[str]
    """By service and operation, such as `sqs.SendMessage`, as they are charged."""
    messages: Counter[str]
    """By operation, such as `sqs.SendMessageBatch`."""

    @staticmethod
    def of(calls: Iterable[Call]) -> Tally:
        requests, messages = Counter[str](), Counter[str]()
        read, write = 0.0, 0
        for call in calls:
            read, write = read + call.read, write + call.write
            requests[call.name] += call.requests
            messages[call.name] += call.messages
        return Tally(read, write, requests, +messages)

    @property
    def sent(self) -> int:
        """Messages that SQS accepted."""
        return self.messages["sqs.SendMessage"] + self.messages["sqs.SendMessageBatch"]


class Meter:
    """Attach it to boto3 sessions before their clients are made; safe to use from all threads. `seen` is handed each
    call, in its thread, with the answer that it got (None: no answer). `alone`: all writers of the tables are in this
    process, in the one session that it is attached to; so it looks at an item once, and keeps it until `clear()`."""

    def __init__(
        self, seen: Callable[[Call, Mapping[str, Any] | None], None] | None = None, *, alone: bool = False
    ) -> None:
        self._seen = seen
        self._alone = alone
        self._tables: list[Tables] = []
        self._adding = threading.Lock()
        self._calls: list[Call] = []
        self._locks = Locks()

    def attach(self, session: Session, dynamodb_at: str | None = None) -> None:
        """Count what the clients do that this session makes from now on. `dynamodb_at` is the endpoint of DynamoDB, if
        its clients are made with one that the session does not know."""
        maker: Any = session  # its types know each service by a literal of its own
        aside = maker.client("dynamodb", endpoint_url=dynamodb_at)  # before the hooks: nobody counts what it reads
        tables = Tables(aside, alone=self._alone)
        self._tables.append(tables)
        known = f"wdk-meter-{id(self)}"
        events = session.events
        events.register("before-parameter-build", _remember, unique_id=f"{known}-params")
        events.register("request-created", partial(self._begin, tables), unique_id=f"{known}-begin")
        events.register_first("response-received", self._end, unique_id=f"{known}-end")

    def calls(self) -> list[Call]:
        with self._adding:
            return list(self._calls)

    def tally(self) -> Tally:
        return Tally.of(self.calls())

    def clear(self) -> None:
        with self._adding:
            self._calls.clear()
        for tables in self._tables:
            tables.forget()

    @contextmanager
    def part(self) -> Generator[list[Call]]:
        """The calls that end in this block, when it is over."""
        found: list[Call] = []
        with self._adding:
            begun = len(self._calls)
        yield found
        with self._adding:
            found += self._calls[begun:]

    # `request-created` comes once for each attempt, after it is signed; `response-received` once for each, whatever
    # came of it. Both are handed the one context of the call.

    def _begin(self, tables: Tables, request: Any, operation_name: str, event_name: str, **_: Any) -> None:
        if operation_name in UNPRICED:
            raise NotImplementedError(f"the meter cannot price {operation_name}: no world of wdk-cloud uses it")
        context = request.context
        if operation_name in READS | WRITES and event_name.startswith("request-created.dynamodb."):
            context[_REQUEST] = Request(tables, self._locks, operation_name, context[_PARAMS])

    def _end(self, parsed_response: Any, context: dict[str, Any], event_name: str, **_: Any) -> None:
        service, operation = event_name.split(".")[1:]
        params: Mapping[str, Any] = context[_PARAMS]
        code = "unanswered" if parsed_response is None else parsed_response.get("Error", {}).get("Code", "")
        request: Request | None = context.pop(_REQUEST, None)
        units = Units()
        if request is not None:
            units = request.end(parsed_response, code if parsed_response is not None else "")
        call = Call(
            service=service,
            operation=operation,
            target=_target(params),
            key=str(params.get("Key", "")) if request is None else request.name,
            read=units.read,
            write=units.write,
            indexes=units.indexes,
            requests=_charged(service, params, parsed_response or {}),
            messages=_messages(operation, params, parsed_response or {}) if service == "sqs" and not code else 0,
            error=code,
        )
        with self._adding:
            self._calls.append(call)
        if self._seen is not None:
            self._seen(call, parsed_response)


def _remember(params: Any, context: dict[str, Any], **_: Any) -> None:
    context[_PARAMS] = params


def _target(params: Mapping[str, Any]) -> str:
    names = ("TableName", "QueueUrl", "Bucket", "GroupName", "KeyId")
    return next((str(params[name]) for name in names if name in params), "")


def _charged(service: str, params: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
    if service != "sqs":
        return 1
    bodies = [params, *params.get("Entries", []), *answer.get("Messages", [])]
    size = sum(len(body.get("MessageBody", body.get("Body", "")).encode()) for body in bodies)
    return max(1, -(-size // SQS_CHUNK))


def _messages(operation: str, params: Mapping[str, Any], answer: Mapping[str, Any]) -> int:
    match operation:
        case "SendMessage":
            return 1
        case "SendMessageBatch":
            return len(answer.get("Successful", []))
        case "ReceiveMessage":
            return len(answer.get("Messages", []))
        case _:
            return 0
