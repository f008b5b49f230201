"""What goes wrong in a storm: faults at seeded calls of a worker on its world, each of a kind that really happens.

A plan is drawn from a seed while the worker runs; what has struck is kept, so that the same faults can be made to strike
again, or fewer of them (`shrinking.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from tests.faults import ByTheClock, Call, Dead, Life
from tests.storm.meetings import ASIDE, CALLS, NOBODY, SOME_TURNS, STANDSTILL, Meeting, Meetings
from wdk_cloud.errors import ThrottleError, WorldUnavailableError
from wdk_cloud.world import ports
from wdk_cloud.world.ports import Delivery

if TYPE_CHECKING:
    from wdk_cloud.world.clock import VirtualClock
    from wdk_cloud.world.ports import Clock, Handle, Subscription, World

LEASE = 30.0

LONG = 90.0
"""Seconds after which somebody else has received the message, and worked on it for a while."""


@dataclass(frozen=True)
class Fault:
    """One fault: which worker, at which of its calls, what."""

    worker: int
    call: int
    kind: str
    seconds: float = 0.0
    """Or calls of others, for the kinds that wait for them."""


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

LATE = {"acknowledge late": 6, "bring back": 6, "suspend, then die": 3, "slow before": 8, "slow after": 4}
"""Besides: an acknowledgement that is on its way for a while, a message that comes back while somebody works on it, a
call that reaches the world from a worker that will not see the answer, and calls that take their time."""


WAITS = ("wait before", "wait after")
"""The call waits for calls of others, whoever makes them."""

OVERTAKEN = ("overtaken", "overtaken, then die", "overtaken after")
"""The worker stands still, before the call or after it, until another has taken its run or step and made some calls."""

STALE = "stale, answer lost"
"""The message is received by somebody else as well, and exchanged; its first receiver's acquire comes after that."""

BEHIND = "acknowledge behind the next"
"""The acknowledgement is on its way while the message comes back; it arrives when somebody has taken the run with that."""

ARRIVES = "the acknowledgement arrives"
"""Just then; and the answer is lost."""

HARMLESS = {"throttle", "lose the request", "lose the answer", "send twice", "delay", "lose the acknowledgement"}
"""To a producer: whatever it asks for it asks for again."""

MEETING = (*WAITS, *OVERTAKEN, STALE, BEHIND)


@dataclass(frozen=True)
class Curse:
    """What strikes each call of a kind on the first run, so many times."""

    kind: str
    method: str
    times: int


POISON = Curse("die before", "items", 1_000)
"""More deaths than a run may have without growing: it must fail, and soon."""

CURSES = (POISON, Curse("die after", "append", 14), Curse("throttle", "items", 15))
"""And what no run may fail by: deaths of which each leaves the log longer; an outage."""


@dataclass(frozen=True)
class Theme:
    """What goes together in one weather: rules that need two or three faults of certain kinds would seldom meet them."""

    kinds: dict[str, int]
    most: tuple[int, ...] = (2, 5, 10)
    """Faults that may come."""
    rates: tuple[float, ...] = (0.02, 0.05, 0.1, 0.25)
    slow: tuple[float, ...] = (0.0, 0.1, 0.3)
    """The share of calls that take their time."""
    skews: tuple[float, ...] = (0.0, 0.0, 5.0, 20.0)
    curses: tuple[Curse | None, ...] = (None,)
    methods: tuple[str, ...] = ()
    """The calls that are hit; none named: all."""
    aim: str = ""
    """Of these calls only some are hit (`Weather._is_aimed_at`)."""
    far: bool = False
    """Its programs have no timers (`programs.generate`)."""
    hooked: bool = False
    """Each of its programs has hooks."""
    streamed: bool = False
    """Each of its programs has streams."""
    limits: tuple[float, ...] = (0.0,)
    """Seconds that a delivery has; 0: any number. Its programs are brief (`programs.generate`)."""


