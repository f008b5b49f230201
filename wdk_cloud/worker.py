"""Workers for worlds that are asked for messages (`local`, `memory`): receive, deliver, acknowledge."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from wdk_cloud import encryption
from wdk_cloud.app import Workflows, refuse_twins
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.opening import current_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from wdk_cloud.engine.service import Engine
    from wdk_cloud.engine.settings import Settings
    from wdk_cloud.world.ports import Delivery, Receiver, World

log = logging.getLogger("wdk_cloud")

CONCURRENCY = 1000
"""Deliveries that one worker has in hand at once: waiting ones cost a few kilobytes each."""

SWEEP_EVERY = 60.0

COME_BACK = 1.0
"""Seconds until a message that could not be worked on is visible again, where nothing else says so; and until a queue
that cannot be asked is asked again for the first time."""

LONGEST_PAUSE = 30.0
"""Seconds: a queue that goes on failing is asked twice a minute, so that work begins soon after it was mended."""


class Worker:
    """Serves one engine from its world's queue."""

    def __init__(self, engine: Engine, receiver: Receiver) -> None:
        self.engine = engine
        self.receiver = receiver
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(CONCURRENCY)
        self._loop_task: asyncio.Task[None] | None = None
        from wdk_cloud.ticks import Ticks

        self._ticks = Ticks(engine)

    @property
    def idle(self) -> bool:
        return not self._tasks and self._ticks.idle

    def start(self) -> None:
        self._ticks.start()
        self._loop_task = asyncio.create_task(self._serve(), name="wdk-worker")

    async def _serve(self) -> None:
        """Receive for as long as the worker lives: whatever is wrong with the queue is logged, and tried again."""
        pause = COME_BACK
        while True:
            await self._room.acquire()
            self._room.release()
            try:
                deliveries = await self.receiver.receive(CONCURRENCY - len(self._tasks))
            except Exception as error:
                # An outage explains itself; anything else is somebody's mistake, and its traceback says whose.
                unknown = not isinstance(error, WorldUnavailableError)
                level = logging.ERROR if unknown else logging.WARNING
                log.log(level, "no messages can be received, tried again in %s s: %r", pause, error, exc_info=unknown)
                await self._rest(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            pause = COME_BACK
            for delivery in deliveries:
                await self._room.acquire()
                task = asyncio.create_task(self._work(delivery))
                self._tasks.add(task)
                task.add_done_callback(self._done)
            await asyncio.sleep(0)  # workers take turns: one that was woken as well, and got nothing, listens before us

    async def _rest(self, seconds: float) -> None:
        over = asyncio.get_running_loop().create_future()
        clock = self.engine.world.clock
        handle = clock.call_at(clock.now() + seconds, lambda: over.done() or over.set_result(None))
        try:
            await over
        finally:
            handle.cancel()

    async def _work(self, delivery: Delivery) -> None:
        from wdk_cloud.engine.delivery import deliver

        acknowledge = False
        try:
            acknowledge = await deliver(self.engine, delivery)
        except asyncio.CancelledError:
            await self.receiver.put_back(delivery, 0.0)
            raise
        except Exception:
            log.exception("run %s: the delivery failed, its message comes back", delivery.message.run_id)
        if acknowledge:
            await self.receiver.acknowledge(delivery)
        else:
            await self.receiver.put_back(delivery, COME_BACK)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message could not be acknowledged, it comes back: %r", error)

    async def stop(self) -> None:
        """Stop receiving and interrupt what runs; the messages in hand come back to whoever serves next."""
        await self._ticks.stop()
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.engine.close()


def checked_settings(settings: Settings | None = None) -> Settings:
    """Those of the environment, if none are given. Raises WorldConfigurationError for them, and for an encryption key
    that is none; to be asked for before anything is opened."""
    from wdk_cloud.engine.settings import Settings

    settings = settings or Settings.from_environment()
    encryption.of_environment()
    return settings


def engine_for(world: World, apps: Sequence[Workflows], settings: Settings | None = None) -> Engine:
    """An engine with the settings and keys of the environment."""
    from wdk_cloud.engine.service import Engine

    return Engine(world, apps, checked_settings(settings), encryption.keys_of(world))


@asynccontextmanager
async def worker(
    *apps: Workflows, world: World | None = None, settings: Settings | None = None
) -> AsyncGenerator[list[Worker]]:
    """Serve the given apps on the open world while the block runs, on the caller's event loop.

    One worker for each namespace, on `world`, by default the open one, with `settings`, by default those of the
    environment. Raises WorldConfigurationError for a world that delivers its messages itself, `TypeError` for what is
    no `Workflows`, `ValueError` for apps of one namespace that declare the same id.
    """
    for app in apps or (None,):
        if not isinstance(app, Workflows):
            raise TypeError(f"worker() takes the Workflows to serve, worker(app), not {app!r}")
    for namespace in {app.namespace for app in apps}:
        refuse_twins([app for app in apps if app.namespace == namespace])
    async with serving(apps, world=world, settings=settings) as workers:
        yield workers


@asynccontextmanager
async def serving(
    apps: Sequence[Workflows], *, world: World | None = None, settings: Settings | None = None
) -> AsyncGenerator[list[Worker]]:
    """`worker` for apps that nobody has named: of several that declare an id, the first one's code runs."""
    settings = checked_settings(settings)
    warn_of_hash_seed()
    workers: list[Worker] = []
    try:
        for namespace in dict.fromkeys(app.namespace for app in apps):
            seen = await current_world(namespace) if world is None else world.scoped(namespace)
            if seen.receiver is None:
                raise WorldConfigurationError(f"the world {seen.name} delivers its messages itself; deploy its handler")
            engine = engine_for(seen, [app for app in apps if app.namespace == namespace], settings)
            workers.append(Worker(engine, seen.receiver))
        for one in workers:
            one.start()
        yield workers
    finally:
        for one in workers:
            await one.stop()


async def sweep_each_minute(workers: Sequence[Worker]) -> None:
    """The safety net: whatever it wakes should have been woken by a message, and is worth a warning.

    The first sweep of a process is the exception: while nobody worked, no run could show progress.
    """
    from wdk_cloud.engine.sweep import sweep

    level, why = logging.INFO, "waited for a worker"
    while True:
        for one in workers:
            try:
                woken = await sweep(one.engine)
            except WorldUnavailableError as error:
                log.warning("the sweep could not look, it tries again in %s s: %s", SWEEP_EVERY, error)
                continue
            if woken:
                log.log(level, "the sweep woke %s run%s that %s", woken, "s" * (woken != 1), why)
        level, why = logging.WARNING, "showed no progress"
        await asyncio.sleep(SWEEP_EVERY)


def warn_of_hash_seed() -> None:
    """Every process that runs bodies has one fixed seed."""
    if not hash_seed_is_fixed():
        log.warning(
            "PYTHONHASHSEED is not a fixed number: a workflow body that iterates a set of strings may diverge at "
            "replay. Start this process with PYTHONHASHSEED=0; `wdk dev` and `wdk worker` do so by themselves"
        )


def hash_seed_is_fixed() -> bool:
    """Whether this process hashes as the next one with its environment will; set to 0 after the start, it does not."""
    if not sys.flags.hash_randomization:
        return True
    seed = os.environ.get("PYTHONHASHSEED", "")
    return not sys.flags.ignore_environment and seed.isdecimal() and int(seed) > 0
