"""Playing a canonical run on a virtual clock, and judging its log: is it one history, and did the bodies keep to it?"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import inf
from types import SimpleNamespace
from typing import Any

from tests.canonical import Canonical, Note, app, journal
from tests.faults import Call, Dead, FaultyWorld, Life, a_process_of
from wdk_cloud import Run, client, start, worker
from wdk_cloud.codec import keys, sealing
from wdk_cloud.context import step_id
from wdk_cloud.engine import appender, chunks, passing, receiving, requests, runids, service
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Batch, Head, World

SETTINGS = Settings(code_version="1")
"""With a version of its own, so that nobody hashes the sources for each engine."""

ROUNDS = 3000
"""Looks at a run before the test says that it goes round in circles."""


@contextmanager
def fixed_draws(first: int = 0) -> Iterator[SimpleNamespace]:
    """Births, seeds, identities, jitter and nonces come from a counter: these modules are all that ask the operating
    system for randomness, each by `os.urandom`. `drawn` says how far the counter is."""
    state = SimpleNamespace(drawn=first)

    def urandom(n: int) -> bytes:
        state.drawn += 1
        return hashlib.sha512(str(state.drawn).encode()).digest()[:n]

    system = SimpleNamespace(urandom=urandom, environ=os.environ)
    with ExitStack() as stack:
        for module in (chunks, client, keys, passing, receiving, requests, runids, sealing, service):
            stack.callback(setattr, module, "os", module.os)
            module.os = system
        stack.callback(setattr, appender, "BREATH", appender.BREATH)
        appender.BREATH = inf  # of the machine's time, which is another one each time
        yield state


# -- playing ----------------------------------------------------------------------------------------------------------


class Play:
    """One run of a canonical: the client's part, and the moving of the clock while workers come and go."""

    def __init__(self, canonical: Canonical, world: World) -> None:
        self.canonical = canonical
        self.world = world
        self.clock: Any = world.clock
        self.env = WorkflowEnv(world, self.clock)
        self.acted = False
        self.run: Run[Any]

    async def begin(self) -> None:
        with use_world(self.world):
            workflow = self.canonical.workflow.with_options(run_id=self.canonical.name)
            self.run = await start(workflow, *self.canonical.arguments)

    async def serve(self, life: Life, settings: Settings = SETTINGS) -> None:
        """A worker lives until nothing is left to do and no message is on its way, or until its life ends.

        What it leaves is what lay in the world when it died: nothing of it writes after that."""
        left: list[object] = []
        async with a_process_of(self.world, life) as own:
            life.at_death.append(lambda: left.append(all_that_lies_in(self.world)))
            with use_world(self.world):
                async with worker(app, world=FaultyWorld(own, life), settings=settings) as workers:
                    self.env.workers = workers
                    await self._until_over(life)
                await life.mourn()
        if life.dead:
            assert left == [all_that_lies_in(self.world)], f"a dead worker wrote; it died at {life.last}"

    async def _until_over(self, life: Life) -> None:
        for _ in range(ROUNDS):
            await self.env.settle()
            if life.dead:
                return
            if await self._act():
                continue
            idle = all(one.idle for one in self.env.workers)
            if not idle and not self.canonical.steps_await_the_clock:
                await asyncio.sleep(0.0002)  # a thread is at work
                continue
            due = self.clock.next_due()
            if due is None:
                return
            with suppress(Dead):  # leases are renewed while the clock moves
                self.clock.advance_to(due)
        raise AssertionError(f"{self.canonical.name}: no end after {ROUNDS} looks")

    async def _act(self) -> bool:
        act = self.canonical.act
        if act is None or self.acted or act.when_begun not in begun_by_name():
            return False
        self.acted = True
        await act.do(self.run)
        return True


def all_that_lies_in(world: World) -> object:
    """Something that changes with everything that is written into a world."""
    if isinstance(world, LocalWorld):
        # SQLite's own counter; it changes with each commit of another connection.
        return world._database.read("PRAGMA data_version")
    assert isinstance(world, MemoryWorld)
    rooms = [(store._heads, store._tokens, store._lives, queue._entries) for store, queue in world._rooms.values()]
    return repr(
        [
            (
                heads,
                tokens,
                [
                    (key, life.log, life.inbox, life.steps, life.labels, life.blobs, life.streams, life.marks)
                    for key, life in lives.items()
                ],
                [(id, entry.message, entry.ticket, entry.receipt) for id, entry in entries.items()],
            )
            for heads, tokens, lives, entries in rooms
        ]
    )


