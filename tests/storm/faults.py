"""What goes wrong in a storm: faults at seeded calls of a worker on its world, each of a kind that really happens.

A plan is drawn from a seed while the worker runs; what has struck is kept, so that the same faults can be made to strike
again, or fewer of them (`shrinking.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.faults import Call, Dead, Life
from wdk_cloud.errors import ThrottleError, WorldUnavailableError
from wdk_cloud.world import ports
from wdk_cloud.world.ports import Message

if TYPE_CHECKING:
    from wdk_cloud.world.clock import VirtualClock
    from wdk_cloud.world.ports import Clock, Handle, Subscription, World

LEASE = 30.0


@dataclass(frozen=True)
class Fault:
    """One fault: which worker, at which of its calls, what."""

    worker: int
    call: int
    kind: str
    seconds: float = 0.0


KINDS = {
    "die before": 4,
    "die after": 6,
    "lose the request": 2,
    "lose the answer": 6,
    "throttle": 3,
    "send twice": 6,
    "delay": 4,
    "lose the acknowledgement": 3,
    "suspend": 3,
}
"""The kinds, and how often each is drawn. A suspended worker may live on after its lease."""

ROUGH = {**KINDS, "die before": 2, "die after": 4, "send twice": 12, "lose the acknowledgement": 12}
"""How often in rough weather: there is one message in ten calls, and what happens to messages is to happen as well."""

MESSAGES_HIT = 6
"""Times as often as other calls, in rough weather."""

SENDS = ("send twice", "delay")


@dataclass
class Weather:
    """Of one execution: how often it strikes, what it still may do, what it has done."""

    rate: float = 0.0
    left: int = 0
    """Faults that may still come: then the run must come to its end."""
    skew: float = 0.0
    """Each worker's clock is off by up to so many seconds, either way."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    fitting: bool = False
    """Drawn are only the kinds that fit the call; messages, of which there are few, are hit more often."""
    planned: frozenset[Fault] | None = None
    """Instead of drawing: just these strike."""
    offsets: dict[int, float] = field(default_factory=dict[int, float])
    struck: list[Fault] = field(default_factory=list[Fault])
    counts: Counter[str] = field(default_factory=Counter[str])

    @classmethod
    def drawn(cls, seed: int) -> Weather:
        rng = random.Random(seed)
        return cls(
            rate=rng.choice((0.02, 0.05, 0.1, 0.25)),
            left=rng.choice((1, 2, 4, 8)),
            skew=rng.choice((0.0, 0.0, 5.0, 20.0)),
            rng=rng,
        )

    @classmethod
    def rough(cls, seed: int) -> Weather:
        """More of everything, and each kind where it can strike: what the long storm brings."""
        rng = random.Random(f"rough {seed}")
        return cls(
            rate=rng.choice((0.05, 0.1, 0.2, 0.4)),
            left=rng.choice((2, 5, 10, 20)),
            skew=rng.choice((0.0, 0.0, 5.0, 20.0)),
            rng=rng,
            fitting=True,
        )

    def offset(self, worker: int) -> float:
        """By how much the clock of this worker is off."""
        if worker not in self.offsets:
            self.offsets[worker] = round(self.rng.uniform(-self.skew, self.skew), 3)
        return self.offsets[worker]

    def at(self, worker: int, call: Call) -> Fault | None:
        if self.planned is not None:
            found = [fault for fault in self.planned if (fault.worker, fault.call) == (worker, call.number)]
            return self._strike(found[0], call) if found else None
        rate = self.rate * (MESSAGES_HIT if self.fitting and call.method in ("send", "acknowledge") else 1)
        if self.left <= 0 or self.rng.random() >= rate:
            return None
        kinds = KINDS
        if self.fitting:
            kinds = {kind: often for kind, often in ROUGH.items() if _fits(kind, call.method)}
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        seconds = round(self.rng.choice((0.5, 10.0, 40.0, 130.0)) * self.rng.random(), 3)
        return self._strike(Fault(worker, call.number, kind, seconds), call)

    def _strike(self, fault: Fault, call: Call) -> Fault | None:
        if not _fits(fault.kind, call.method):
            return None
        self.left -= 1
        self.struck.append(fault)
        self.counts[fault.kind] += 1
        return fault


def _fits(kind: str, method: str) -> bool:
    if kind in SENDS:
        return method == "send"
    if kind == "lose the acknowledgement":
        return method == "acknowledge"
    if kind == "suspend":
        return method not in SYNCHRONOUS
    return True


SYNCHRONOUS = frozenset(("renew", "renew_step", "extend"))

