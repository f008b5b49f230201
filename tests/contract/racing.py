"""How writers are made to race: many tasks of one process, over two connections to one place.

Each race is run in several orders of its starts. What is asserted is never who wins, but that the answers of all of
them, and what lies there afterwards, tell one story.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from wdk_cloud.world.ports import RunStore

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

T = TypeVar("T")

MANY = 50
ROUNDS = 12


@asynccontextmanager
async def both(place: WorldUnderTest) -> AsyncIterator[tuple[RunStore, RunStore]]:
    """The runs, over two connections."""
    async with place.second() as other:
        yield place.runs, other.runs


async def race(calls: Sequence[Callable[[], Awaitable[T]]], seed: int = 1) -> list[T]:
    """Start all calls in some order, each a few turns of the loop after it could have; their answers in order."""
    chance = random.Random(seed)

    async def start(call: Callable[[], Awaitable[T]], turns: int) -> T:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await call()

    order = list(range(len(calls)))
    chance.shuffle(order)
    tasks = {index: asyncio.create_task(start(calls[index], chance.randrange(4))) for index in order}
    return [await tasks[index] for index in range(len(calls))]