# -- what a world was asked -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """An event that lies in the log."""

    run_id: str
    event: ev.AnyEvent


@dataclass(frozen=True)
class Claimed:
    """An attempt of a queue-dispatched step was counted."""

    run_id: str
    step_id: str
    attempt: int


@dataclass(frozen=True)
class EndRecorded:
    """The end of a queue-dispatched step was stored."""

    run_id: str
    step_id: str
    end: bytes
    """A producer whose answer was lost stores the same once more."""


def watch(call: Call, answer: Any) -> None:
    """Put what a worker wrote into the journal, between the notes of the bodies."""
    match call.method, call.args, answer:
        case "append", (run_id, _, Batch() as batch), None:
            journal.extend(Recorded(run_id, event) for event in ev.decode_batch(batch.data, run_id, batch.at).events)
        case "claim_step", (run_id, _, call_id), (True, item):
            journal.append(Claimed(run_id, step_id(run_id, call_id), item.attempt))
        case "end_step", (run_id, _, call_id), True if not call_id.startswith(("resume:", "reply:")):
            journal.append(EndRecorded(run_id, step_id(run_id, call_id), call.kwargs["end"]))
        case _:
            pass


def notes() -> list[Note]:
    return [entry for entry in journal if isinstance(entry, Note)]


def begun_by_name() -> Counter[str]:
    return Counter(entry.step_name for entry in notes() if entry.moment == "begun")


def begun_by_step() -> Counter[str]:
    return Counter(entry.step_id for entry in notes() if entry.moment == "begun")


def check_bodies(
    begun_late: set[tuple[str, int]] | None = None,
    *,
    taken_early: Collection[tuple[str, int]] = (),
    all_noted: bool = True,
) -> None:
    """Each step is in the log, and each attempt counted, before its body begins; it begins once, and not after the
    step's result is recorded. A step that runs elsewhere ends once.

    `begun_late`: where answers take their time, an attempt may begin although an earlier one came to an end after the
    claim. These began when their claims were over, as their processes could know. `taken_early`: of these the lease was
    taken over by somebody whose clock was ahead; such an attempt may begin late as well. `all_noted`: not where a worker died
    with writes under way, which may be in the log although nobody noted when they came there.
    """
    created: set[str] = set()
    ended: dict[str, bytes] = {}
    counted: set[tuple[str, int]] = set()
    over: set[str] = set()
    excused = set(taken_early)
    begun: set[tuple[str, int]] = set()
    for entry in journal:
        match entry:
            case Recorded(run_id, ev.StepCreated(id=id)):
                created.add(step_id(run_id, id))
            case Recorded(run_id, ev.StepStarted(id=id, attempt=attempt)):
                counted.add((step_id(run_id, id), attempt))
            case Recorded(run_id, ev.StepCompleted(id=id) | ev.StepFailed(id=id)):
                over.add(step_id(run_id, id))
            case Claimed(_, id, attempt):
                counted.add((id, attempt))
            case EndRecorded(_, id, end):
                assert ended.setdefault(id, end) == end, f"a second end of {id} was stored"
                if begun_late is not None:
                    excused |= {claimed for claimed in counted if claimed[0] == id} - begun_late
                over.add(id)
            case Note(step_id=id, attempt=attempt, moment="begun", step_name=name):
                assert id in created or not all_noted, f"{name} began before it was in the log"
                assert (id, attempt) in counted, f"attempt {attempt} of {name} began before it was counted"
                assert (id, attempt) not in begun, f"attempt {attempt} of {name} began twice"
                assert id not in over or (id, attempt) in excused, (
                    f"attempt {attempt} of {name} began after its result was recorded"
                )
                begun.add((id, attempt))
            case _:
                pass


# -- what lies in the log ---------------------------------------------------------------------------------------------


async def read_log(world: World, run_id: str) -> tuple[Head, list[Batch]]:
    head = await world.runs.head(run_id)
    assert head is not None, f"run {run_id} is lost"
    return head, await world.runs.read(run_id, head.birth, 0)


def events_of(batches: list[Batch], run_id: str = "") -> list[ev.AnyEvent]:
    """The events of a log; its positions must be dense."""
    events: list[ev.AnyEvent] = []
    for batch in batches:
        assert batch.at == len(events) + 1, f"a hole or an overlap at position {len(events) + 1}"
        there = ev.decode_batch(batch.data, run_id, batch.at).events
        assert batch.count == len(there)
        events.extend(there)
    return events


