"""What a queue of Cloud Tasks keeps, and its rules: names, limits, back-off. No threads, no clock, no network.

The rules are those of https://cloud.google.com/tasks/docs/reference/rpc/google.cloud.tasks.v2 and of the quotas page.
"""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NoReturn

import grpc
from google.cloud.tasks_v2 import types

from wdk_gcp.testing.messages import Message, copied, micros, seconds
from wdk_gcp.testing.serving import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

TASK_SIZE = 100 * 1024
"""Bytes of a task at most: "Maximum task size" of the quotas."""

FURTHEST = 30 * 86400.0
"""Seconds until a task's schedule time at most."""

NAME_BLOCKED = 3600.0
"""Seconds in which the name of a task that is gone cannot be used again. Documented are "up to 24 hours"; an hour is
the least that was ever promised."""

DEADLINE = 600.0
"""Seconds that the receiver of a task has, if the task says nothing; at least 15 and at most 1,800."""

RUNNING = types.Queue.State.RUNNING
PAUSED = types.Queue.State.PAUSED

_QUEUE = re.compile(r"projects/[A-Za-z0-9.:-]+/locations/[A-Za-z0-9-]+/queues/[A-Za-z0-9-]{1,100}")
_TASK = re.compile(r"(projects/[^/]+/locations/[^/]+/queues/[^/]+)/tasks/[A-Za-z0-9_-]{1,500}")
_OURS = re.compile(r"host|content-length|user-agent|x-google-.*|x-appengine-.*|x-cloudtasks-.*", re.IGNORECASE)
"""Headers of a task that are ignored or replaced."""


@dataclass
class TaskState:
    """A task until it is done. `due` is the time of its next delivery, `entry` its place among those that wait."""

    task: Message
    due: float
    created: float
    dispatched: int = 0
    answered: int = 0
    first: float | None = None
    last: float | None = None
    previous: int | None = None
    """The status of the last answer."""
    running: int = 0
    """Deliveries of it that are under way: two when it was duplicated."""
    delivered: bool = False
    """Whether one of the deliveries under way has been acknowledged."""
    held_back: bool = False
    gone: bool = False
    entry: int = -1

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def deadline(self) -> float:
        return seconds(self.task, "dispatch_deadline", DEADLINE)

    def headers(self) -> dict[str, str]:
        """Those of its next delivery, without a token."""
        request = self.task.http_request
        given = {name: value for name, value in request.headers.items() if not _OURS.fullmatch(name)}
        if request.body and not any(name.lower() == "content-type" for name in given):
            given["Content-Type"] = "application/octet-stream"
        _, _, _, _, _, queue, _, short = self.name.split("/")
        headers = {
            **given,
            "User-Agent": "Google-Cloud-Tasks",
            "X-CloudTasks-QueueName": queue,
            "X-CloudTasks-TaskName": short,
            "X-CloudTasks-TaskRetryCount": str(self.dispatched),
            "X-CloudTasks-TaskExecutionCount": str(self.answered),
            "X-CloudTasks-TaskETA": f"{self.due:.6f}",
        }
        if self.previous is not None:
            headers["X-CloudTasks-TaskPreviousResponse"] = str(self.previous)
        return headers

    def shown(self) -> Message:
        """As an answer shows it: the basic view has no body."""
        shown = copied(self.task)
        shown.http_request.ClearField("body")
        shown.view = types.Task.View.BASIC
        shown.schedule_time.FromMicroseconds(micros(self.due))
        shown.create_time.FromSeconds(int(self.created))
        shown.dispatch_count, shown.response_count = self.dispatched, self.answered
        if self.first is not None and self.last is not None:
            shown.first_attempt.dispatch_time.FromMicroseconds(micros(self.first))
            shown.last_attempt.dispatch_time.FromMicroseconds(micros(self.last))
        return shown


