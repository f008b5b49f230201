"""Who sends payloads to the hooks of a program: callers of their own, beside the workers and under the same weather.

Each begins when a hook has its token. One that dies, or gets no answer, sends again with the same key; payloads without
a key are sent by callers that nothing happens to: nobody can tell those whether to repeat themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from tests.faults import Call, Dead
from tests.storm.faults import StormLife, StormWorld, Weather, life_of
from tests.storm.programs import Node, Parcel, senders, token_of
from wdk_cloud.engine import resuming
from wdk_cloud.engine.tokens import digest_of
from wdk_cloud.errors import HookNotFoundError, WorldUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wdk_cloud.world.clock import VirtualClock
    from wdk_cloud.world.ports import World

FIRST_LIFE = 1000
"""Their numbers among the workers of a weather; each sender has a thousand lives."""


class Senders:
    """Of one program."""

    def __init__(self, program: Node, world: World, clock: VirtualClock, weather: Weather) -> None:
        self._world = world
        self._clock = clock
        self._weather = weather
        self._plans = senders(program)
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        """Those whose hook does not have its token yet."""
        for n, sender in self._plans:
            self._waiting.setdefault(digest_of(token_of(n)), []).append((n, sender))
        self._numbers = {whom: FIRST_LIFE * (1 + at) for at, whom in enumerate(self._plans)}
        self._tasks: list[asyncio.Task[None]] = []
        self.turned_away: list[str] = []
        """Of those whom somebody waits for."""

    def noted(self, call: Call, answer: Any) -> None:
        """A worker has made this call."""
        if call.method != "claim_token" or answer is not None:
            return
        for whom in self._waiting.pop(call.args[0].digest, ()):
            self._tasks.append(self._apart(self._send_all(whom), None))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def _send_all(self, whom: tuple[int, int]) -> None:
        lives, token = count(self._numbers[whom]), token_of(whom[0])
        for parcel in self._plans[whom]:
            if parcel.delay:
                await self._wait(parcel.delay)
            if parcel.keyed:
                await self._insist(token, parcel, lives)
            elif not await self._resume(self._world, token, parcel) and parcel.awaited:
                self.turned_away.append(f"{parcel.number}, sent to {token}")

    async def _insist(self, token: str, parcel: Parcel, lives: Iterator[int]) -> None:
        """Send it again and again until there is an answer. Once it may have been delivered, the hook may be gone."""
        for attempt in count(1):
            life = StormLife(next(lives), self._weather, self._clock, lambda call, answer: None)
            with suppress(Dead, WorldUnavailableError, asyncio.CancelledError):
                found = await self._apart(self._resume(StormWorld(self._world, life), token, parcel), life)
                if not found and parcel.awaited and attempt == 1:
                    self.turned_away.append(f"{parcel.number}, sent to {token}")
                return
            if not life.dead and (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError

    async def _resume(self, world: Any, token: str, parcel: Parcel) -> bool:
        key = f"{parcel.number}" if parcel.keyed else None
        try:
            await resuming.resume(world, None, digest_of(token), json.dumps(parcel.number).encode(), key)
        except HookNotFoundError:
            return False
        return True

    def _apart(self, coroutine: Any, life: StormLife | None) -> asyncio.Task[Any]:
        """It is no part of the worker at whose call it begins."""
        context = contextvars.copy_context()
        context.run(life_of.set, life)
        return context.run(asyncio.get_running_loop().create_task, coroutine)

    async def _wait(self, seconds: float) -> None:
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handle = self._clock.call_at(
            round(self._clock.now() + seconds, 6), lambda: over.done() or over.set_result(None)
        )
        try:
            await over
        finally:
            handle.cancel()
