"""This process in the place of the function: it polls the queues, works on what comes, and sweeps each minute."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from wdk_aws.mapping import Context, EventSourceMapping
from wdk_cloud.errors import WorkflowError

if TYPE_CHECKING:
    from wdk_aws.mapping import Invocation
    from wdk_aws.serving import Instance

log = logging.getLogger("wdk_cloud")

WAIT = 2
"""Seconds of one long poll: a stop waits for it. An idle hour asks some 3,600 times, for less than a fifth of a cent
(SQS: $0.40 a million requests)."""

EVERY = 60.0
"""Seconds between two looks at schedules and at runs that show no progress; `wdk dev` has the same."""

AT_ONCE = 100
"""Batches in hand: each is a turn or a step of the app, on one loop."""

TIMEOUT = 900.0
"""Seconds of an invocation, the most that Lambda gives: a turn hands over after them here, too."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until a queue that cannot be asked is asked again, doubled each time."""


class Poller:
    """`instance` does the work; what it raises is logged, and its message comes back."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. What is in hand then is interrupted; its messages are visible again at once."""
        world = self._instance.world
        urls = (world.settings.needed("flow_queue_url"), world.settings.needed("step_queue_url"))
        mappings = [EventSourceMapping(world.clients.sqs, url, timeout=TIMEOUT) for url in urls]
        await asyncio.gather(self._look(stop), *(self._poll(mapping, stop) for mapping in mappings))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _poll(self, mapping: EventSourceMapping, stop: asyncio.Event) -> None:
        pause = FIRST_PAUSE
        while not stop.is_set():
            await self._room.acquire()
            self._room.release()
            try:
                found = await asyncio.to_thread(self._receive, mapping)
            except WorkflowError as error:
                log.warning("%s cannot be asked, tried again in %s s: %s", mapping.arn, pause, error)
                await _unless(stop, pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            for invocation in found:
                await self._room.acquire()
                task = asyncio.create_task(self._work(mapping, invocation))
                self._tasks.add(task)
                task.add_done_callback(self._done)

    def _receive(self, mapping: EventSourceMapping) -> list[Invocation]:
        return self._instance.world.clients.ask_now("the queues", mapping.receive, wait=WAIT)

    async def _work(self, mapping: EventSourceMapping, invocation: Invocation) -> None:
        clients = self._instance.world.clients
        try:
            answer = await self._instance.handle(invocation.event, mapping.context())
        except asyncio.CancelledError:
            await asyncio.to_thread(mapping.show_again, invocation)
            raise
        except Exception:
            log.exception("a batch of %s failed, its messages come back", mapping.arn)
            return
        try:
            await clients.ask("the queues", mapping.settle, invocation, answer)
        except WorkflowError as error:
            log.warning("a message of %s could not be acknowledged, it comes back: %s", mapping.arn, error)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _look(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._tell("tick")
            await self._tell("sweep")
            await _unless(stop, EVERY)

    async def _tell(self, order: str) -> None:
        empty: dict[str, object] = {}
        try:
            await self._instance.handle({order: empty}, Context(TIMEOUT))
        except WorkflowError as error:
            log.warning("the %s failed, tried again in %s s: %s", order, EVERY, error)


async def _unless(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until it is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
