"""SQS and EventBridge Scheduler on a clock that a test moves, under boto3's clients.

Standard queues with delays, visibility, receive counts and dead-letter queues; one-time schedules that send to them. As
at SQS, a message may be deleted with the receipt of an earlier receive: the engine must not rely on a kinder queue.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from wdk_aws.testing.inprocess import Answered, Asked, put_under
from wdk_aws.testing.queues import Letter, Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from boto3.session import Session

    from wdk_aws.testing.inprocess import Service
    from wdk_cloud.world.ports import Clock

ACCOUNT, REGION = "123456789012", "eu-central-1"

MOST_IN_A_BATCH = 10
LARGEST = 1_048_576
"""Bytes of a message, and of all in one request (SQS, quotas)."""

LONGEST_DELAY = 900
LONGEST_VISIBILITY = 43_200

Json = dict[str, Any]


class Refused(Exception):
    """An error as the service words it."""

    def __init__(self, code: str, message: str, query: str = "", status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.query = query or code
        self.status = status


class Timetable:
    """The queues and schedules of one account."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.queues: dict[str, Queue] = {}
        self.schedules: dict[tuple[str, str], Json] = {}
        self.changed: list[Callable[[], None]] = []
        """Called when a queue may show a message sooner than anybody reckoned."""
        self._lock = threading.RLock()
        self._ids = count(1)

    @property
    def services(self) -> dict[str, Service]:
        """By the ids that botocore gives them."""
        return {"sqs": _Sqs(self), "scheduler": _Scheduler(self)}

    def put_under(self, session: Session) -> None:
        for id, service in self.services.items():
            put_under(session, id, service)

    def make_queue(
        self, name: str, *, visibility: float = 5400.0, dead: str | None = None, received: int = 1000
    ) -> str:
        """The URL of the queue, which is made if needed; `dead` is the name of its dead-letter queue."""
        if dead is not None:
            self.make_queue(dead)
        self.queues.setdefault(name, Queue(name, visibility, dead, received, self._ids))
        return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"

    def queue(self, name: str) -> Queue:
        try:
            return self.queues[name]
        except KeyError:
            said = "The specified queue does not exist."
            raise Refused("QueueDoesNotExist", said, "AWS.SimpleQueueService.NonExistentQueue") from None

    def send(self, queue: Queue, body: str, delay: float) -> Letter:
        """A new message, visible after the delay."""
        with self._lock:
            letter = Letter(f"{next(self._ids):08x}-wdk0-4000-8000-000000000000", body, self.clock.now())
            queue.put(letter, self.clock.now() + delay)
        self._tell()
        return letter

    def take(self, queue: Queue, most: int, visibility: float | None) -> list[Letter]:
        with self._lock:
            taken, dead = queue.take(self.clock.now(), most, queue.visibility if visibility is None else visibility)
            for letter in dead:
                self.queue(cast("str", queue.dead)).put(letter, self.clock.now())
        if dead:
            self._tell()
        return taken

    def show_after(self, queue: Queue, receipt: str, seconds: float) -> bool:
        with self._lock:
            changed = queue.show_at(receipt, self.clock.now() + seconds, self.clock.now())
        self._tell()
        return changed

    def next_due(self, *names: str) -> tuple[float, str] | None:
        """When a message of these queues is visible, at the earliest, and in which of them."""
        with self._lock:
            found = [(due, name) for name in names if (due := self.queue(name).next_due()) is not None]
        first = min(found, default=None)
        return None if first is None else (first[0][0], first[1])

    def schedule(self, key: tuple[str, str], schedule: Json) -> None:
        """Fire once, at its time; then it deletes itself if it says so."""
        when = _moment(schedule["ScheduleExpression"])

        def fire() -> None:
            if self.schedules.get(key) is not schedule:
                return
            if schedule.get("ActionAfterCompletion") == "DELETE":
                del self.schedules[key]
            name = str(schedule["Target"]["Arn"]).rpartition(":")[2]
            self.send(self.queue(name), schedule["Target"]["Input"], 0.0)

        self.schedules[key] = schedule
        self.clock.call_at(when, fire)

    def _tell(self) -> None:
        for tell in list(self.changed):
            tell()


def _moment(expression: str) -> float:
    found = re.fullmatch(r"at\((\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\)", expression)
    if found is None:
        raise Refused("ValidationException", f"only one-time schedules are known here, not {expression}")
    return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()