def check_one_history(head: Head, batches: list[Batch]) -> list[ev.AnyEvent]:
    """The log of an ended run is one history: everything begins before it ends, and ends once."""
    events = events_of(batches, head.run_id)
    assert type(events[0]) is ev.RunCreated
    assert [event for event in events if isinstance(event, ev.ENDS)] == events[-1:]
    assert [type(event) for event in events].count(ev.RunCreated) == 1
    assert [type(event) for event in events].count(ev.RunStarted) <= 1
    assert all(a.time <= b.time for a, b in zip(events, events[1:], strict=False)), "an event before its predecessor"
    steps: dict[str, _Step] = {}
    others: dict[str, bool] = {}
    keys: set[str] = set()
    for event in events:
        key = getattr(event, "key", None)
        assert key is None or key not in keys, f"{key} was admitted twice"
        keys.add(key)
        match event:
            case ev.StepCreated(id=id, queued=queued):
                assert id not in steps, f"{id} was created twice"
                steps[id] = _Step(queued)
            case ev.StepStarted(id=id, attempt=attempt):
                steps[id].start(id, attempt)
            case ev.StepRetrying(id=id, attempt=attempt) | ev.StepInterrupted(id=id, attempt=attempt):
                steps[id].stop(id, attempt)
                if type(event) is ev.StepInterrupted:
                    steps[id].interrupted.add(attempt)
            case ev.StepCompleted(id=id, attempt=attempt) | ev.StepFailed(id=id, attempt=attempt):
                steps[id].end(id, attempt, admitted=key is not None)
            case ev.WaitCreated(id=id) | ev.OperationCreated(id=id):
                assert id not in others, f"{id} was created twice"
                others[id] = False
            case ev.WaitCompleted(id=id) | ev.OperationCompleted(id=id) | ev.OperationFailed(id=id):
                assert others[id] is False, f"{id} was completed twice"
                others[id] = True
            case _:
                pass
    _check_hooks(events)
    end = events[-1]
    status = {ev.RunFailed: "failed", ev.RunCancelled: "cancelled"}.get(type(end), "completed")
    assert (head.status, head.length) == (status, len(events))
    assert head.continued_to == (end.run_id if isinstance(end, ev.RunContinued) else None)
    assert head.end_at in [batch.at for batch in batches]
    return events


def _check_hooks(events: list[ev.AnyEvent]) -> None:
    """Each is created once, before anything comes to it; it is in conflict, or disposed of, once at most."""
    over: dict[str, bool] = {}
    for event in events:
        match event:
            case ev.HookCreated(id=id):
                assert id not in over, f"{id} was created twice"
                over[id] = False
            case ev.HookReceived(id=id):
                assert id in over, f"{id} received before it was created"
            case ev.HookConflict(id=id) | ev.HookDisposed(id=id):
                assert over[id] is False, f"{id} was over already"
                over[id] = True
            case _:
                pass


class _Step:
    def __init__(self, queued: bool) -> None:
        self.queued = queued
        self.attempt = 0
        self.running = False
        self.ended = False
        self.interrupted: set[int] = set()

    def start(self, id: str, attempt: int) -> None:
        assert not (self.queued or self.running or self.ended), f"{id} was started while it ran, or after its end"
        assert attempt == self.attempt + 1, f"attempt {attempt} of {id} follows attempt {self.attempt}"
        self.attempt, self.running = attempt, True

    def stop(self, id: str, attempt: int) -> None:
        assert self.running, f"{id} stopped, and did not run"
        assert attempt == self.attempt
        self.running = False

    def end(self, id: str, attempt: int, admitted: bool) -> None:
        """An end that came through the inbox may be that of an earlier attempt, whose turn had given up. So may one of a
        turn that lives, if another one without a lease has called its attempt interrupted."""
        assert not self.ended, f"{id} has ended twice"
        earlier = 0 < attempt < self.attempt and (admitted or attempt in self.interrupted)
        assert self.queued or attempt == self.attempt > 0 or earlier
        self.ended, self.running = True, False


def lost_its_last_attempt(events: list[ev.AnyEvent]) -> bool:
    """Whether a step failed because a death took its last attempt."""
    return any(type(event) is ev.StepFailed and b"StepInterruptedError" in bytes(event.error) for event in events)
