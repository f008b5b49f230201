"""The queue: one of Cloud Tasks for runs, and one for steps."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from google.api_core.exceptions import AlreadyExists
from google.cloud.tasks_v2 import types
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from wdk_cloud.errors import WorldUnavailableError
from wdk_gcp import messages
from wdk_gcp.clients import RETRY, WITHIN
from wdk_gcp.settings import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wdk_cloud.world.ports import Clock, Delivery, Message
    from wdk_gcp.clients import Clients
    from wdk_gcp.settings import GcpSettings

    PutOrder = Callable[[str, str, bytes], Awaitable[str | None]]

LONGEST = 28 * 86_400.0
"""Seconds: a task's schedule time may lie 30 days ahead (Cloud Tasks, "Quotas and limits"), by its clock."""

DEADLINE = 1_800
"""Seconds that the service has for a delivery: the most for an HTTP target (`Task.dispatch_deadline`)."""

AUDIENCE = "wdk-cloud"
"""Of the OIDC token of each task: a custom audience of the service, whatever its URL is."""

ROUTE = "/.well-known/workflow/v1/flow"
"""Where the service takes messages of both queues."""

AT_ONCE = 16
"""Requests of one `send`: Cloud Tasks takes no batches, and half of the threads are left to others."""


WHOLE = 1.0
"""Seconds that the time at which a task was created may lack: it is "truncated to the nearest second" (`Task`)."""


class TasksQueue:
    """Messages of every namespace share the queues; the URLs of their tasks say whose they are. `put_order` keeps an
    order that is too large for a task."""

    longest_delay = LONGEST
    callers_delay = LONGEST

    def __init__(
        self, settings: GcpSettings, clients: Clients, clock: Clock, namespace: str, put_order: PutOrder
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._query = f"?{urlencode({'namespace': namespace})}" if namespace else ""
        self._put_order = put_order
        self._ahead = 0.0
        """Seconds by which the clock of Cloud Tasks is ahead of ours, as far as we know."""

    async def send(self, messages: Sequence[tuple[Message, float]]) -> None:
        """Each is tried, whatever becomes of the others: what is sent need not be sent again."""
        few = asyncio.Semaphore(AT_ONCE)

        async def send(message: Message, delay: float) -> None:
            async with few:
                await self._send(message, delay)

        sent = await asyncio.gather(*(send(*each) for each in messages), return_exceptions=True)
        for answer in sent:
            if answer is not None:
                raise answer

    async def _send(self, message: Message, delay: float) -> None:
        body = messages.encode(message)
        if len(body) > messages.LARGEST and message.order:
            digest = await self._put_order(message.run_id, message.birth, message.order)
            if digest is None:
                return  # its run was deleted, and the order is data of it
            body = messages.encode(message, digest)
        await self._put(_field_of(message), body, delay)

    async def pass_on(self, body: bytes, queue: str, delay: float) -> None:
        """As it is, into the queue of this name."""
        steps = self._settings.step_queue and self._settings.queue("step_queue").rpartition("/")[2] == queue
        await self._put("step_queue" if steps else "flow_queue", body, delay)

    async def _put(self, field: str, body: bytes, delay: float) -> None:
        task = self._task(field, body, delay)
        await self._clients.ask(VARIABLES[field], self._create, self._settings.queue(field), task)

    def _create(self, queue: str, task: types.Task) -> None:
        # The name is of this call alone, so that the task that has it is ours: the library repeats a request whose
        # answer was lost. It cannot say more, derived from the message, as a used name is refused for an hour or more.
        task.name = f"{queue}/tasks/{os.urandom(16).hex()}"
        client: Any = self._clients.tasks  # the types of its methods are partly unknown
        before = self._clock.now()
        try:
            made = client.create_task(parent=queue, task=task, retry=RETRY, timeout=WITHIN)
        except AlreadyExists:
            return
        self._compare_clocks(before, made.create_time.timestamp())

    def _compare_clocks(self, before: float, created: float) -> None:
        """Cloud Tasks is told when, and not how long. By a clock that is behind, what is to come later would come at
        once, be put off, come at once, until that clock has caught up; better a second too late."""
        agree = created <= self._clock.now() and before < created + WHOLE
        self._ahead = 0.0 if agree else created + WHOLE - before

    def _task(self, field: str, body: bytes, delay: float) -> types.Task:
        task = types.Task(
            http_request=types.HttpRequest(
                http_method=types.HttpMethod.POST,
                url=self._url(field),
                headers={"Content-Type": "application/json"},
                body=body,
                oidc_token=types.OidcToken(service_account_email=self._settings.needed("invoker"), audience=AUDIENCE),
            ),
            dispatch_deadline=Duration(seconds=DEADLINE),
        )
        if delay > 0:
            due = Timestamp()
            due.FromMicroseconds(round((self._clock.now() + self._ahead + delay) * 1e6))
            task.schedule_time = due
        return task

    def _url(self, field: str) -> str:
        to_steps = field == "step_queue" and self._settings.step_url
        base = self._settings.step_url if to_steps else self._settings.needed("worker_url")
        return f"{base.rstrip('/')}{ROUTE}{self._query}"

    def extend(self, delivery: Delivery, seconds: float) -> None:
        """Cloud Tasks knows no invisibility: a delivery lasts as long as its connection, up to its deadline.

        After that its task is delivered again. Raises WorldUnavailableError then, so that the lease is not renewed
        either: a process that hangs, with a thread that could renew it for ever, holds its run no longer.
        """
        if delivery.deadline is not None and self._clock.monotonic() > delivery.deadline:
            raise WorldUnavailableError(
                f"run {delivery.message.run_id}: its delivery is past the {DEADLINE} s of a task, and what it holds "
                "runs out; give steps a timeout=, or cut the work into smaller ones"
            )


def _field_of(message: Message) -> str:
    return "step_queue" if message.kind == "step" else "flow_queue"
