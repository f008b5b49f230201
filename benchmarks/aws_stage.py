"""A function on Lambda as it is billed: its handler, its mappings and a meter, with servers that stand in for AWS.

DynamoDB is dynoxide, with which the meter agrees call by call; queues, schedules and objects answer in this process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cloud_scenes import SETTINGS
from benchmarks.cloud_workflows import app
from tests.components import dynoxide_running
from wdk_aws.testing.functions import Function
from wdk_aws.testing.meter import Call, Meter, Tally
from wdk_aws.testing.stage import Stage
from wdk_aws.world import AwsWorld
from wdk_cloud.testing.environment import SPINS
from wdk_cloud.world.clock import SystemClock, VirtualClock
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence

    from wdk_cloud.app import Workflows
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.world.ports import Clock

QUEUES = ("wdk-flow", "wdk-step")

POLLERS = frozenset(("sqs.ReceiveMessage", "sqs.DeleteMessage", "sqs.DeleteMessageBatch"))
"""Requests of the mappings."""


@dataclass
class Part:
    """What happened while something was measured."""

    calls: Sequence[Call] = ()

    @property
    def tally(self) -> Tally:
        return Tally.of(self.calls)

    @property
    def invocations(self) -> int:
        """Each message that is received is an invocation: the mappings' batches are of one."""
        return self.tally.messages["sqs.ReceiveMessage"]


class Performance:
    """One place with its functions, and the bill of what they do."""

    def __init__(self, theatre: Theatre, clock: Clock) -> None:
        self._meter = theatre.meter
        self._timetable = theatre.stage.timetable
        self._clock = clock
        self.functions: list[Function] = []

    async def rest(self) -> None:
        """Until every message is dealt with: what follows a result belongs to its bill. A message that is due later is
        waited for where the clock goes on by itself."""
        await self._settle()
        while not all(function.idle for function in self.functions) or self._is_due():
            await asyncio.sleep(0.001)  # nobody could say that all is done
            await self._settle()

    async def to_the_end(self) -> None:
        """Also beyond sleeps, on a clock that is moved."""
        assert isinstance(self._clock, VirtualClock)
        await self.rest()
        while (due := self._clock.next_due()) is not None:
            self._clock.advance_to(due)
            await self.rest()

    async def _settle(self) -> None:
        """Until nothing on the loop is ready: then what waits for the clock has told it so."""
        for _ in range(SPINS):
            await asyncio.sleep(0)

    def _is_due(self) -> bool:
        due = self._timetable.next_due(*QUEUES)
        return due is not None and (not self._clock.still or due[0] <= self._clock.now())

    @contextmanager
    def measured(self) -> Generator[Part]:
        part = Part()
        with self._meter.part() as calls:
            yield part
        part.calls = calls


class Theatre:
    """The clients of a process and their meter, for one performance after the other."""

    def __init__(self, endpoint: str, meter: Meter | None = None) -> None:
        self.stage = Stage(endpoint)
        self.meter = Meter() if meter is None else meter
        self.meter.attach(self.stage.session, endpoint)

    @asynccontextmanager
    async def performance(
        self,
        apps: Sequence[Workflows] = (app,),
        *,
        real: bool = False,
        encrypted: bool = False,
        settings: Settings = SETTINGS,
    ) -> AsyncGenerator[Performance]:
        """Of these apps. `real`: on the clock of the machine, else on one that jumps to the next thing that is due.
        `encrypted`: with data keys of KMS, which each process of a performance asks for anew."""
        clock: Clock = SystemClock() if real else VirtualClock()
        where = self.stage.begin(clock)
        if encrypted:
            where = dataclasses.replace(where, kms_key_id="alias/wdk")
        performance = Performance(self, clock)
        async with AsyncExitStack() as stack:
            # Steps have instances of their own, as on Lambda, where one works on one message at a time.
            for queue in (where.step_queue_url, where.flow_queue_url):
                world = AwsWorld(where, clients=self.stage.clients, clock=clock)
                function = Function(world, self.stage.timetable, apps, settings, queues=[queue])
                await function.start()
                stack.push_async_callback(function.stop)
                performance.functions.append(function)
            stack.enter_context(use_world(AwsWorld(where, clients=self.stage.clients, clock=clock)))
            try:
                yield performance
            finally:
                self.stage.end()


@contextmanager
def theatre(meter: Meter | None = None) -> Generator[Theatre]:
    with tempfile.TemporaryDirectory(prefix="wdk-aws-") as folder, dynoxide_running(Path(folder)) as endpoint:
        yield Theatre(endpoint, meter)
