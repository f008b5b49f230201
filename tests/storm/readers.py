"""Who reads the streams of a program from outside, under the same weather: readers that leave, die, and come back.

And the time that readers and writers wait for by themselves, which is that of the test's clock as all other time is.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from tests.faults import Dead
from tests.storm.faults import FIRST_READER, StormLife, StormWorld, Weather, life_of
from tests.storm.streamed import Plan
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.engine import appender, follower, patience
from wdk_cloud.engine.writers import place_of
from wdk_cloud.errors import WorldUnavailableError

if TYPE_CHECKING:
    from wdk_cloud.world.clock import VirtualClock
    from wdk_cloud.world.ports import World

LEAVES_AFTER = 2
"""Chunks; then it comes back for the rest."""


class Readers:
    """One of each stream that the first run of a program names."""

    def __init__(self, plans: dict[str, Plan], world: World, clock: VirtualClock, weather: Weather) -> None:
        self._world = world
        self._clock = clock
        self._weather = weather
        self._plans = plans
        self.found: dict[str, list[Any]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        for at, stream in enumerate(self._plans):
            self.found[stream] = []
            self._tasks.append(self._apart(self._read(stream, FIRST_READER + 1000 * at), None))

    @property
    def are_done(self) -> bool:
        return all(task.done() for task in self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _read(self, stream: str, first_life: int) -> None:
        for number in count(first_life):
            life = StormLife(number, self._weather, self._clock, lambda call, answer: None)
            with suppress(Dead, WorldUnavailableError, asyncio.CancelledError):
                if await self._apart(self._some(StormWorld(self._world, life), stream, self.found[stream]), life):
                    return
            if not life.dead and (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError

    async def _some(self, world: Any, stream: str, found: list[Any]) -> bool:
        """Whether that was all."""
        place = await place_of(world, None, "run", stream)
        last = len(found) + LEAVES_AFTER
        async for batch in follower.Follower(place, KnownTypes(), len(found)).batches():
            for chunk in batch:
                assert chunk.number == len(found), f"chunk {chunk.number} of {stream} comes after {len(found)}"
                found.append(msgspec.json.decode(chunk.data))
                if len(found) == last:
                    return False
        return True

    def _apart(self, coroutine: Any, life: StormLife | None) -> asyncio.Task[Any]:
        """It is no part of a worker."""
        context = contextvars.copy_context()
        context.run(life_of.set, life)
        return context.run(asyncio.get_running_loop().create_task, coroutine)


@contextmanager
def pauses_on(clock: VirtualClock) -> Iterator[None]:
    """Readers and writers that try again wait on this clock. On the machine's, time would go on for everybody else."""

    async def sleep(seconds: float) -> None:
        over = asyncio.get_running_loop().create_future()
        handle = clock.call_at(round(clock.now() + seconds, 6), lambda: over.done() or over.set_result(None))
        try:
            await over
        finally:
            handle.cancel()

    real: Any = patience.asyncio
    breath = appender.BREATH
    patience.asyncio = SimpleNamespace(sleep=sleep)  # type: ignore[assignment]
    appender.BREATH = 0.0
    try:
        yield
    finally:
        patience.asyncio = real
        appender.BREATH = breath
