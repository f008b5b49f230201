"""Crews whose workers are instances that are pushed their messages, as clouds do it: what they have in common.

As many instances as there are messages at once; a warm one is taken before another is made. One that dies is thrown
away, and its messages come back.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tests.faults import Call, Dead
from tests.storm.execution import MOST_WORKERS, ROUNDS, STILL, Crew, Execution, Violation, last_head, settle
from tests.storm.faults import LEASE, POISON, StormLife, Weather, life_of
from tests.storm.hunting import drawn
from wdk_cloud.world.memory.watch import Watches

if TYPE_CHECKING:
    from tests.storm.campaign import Tally
    from tests.storm.programs import Node
    from tests.storm.replaying import Replayer
    from wdk_cloud.world.clock import VirtualClock
    from wdk_cloud.world.ports import World

APART = (0.0, 0.0, 0.0, 20.0, 300.0)
"""Seconds by which clocks are off besides what the weather says, either way."""

SWEEPS = 30
"""Times that a run which may be left to the sweep is swept for."""

SWEEP_EVERY = 3600.0
"""Seconds: a run is woken when it has shown no progress for six hours (its `wake_by`)."""

SOON = 120.0
"""Seconds: copies of messages are delayed by a lease, whatever the clocks say."""


def weather_of(seed: int) -> tuple[Node, Weather]:
    """The themes of the short storm, with clocks that are further apart."""
    program, weather = drawn(seed)
    weather.skew = max(weather.skew, random.Random(f"apart {seed}").choice(APART))
    return program, weather


def note(tally: Tally, execution: Execution, sky: Any, seed: int, replayer: Replayer) -> None:
    """Of one program: its logs are replayed in another process, and what went wrong is counted. `sky` is the cloud's."""
    for run_id, batches in execution.logs.items():
        replayer.check(run_id, batches, seed=seed, all_prefixes=seed % 100 == 0)
    tally.programs += 1
    tally.runs += len(execution.logs)
    tally.replayed += len(execution.logs)
    tally.workers += execution.workers
    tally.faults.update(execution.weather.counts)
    tally.faults.update(sky.line.counts)
    tally.faults.update({"lose the start": int(sky.loses_the_start), "sweeps": sky.sweeps})


class PushedCrew(Crew):
    """`leaves_to_the_sweep`: something happens besides that only the sweep mends."""

    def __init__(
        self,
        watches: Watches,
        world: World,
        clock: VirtualClock,
        weather: Weather,
        size: int,
        execution: Execution,
        *,
        leaves_to_the_sweep: bool,
    ) -> None:
        super().__init__(world, clock, weather, size, execution)
        self._watches = watches
        self._leaves_to_the_sweep = leaves_to_the_sweep
        self._contexts: dict[Any, contextvars.Context] = {}
        self.sweeps = 0
        """That there were."""

    # -- of the cloud -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _message_due(self) -> float | None:
        """When the next message can be handed out."""

    @abstractmethod
    async def _hand_out(self) -> bool:
        """Hand out what is due; whether anything was."""

    @abstractmethod
    def _on_its_way(self, soon: float) -> bool:
        """Whether a message is in somebody's hands, or is due by then."""

    @abstractmethod
    async def _new(self, life: StormLife) -> Any:
        """Another instance."""

    # -- of all of them ---------------------------------------------------------------------------------------------

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
            if any(life.dead for life, _, _ in self._hosts) or self._is_due():
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
        return self._on_its_way(self._clock.now() + SOON)

    async def _sweep(self) -> None:
        head = await last_head(self._world, "run")
        if head.ended:  # somebody reads, and was not told
            self._watches.ring("run")
            await settle()
            if self._readers.are_done:
                return
        if not self._leaves_to_the_sweep or self.sweeps >= SWEEPS:
            raise Violation(f"stranded: nothing is on its way: {head}")
        self.sweeps += 1
        self._clock.advance_to(self._clock.now() + SWEEP_EVERY)
        one = await self._one_free()
        one.sweep(self._contexts[one])

    def _next_due(self) -> float | None:
        return min((when for when in (self._clock.next_due(), self._message_due()) if when is not None), default=None)

    def _is_due(self) -> bool:
        due = self._message_due()
        return due is not None and due <= self._clock.now()

    async def _one_free(self) -> Any:
        for life, _, (one, *_) in reversed(self._hosts):
            workplace: Any = one
            if workplace.has_room and not life.dead and not life.suspended:
                return workplace
        return await self._made()

    async def _made(self) -> Any:
        execution = self._execution
        if execution.workers > MOST_WORKERS:
            raise Violation(f"{MOST_WORKERS} instances have died, and the run has not ended")
        execution.workers += 1
        life = StormLife(execution.workers, self._weather, self._clock, self._watch)
        one = await self._new(life)
        context = contextvars.copy_context()
        context.run(life_of.set, life)
        self._contexts[one] = context
        host = asyncio.get_running_loop().create_task(self._keep(one))
        self._hosts.append((life, host, [one]))
        return one

    async def _keep(self, one: Any) -> None:
        try:
            await self._stop.wait()
            await one.stop()
        finally:
            del self._contexts[one]
            one.close()

    def _watch(self, call: Call, answer: Any) -> None:
        super()._watch(call, answer)
        if call.method in ("put", "change"):
            self._watches.ring("run")