THEMES = (
    Theme({**KINDS, **LATE}, limits=(0.0, 0.0, 12.0)),
    Theme({**KINDS, **LATE}, most=(20, 40), rates=(0.1, 0.2), slow=(0.0, 0.3)),
    Theme({"die before": 1, "die after": 2}, most=(4, 12, 30), rates=(0.1, 0.25), slow=(0.0, 0.2)),
    Theme({"acknowledge late": 4, "bring back": 4, "slow before": 2, "die after": 1}, most=(10, 30), rates=(0.1, 0.2)),
    Theme({"suspend": 2, "suspend, then die": 3}, most=(2, 5), skews=(0.0, 20.0, 20.0)),
    Theme({"die before": 1, "die after": 1, "delay": 1}, skews=(20.0,), slow=(0.3,)),
    Theme({"lose the request": 1, "throttle": 1, "lose the answer": 2}, most=(10, 30), rates=(0.1, 0.3)),
    Theme({"die before": 1, "die after": 1}, most=(2, 5), rates=(0.1, 0.25), limits=(7.0, 12.0)),
    Theme({"die before": 1}, most=(1, 3), rates=(0.1, 0.2), limits=(7.0,), methods=("send",), aim="a continuation"),
    Theme({"die after": 1}, most=(0, 1), curses=CURSES),
    Theme(
        {"slow before": 3, "slow after": 3, "bring back": 5, "die after": 2},
        most=(10, 30),
        rates=(0.2, 0.4),
        methods=("acquire", "claim_step", "receive", "mark_dirty", "end_step", "append"),
    ),
    Theme(
        {"suspend for long": 3, "suspend, then die": 2},
        most=(2, 4),
        rates=(0.1, 0.3),
        skews=(0.0, 60.0),
        methods=("append", "end_step"),
    ),
    Theme({"suspend for long": 1}, most=(3, 6), rates=(0.3, 0.6), methods=("send", "put_labels")),
    Theme(
        {"slow, then die": 4, "slow after": 2, "bring back": 5},
        most=(20, 30),
        rates=(0.3, 0.6),
        methods=("acquire", "claim_step", "receive"),
    ),
    Theme({"delay": 1, "die after": 1}, most=(0, 2), slow=(0.5, 0.8)),
    Theme({"delay": 1}, most=(0,), slow=(0.5, 0.8)),
    # A worker that was overtaken writes all the same what an operation has yielded, and does not live to act on it.
    Theme(
        {"overtaken, then die": 1},
        most=(1, 2),
        rates=(0.5, 1.0),
        slow=(0.0,),
        methods=("append",),
        aim="what an operation has yielded",
    ),
    # Something comes in while a turn looks, or while it says that it has looked.
    Theme({"wait before": 1}, most=(60,), rates=(0.8, 1.0), slow=(0.0,), methods=("change",), far=True),
    # A run ends while somebody looks whether it has ended.
    Theme(
        {"wait after": 1, "slow after": 2},
        most=(10,),
        rates=(0.7, 1.0),
        slow=(0.0,),
        methods=("head",),
        aim="a look at a run that is watched",
    ),
    # Calls of several workers, or of a turn and a step, in any order.
    Theme({"wait before": 1, "wait after": 1, "die after": 1}, most=(10, 40), rates=(0.2, 0.5), slow=(0.0,)),
    # A body that is to begin when its lease or its claim is over.
    Theme({"overtaken after": 1}, most=(2, 4), rates=(0.2, 0.4), slow=(0.0,), methods=("append", "claim_step")),
    # Who has received a message that was exchanged; and one that must be.
    Theme({STALE: 1}, most=(2, 4), rates=(0.1, 0.3), slow=(0.0,), methods=("acquire",)),
    Theme(
        {BEHIND: 1},
        most=(2, 4),
        rates=(0.02, 0.06),
        slow=(0.0,),
        methods=("acknowledge",),
        aim="a message of a run",
        far=True,
    ),
    # A token is claimed or freed by a worker that was overtaken, or by one that dies.
    Theme(
        {"overtaken": 2, "wait before": 4, "wait after": 1, "die before": 4, "die after": 1},
        most=(2, 6, 12),
        rates=(0.5, 0.9),
        slow=(0.0,),
        methods=("claim_token", "free_token"),
        hooked=True,
    ),
    # Payloads that are sent while a run goes on as another, and while a hook takes its token.
    Theme(
        {"wait before": 2, "wait after": 2, "slow after": 1, "die after": 1},
        most=(10, 30),
        rates=(0.2, 0.5),
        slow=(0.0,),
        methods=("put_item", "items", "head", "change", "create", "claim_token", "token"),
        hooked=True,
    ),
    # A run that goes on is there, and the head of the one before it does not say so yet, or nobody has looked after that.
    Theme(
        {"die before": 2, "die after": 1, "slow before": 1, "wait before": 1},
        most=(2, 4),
        rates=(0.6, 1.0),
        slow=(0.0,),
        methods=("change",),
        aim="the end of a run",
        hooked=True,
    ),
    # Writers of one stream that meet each other, and its end.
    Theme(
        {"overtaken": 2, "wait before": 4, "die after": 2, "die before": 1, "lose the answer": 2, "suspend": 1},
        most=(2, 6, 12),
        rates=(0.2, 0.5),
        slow=(0.0,),
        methods=("put", "length", "put_item", "end_step", "mark"),
        streamed=True,
    ),
    # An outage is no death, and readers do not notice it.
    Theme(
        {"lose the request": 1, "throttle": 1, "lose the answer": 3},
        most=(4, 12),
        rates=(0.1, 0.4),
        slow=(0.0,),
        methods=("put", "get", "length", "put_item", "mark", "marked", "head", "end_step"),
        streamed=True,
    ),
)

