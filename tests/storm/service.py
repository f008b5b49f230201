"""One instance of the Cloud Run service in the storm: its world, the tasks that it is given, and their connections."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.faults import ByTheClock, Call
from tests.histories import SETTINGS
from tests.storm import bodies
from tests.storm.faults import FIRST_READER, Fault, StormLife, StormPort, StormWorld
from wdk_cloud import direct
from wdk_cloud.telemetry import Silent
from wdk_cloud.world import ports
from wdk_cloud.world.ports import Delivery
from wdk_gcp import messages, schema
from wdk_gcp.deliveries import Task
from wdk_gcp.serving import Instance, Parts
from wdk_gcp.testing.queues import QueueState, TaskState

if TYPE_CHECKING:
    from wdk_cloud.world.clock import VirtualClock
    from wdk_cloud.world.ports import Subscription
    from wdk_gcp.settings import GcpSettings
    from wdk_gcp.world import GcpWorld

LIMIT = 1790.0
"""Seconds of a delivery: the deadline of a task, less a margin (`deliveries.py`)."""

BACK_OFF = float(schema.QUEUE.min_backoff)
"""Seconds after which a task comes back whose receiver has died."""

_numbers = count(1)


@dataclass(eq=False)
class Connection:
    """One delivery of a task, until it is answered or the connection is lost; whichever is first."""

    queue: QueueState
    state: TaskState
    retry_count: int
    clock: VirtualClock
    over: bool = False

    def __post_init__(self) -> None:
        self.receipt = str(next(_numbers))
        self.queue.running += 1
        self.state.running += 1

    @property
    def task(self) -> Task:
        _, _, _, _, _, queue, _, name = self.state.name.split("/")
        body = self.state.task.http_request.body
        return Task(name, queue, self.retry_count, self.state.due, "", body)

    def delivery(self) -> Delivery:
        task = self.task
        return Delivery(message=messages.decode(task.body)[0], provider_id=task.name, receipt=self.receipt)

    def acknowledged(self) -> None:
        self._end(delivered=True)

    def lost(self, after: float = 0.0) -> None:
        """The task comes back, after so many seconds."""
        self._end(delivered=False, after=after)

    def _end(self, *, delivered: bool, after: float = 0.0) -> None:
        if self.over:
            return
        self.over = True
        state, queue, now = self.state, self.queue, self.clock.now()
        queue.running -= 1
        state.running -= 1
        state.delivered = state.delivered or delivered
        if state.delivered:
            queue.remove(state, now)
        elif not state.running and not state.gone:
            queue.again(state, now, after)


class Posted:
    """The tasks of one instance, in the words of a receiver; but none are fetched here, as Cloud Tasks brings each."""

    def __init__(self) -> None:
        self.open: dict[str, Connection] = {}

    async def acknowledge(self, delivery: Delivery) -> None:
        self.open.pop(delivery.receipt).acknowledged()

    async def put_back(self, delivery: Delivery, delay: float) -> None: ...

    def busy(self) -> bool:
        return False

    def lose(self, delivery: Delivery, after: float) -> None:
        """The connection of this delivery ends, and whoever works on it goes on."""
        if (connection := self.open.get(delivery.receipt)) is not None:
            connection.lost(after)


class TaskPort(StormPort):
    """An answer that is lost ends its connection."""

    async def _faulty(self, fault: Fault, call: Call, method: Callable[..., Any]) -> Any:
        if fault.kind == "lose the acknowledgement":
            self.bring_back(call.args[0], 0.0)
            return None
        return await super()._faulty(fault, call, method)


class ServiceWorld(StormWorld):
    """The world of one instance."""

    def __init__(self, world: GcpWorld, life: StormLife, settings: GcpSettings, posted: Posted) -> None:
        super().__init__(world, life)
        self.settings = settings
        self.clients = world.clients
        self.message_of = world.message_of
        self.pass_on = world.pass_on
        self.posted = posted
        self.receiver: Any = TaskPort(posted, ports.Receiver, life)
        self.receiver.bring_back = self.runs.bring_back = posted.lose

    def scoped(self, namespace: str) -> ServiceWorld:
        assert namespace == ""
        return self

    def subscribe(self, run_id: str) -> Subscription:
        return ByTheClock(
            self._world.subscribe(run_id), None if self._life.number >= FIRST_READER else self._life.clock
        )


class OneService:
    """In the place of a worker of the storm: `room` tasks are worked on at once."""

    def __init__(self, life: StormLife, world: ServiceWorld, limit: float, room: int) -> None:
        self.world = world
        self._life = life
        self._limit = limit
        self._room = room
        self._tasks: set[asyncio.Task[None]] = set()
        self.instance = Instance([bodies.app], Parts(lambda: world, lambda _: Silent(), SETTINGS))  # type: ignore[arg-type,return-value]

    @property
    def idle(self) -> bool:
        return not self._tasks

    @property
    def has_room(self) -> bool:
        return len(self._tasks) < self._room

    async def prepare(self) -> None:
        await self.instance.prepare()
        self.instance.deliveries.limit = self._limit
        self.instance._open.close()  # what steps ask by themselves they ask of the world of the test

    def give(self, connection: Connection, context: contextvars.Context) -> None:
        self.world.posted.open[connection.receipt] = connection
        self._begin(self._work(connection), context)

    def sweep(self, context: contextvars.Context) -> None:
        self._begin(self._swept(), context)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self.instance.leave()

    def _begin(self, work: Any, context: contextvars.Context) -> None:
        task = context.run(asyncio.get_running_loop().create_task, work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    async def _work(self, connection: Connection) -> None:
        life, delivery = self._life, connection.delivery()
        life.received[delivery.provider_id] = delivery
        life.in_hand.add(delivery.receipt)
        over = life.clock.call_at(life.later(self._limit), partial(life.overrun, delivery.receipt))
        try:
            if await self.instance.deliveries.work(connection.task):
                await self.world.receiver.acknowledge(delivery)
            else:
                connection.lost()
        except BaseException:
            connection.lost(BACK_OFF)
            raise
        finally:
            over.cancel()
            life.in_hand.discard(delivery.receipt)

    async def _swept(self) -> None:
        await direct.obey(self.instance.engines, self.instance.telemetry, "sweep", {})

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # it is dead, or Google Cloud could not be asked: its task comes back
