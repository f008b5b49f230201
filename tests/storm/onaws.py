"""The storm on the AWS world: the same programs, weathers and judge, with instances of the Lambda function as workers.

Each instance works on one event at a time, as Lambda has it, and has a clock of its own; one that dies is thrown away,
and its message comes back. SQS, EventBridge Scheduler and S3 answer in this process, on the clock of the test, and
DynamoDB at an endpoint. Below the calls of the ports, which `faults.py` disturbs, the requests fail as well
(`requests.py`), and the mapping does what mappings may do.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.aws.quick import stage_at
from tests.components import dynoxide_running
from tests.storm.campaign import MOST_VIOLATIONS, Tally
from tests.storm.execution import Execution, Violation, carry_out
from tests.storm.faults import StormLife, StormWorld, Weather
from tests.storm.instance import TIMEOUT, InstanceWorld, Mapped, OneInstance
from tests.storm.programs import Node, expect
from tests.storm.pushed import PushedCrew, note, weather_of
from tests.storm.replaying import Replayer
from tests.storm.requests import ClientsOfOne, Line
from wdk_aws.testing.mapping import EventSourceMapping, Mischief
from wdk_aws.testing.stage import Stage
from wdk_aws.world import AwsWorld
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory.watch import Watches

if TYPE_CHECKING:
    from wdk_aws.settings import AwsSettings
    from wdk_cloud.world.ports import World


@dataclass
class Sky:
    """What goes wrong on AWS besides the weather of the ports."""

    line: Line
    mischief: Mischief
    loses_the_start: bool = False
    """The message of `start` never comes: the sweep completes the run."""
    sweeps: int = 0
    """That there were."""

    @classmethod
    def drawn(cls, seed: int) -> Sky:
        rng = random.Random(f"sky {seed}")
        mischief = Mischief(seed, duplicate=rng.choice((0.0, 0.0, 0.0, 0.15)), shuffle=rng.random() < 0.5)
        return cls(Line.drawn(seed), mischief, loses_the_start=rng.random() < 0.05)

    @property
    def leaves_to_the_sweep(self) -> bool:
        """Besides a start whose message is lost: a message that the queue itself hands out twice, without counting it,
        the one time to a receiver that dies (docs/protocol.md, "Assumed and not assumed")."""
        return self.loses_the_start or self.mischief.duplicate > 0


def storm(stage: Stage, seed: int) -> tuple[Execution, Sky]:
    program, weather = weather_of(seed)
    sky = Sky.drawn(seed)
    return asyncio.run(execute(stage, program, weather, sky)), sky


def run_part(seeds: range) -> Tally:
    """Carry out the programs of these seeds, and replay their logs in another process."""
    tally = Tally()
    with TemporaryDirectory() as folder, dynoxide_running(Path(folder)) as url, Replayer() as replayer:
        stage = stage_at(url)
        for seed in seeds:
            try:
                note(tally, *storm(stage, seed), seed, replayer)
            except Exception as error:  # whatever it is, it is what we look for
                tally.violations.append(f"aws, seed {seed}: {type(error).__name__}: {error}")
                if len(tally.violations) == MOST_VIOLATIONS:
                    break
    return tally


async def execute(stage: Stage, program: Node, weather: Weather, sky: Sky) -> Execution:
    clock = VirtualClock()
    settings = stage.begin(clock)
    watches = Watches()
    world = _aws(settings, stage, clock, watches)
    execution = Execution(program, weather, expect(program))
    try:
        await carry_out(execution, world, clock, 1, partial(Instances, stage, settings, watches, sky))
    finally:
        stage.end()
    return execution


def _aws(settings: AwsSettings, stage: Stage, clock: Any, watches: Watches, clients: Any = None) -> AwsWorld:
    world: Any = AwsWorld(settings, clients=clients or stage.clients, clock=clock)
    world.subscribe = watches.add  # its own look again each two seconds, for as long as a run sleeps
    return world


class Instances(PushedCrew):
    """Of the Lambda function."""

    def __init__(
        self,
        stage: Stage,
        settings: AwsSettings,
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
        self._timetable = stage.timetable
        self._settings = settings
        self._sky = sky
        self._timeout = weather.limit or TIMEOUT
        sqs = stage.clients.sqs
        self._mappings = {
            url.rpartition("/")[2]: EventSourceMapping(sqs, url, timeout=self._timeout, mischief=sky.mischief)
            for url in (settings.flow_queue_url, settings.step_queue_url)
        }
        if sky.loses_the_start:
            self._timetable.queues["wdk-flow"].letters.clear()

    async def judge(self, run: Any) -> None:
        line = self._sky.line
        self._sky.sweeps = self.sweeps
        self._execution.is_all_noted = not line.has_killed
        self._weather.is_not_all = line.harms_producers or self._sky.leaves_to_the_sweep
        await super().judge(run)
        dead = [
            letter.body
            for name, queue in self._timetable.queues.items()
            if "dead" in name
            for letter in queue.letters.values()
        ]
        if dead:
            raise Violation(f"dead letters: {dead}")

    def _on_its_way(self, soon: float) -> bool:
        letters = [letter for name in self._mappings for letter in self._timetable.queues[name].letters.values()]
        return any(letter.received or (letter.ticket is not None and letter.ticket[0] <= soon) for letter in letters)

    def _message_due(self) -> float | None:
        due = self._timetable.next_due(*self._mappings)
        return None if due is None else due[0]

    async def _hand_out(self) -> bool:
        """Receive once, and invoke a function with each message."""
        due = self._timetable.next_due(*self._mappings)
        if due is None or due[0] > self._clock.now():
            return False
        mapping = self._mappings[due[1]]
        for invocation in mapping.receive():
            one = await self._one_free()
            one.give(mapping, invocation, self._contexts[one])
        return True

    async def _new(self, life: StormLife) -> OneInstance:
        requests, mapped = ClientsOfOne(self._stage.clients, life, self._sky.line), Mapped()
        clock: Any = StormWorld(self._world, life).clock
        own = _aws(self._settings, self._stage, clock, self._watches, requests)
        one = OneInstance(life, InstanceWorld(own, life, self._settings, requests, mapped), mapped, self._timeout)
        await one.prepare()
        return one
