"""A world as one worker sees it, with faults: each of its calls is counted and passes a plan, which may end the worker.

The client of a test keeps the world itself; only the worker's calls go through `FaultyWorld`. A death is a hard stop:
every task of the worker is cancelled on the spot, and each call that it still makes, from a `finally` or from a thread,
raises `Dead` and reaches nothing. What it had handed to the world and what the world has not committed yet is lost with
it: `a_process_of` gives it a world of its own for that, as the processes of one file have.
"""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from wdk_cloud.world import ports
from wdk_cloud.world.local import LocalWorld, processes
from wdk_cloud.world.local import notices as local_notices

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Clock, Subscription, World


class Dead(BaseException):
    """This worker is dead. No handler for `Exception` may outlive that."""


@dataclass(frozen=True)
class Call:
    """One call of a worker on its world."""

    number: int
    """From 1, in the order in which the calls were made."""
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Plan:
    """What goes wrong: nothing. `before` and `after` may raise what the world should answer instead; a fault of
    `after` is one whose call has happened."""

    def before(self, call: Call, life: Life) -> None: ...

    def after(self, call: Call, life: Life) -> None: ...


@dataclass(frozen=True)
class DieAt(Plan):
    """Death just before, or just after, the call of this number."""

    number: int
    moment: Literal["before", "after"]

    def before(self, call: Call, life: Life) -> None:
        if (call.number, "before") == (self.number, self.moment):
            life.end()

    def after(self, call: Call, life: Life) -> None:
        if (call.number, "after") == (self.number, self.moment):
            life.end()


