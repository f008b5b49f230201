"""The storm on the Google Cloud world: the same programs, weathers and judge, with instances of the service as workers.

Each instance works on several tasks at once, as Cloud Run has it, and has a clock of its own. Firestore, Cloud Tasks and
Cloud Storage are the servers of `wdk_gcp.testing`, on the clock of the test; what is due in the queues is handed out
here, one after the other, so that an execution is the same each time. Below the calls of the ports, which `faults.py`
disturbs, the requests fail as well (`answers.py`), and a task may be delivered twice at once, or out of order.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.faults import Dead
from tests.gcp.wire import ShortStage
from tests.storm.answers import Line, Requests, StormClients, without_pauses
from tests.storm.campaign import MOST_VIOLATIONS, Tally
from tests.storm.execution import Execution, carry_out
from tests.storm.faults import StormLife, StormWorld, Weather
from tests.storm.programs import Node, expect
from tests.storm.pushed import PushedCrew, note, weather_of
from tests.storm.replaying import Replayer
from tests.storm.service import LIMIT, Connection, OneService, Posted, ServiceWorld
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory.watch import Watches
from wdk_gcp.testing.stage import Stage
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from wdk_cloud.world.ports import World
    from wdk_gcp.settings import GcpSettings
    from wdk_gcp.testing.queues import QueueState, TaskState

ROUND_TRIP = 0.01
"""Seconds from one delivery to the next: what an instance whose clock is a little behind sends for a little later comes
at once, over and over until it is later."""

DUPLICATES = 0.05
"""The share of tasks that come twice at once, where any do. Of a message whose run or step is held each delivery sends a
copy for later, so that copies multiply by this much for each lease that a long step lasts (docs/decisions/023)."""


@dataclass
class Sky:
    """What goes wrong on Google Cloud besides the weather of the ports."""

    line: Line
    rng: random.Random
    duplicate: float = 0.0
    """The share of tasks that come twice at once."""
    shuffle: bool = False
    """Tasks that are due come in any order."""
    room: int = 4
    """Tasks that an instance works on at once."""
    loses_the_start: bool = False
    """The message of `start` never comes: the sweep completes the run."""
    sweeps: int = field(default=0)
    """That there were."""

    @classmethod
    def drawn(cls, seed: int) -> Sky:
        rng = random.Random(f"sky {seed}")
        return cls(
            Line.drawn(seed),
            rng,
            duplicate=rng.choice((0.0, 0.0, 0.0, DUPLICATES)),
            shuffle=rng.random() < 0.5,
            room=rng.choice((1, 4, 4)),
            loses_the_start=rng.random() < 0.05,
        )

    @property
    def leaves_to_the_sweep(self) -> bool:
        """Besides a start whose message is lost: a task that comes twice at once, neither of them counted, the one time
        to a receiver that dies (docs/protocol.md, "Assumed and not assumed")."""
        return self.loses_the_start or self.duplicate > 0


@contextmanager
def stage_standing() -> Iterator[Stage]:
    """Servers that draw what they do wrong from the line of the execution that is carried out."""
    requests = Requests()
    with ShortStage(requests) as stage, without_pauses(requests):
        yield stage


def storm(stage: Stage, seed: int) -> tuple[Execution, Sky]:
    program, weather = weather_of(seed)
    sky = Sky.drawn(seed)
    return asyncio.run(execute(stage, program, weather, sky)), sky


def run_part(seeds: range) -> Tally:
    """Carry out the programs of these seeds, and replay their logs in another process."""
    tally = Tally()
    with stage_standing() as stage, Replayer() as replayer:
        for seed in seeds:
            try:
                note(tally, *storm(stage, seed), seed, replayer)
            except Exception as error:  # whatever it is, it is what we look for
                tally.violations.append(f"gcp, seed {seed}: {type(error).__name__}: {error}")
                if len(tally.violations) == MOST_VIOLATIONS:
                    break
    return tally


async def execute(stage: Stage, program: Node, weather: Weather, sky: Sky) -> Execution:
    clock = VirtualClock()
    settings = stage.begin(clock)
    requests: Any = stage.mischief
    requests.line = sky.line
    watches = Watches()
    world = _gcp(settings, stage, clock, watches)
    execution = Execution(program, weather, expect(program))
    try:
        await carry_out(execution, world, clock, 1, partial(Services, stage, settings, watches, sky))
    finally:
        requests.line = None
        stage.end()
    return execution


def _gcp(settings: GcpSettings, stage: Stage, clock: Any, watches: Watches, clients: Any = None) -> GcpWorld:
    world: Any = GcpWorld(settings, clients=clients or stage.clients, clock=clock)
    world.subscribe = watches.add  # its own look again each two seconds, for as long as a run sleeps
    return world


class Services(PushedCrew):
    """Instances of the service."""

    def __init__(
        self,
        stage: Stage,
        settings: GcpSettings,
        watches: Watches,
        sky: Sky,
        world: World,
        clock: VirtualClock,
        weather: Weather,
        size: int,
        execution: Execution,
    ) -> None:
        left = sky.leaves_to_the_sweep
        super().__init__(watches, world, clock, weather, size, execution, leaves_to_the_sweep=left)
        self._stage = stage
        self._settings = settings
        self._sky = sky
        self._limit = weather.limit or LIMIT
        if sky.loses_the_start:
            queue = self._queues[0]
            for state in list(queue.tasks.values()):
                queue.remove(state, clock.now())

    @property
    def _queues(self) -> list[QueueState]:
        return [self._stage.tasks.queues[name] for name in (self._settings.flow_queue, self._settings.step_queue)]

    async def judge(self, run: Any) -> None:
        line = self._sky.line
        self._sky.sweeps = self.sweeps
        self._execution.is_all_noted = not line.has_killed
        self._weather.is_not_all = line.harms_producers or self._sky.leaves_to_the_sweep
        await super().judge(run)

    def _on_its_way(self, soon: float) -> bool:
        states = [state for queue in self._queues for state in queue.tasks.values()]
        return any(state.running or state.dispatched or state.due <= soon for state in states)

    def _message_due(self) -> float | None:
        return min((due for queue in self._queues if (due := queue.next_due()) is not None), default=None)

    async def _hand_out(self) -> bool:
        """Post all that is due."""
        now, due = self._clock.now(), list[tuple["QueueState", "TaskState"]]()
        for queue in self._queues:
            while (state := queue.take(now)) is not None:
                due.append((queue, state))
        if self._sky.shuffle:
            self._sky.rng.shuffle(due)
        for queue, state in due:
            retry_count = state.dispatched
            state.dispatched += 1
            state.delivered = False
            times = 2 if self._sky.rng.random() < self._sky.duplicate else 1
            # Both, before any of them has begun: the first may end while an instance for the other is made.
            for connection in [Connection(queue, state, retry_count, self._clock) for _ in range(times)]:
                one = await self._one_free()
                one.give(connection, self._contexts[one])
        if due:
            with suppress(Dead):
                self._clock.advance_to(now + ROUND_TRIP)
        return bool(due)

    async def _new(self, life: StormLife) -> OneService:
        requests: Any = self._stage.mischief
        clock: Any = StormWorld(self._world, life).clock
        clients = StormClients(self._stage.clients, life, requests)
        own = _gcp(self._settings, self._stage, clock, self._watches, clients)
        one = OneService(life, ServiceWorld(own, life, self._settings, Posted()), self._limit, self._sky.room)
        await one.prepare()
        return one
