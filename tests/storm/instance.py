"""One instance of the Lambda function in the storm: its world, and the events that it is given."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.faults import ByTheClock
from tests.histories import SETTINGS
from tests.storm import bodies
from tests.storm.faults import FIRST_READER, StormLife, StormPort, StormWorld
from tests.storm.requests import port_call
from wdk_aws import messages
from wdk_aws.mapping import Context, Invocation
from wdk_aws.serving import Instance, Parts
from wdk_aws.testing.mapping import EventSourceMapping
from wdk_cloud.telemetry import Silent
from wdk_cloud.world import ports
from wdk_cloud.world.ports import Delivery

if TYPE_CHECKING:
    from wdk_aws.settings import AwsSettings
    from wdk_aws.world import AwsWorld
    from wdk_cloud.world.ports import Subscription

TIMEOUT = 900.0
"""Seconds of an invocation: the most that Lambda gives."""


class AwsPort(StormPort):
    """A port that says which of its calls a request belongs to."""

    async def _call(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        token = port_call.set(name)
        try:
            return await super()._call(name, method, *args, **kwargs)
        finally:
            port_call.reset(token)

    def _call_now(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        token = port_call.set(name)
        try:
            return super()._call_now(name, method, *args, **kwargs)
        finally:
            port_call.reset(token)


class InstanceWorld(StormWorld):
    """The world of one instance."""

    port = AwsPort

    def __init__(self, world: AwsWorld, life: StormLife, settings: AwsSettings, clients: Any, receiver: Mapped) -> None:
        super().__init__(world, life)
        self.settings = settings
        self.clients = clients
        self.receiver: Any = AwsPort(receiver, ports.Receiver, life)
        self.receiver.bring_back = world.queue.extend

    def scoped(self, namespace: str) -> InstanceWorld:
        assert namespace == ""
        return self

    def subscribe(self, run_id: str) -> Subscription:
        return ByTheClock(
            self._world.subscribe(run_id), None if self._life.number >= FIRST_READER else self._life.clock
        )


class Mapped:
    """The events of one instance, one after the other, in the words of a receiver."""

    def __init__(self) -> None:
        self.next: tuple[EventSourceMapping, Invocation]
        self._given: dict[str, tuple[EventSourceMapping, Invocation]] = {}
        """By receipt: an acknowledgement may be on its way while the next event is there."""

    async def receive(self, limit: int) -> list[Delivery]:
        (record,) = self.next[1].event["Records"]
        source = "step" if record["eventSourceARN"].endswith("step") else "flow"
        receipt = f"{source}:{record['receiptHandle']}"
        self._given[receipt] = self.next
        return [Delivery(message=messages.decode(record["body"])[1], provider_id=record["messageId"], receipt=receipt)]

    async def acknowledge(self, delivery: Delivery) -> None:
        mapping, invocation = self._given[delivery.receipt]
        mapping.settle(invocation, {"batchItemFailures": []})

    async def put_back(self, delivery: Delivery, delay: float) -> None: ...

    def busy(self) -> bool:
        return False


class OneInstance:
    """In the place of a worker of the storm."""

    def __init__(self, life: StormLife, world: InstanceWorld, mapped: Mapped, timeout: float) -> None:
        self.world = world
        self._life = life
        self._mapped = mapped
        self._timeout = timeout
        self._task: asyncio.Task[None] | None = None
        self.instance = Instance([bodies.app], Parts(lambda: world, Silent, SETTINGS))

    @property
    def idle(self) -> bool:
        return self._task is None or self._task.done()

    @property
    def has_room(self) -> bool:
        return self.idle

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def close(self) -> None:
        self.instance.close()

    async def prepare(self) -> None:
        await self.instance.prepare()
        self.instance._open.close()  # what steps ask by themselves they ask of the world of the test

    def give(self, mapping: EventSourceMapping, invocation: Invocation, context: contextvars.Context) -> None:
        self._mapped.next = mapping, invocation
        self._task = context.run(asyncio.get_running_loop().create_task, self._work(invocation))
        self._task.add_done_callback(_forget)

    def sweep(self, context: contextvars.Context) -> None:
        self._task = context.run(asyncio.get_running_loop().create_task, self._swept())
        self._task.add_done_callback(_forget)

    async def _work(self, invocation: Invocation) -> None:
        life = self._life
        (delivery,) = await self.world.receiver.receive(1)
        life.in_hand.add(delivery.receipt)
        over = life.clock.call_at(life.later(self._timeout), partial(life.overrun, delivery.receipt))
        try:
            answer: Any = await self.instance.handle(invocation.event, Context(self._timeout, life.clock.monotonic))
            if not answer["batchItemFailures"]:
                await self.world.receiver.acknowledge(delivery)
        finally:
            over.cancel()
            life.in_hand.discard(delivery.receipt)

    async def _swept(self) -> None:
        await self.instance.handle({"sweep": {}}, Context(self._timeout, self._life.clock.monotonic))


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # it is dead, or AWS could not be asked: its message comes back