class _Sqs:
    """The JSON protocol of SQS."""

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = timetable

    def answer(self, asked: Asked) -> Answered:
        action = asked.headers["x-amz-target"].removeprefix("AmazonSQS.")
        headers = {"content-type": "application/x-amz-json-1.0", "x-amzn-requestid": "00000000-wdk0"}
        try:
            method: Callable[[Json], Json] = getattr(self, f"_{action}")
            return Answered(200, headers, json.dumps(method(json.loads(asked.body))).encode())
        except Refused as error:
            headers["x-amzn-query-error"] = f"{error.query};Sender"
            said = {"__type": f"com.amazonaws.sqs#{error.code}", "message": str(error)}
            return Answered(error.status, headers, json.dumps(said).encode())

    def _of(self, asked: Json) -> Queue:
        return self._timetable.queue(str(asked["QueueUrl"]).rpartition("/")[2])

    def _GetQueueUrl(self, asked: Json) -> Json:
        queue = self._timetable.queue(asked["QueueName"])
        return {"QueueUrl": self._timetable.make_queue(queue.name)}

    def _GetQueueAttributes(self, asked: Json) -> Json:
        queue, now = self._of(asked), self._timetable.clock.now()
        visible, hidden = queue.counts(now)
        return {
            "Attributes": {
                "QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue.name}",
                "ApproximateNumberOfMessages": str(visible),
                "ApproximateNumberOfMessagesNotVisible": str(hidden),
                "VisibilityTimeout": str(int(queue.visibility)),
            }
        }

    def _SendMessage(self, asked: Json) -> Json:
        return self._sent(self._of(asked), asked)

    def _SendMessageBatch(self, asked: Json) -> Json:
        queue, entries = self._of(asked), asked["Entries"]
        _check_batch(entries)
        if sum(len(entry["MessageBody"].encode()) for entry in entries) > LARGEST:
            raise Refused("BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes.")
        sent: list[Json] = []
        failed: list[Json] = []
        for entry in entries:
            try:
                sent.append({"Id": entry["Id"], **self._sent(queue, entry)})
            except Refused as error:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": error.query, "Message": str(error)})
        return {"Successful": sent, "Failed": failed}

    def _sent(self, queue: Queue, asked: Json) -> Json:
        body, delay = asked["MessageBody"], asked.get("DelaySeconds", 0)
        if not 0 <= delay <= LONGEST_DELAY:
            raise Refused("InvalidParameterValue", f"Value {delay} for parameter DelaySeconds is invalid.")
        if len(body.encode()) > LARGEST:
            raise Refused("InvalidParameterValue", "One or more parameters are invalid. Reason: Message too long.")
        letter = self._timetable.send(queue, body, delay)
        return {"MessageId": letter.id, "MD5OfMessageBody": _md5(body)}

    def _ReceiveMessage(self, asked: Json) -> Json:
        queue = self._of(asked)
        most = asked.get("MaxNumberOfMessages", 1)
        if not 1 <= most <= MOST_IN_A_BATCH:
            raise Refused("InvalidParameterValue", f"Value {most} for parameter MaxNumberOfMessages is invalid.")
        taken = self._timetable.take(queue, most, asked.get("VisibilityTimeout"))
        return {"Messages": [_as_received(letter) for letter in taken]} if taken else {}

    def _DeleteMessage(self, asked: Json) -> Json:
        self._of(asked).delete(asked["ReceiptHandle"])
        return {}

    def _DeleteMessageBatch(self, asked: Json) -> Json:
        queue = self._of(asked)
        _check_batch(asked["Entries"])
        for entry in asked["Entries"]:
            queue.delete(entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in asked["Entries"]], "Failed": []}

    def _ChangeMessageVisibility(self, asked: Json) -> Json:
        seconds = asked["VisibilityTimeout"]
        if not 0 <= seconds <= LONGEST_VISIBILITY:
            raise Refused("InvalidParameterValue", f"Value {seconds} for parameter VisibilityTimeout is invalid.")
        if not self._timetable.show_after(self._of(asked), asked["ReceiptHandle"], seconds):
            said = "Message does not exist or is not available for visibility timeout change."
            raise Refused("InvalidParameterValue", f"Value for parameter ReceiptHandle is invalid. Reason: {said}")
        return {}


def _check_batch(entries: list[Json]) -> None:
    if not entries:
        raise Refused(
            "EmptyBatchRequest", "There should be at least one entry.", "AWS.SimpleQueueService.EmptyBatchRequest"
        )
    if len(entries) > MOST_IN_A_BATCH:
        query = "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
        raise Refused("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10.", query)


def _as_received(letter: Letter) -> Json:
    return {
        "MessageId": letter.id,
        "ReceiptHandle": letter.receipt,
        "MD5OfBody": _md5(letter.body),
        "Body": letter.body,
        "Attributes": {
            "ApproximateReceiveCount": str(letter.received),
            "SentTimestamp": str(int(letter.sent * 1000)),
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": str(int(letter.first_received * 1000)),
        },
    }


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


class _Scheduler:
    """The REST protocol of EventBridge Scheduler, as much as one-time schedules need."""

    def __init__(self, timetable: Timetable) -> None:
        self._timetable = timetable

    def answer(self, asked: Asked) -> Answered:
        headers = {"content-type": "application/json"}
        parts = urlsplit(asked.url)
        body: Json = json.loads(asked.body) if asked.body else {}
        name = unquote(parts.path.removeprefix("/schedules/"))
        try:
            answer = self._do(asked.method, name, body)
            return Answered(200, headers, json.dumps(answer).encode())
        except Refused as error:
            headers["x-amzn-errortype"] = error.code
            return Answered(error.status, headers, json.dumps({"Message": str(error)}).encode())

    def _do(self, method: str, name: str, body: Json) -> Json:
        key = (body.get("GroupName", "default"), name)
        if method == "POST":
            if key in self._timetable.schedules:
                raise Refused("ConflictException", f"Schedule {name} already exists.", status=409)
            self._timetable.schedule(key, body)
            return {"ScheduleArn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/{key[0]}/{name}"}
        raise Refused("ValidationException", f"{method} of a schedule is not known here")
