"""A deployed function on a clock that a test moves: its mappings poll the queues, its handler is ours.

It has the place of a `Worker`. Everything is on the caller's event loop, in an order that is the same each time.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wdk_aws.mapping import Context
from wdk_aws.serving import Instance, Parts
from wdk_aws.testing.mapping import EventSourceMapping
from wdk_cloud.telemetry import Silent
from wdk_cloud.testing.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from wdk_aws.mapping import Invocation
    from wdk_aws.testing.mapping import Mischief
    from wdk_aws.testing.timetable import Timetable
    from wdk_aws.world import AwsWorld
    from wdk_cloud.app import Workflows
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.settings import Settings

log = logging.getLogger("wdk_cloud")

TIMEOUT = 900.0
"""Seconds of an invocation: the most that Lambda gives."""


class Function:
    """One function. Its invocations overlap in one instance, which keeps bodies warm if the settings say so."""

    def __init__(
        self,
        world: AwsWorld,
        timetable: Timetable,
        apps: Sequence[Workflows],
        settings: Settings | None = None,
        *,
        batch_size: int = 1,
        mischief: Mischief | None = None,
        queues: Sequence[str] = (),
    ) -> None:
        """`queues`: URLs of those that it is mapped to; both of the world's if none is named."""
        self.world = world
        self.instance = Instance(apps, Parts(lambda: world, Silent, settings))
        self._timetable = timetable
        self._mappings = {
            url.rpartition("/")[2]: EventSourceMapping(
                world.clients.sqs, url, batch_size=batch_size, timeout=TIMEOUT, mischief=mischief
            )
            for url in queues or (world.settings.flow_queue_url, world.settings.step_queue_url)
        }
        self._most = batch_size
        self._rung = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._scheduler = Scheduler(world.clock, self._tick)

    # -- in the place of a worker -----------------------------------------------------------------------------------

    @property
    def engine(self) -> Engine:
        """Of the first app's namespace."""
        namespaces = [app.namespace for app in self.instance.engines.apps()] or [""]
        return self.instance.engines.any(namespaces[0])

    @property
    def receiver(self) -> Function:
        return self

    @property
    def idle(self) -> bool:
        return not self._tasks and self._scheduler.idle

    def busy(self) -> bool:
        """Whether a message is visible or being worked on."""
        due = self._timetable.next_due(*self._mappings)
        return not self.idle or (due is not None and due[0] <= self.world.clock.now())

    async def start(self) -> None:
        await self.instance.prepare()
        for app in self.instance.engines.apps():  # as in one that has had events before
            self.instance.engines.of(app.namespace)
        self._timetable.changed.append(self._rung.set)
        self._polling = asyncio.create_task(self._poll(), name="wdk-mapping")
        self._scheduler.serve(self.instance.engines.apps())

    async def stop(self) -> None:
        """The function is taken away. What it worked on comes back at once to whoever is there."""
        self._timetable.changed.remove(self._rung.set)
        await self._scheduler.stop()
        tasks = [*self._tasks, *([self._polling] if self._polling is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.instance.close()

    # -- polling ----------------------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        clock = self.world.clock
        while True:
            self._rung.clear()
            due = self._timetable.next_due(*self._mappings)
            if due is not None and due[0] <= clock.now():
                mapping = self._mappings[due[1]]
                for invocation in mapping.receive(self._most):
                    self._begin(self._invoke(mapping, invocation))
                continue
            timer = clock.call_at(due[0], self._rung.set) if due is not None else None
            try:
                await self._rung.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _begin(self, invocation: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(invocation)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _invoke(self, mapping: EventSourceMapping, invocation: Invocation) -> None:
        try:
            answer = await self.instance.handle(invocation.event, mapping.context(self.world.clock.monotonic))
        except asyncio.CancelledError:
            mapping.show_again(invocation)
            raise
        except Exception:
            log.exception("an invocation failed, its messages come back")
            return
        mapping.settle(invocation, answer)

    # -- schedules, as EventBridge Scheduler has them ---------------------------------------------------------------

    async def _tick(self, workflow: str, tick: int) -> None:
        time = datetime.fromtimestamp(tick, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        event = {"tick": {"workflow": workflow, "time": time}}
        try:
            await self.instance.handle(event, Context(TIMEOUT, self.world.clock.monotonic))
        except Exception:
            log.exception("the tick of %s at %s has started nothing", workflow, time)