life_of: ContextVar[StormLife | None] = ContextVar("storm_life", default=None)


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    """Tasks that a worker makes are noted in its life: its death ends them, and no others."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
    life = life_of.get()
    if life is not None:
        life.tasks.add(task)
        task.add_done_callback(life.tasks.discard)
    return task


class StormLife(Life):
    """One worker among several."""

    def __init__(self, number: int, weather: Weather, clock: VirtualClock, watch: Callable[[Call, Any], None]) -> None:
        super().__init__(None, watch)
        self.number = number
        self.weather = weather
        self.clock = clock
        self.offset = weather.offset(number)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.suspended_until = 0.0

    @property
    def mortal(self) -> bool:
        return self.weather.left > 0

    @property
    def suspended(self) -> bool:
        return self.suspended_until > self.clock.now()

    def end(self) -> None:
        self.dead = True
        for stop in self.at_death:
            stop()
        self._mourned = list(self.tasks)
        for task in self._mourned:
            task.cancel()
        raise Dead

    def fault(self, call: Call) -> Fault | None:
        return self.weather.at(self.number, call)

    async def resumed(self) -> None:
        """Wait while this worker stands still."""
        while self.suspended and not self.dead:
            over = asyncio.get_running_loop().create_future()
            handle = self.clock.call_at(self.suspended_until, lambda over=over: over.done() or over.set_result(None))
            try:
                await over
            finally:
                handle.cancel()
        if self.dead:
            raise Dead


class StormPort:
    """One port of the world, as a worker of the storm meets it."""

    def __init__(self, port: Any, protocol: type, life: StormLife) -> None:
        self._port = port
        self._life = life
        for name in dir(protocol):
            there = getattr(port, name, None)
            if name.startswith("_") or not callable(there):
                continue
            if asyncio.iscoroutinefunction(getattr(protocol, name)):
                setattr(self, name, partial(self._call, name, there))
            elif name in SYNCHRONOUS:
                setattr(self, name, partial(self._call_now, name, there))
            else:
                setattr(self, name, there)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)

    async def _call(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        life = self._life
        if life.suspended_until:
            await life.resumed()
        call = life.begin(name, args, kwargs)
        fault = life.fault(call)
        if fault is None:
            answer = await method(*args, **kwargs)
            life.happened(call, answer)
            return answer
        return await self._faulty(fault, call, method)

    async def _faulty(self, fault: Fault, call: Call, method: Callable[..., Any]) -> Any:
        life, args = self._life, call.args
        match fault.kind:
            case "die before":
                life.end()
            case "lose the request":
                raise WorldUnavailableError(f"{call.method}: the request was lost")
            case "throttle":
                raise ThrottleError(f"{call.method}: slow down")
            case "lose the acknowledgement":
                return None
            case "suspend":
                life.suspended_until = round(life.clock.now() + LEASE + fault.seconds, 6)
                await life.resumed()
            case "delay":
                args = ([(message, _later(message, delay, fault)) for message, delay in args[0]],)
            case _:
                pass
        answer = await method(*args, **call.kwargs)
        life.happened(call, answer)
        match fault.kind:
            case "die after":
                life.end()
            case "lose the answer":
                raise WorldUnavailableError(f"{call.method}: the answer was lost")
            case "send twice":
                await method(*args, **call.kwargs)
            case _:
                pass
        return answer

    def _call_now(self, name: str, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        life = self._life
        if life.suspended:
            raise WorldUnavailableError(f"{name}: this worker stands still")
        call = life.begin(name, args, kwargs)
        fault = life.fault(call)
        if fault is not None and fault.kind in ("lose the request", "throttle"):
            raise WorldUnavailableError(f"{name}: the request was lost")
        if fault is not None and fault.kind == "die before":
            life.end()
        answer = method(*args, **kwargs)
        life.happened(call, answer)
        if fault is not None and fault.kind == "lose the answer":
            raise WorldUnavailableError(f"{name}: the answer was lost")
        if fault is not None and fault.kind == "die after":
            life.end()
        return answer


def _later(message: Message, delay: float, fault: Fault) -> float:
    return delay + fault.seconds


class SkewedClock:
    """The clock of one worker: off by a constant; it stands still for its renewals while the worker does."""

    still = True

    def __init__(self, clock: VirtualClock, life: StormLife) -> None:
        self._clock = clock
        self._life = life

    def now(self) -> float:
        return round(self._clock.now() + self._life.offset, 6)

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> Handle:
        return self._clock.call_at(when - self._life.offset, callback)

    def every(self, seconds: float, callback: Callable[[], object]) -> Handle:
        def unless_gone() -> None:
            if not self._life.dead and not self._life.suspended:
                with suppress(Dead):
                    callback()

        return self._clock.every(seconds, unless_gone)


class StormWorld:
    """`world`, as one worker of the storm sees it."""

    def __init__(self, world: World, life: StormLife) -> None:
        self._world = world
        self._life = life
        self.name = world.name
        self.namespace = world.namespace
        self.short_wait = world.short_wait
        self.clock: Clock = SkewedClock(life.clock, life)
        self.runs: Any = StormPort(world.runs, ports.RunStore, life)
        self.blobs: Any = StormPort(world.blobs, ports.BlobStore, life)
        self.queue: Any = StormPort(world.queue, ports.Queue, life)
        self.receiver: Any = world.receiver and StormPort(world.receiver, ports.Receiver, life)

    def scoped(self, namespace: str) -> StormWorld:
        return StormWorld(self._world.scoped(namespace), self._life)

    def subscribe(self, run_id: str) -> Subscription:
        return self._world.subscribe(run_id)

    async def open(self) -> None:
        """Whoever made the world opens it."""

    async def close(self) -> None: ...