@dataclass
class QueueState:
    """A queue, with the tasks that it holds and the names that it does not take again."""

    queue: Message
    tasks: dict[str, TaskState] = field(default_factory=dict[str, TaskState])
    blocked: dict[str, float] = field(default_factory=dict[str, float])
    """Names of tasks that are gone, with the time at which each can be used again."""
    running: int = 0
    _heap: list[tuple[float, int, TaskState]] = field(default_factory=list[tuple[float, int, TaskState]])
    _entries: Iterator[int] = field(default_factory=count)

    @property
    def paused(self) -> bool:
        return self.queue.state != RUNNING

    def add(self, task: Message, now: float) -> TaskState:
        """Take a task. Raises Refused."""
        self.blocked = {name: until for name, until in self.blocked.items() if until > now}
        if task.name in self.tasks:
            refuse(grpc.StatusCode.ALREADY_EXISTS, "Requested entity already exists")
        if task.name in self.blocked:
            refuse(
                grpc.StatusCode.ALREADY_EXISTS,
                "The task cannot be created because a task with this name existed too recently.",
            )
        due = max(now, seconds(task, "schedule_time", now))
        state = TaskState(task, due, now)
        self.tasks[task.name] = state
        self.schedule(state, due)
        return state

    def schedule(self, state: TaskState, due: float) -> None:
        state.due = due
        self._push(state, due)

    def hold_back(self, state: TaskState, now: float) -> None:
        """Deliver a task that is due after all others that are due."""
        state.held_back = True
        self._push(state, now)

    def remove(self, state: TaskState, now: float) -> None:
        state.gone = True
        if self.tasks.pop(state.name, None) is not None:
            self.blocked[state.name] = now + NAME_BLOCKED

    def next_due(self) -> float | None:
        """The time at which the next task can be delivered; None if nothing waits, or the queue is paused."""
        while self._heap and (self._heap[0][2].gone or self._heap[0][2].entry != self._heap[0][1]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap and not self.paused else None

    def take(self, now: float) -> TaskState | None:
        """The next task that is due, if the queue delivers and has not too many under way."""
        due = self.next_due()
        if due is None or due > now or self.running >= self.queue.rate_limits.max_concurrent_dispatches:
            return None
        return heapq.heappop(self._heap)[2]

    def again(self, state: TaskState, now: float, after: float) -> None:
        """After a failed delivery: wait for the next one, or give up. `after`: seconds that the receiver asked for."""
        own = state.task.HasField("retry_config")
        config = state.task.retry_config if own else self.queue.retry_config
        most, longest = config.max_attempts, seconds(config, "max_retry_duration", 0.0)
        tried = most != -1 and state.dispatched >= most
        passed = longest == 0 or (state.first is not None and now - state.first >= longest)
        if tried and passed:
            self.remove(state, now)
        else:
            self.schedule(state, now + max(backoff(config, state.dispatched), after))

    def _push(self, state: TaskState, when: float) -> None:
        state.entry = next(self._entries)
        heapq.heappush(self._heap, (when, state.entry, state))


def backoff(config: Message, attempts: int) -> float:
    """Seconds from a failed attempt, the `attempts`-th, to the next: doubled, then in equal steps, up to the most."""
    least, most = seconds(config, "min_backoff", 0.1), seconds(config, "max_backoff", 3600.0)
    doubled = 2 ** min(attempts - 1, config.max_doublings)
    steps = max(0, attempts - 1 - config.max_doublings)
    return min(least * doubled * (1 + steps), most)


def new_queue(queue: Message) -> Message:
    """With what Cloud Tasks fills in where the request says nothing. Raises Refused."""
    if not _QUEUE.fullmatch(queue.name):
        _invalid("Queue name must be formatted: projects/P/locations/L/queues/Q")
    made = copied(queue)
    limits, retries = made.rate_limits, made.retry_config
    if limits.max_dispatches_per_second > 500 or limits.max_concurrent_dispatches > 5000:
        _invalid("Queue.rate_limits is above what a queue can have: 500 dispatches a second, 5000 at once")
    limits.max_dispatches_per_second = limits.max_dispatches_per_second or 500
    limits.max_concurrent_dispatches = limits.max_concurrent_dispatches or 1000
    limits.max_burst_size = 100
    retries.max_attempts = retries.max_attempts or 100
    retries.max_doublings = retries.max_doublings or 16
    for name, default in (("min_backoff", 0.1), ("max_backoff", 3600.0)):
        getattr(retries, name).FromMicroseconds(micros(seconds(retries, name, default)))
    made.state = RUNNING
    return made


def checked(parent: str, task: Message, now: float) -> None:
    """Refuse a task that Cloud Tasks would not take."""
    named = _TASK.fullmatch(task.name)
    if named is None or named[1] != parent:
        _invalid("Task name must be formatted: projects/P/locations/L/queues/Q/tasks/T, with the queue as its parent")
    if not task.HasField("http_request"):
        _invalid("Task.message_type must be http_request here: there is no App Engine")
    url = task.http_request.url
    if not url.startswith(("http://", "https://")) or len(url) > 2083:
        _invalid("HttpRequest.url must start with http:// or https:// and have at most 2083 characters")
    if task.http_request.HasField("oauth_token"):
        _invalid("HttpRequest.oauth_token is for Google's own services, and there are none here")
    if task.http_request.body and types.HttpMethod(task.http_request.http_method).name not in _WITH_BODY:
        _invalid("HTTP request body can only be set for POST, PUT and PATCH")
    if task.ByteSize() > TASK_SIZE:
        _invalid(f"Task size too large: {task.ByteSize()} bytes, and {TASK_SIZE} are allowed")
    if seconds(task, "schedule_time", now) > now + FURTHEST:
        _invalid("The schedule_time must be no more than 30d in the future")
    if task.HasField("dispatch_deadline") and not 15 <= seconds(task, "dispatch_deadline", 0.0) <= 1800:
        _invalid("Task.dispatchDeadline must be between [15s, 30m] for HTTP requests")


_WITH_BODY = ("HTTP_METHOD_UNSPECIFIED", "POST", "PUT", "PATCH")


def refuse(code: grpc.StatusCode, message: str) -> NoReturn:
    raise Refused(code, message)


def _invalid(message: str) -> NoReturn:
    refuse(grpc.StatusCode.INVALID_ARGUMENT, message)
