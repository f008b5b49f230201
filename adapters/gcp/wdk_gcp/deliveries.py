"""What Cloud Tasks brings: each task becomes a delivery to the engine, and is answered when that has ended.

200 for whatever our own retry handles: a message that has to come back is sent once more, and its task is done. Answers
of 429 and 5xx would slow the whole queue, so that 503 is only for what cannot even be sent.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NamedTuple

from wdk_cloud.app import check_namespace
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.records import Delivery
from wdk_gcp.queue import DEADLINE

if TYPE_CHECKING:
    from wdk_cloud.world.records import Message
    from wdk_gcp.serving import Instance
    from wdk_gcp.world import GcpWorld

log = logging.getLogger("wdk_cloud")

MARGIN = 10.0
"""Seconds before a task's deadline at which its delivery is taken to have no time left: for a last append, messages and
the release, each of which may be tried again, and for the way of the answer."""

HAND_OVER = 2.0
"""Seconds that a delivery which is cut off has to free its lease. A plain function in a thread goes on for longer, and
nobody waits for it."""


class Task(NamedTuple):
    """One delivery of a task, as its headers have it."""

    name: str
    queue: str
    """Its name alone."""
    retry_count: int
    sent_at: float | None
    namespace: str
    body: bytes


class Received(NamedTuple):
    world: GcpWorld
    delivery: Delivery

    @property
    def message(self) -> Message:
        return self.delivery.message


class Deliveries:
    """Of one instance."""

    def __init__(self, instance: Instance, limit: float = DEADLINE) -> None:
        self._instance = instance
        self.limit = limit - MARGIN
        """Seconds that a delivery has here."""
        self._working: set[asyncio.Task[bool]] = set()
        self._over = asyncio.Event()
        """From now on what is under way is handed over."""

    async def work(self, task: Task) -> bool:
        """False: it has to come back by itself, as it could not be sent again."""
        began = self._instance.world.clock.monotonic()
        until = asyncio.get_running_loop().time() + self.limit
        world = self._world_of(task)
        if world is None:
            return self._dropped(task, f"{task.namespace!r:.100} is no namespace")
        try:
            message = await world.message_of(task.body)
        except (NewerFormatError, WorldUnavailableError, WorldConfigurationError) as error:
            # One of a newer version is for a process of that version, sooner or later.
            log.error("task %s of %s is sent again: %s", task.name, task.queue, error)
            return await self._pass_on(world, task)
        except ValueError as error:
            return self._dropped(task, str(error))
        if message is None:
            log.warning("task %s of %s is of a run that was deleted, and is dropped", task.name, task.queue)
            return True
        if message.kind == "step" and self._is_of_flow(task):
            return self._dropped(task, "a step is ordered in the queue for steps alone")
        delivery = Delivery(
            message=message,
            provider_id=task.name,
            receipt=task.name,
            again=task.retry_count > 0,
            sent_at=task.sent_at,
            deadline=began + self.limit,
            limit=self.limit,
        )
        with self._instance.telemetry.delivery(task.namespace, message):
            return await self._deliver(Received(world, delivery), until)

    def _world_of(self, task: Task) -> GcpWorld | None:
        try:
            return self._instance.world.scoped(check_namespace(task.namespace) if task.namespace else "")
        except ValueError:
            return None

    def _is_of_flow(self, task: Task) -> bool:
        """Whether it came from the queue of flow messages. Whoever starts runs may put tasks there, the public receiver
        of webhooks too; what they may not is to have steps called with arguments of theirs."""
        settings = self._instance.world.settings
        flow, steps = (name.rpartition("/")[2] for name in (settings.flow_queue, settings.step_queue))
        return task.queue == flow and flow != steps

    def _dropped(self, task: Task, reason: str) -> bool:
        """It would come back for ever and say nothing new; its content may be anybody's secret."""
        log.error("task %s of %s is none of ours and is dropped: %s", task.name, task.queue, reason)
        self._instance.telemetry.count("ForeignMessages")
        return True

    def hand_over(self) -> None:
        """The process is to end: free what is under way, and send it to others."""
        self._over.set()

    async def _deliver(self, one: Received, until: float) -> bool:
        self._instance.has_code()
        working = asyncio.create_task(self._work_on(one))
        self._working.add(working)  # one that is cut off is held here until it ends
        working.add_done_callback(self._working.discard)
        try:
            await self._ended(one, working, until)
        except asyncio.CancelledError:  # the server does not wait any longer
            working.cancel()
            await asyncio.wait((working,), timeout=HAND_OVER)
            raise
        if working.done():
            return working.result() or await self._come_back(one)
        working.cancel()
        await asyncio.wait((working,), timeout=HAND_OVER)
        if working.done() and not working.cancelled() and working.result():
            return True
        return await self._send_again(one, 0.0)

    async def _ended(self, one: Received, working: asyncio.Task[bool], until: float) -> None:
        """Returns when it has ended, or has to."""
        over = asyncio.ensure_future(self._over.wait())
        left = max(0.0, until - asyncio.get_running_loop().time())
        try:
            done, _ = await asyncio.wait((working, over), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        if not done:
            log.error(
                "run %s: its delivery takes longer than the %s s of a task; it is interrupted, and begun again: give "
                "its steps a timeout=, or cut their work into smaller ones",
                one.message.run_id,
                DEADLINE,
            )
            self._instance.telemetry.count("OverdueDeliveries")

    async def _work_on(self, one: Received) -> bool:
        """Whether to acknowledge."""
        try:
            return await self._instance.engines.deliver(one.world.namespace, one.delivery)
        except (Exception, KeyboardInterrupt):  # a step raises the latter: it is an interruption of that step
            log.exception("run %s: the delivery failed, its message comes back", one.message.run_id)
            return False

    async def _come_back(self, one: Received) -> bool:
        """docs/protocol.md, "Cloud Tasks": what is not acknowledged is sent again, a lease later."""
        self._instance.telemetry.count("ReturnedMessages")
        return await self._send_again(one, self._instance.settings.lease)

    async def _send_again(self, one: Received, delay: float) -> bool:
        try:
            await one.world.queue.send([(one.message, delay)])
        except (WorldUnavailableError, WorldConfigurationError) as error:
            log.error("run %s: its message cannot be sent again, so its task comes back: %s", one.message.run_id, error)
            return False
        return True

    async def _pass_on(self, world: GcpWorld, task: Task) -> bool:
        """As it is, to whoever can read it."""
        try:
            await world.pass_on(task.body, task.queue, self._instance.settings.lease)
        except (WorldUnavailableError, WorldConfigurationError) as error:
            log.error("task %s of %s cannot be sent again, so it comes back: %s", task.name, task.queue, error)
            return False
        self._instance.telemetry.count("ReturnedMessages")
        return True
