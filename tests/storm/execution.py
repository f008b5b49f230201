"""Executing one program under one weather, on a virtual clock, and judging what came of it."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.canonical import journal
from tests.faults import Call, Dead, a_process_of
from tests.histories import (
    SETTINGS,
    Claimed,
    check_bodies,
    check_one_history,
    events_of,
    fixed_draws,
    notes,
    read_log,
    watch,
)
from tests.storm import bodies
from tests.storm.faults import LEASE, POISON, StormLife, StormWorld, Weather, life_of, task_factory
from tests.storm.granted import Claims, Leases, Tokens
from tests.storm.programs import Expected, Node, expect
from tests.storm.readers import Readers, pauses_on
from tests.storm.senders import Senders
from tests.storm.streamed import check_streams
from wdk_cloud import start, worker
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.inline import INTERRUPTIONS_UNCHARGED
from wdk_cloud.engine.replay import MAX_DELIVERIES_EXCEEDED
from wdk_cloud.errors import StreamError, WorkflowRunFailedError
from wdk_cloud.worker import Worker
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Batch, Head, World

ROUNDS = 20_000
"""Looks at a run before the storm says that it goes round in circles."""

STILL = 20
"""Times that the clock moves on though nothing is due, while a worker is busy."""

MOST_WORKERS = 200
"""That may die before the storm says that this is for ever."""

SPINS = 3
"""Turns of the loop without anything ready after which it counts as quiet."""


class Violation(AssertionError):
    """What must never happen."""


@dataclass
class Execution:
    """One program carried out under one weather."""

    program: Node
    weather: Weather
    expected: Expected = field(default_factory=Expected)
    turns: int = 0
    commands: int = 0
    at_once: int = 0
    """The most commands that were outstanding together."""
    workers: int = 0
    logs: dict[str, list[Batch]] = field(default_factory=dict[str, list[Batch]])
    claimed_at: dict[tuple[str, int], float] = field(default_factory=dict[tuple[str, int], float])
    """When each attempt of a step that runs elsewhere was claimed."""

    claims: Claims = field(default_factory=Claims)
    leases: Leases = field(default_factory=Leases)
    tokens: Tokens = field(default_factory=Tokens)

    poured: dict[tuple[str, str], list[Any]] = field(default_factory=dict[tuple[str, str], "list[Any]"])
    """The chunks in the streams that the program names, by run and name."""
    is_poisoned: bool = False
    """Its run failed, as it was to."""
    is_all_noted: bool = True
    """Whatever workers wrote was noted when they wrote it. On a file, and on AWS, what one that has died was about to
    write may be there all the same."""

    def begun_late(self) -> set[tuple[str, int]]:
        """The attempts whose bodies began when their claims, never renewed, were over."""
        return {
            attempt
            for attempt, began in bodies.begun_at.items()
            if attempt in self.claimed_at and began - self.claimed_at[attempt] > LEASE
        }


async def execute(
    program: Node,
    weather: Weather,
    *,
    workers: int = 1,
    path: Path | None = None,
    crew: Callable[[World, VirtualClock, Weather, int, Execution], Crew] | None = None,
) -> Execution:
    """Carry the program out, and check everything that can be checked in this process."""
    clock = VirtualClock()
    world: World = MemoryWorld(clock) if path is None else LocalWorld(path, clock=clock)
    execution = Execution(program, weather, expect(program), is_all_noted=path is None)
    await world.open()
    try:
        await carry_out(execution, world, clock, workers, crew or Crew)
    finally:
        await world.close()
    return execution


async def carry_out(
    execution: Execution,
    world: World,
    clock: VirtualClock,
    workers: int,
    crew: Callable[[World, VirtualClock, Weather, int, Execution], Crew],
) -> None:
    asyncio.get_running_loop().set_task_factory(task_factory)
    journal.clear()
    bodies.begun_at.clear()
    bodies.cut_short.clear()
    bodies.produced.clear()
    bodies.clock = clock
    try:
        with fixed_draws(), use_world(world), pauses_on(clock):
            run = await start(bodies.storm.with_options(run_id="run"), execution.program)
            hands = crew(world, clock, execution.weather, workers, execution)
            await hands.work_until_over()
            await hands.judge(run)
    finally:
        bodies.clock = None


class Crew:
    """The workers: each that dies is replaced."""

    def __init__(self, world: World, clock: VirtualClock, weather: Weather, size: int, execution: Execution) -> None:
        self._world = world
        self._clock = clock
        self._weather = weather
        self._size = size
        self._execution = execution
        self._hosts: list[tuple[StormLife, asyncio.Task[None], list[Worker]]] = []
        self._stop = asyncio.Event()
        self._senders = Senders(execution.program, world, clock, weather)
        self._readers = Readers(execution.expected.streams, world, clock, weather)

    async def work_until_over(self) -> None:
        try:
            self._readers.begin()
            await self._work()
        finally:
            await self._senders.stop()
            await self._readers.stop()
            self._stop.set()
            for life, _, _ in self._hosts:
                life.suspended_until = 0.0
            await self._until_gone()
            for _, host, _ in self._hosts:
                host.cancel()
                with suppress(asyncio.CancelledError, Dead):
                    await host

    async def _until_gone(self) -> None:
        """A worker that stops may wait for the clock: for an answer that is slow, when something has gone wrong."""
        await settle()
        while not all(host.done() for _, host, _ in self._hosts) and (due := self._clock.next_due()) is not None:
            with suppress(Dead):
                self._clock.advance_to(due)
            await settle()

    async def judge(self, run: Any) -> None:
        await judge(self._execution, self._world, run)
        for stream, found in self._readers.found.items():
            if found != (there := self._execution.poured.get(("run", stream), [])) and not self._execution.is_poisoned:
                raise Violation(f"a reader of {stream} has read {found}, and there is {there}")
        if self._senders.turned_away and self._execution.weather.curse is not POISON:
            raise Violation(f"somebody waits for payloads that were turned away: {self._senders.turned_away}")

    async def _work(self) -> None:
        still = 0
        for _ in range(ROUNDS):
            await self._replace_the_dead()
            await settle()
            if self._weather.runaway:
                raise Violation("a worker makes call after call, and comes to no end")
            if any(life.dead for life, _, _ in self._hosts):
                continue
            if await self._over():
                return
            due = self._clock.next_due()
            if due is None and still < STILL and self._busy():
                still += 1  # a step whose claim is renewed, and so learns that it was cancelled, as time goes by
                due = self._clock.now() + LEASE
            if due is None:
                raise Violation(f"stranded: nothing is on its way: {await self._world.runs.head('run')}")
            with suppress(Dead):  # leases are renewed while the clock moves
                self._clock.advance_to(due)
        raise Violation(f"no end after {ROUNDS} looks")

    async def _over(self) -> bool:
        """Whether every run has ended and its workers have nothing left to do."""
        head = await last_head(self._world, "run")
        if not head.ended or any(life.suspended for life, _, _ in self._hosts):
            return False
        return not self._busy() and self._readers.are_done

    def _busy(self) -> bool:
        return any(not one.idle for _, _, workers in self._hosts for one in workers)

    async def _bury_the_dead(self) -> None:
        for life, host, _ in [entry for entry in self._hosts if entry[0].dead]:
            await life.mourn()
            host.cancel()
            with suppress(asyncio.CancelledError, Dead):
                await host
        self._hosts = [entry for entry in self._hosts if not entry[0].dead]

    async def _replace_the_dead(self) -> None:
        await self._bury_the_dead()
        if self._execution.workers > MOST_WORKERS:
            raise Violation(f"{MOST_WORKERS} workers have died, and the run has not ended")
        while len(self._hosts) < self._size:
            self._execution.workers += 1
            life = StormLife(self._execution.workers, self._weather, self._clock, self._watch)
            workers: list[Worker] = []
            context = contextvars.copy_context()
            context.run(life_of.set, life)
            host = asyncio.get_running_loop().create_task(self._host(life, workers), context=context)
            life.tasks.pop(host, None)
            self._hosts.append((life, host, workers))

    def _watch(self, call: Call, answer: Any) -> None:
        watch(call, answer)
        self._execution.claims.note(call, answer)
        self._execution.tokens.note(call, answer)
        self._execution.leases.note(call, answer, self._clock.now())
        self._senders.noted(call, answer)
        if call.method == "claim_step" and isinstance(claim := journal[-1], Claimed):
            self._execution.claimed_at.setdefault((claim.step_id, claim.attempt), self._clock.now())

    async def _host(self, life: StormLife, workers: list[Worker]) -> None:
        async with (
            a_process_of(self._world, life) as own,
            worker(bodies.app, world=StormWorld(own, life), settings=SETTINGS) as serving,
        ):
            workers.extend(serving)
            await self._stop.wait()


async def settle() -> None:
    ready: Any = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
    quiet = 0
    while quiet < SPINS:
        await asyncio.sleep(0)
        quiet = 0 if ready else quiet + 1


# -- judging ----------------------------------------------------------------------------------------------------------


async def last_head(world: World, run_id: str) -> Head:
    """Of the run that is alive, or was at last, of those that go on for each other."""
    following: str | None = run_id
    while True:
        head = await world.runs.head(following)
        if head is None:
            raise Violation(f"the run {following} is lost")
        following = head.continued_to
        if following is None:
            return head


async def judge(execution: Execution, world: World, run: Any) -> None:
    head, batches = await read_log(world, "run")
    execution.turns = head.fence
    last = await last_head(world, "run")
    if execution.weather.curse is POISON and last.error_code == MAX_DELIVERIES_EXCEEDED:
        execution.logs["run"] = batches
        check_one_history(head, batches)
        check_interruptions(batches)
        execution.is_poisoned = True
        return
    try:
        value = await run.return_value(timeout=10)
    except WorkflowRunFailedError as error:
        raise Violation(f"the run failed: {error!r}") from error
    if value != execution.expected.value:
        raise Violation(f"the run yields {value!r}, not {execution.expected.value!r}")
    await judge_chain(execution, world, "run", execution.expected, {})
    check_bodies(
        execution.begun_late(),
        taken_early=execution.leases.taken_early(),
        all_noted=execution.is_all_noted,
    )
    check_once()
    if twice := [step_id for step_id, times in bodies.produced.items() if times > 1]:
        raise Violation(f"producers began more than once: {twice}")
    if bodies.cut_short and execution.weather.spares_producers:
        raise Violation(f"producers that nothing happened to were cut short: {bodies.cut_short}")
    if execution.is_all_noted:  # besides, on a file the claim of a dead process is over
        if taken := execution.claims.taken_alive:
            raise Violation(f"taken over while their claims were alive: {taken}")
        if taken := execution.tokens.taken_alive:
            raise Violation(f"tokens were taken over from hooks that could receive: {taken}")
    execution.commands, execution.at_once = _measures(events_of(batches, "run"))


async def judge_chain(
    execution: Execution, world: World, run_id: str, expected: Expected, labels: dict[str, str]
) -> None:
    """A run, and those that go on for it, each in its part of what the model says; `labels` are those it began with."""
    following: str | None = run_id
    part: Expected | None = expected
    taken: set[str | None] = set()
    while following is not None:
        if part is None:
            raise Violation(f"{run_id} goes on as {following}, and was to end")
        head, batches = await read_log(world, following)
        execution.logs[following] = batches
        events = check_one_history(head, batches)
        check_interruptions(batches)
        labels = labels | part.labels
        found = dict((await world.runs.labels(head.run_id, head.birth)).values)
        if found != labels:
            raise Violation(f"the labels of {following} are {found}, not {labels}")
        check_commands(part, events)
        taken = check_payloads(events, taken)
        await _judge_streams(execution, world, head.run_id, part)
        await _judge_children(execution, world, following, events, part)
        following, part = head.continued_to, part if part.status == "cancelled" else part.then
    if part is not None and part.status != "cancelled":
        raise Violation(f"{run_id} was to go on as another run")


async def _judge_streams(execution: Execution, world: World, run_id: str, expected: Expected) -> None:
    try:
        poured = await check_streams(world, run_id, expected.streams)
    except (AssertionError, StreamError) as error:
        raise Violation(f"streams of {run_id}: {error}") from error
    execution.poured.update(((run_id, stream), found) for stream, found in poured.items())


async def _judge_children(
    execution: Execution, world: World, parent: str, events: list[ev.AnyEvent], expected: Expected
) -> None:
    ids = [
        json.loads(bytes(event.result))
        for event in events
        if type(event) is ev.OperationCompleted and event.id.startswith("start#")
    ]
    if len(ids) != len(set(ids)) or len(ids) != len(expected.children):
        raise Violation(f"{len(expected.children)} children were to be started, there are {ids}")
    left = list(expected.children)
    for id in ids:
        last, batches = await read_log(world, (await last_head(world, id)).run_id)
        there = events_of(batches, last.run_id)
        value = next((json.loads(bytes(event.result)) for event in there if type(event) is ev.RunCompleted), None)
        match = next((child for child in left if (child.status, child.value) == (last.status, value)), None)
        if match is None:
            raise Violation(f"the child {id} is {last.status} and yields {value!r}, which none was to")
        left.remove(match)
        await judge_chain(execution, world, id, match, {"$parentRunId": parent, "$rootRunId": "run"})


def check_commands(expected: Expected, events: list[ev.AnyEvent]) -> None:
    """Each command of the program is in the log, once, and no other."""
    created = Counter(event.id.rpartition("#")[0] for event in events if isinstance(event, _COMMANDS) and event.id)
    created["disposed"] = sum(type(event) is ev.HookDisposed for event in events)
    for name in created.keys() | expected.must.keys():
        least = expected.must[name]
        most = least + expected.may[name]
        if not least <= created[name] <= most:
            raise Violation(f"{name} is {created[name]} times in the log, not {least} to {most} times")


def check_payloads(events: list[ev.AnyEvent], taken: set[str | None]) -> set[str | None]:
    """No payload comes to a run again that one before it has taken. Returns those that are taken after this one."""
    received = {event.key for event in events if type(event) is ev.HookReceived}
    if twice := taken & received:
        raise Violation(f"delivered to a run, and again to one that goes on for it: {twice}")
    unread = events[-1].unread if isinstance(events[-1], ev.RunContinued) else ()
    return taken | (received - set(unread))


def check_interruptions(batches: list[Batch]) -> None:
    """Of several attempts that were interrupted together none is charged before the fifth time; each begins alone."""
    interruptions: Counter[str] = Counter()
    suspects: set[str] = set()
    for batch in batches:
        events = ev.decode_batch(batch.data, "", batch.at).events
        together = sum(type(event) is ev.StepInterrupted for event in events)
        started: list[str] = []
        alone = False
        for event in events:
            match event:
                case ev.StepStarted(id=id):
                    started.append(id)
                    alone = alone or id in suspects
                case ev.StepInterrupted(id=id, charged=charged):
                    if together > 1 and charged != (interruptions[id] >= INTERRUPTIONS_UNCHARGED):
                        raise Violation(f"interruption {interruptions[id] + 1} of {id}, charged: {charged}")
                    interruptions[id] += 1
                    suspects.add(id)
                case ev.StepCompleted(id=id) | ev.StepFailed(id=id) | ev.StepRetrying(id=id):
                    suspects.discard(id)
                case _:
                    pass
        if alone and len(started) > 1:
            raise Violation(f"{started} began together, though one of them had been interrupted")


def check_once() -> None:
    """A step without retries begins once at most."""
    begun = Counter(entry.step_id for entry in notes() if entry.step_name in ("once", "far_once"))
    if begun.total() > len(begun):
        raise Violation(f"a step without retries began more than once: {begun.most_common(1)}")


_COMMANDS = (ev.StepCreated, ev.WaitCreated, ev.OperationCreated, ev.AttributesSet, ev.HookCreated)


def _measures(events: list[ev.AnyEvent]) -> tuple[int, int]:
    """How many commands there are, and how many of them were outstanding together at most."""
    count = most = 0
    open_: set[str] = set()
    for event in events:
        match event:
            case ev.StepCreated(id=id) | ev.WaitCreated(id=id) | ev.OperationCreated(id=id):
                count += 1
                open_.add(id)
                most = max(most, len(open_))
            case ev.AttributesSet():
                count += 1
            case (
                ev.StepCompleted(id=id)
                | ev.StepFailed(id=id)
                | ev.WaitCompleted(id=id)
                | ev.WaitCancelled(id=id)
                | ev.OperationCompleted(id=id)
                | ev.OperationFailed(id=id)
            ):
                open_.discard(id)
            case _:
                pass
    return count, most
