"""The storm on the AWS world: the same programs, weathers and judge, with instances of the Lambda function as workers.

Each instance works on one event at a time, as Lambda has it, and has a clock of its own; one that dies is thrown away,
and its message comes back. SQS, EventBridge Scheduler and S3 answer in this process, on the clock of the test, and
DynamoDB at an endpoint. Below the calls of the ports, which `faults.py` disturbs, the requests fail as well
(`requests.py`), and the mapping does what mappings may do.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from tests.aws.quick import stage_at
from tests.components import dynoxide_running
from tests.faults import Call, Dead
from tests.storm.campaign import MOST_VIOLATIONS, Tally
from tests.storm.execution import MOST_WORKERS, ROUNDS, STILL, Crew, Execution, Violation, carry_out, last_head, settle
from tests.storm.faults import LEASE, POISON, StormLife, StormWorld, Weather, life_of
from tests.storm.hunting import drawn
from tests.storm.instance import TIMEOUT, InstanceWorld, Mapped, OneInstance
from tests.storm.programs import Node, expect
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

APART = (0.0, 0.0, 0.0, 20.0, 300.0)
"""Seconds by which clocks are off besides what the weather says, either way."""

SWEEPS = 30
"""Times that a run which may be left to the sweep is swept for."""

SWEEP_EVERY = 3600.0
"""Seconds: a run is woken when it has shown no progress for six hours (its `wake_by`)."""

SOON = 120.0
"""Seconds: copies of messages are delayed by a lease, whatever the clocks say."""


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
        the one time to a receiver that dies (PROTOCOL.md, "Assumed and not assumed")."""
        return self.loses_the_start or self.mischief.duplicate > 0


def weather_of(seed: int) -> tuple[Node, Weather]:
    """The themes of the short storm, with clocks that are further apart."""
    program, weather = drawn(seed)
    weather.skew = max(weather.skew, random.Random(f"apart {seed}").choice(APART))
    return program, weather


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


def note(tally: Tally, execution: Execution, sky: Sky, seed: int, replayer: Replayer) -> None:
    for run_id, batches in execution.logs.items():
        replayer.check(run_id, batches, seed=seed, all_prefixes=seed % 100 == 0)
    tally.programs += 1
    tally.runs += len(execution.logs)
    tally.replayed += len(execution.logs)
    tally.workers += execution.workers
    tally.faults.update(execution.weather.counts)
    tally.faults.update(sky.line.counts)
    tally.faults.update({"lose the start": int(sky.loses_the_start), "sweeps": sky.sweeps})


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


class Instances(Crew):
    """As many instances as there are events at once; a warm one is taken before another is made."""

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
        super().__init__(world, clock, weather, size, execution)
        self._stage = stage
        self._timetable = stage.timetable
        self._settings = settings
        self._watches = watches
        self._sky = sky
        self._timeout = weather.limit or TIMEOUT
        sqs = stage.clients.sqs
        self._mappings = {
            url.rpartition("/")[2]: EventSourceMapping(sqs, url, timeout=self._timeout, mischief=sky.mischief)
            for url in (settings.flow_queue_url, settings.step_queue_url)
        }
        self._contexts: dict[OneInstance, contextvars.Context] = {}
        if sky.loses_the_start:
            self._timetable.queues["wdk-flow"].letters.clear()

    async def judge(self, run: Any) -> None:
        line = self._sky.line
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

    async def _work(self) -> None:
        still = 0
        for _ in range(ROUNDS):
            await self._bury_the_dead()
            if await self._hand_out():
                await settle()
                continue
            await settle()
            if self._weather.runaway:
                raise Violation("an instance makes call after call, and comes to no end")
            if any(life.dead for life, _, _ in self._hosts) or self._is_visible():
                continue
            if await self._over():
                return
            due = self._next_due()
            if due is None and still < STILL and self._busy():
                still += 1
                due = self._clock.now() + LEASE
            if due is None:
                await self._sweep()
                continue
            with suppress(Dead):
                self._clock.advance_to(due)
        raise Violation(f"no end after {ROUNDS} looks")

    async def _over(self) -> bool:
        return not self._busy() and not self._comes_back() and await super()._over()

    def _comes_back(self) -> bool:
        """Whether a message is in the hands of somebody who has died, or a copy of one is on its way: it may be what
        finishes the end of a run."""
        if self._weather.curse is POISON:
            return False  # what is to follow the end dies of it as well
        soon = self._clock.now() + SOON
        letters = [letter for name in self._mappings for letter in self._timetable.queues[name].letters.values()]
        return any(letter.received or (letter.ticket is not None and letter.ticket[0] <= soon) for letter in letters)

    async def _sweep(self) -> None:
        head = await last_head(self._world, "run")
        if head.ended:  # somebody reads, and was not told
            self._watches.ring("run")
            await settle()
            if self._readers.are_done:
                return
        if not self._sky.leaves_to_the_sweep or self._sky.sweeps >= SWEEPS:
            raise Violation(f"stranded: nothing is on its way: {head}")
        self._sky.sweeps += 1
        self._clock.advance_to(self._clock.now() + SWEEP_EVERY)
        one = await self._one_free()
        one.sweep(self._contexts[one])

    def _next_due(self) -> float | None:
        found = [self._clock.next_due(), *([due[0]] if (due := self._timetable.next_due(*self._mappings)) else [])]
        return min((when for when in found if when is not None), default=None)

    def _is_visible(self) -> bool:
        due = self._timetable.next_due(*self._mappings)
        return due is not None and due[0] <= self._clock.now()

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

    async def _one_free(self) -> OneInstance:
        for life, _, (one, *_) in reversed(self._hosts):
            if one.idle and not life.dead and not life.suspended:
                return one
        return await self._made()

    async def _made(self) -> OneInstance:
        execution = self._execution
        if execution.workers > MOST_WORKERS:
            raise Violation(f"{MOST_WORKERS} instances have died, and the run has not ended")
        execution.workers += 1
        life = StormLife(execution.workers, self._weather, self._clock, self._watch)
        requests, mapped = ClientsOfOne(self._stage.clients, life, self._sky.line), Mapped()
        clock: Any = StormWorld(self._world, life).clock
        own = _aws(self._settings, self._stage, clock, self._watches, requests)
        one = OneInstance(life, InstanceWorld(own, life, self._settings, requests, mapped), mapped, self._timeout)
        await one.prepare()
        context = contextvars.copy_context()
        context.run(life_of.set, life)
        self._contexts[one] = context
        host = asyncio.get_running_loop().create_task(self._keep(one))
        self._hosts.append((life, host, [one]))
        return one

    async def _keep(self, one: OneInstance) -> None:
        try:
            await self._stop.wait()
            if one._task is not None:
                one._task.cancel()
                await asyncio.gather(one._task, return_exceptions=True)
        finally:
            del self._contexts[one]
            one.instance.close()

    def _watch(self, call: Call, answer: Any) -> None:
        super()._watch(call, answer)
        if call.method in ("put", "change"):
            self._watches.ring("run")