MOST_SLOW = 300
"""Calls of one weather that take their time: a run that waits for days would otherwise never see the end of them."""

MOST_CALLS = 20_000
"""Of one worker: one that makes more goes round in circles."""

MESSAGES_HIT = 6
"""Times as often as other calls, in rough weather."""

SENDS = ("send twice", "delay")

SOON = 9.0
"""Seconds: a message that is to come back does so before its receiver prolongs its invisibility."""


@dataclass
class Weather:
    """Of one execution: how often it strikes, what it still may do, what it has done."""

    rate: float = 0.0
    left: int = 0
    """Faults that may still come: then the run must come to its end."""
    skew: float = 0.0
    """Each worker's clock is off by up to so many seconds, either way."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    kinds: dict[str, int] = field(default_factory=lambda: KINDS)
    slow: float = 0.0
    """The share of calls that take their time, besides."""
    slow_left: int = MOST_SLOW
    methods: tuple[str, ...] = ()
    """The calls that faults are drawn for; none named: all."""
    aim: str = ""
    """Of these only some."""
    far: bool = False
    """Its program has no timers."""
    hooked: bool = False
    """Its program has hooks."""
    streamed: bool = False
    """Its program has streams."""
    late: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict[str, "Callable[[], Awaitable[None]]"])
    """Acknowledgements that arrive when somebody takes the run with the same message."""
    watched: set[tuple[int, Any]] = field(default_factory=set[tuple[int, Any]])
    """Runs that a worker has just registered a watcher with: its next look tells whether they have ended."""
    curse: Curse | None = None
    curses_left: int = 0
    limit: float = 0.0
    """Seconds that a delivery has; 0: any number."""
    runaway: bool = False
    """A worker made more calls than any program needs."""
    fitting: bool = False
    """Drawn are only the kinds that fit the call; messages, of which there are few, are hit more often."""
    planned: frozenset[Fault] | None = None
    """Instead of drawing: just these strike."""
    is_not_all: bool = False
    """Something else has struck as well, that a producer may end early by."""
    offsets: dict[int, float] = field(default_factory=dict[int, float])
    meetings: Meetings = field(default_factory=Meetings)
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
            kinds=ROUGH,
            fitting=True,
        )

    @classmethod
    def themed(cls, seed: int, themes: int = len(THEMES)) -> Weather:
        """Of each theme in turn: what the short storm brings. `themes`: of how many, the first ones; new ones come
        last, and change which of them a seed meets."""
        rng = random.Random(f"themed {seed}")
        theme = THEMES[seed % themes]
        return cls(
            rate=rng.choice(theme.rates),
            left=rng.choice(theme.most),
            skew=rng.choice(theme.skews),
            slow=rng.choice(theme.slow),
            limit=rng.choice(theme.limits),
            curse=(curse := rng.choice(theme.curses)),
            curses_left=curse.times if curse is not None else 0,
            rng=rng,
            kinds=theme.kinds,
            methods=theme.methods,
            aim=theme.aim,
            far=theme.far,
            hooked=theme.hooked,
            streamed=theme.streamed,
            fitting=True,
        )

    @property
    def spares_producers(self) -> bool:
        """Whether nothing has struck that a producer may end early by."""
        kinds = {fault.kind for fault in self.struck}
        if self.is_not_all:
            return False
        return kinds <= HARMLESS and not self.limit and all(abs(offset) <= 20.0 for offset in self.offsets.values())

    def offset(self, worker: int) -> float:
        """By how much the clock of this worker is off."""
        if worker not in self.offsets:
            self.offsets[worker] = round(self.rng.uniform(-self.skew, self.skew), 3)
        return self.offsets[worker]

    def at(self, worker: int, call: Call) -> Fault | None:
        if self.planned is not None:
            found = [fault for fault in self.planned if (fault.worker, fault.call) == (worker, call.number)]
            return self._strike(found[0], call) if found else None
        if self.curses_left and self.curse is not None and self.curse.method == call.method and call.args[0] == "run":
            self.curses_left -= 1
            fault = Fault(worker, call.number, self.curse.kind)
            self.struck.append(fault)
            return fault
        if call.method == "acquire" and call.kwargs["provider_id"] in self.late:
            fault = Fault(worker, call.number, ARRIVES)
            self.struck.append(fault)
            return fault
        if call.method == "put_item" and call.args[2].kind == "watch":
            self.watched.add((worker, call.args[0]))
        rate = self.rate * (MESSAGES_HIT if self.fitting and call.method in ("send", "acknowledge") else 1)
        spared = (self.methods and call.method not in self.methods) or not self._is_aimed_at(worker, call)
        if self.left <= 0 or spared or self.rng.random() >= rate:
            return self._slowed(worker, call)
        kinds = self.kinds
        if self.fitting:
            kinds = {kind: often for kind, often in kinds.items() if _fits(kind, call.method)}
        if not kinds:
            return None
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        if kind in MEETING:
            calls = (
                self.rng.randint(*SOME_TURNS)
                if kind in (STALE, BEHIND)
                else self.rng.randint(1, self.rng.choice(CALLS))
            )
            return self._strike(Fault(worker, call.number, kind, calls), call)
        seconds = round(self.rng.choice((0.5, 10.0, 40.0, 130.0)) * self.rng.random(), 3)
        return self._strike(Fault(worker, call.number, kind, seconds), call)

    def _is_aimed_at(self, worker: int, call: Call) -> bool:
        match self.aim:
            case "what an operation has yielded":
                return b'"operation_completed"' in call.args[2].data
            case "a message of a run":
                return call.args[0].message.kind != "step"
            case "a continuation":
                return any(message.kind == "continue" for message, _ in call.args[0])
            case "the end of a run":
                return "status" in call.args[2]
            case "a look at a run that is watched":
                there = (worker, call.args[0])
                looked = there in self.watched
                self.watched.discard(there)
                return looked
            case _:
                return True

    def _slowed(self, worker: int, call: Call) -> Fault | None:
        if not self.slow or self.slow_left <= 0 or call.method in SYNCHRONOUS or self.rng.random() >= self.slow:
            return None
        self.slow_left -= 1
        seconds = round(self.rng.choice((0.05, 1.0, 5.0)) * self.rng.random(), 3)
        fault = Fault(worker, call.number, self.rng.choice(SLOW), seconds)
        self.struck.append(fault)
        return fault

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
    if kind in ("lose the acknowledgement", "acknowledge late", BEHIND):
        return method == "acknowledge"
    if kind == "bring back":
        return method == "receive"
    if kind == STALE:
        return method == "acquire"
    if kind in (*WAITS, *OVERTAKEN, "suspend", "suspend for long", "suspend, then die", "slow, then die", *SLOW):
        return method not in SYNCHRONOUS
    return True


SLOW = ("slow before", "slow after")


SYNCHRONOUS = frozenset(("renew", "renew_step", "extend"))

life_of: ContextVar[StormLife | None] = ContextVar("storm_life", default=None)


def task_factory(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
    """Tasks that a worker makes are noted in its life: its death ends them, and no others."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, **kwargs)
    life = life_of.get()
    if life is not None:
        life.tasks[task] = None
        task.add_done_callback(lambda done: life.tasks.pop(done, None))
    return task


