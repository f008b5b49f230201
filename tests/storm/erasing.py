"""Deletions in the storm: the run is deleted at a call of one of its workers, by somebody who may die of it.

Who deletes has no patience, so that a living holder is overruled. Whoever dies of it is followed by the next; the last
one lives. Then everything goes on for a while, and of the run nothing may be left. Its children may wait for ever for
what it was to do for them.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tests.e2e.graves import graves, lives
from tests.faults import Call, Dead, DieAt, FaultyWorld, OfACaller
from tests.storm.execution import Crew, Violation
from tests.storm.faults import life_of
from wdk_cloud.engine import erasure

DEATHS = (0, 1, 1, 2)
"""How many of those who delete die."""

FIRST_CALLS = 120
"""The deletion comes at one of these calls; a program that makes fewer is deleted when it has ended."""


LATE = 1_000.0
"""Seconds after which nothing of the run is on its way: longer than leases, and than anything that the weather holds up
(some of it for longer than the lease, twice)."""


def eraser(seed: int) -> Callable[..., Eraser]:
    return lambda *args: Eraser(random.Random(f"erasing {seed}"), *args)


class Eraser(Crew):
    """The workers, and somebody who deletes the run that they work on."""

    def __init__(self, rng: random.Random, *args: Any) -> None:
        super().__init__(*args)
        self._left = rng.randrange(1, FIRST_CALLS)
        plans = [DieAt(rng.randrange(1, 8), rng.choice(("before", "after"))) for _ in range(rng.choice(DEATHS))]
        self._lives = [OfACaller(plan) for plan in plans] + [OfACaller()]
        self._deleting: asyncio.Task[None] | None = None
        self._deleted_at = 0.0
        self.beside = False
        """The run had not ended when it was deleted."""

    async def work_until_over(self) -> None:
        try:
            await self._work()
        finally:
            for life, _, _ in self._hosts:  # at work for a child they would not end by themselves
                with suppress(Dead):
                    life.end()
            await self._bury_the_dead()

    def _watch(self, call: Call, answer: Any) -> None:
        super()._watch(call, answer)
        self._left -= 1
        if self._left == 0 and self._deleting is None:
            self._deleting = self._begin()

    def _begin(self) -> asyncio.Task[None]:
        context = contextvars.copy_context()
        context.run(life_of.set, None)  # it is no part of the worker at whose call it comes
        return context.run(asyncio.create_task, self._delete())

    async def _delete(self) -> None:
        head = await self._world.runs.head("run")
        assert head is not None
        self.beside = not head.ended
        for life in self._lives:
            with suppress(Dead):
                await erasure.delete(FaultyWorld(self._world, life), "run", patience=0.0)
        self._deleted_at = self._clock.now()

    async def _over(self) -> bool:
        if self._deleting is None:
            if not await super()._over():
                return False
            self._deleting = self._begin()
        await self._deleting
        return self._clock.next_due() is None or self._clock.now() > self._deleted_at + LATE

    async def judge(self, run: Any) -> None:
        head = await self._world.runs.head("run")
        if head is None or head.status != "deleted" or head.wake_by:
            raise Violation(f"the run is not erased: {head}")
        if await run.exists():
            raise Violation("the run is erased, and exists")
        # A worker that died as it started a run may have left the input of that under a birth that has no head.
        left = lives(self._world) & graves(self._world)
        if left:
            raise Violation(f"something is left of {left}")