class Life:
    """The life of one worker: its calls so far, and whether it is over.

    Make it on the event loop of the worker, in the task that plays the client: that task, and those that exist already,
    survive the worker.
    """

    def __init__(self, plan: Plan | None = None, watch: Callable[[Call, Any], None] | None = None) -> None:
        self.plan = plan or Plan()
        self.calls = 0
        self.answered: set[int] = set()
        """The calls that have happened. A `receive` may wait in vain for the rest of the life."""
        self.dead = False
        self.last: Call | None = None
        """The call at which the life ended."""
        self.at_death: list[Callable[[], None]] = []
        """What ends with the worker, at once: nothing of it waits for anything."""
        self._watch = watch
        self._alive = threading.RLock()  # a call from a thread happens wholly before the death, or not at all
        self._survivors = asyncio.all_tasks()
        self._mourned: list[asyncio.Task[Any]] = []

    @property
    def mortal(self) -> bool:
        """Whether something may yet go wrong in it."""
        return type(self.plan) is not Plan

    def end(self) -> None:
        """Stop the worker here and now; raises Dead."""
        with self._alive:
            self.dead = True
        for stop in self.at_death:
            stop()
        self._mourned = [task for task in asyncio.all_tasks() if task not in self._survivors]
        for task in self._mourned:
            task.cancel()
        raise Dead

    def may_end(self) -> bool:
        """Whether no thread of the worker is in the middle of a call."""
        free = self._alive.acquire(blocking=False)
        if free:
            self._alive.release()
        return free

    async def mourn(self) -> None:
        """Wait until the tasks of a dead worker are gone."""
        await asyncio.gather(*self._mourned, return_exceptions=True)

    def begin(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if self.dead:
            raise Dead
        self.calls += 1
        self.last = Call(self.calls, method, args, kwargs)
        self.plan.before(self.last, self)
        return self.last

    def call_now(self, name: str, method: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that does not suspend, from whichever thread."""
        with self._alive:
            call = self.begin(name, args, kwargs)
            answer = method(*args, **kwargs)
            self.happened(call, answer)
        return answer

    def happened(self, call: Call, answer: Any) -> None:
        if self.dead:
            raise Dead
        self.answered.add(call.number)
        if self._watch is not None:
            self._watch(call, answer)
        self.last = call
        self.plan.after(call, self)


class OfACaller(Life):
    """The life of somebody who asks without being a worker: it has one task and no thread, which `Dead` ends, and the
    workers beside it live on."""

    def end(self) -> None:
        self.dead = True
        raise Dead


class FaultyPort:
    """One port of the world: every method of its protocol that is a call on the world goes through the life."""

    def __init__(self, port: Any, protocol: type, life: Life) -> None:
        self._port = port
        self._protocol = protocol
        self._life = life

    def __getattr__(self, name: str) -> Any:
        there = getattr(self._port, name)
        promised = getattr(self._protocol, name, None)
        if inspect.iscoroutinefunction(promised):
            return partial(self._call, name, there)
        if name in ("renew", "renew_step", "extend"):
            return partial(self._call_now, name, there)
        return there  # an attribute, or a question that touches nothing (`busy`)

    async def _call(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        call = self._life.begin(name, args, kwargs)
        answer = await method(*args, **kwargs)
        self._life.happened(call, answer)
        return answer

    def _call_now(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return self._life.call_now(name, method, args, kwargs)


class ByTheClock:
    """A subscription whose waits are over by the clock of a test; without one only when there is something to tell."""

    def __init__(self, subscription: Subscription, clock: Clock | None) -> None:
        self._subscription = subscription
        self._clock = clock
        self.close = subscription.close

    async def wait(self, timeout: float) -> bool:
        told = asyncio.ensure_future(self._subscription.wait(NEVER))
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        handle = None
        if self._clock is not None:
            when = round(self._clock.now() + timeout, 6)
            handle = self._clock.call_at(when, lambda: over.done() or over.set_result(None))
        try:
            await asyncio.wait([told, over], return_when=asyncio.FIRST_COMPLETED)
            return told.done() and told.result()
        finally:
            told.cancel()
            if handle is not None:
                handle.cancel()


NEVER = 3600.0
"""Seconds of the machine."""


class FaultyWorld:
    """`world` as the worker of this life sees it."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life
        self.name = world.name
        self.namespace = world.namespace
        self.short_wait = world.short_wait
        self.clock = world.clock
        self.runs: Any = FaultyPort(world.runs, ports.RunStore, life)
        self.blobs: Any = FaultyPort(world.blobs, ports.BlobStore, life)
        self.streams: Any = FaultyPort(world.streams, ports.StreamStore, life)
        self.streams.window = 0.0  # in the machine's time no call is to be made
        self.queue: Any = FaultyPort(world.queue, ports.Queue, life)
        self.receiver: Any = world.receiver and FaultyPort(world.receiver, ports.Receiver, life)

    def __getattr__(self, name: str) -> Any:
        """What the handler of a cloud asks of its world beyond the ports."""
        return getattr(self._world, name)

    def scoped(self, namespace: str) -> FaultyWorld:
        return FaultyWorld(self._world.scoped(namespace), self._life)

    def subscribe(self, run_id: str) -> Subscription:
        return ByTheClock(self._world.subscribe(run_id), self.clock)

    async def open(self) -> None:
        """Whoever made the world opens it."""

    async def close(self) -> None: ...


# -- a world of its own for each worker -------------------------------------------------------------------------------


@asynccontextmanager
async def a_process_of(world: World, life: Life) -> AsyncIterator[World]:
    """`world` as the worker of this life has it open: a file is opened once more, as another process would.

    A process that waits stands for the worker: its id lies beside leases and messages, and its end tells everybody
    that the worker is gone. With it ends what the worker has not committed.
    """
    if not isinstance(world, LocalWorld):
        yield world  # its calls never suspend: there is nothing between asked and done
        return
    own = LocalWorld(world.path, clock=world.clock)
    database: Any = own._database
    if not life.mortal:
        await own.open()
        try:
            yield own
        finally:
            await own.close()
        return
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as stand_in:  # it ends by itself if this process does
        stat = processes._stat(stand_in.pid)
        database.us = database.us._replace(pid=stand_in.pid, started=stat.started if stat is not None else "")
        database.owner = str(database.us)

        def stop() -> None:
            stand_in.kill()
            stand_in.wait()
            _vanish(database)

        life.at_death.append(stop)
        await own.open()
        try:
            yield own
        finally:
            await own.close()  # nothing, after a death


def _vanish(database: Any) -> None:
    """What the system does with a process that is killed: its memory, sockets and descriptors go, the file stays."""
    database._waiting.clear()
    if database._flush_handle is not None:
        database._flush_handle.cancel()
    notices = database.notices
    if notices._tick is not None:
        notices._tick.cancel()
    if notices._bell is not None:
        notices._bell.close()
    local_notices._open_here[database.path].discard(notices)
    for connection in (database._host, database._side):
        if connection is not None:
            connection.close()
    database._host = database._side = None