class StormLife(Life):
    """One worker among several."""

    def __init__(self, number: int, weather: Weather, clock: VirtualClock, watch: Callable[[Call, Any], None]) -> None:
        super().__init__(None, watch)
        self.number = number
        self.weather = weather
        self.clock = clock
        self.offset = weather.offset(number)
        self.tasks: dict[asyncio.Task[Any], None] = {}
        """In order, so that each execution of a seed is the same."""
        self.suspended_until = 0.0
        self._standing: list[asyncio.Future[None]] = []
        """What waits until this worker goes on."""
        self.received: dict[str, Delivery] = {}
        """By the ids that the provider gave them."""
        self.in_hand: set[str] = set()
        """The deliveries that have a deadline."""

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

    def must_live(self) -> None:
        if self.dead:
            raise Dead

    def overrun(self, receipt: str) -> None:
        """The time of a delivery is over: whoever still works on it is killed."""
        if receipt in self.in_hand and not self.dead:
            with suppress(Dead):
                self.end()

    def fault(self, call: Call) -> Fault | None:
        return self.weather.at(self.number, call)

    def begin(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
        if self.calls >= MOST_CALLS:
            self.weather.runaway = True
            self.end()
        return super().begin(method, args, kwargs)

    async def resumed(self) -> None:
        """Wait while this worker stands still."""
        while self.suspended and not self.dead:
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._standing.append(over)
            await self.wait_until(self.suspended_until, over)
        if self.dead:
            raise Dead

    def resume(self) -> None:
        """Go on before the time."""
        self.suspended_until = 0.0
        standing, self._standing = self._standing, []
        for over in standing:
            over.done() or over.set_result(None)

    async def meet(self, fault: Fault, call: Call) -> None:
        """Wait for calls of others."""
        first = "exchanged" if fault.kind == STALE else "overtaken" if fault.kind in OVERTAKEN else ""
        meeting = Meeting(self.number, call, int(fault.seconds), first)
        until = self.later(STANDSTILL if first == "overtaken" else NOBODY)
        if first == "overtaken":
            self.suspended_until = until
        self.weather.meetings.add(meeting)
        try:
            await self.wait_until(until, meeting.over)
        finally:
            self.weather.meetings.remove(meeting)
            if first == "overtaken":
                self.resume()

    async def happen(self, call: Call, answer: Any) -> None:
        """The call has been made; somebody may have waited for it."""
        self.happened(call, answer)
        if call.method == "receive":
            self.received.update((delivery.provider_id, delivery) for delivery in answer)
        if self.weather.meetings.noted(self.number, call, answer):
            await self.wait_until(self.later(ASIDE))

    def later(self, seconds: float) -> float:
        return round(self.clock.now() + seconds, 6)

    async def wait_until(self, when: float, over: asyncio.Future[None] | None = None) -> None:
        """Until then, or until `over` is set."""
        over = over or asyncio.get_running_loop().create_future()
        handle = self.clock.call_at(when, lambda: over.done() or over.set_result(None))
        try:
            await over
        finally:
            handle.cancel()
        if self.dead:
            raise Dead


class StormPort:
    """One port of the world, as a worker of the storm meets it."""

    bring_back: Callable[[Delivery, float], None]
    """Of the ports of runs and of the receiver."""

    def __init__(self, port: Any, protocol: type, life: StormLife) -> None:
        self._port = port
        self._life = life
        for name in dir(protocol):
            there = getattr(port, name, None)
            if name.startswith("_") or not callable(there):
                continue
            if name == "receive" and life.weather.limit:
                there = partial(self._with_a_deadline, there)
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
        if name in ("acknowledge", "put_back"):
            life.in_hand.discard(args[0].receipt)
        if life.suspended_until:
            await life.resumed()
        call = life.begin(name, args, kwargs)
        fault = life.fault(call)
        if fault is None:
            answer = await method(*args, **kwargs)
            await life.happen(call, answer)
            return answer
        return await self._faulty(fault, call, method)

    async def _with_a_deadline(self, receive: Callable[[int], Any], limit: int) -> list[Delivery]:
        seconds = self._life.weather.limit
        given = await receive(limit)
        life = self._life
        for delivery in given:
            life.in_hand.add(delivery.receipt)
            life.clock.call_at(life.later(seconds), partial(life.overrun, delivery.receipt))
        deadline = life.clock.monotonic() + seconds
        return [msgspec.structs.replace(delivery, deadline=deadline, limit=seconds) for delivery in given]

    async def _faulty(self, fault: Fault, call: Call, method: Callable[..., Any]) -> Any:
        life = self._life
        if fault.kind == "lose the acknowledgement":
            return None
        if fault.kind == "acknowledge late":
            life.clock.call_at(life.later(fault.seconds), partial(_acknowledge, method, call.args[0]))
            return None
        if fault.kind == BEHIND:
            self._acknowledge_behind(fault, call, method)
            return None
        await self._before(fault, call)
        args = call.args
        if fault.kind == "delay":
            args = ([(message, delay + fault.seconds) for message, delay in args[0]],)
        answer = await method(*args, **call.kwargs)
        await life.happen(call, answer)
        if fault.kind == "send twice":
            await method(*args, **call.kwargs)
        await self._after(fault, call, answer)
        return answer

    def _acknowledge_behind(self, fault: Fault, call: Call, method: Callable[..., Any]) -> None:
        delivery, life, weather = call.args[0], self._life, self._life.weather
        meeting = Meeting(life.number, call, int(fault.seconds))
        weather.meetings.add(meeting)

        def comes_back(_: object) -> None:
            weather.meetings.remove(meeting)
            weather.late[delivery.provider_id] = partial(method, delivery)
            self.bring_back(delivery, 0.0)

        meeting.over.add_done_callback(comes_back, context=Context())  # whatever has become of its sender
        life.clock.call_at(life.later(NOBODY), lambda: meeting.over.done() or meeting.over.set_result(None))

    async def _before(self, fault: Fault, call: Call) -> None:
        """What happens before the world is asked."""
        life = self._life
        match fault.kind:
            case "die before":
                life.end()
            case "lose the request":
                raise WorldUnavailableError(f"{call.method}: the request was lost")
            case "throttle":
                raise ThrottleError(f"{call.method}: slow down")
            case "suspend" | "suspend, then die":
                life.suspended_until = life.later(LEASE + fault.seconds)
                await life.resumed()
            case "suspend for long":
                life.suspended_until = life.later(LONG + fault.seconds)
                await life.resumed()
            case "slow before" | "slow, then die":
                await life.wait_until(life.later(fault.seconds))
            case "wait before" | "overtaken" | "overtaken, then die":
                await life.meet(fault, call)
            case "stale, answer lost":
                self.bring_back(life.received[call.kwargs["provider_id"]], 0.0)
                await life.meet(fault, call)
            case _:
                pass

    async def _after(self, fault: Fault, call: Call, answer: Any) -> None:
        """What happens once the world has done it."""
        life = self._life
        match fault.kind:
            case "die after" | "suspend, then die" | "slow, then die" | "overtaken, then die":
                life.end()
            case "the acknowledgement arrives":
                if (arrives := life.weather.late.pop(call.kwargs["provider_id"], None)) is not None:
                    await arrives()
                raise WorldUnavailableError(f"{call.method}: the answer was lost")
            case "lose the answer" | "stale, answer lost":
                raise WorldUnavailableError(f"{call.method}: the answer was lost")
            case "slow after":
                await life.wait_until(life.later(fault.seconds))
            case "wait after" | "overtaken after":
                await life.meet(fault, call)
            case "bring back":
                for delivery in answer:
                    self.bring_back(delivery, fault.seconds % SOON)
            case _:
                pass

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


def _acknowledge(method: Callable[[Delivery], Any], delivery: Delivery) -> None:
    """It was on its way, whatever has become of its sender."""
    asyncio.get_running_loop().create_task(method(delivery))


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
        there = round(when - self._life.offset, 6)
        if self.now() < when and round(there + self._life.offset, 6) < when:
            there = round(there + 1e-6, 6)  # or it would be told a moment too early, and again, and again
        return self._clock.call_at(there, callback)

    def every(self, seconds: float, callback: Callable[[], object]) -> Handle:
        def unless_gone() -> None:
            if not self._life.dead and not self._life.suspended:
                with suppress(Dead):
                    callback()

        return self._clock.every(seconds, unless_gone)


FIRST_READER = 500_000
"""Its number among the workers of a weather, and those of the readers that follow; each has a thousand lives."""


class StormWorld:
    """`world`, as one worker of the storm sees it."""

    port: type[StormPort] = StormPort

    def __init__(self, world: World, life: StormLife) -> None:
        self._world = world
        self._life = life
        self.name = world.name
        self.namespace = world.namespace
        self.short_wait = world.short_wait
        self.clock: Clock = SkewedClock(life.clock, life)
        self.runs: Any = self.port(world.runs, ports.RunStore, life)
        self.runs.bring_back = world.queue.extend
        self.blobs: Any = self.port(world.blobs, ports.BlobStore, life)
        self.streams: Any = self.port(world.streams, ports.StreamStore, life)
        self.streams.window = 0.0  # the machine's time, in which nothing is to happen
        self.queue: Any = self.port(world.queue, ports.Queue, life)
        self.receiver: Any = world.receiver and self.port(world.receiver, ports.Receiver, life)
        if self.receiver is not None:
            self.receiver.bring_back = world.queue.extend

    def scoped(self, namespace: str) -> StormWorld:
        return StormWorld(self._world.scoped(namespace), self._life)

    def subscribe(self, run_id: str) -> Subscription:
        watch = self._world.subscribe(run_id)
        # A reader that is no worker is told of everything, however long a run sleeps.
        return ByTheClock(watch, None if self._life.number >= FIRST_READER else self._life.clock)

    async def open(self) -> None:
        """Whoever made the world opens it."""

    async def close(self) -> None: ...
