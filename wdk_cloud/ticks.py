"""The ticks of scheduled workflows, for worlds without a scheduler of their own: each is one `start` under its time.

All workers of an app come to the same ticks, and the idempotency key lets one of them have each. What makes up for
ticks that nobody was there for is one note per schedule in the store: the last tick that was dealt with, or, before
the first, the time from which the schedule counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wdk_cloud.errors import IdempotencyConflictError, RunExpiredError, WorldUnavailableError

if TYPE_CHECKING:
    from wdk_cloud.app import Workflow
    from wdk_cloud.engine.service import Engine
    from wdk_cloud.schedules import Schedule
    from wdk_cloud.world.ports import Handle

log = logging.getLogger("wdk_cloud")

LONGEST_WAIT = 60.0
"""Seconds until the time is looked at again: timers do not count while a machine sleeps, nor when its clock is set."""

PAUSE = 1.0
"""Seconds before a tick that could not be started is tried again; doubled each time."""

LONGEST_PAUSE = 30.0
"""As for the queue, which fails together with the store."""

NOTE = "schedule"
"""Instead of the birth of a run: the note lies among the labels of a run that never is."""


@dataclass(frozen=True, slots=True)
class Due:
    """A tick to start; or the moment at which a schedule began to be served, to look for one missed before."""

    workflow: Workflow[..., Any]
    schedule: Schedule
    moment: int
    missed: bool = False


class Ticks:
    """Starts the scheduled workflows of one engine's apps, on its world's clock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._clock = engine.world.clock
        self._due: deque[Due] = deque()
        self._served: dict[str, float] = {}
        """By workflow, the time up to which its ticks are among the due ones, or were."""
        self._timers: dict[str, Handle] = {}
        self._woken = asyncio.Event()
        self._resting = False
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def idle(self) -> bool:
        """Nothing is to be started now; an outage is waited for elsewhere."""
        return not self._due or self._resting

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for app in self._engine.apps:
            app.on_schedule.append(self._declared)
        self._look_for_schedules()
        self._task = asyncio.create_task(self._serve(), name="wdk-schedules")

    async def stop(self) -> None:
        """Start no more; a start in hand is repeated, harmlessly, by whoever serves next."""
        self._loop = None
        for app in self._engine.apps:
            if self._declared in app.on_schedule:
                app.on_schedule.remove(self._declared)
        for timer in self._timers.values():
            timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _declared(self) -> None:
        """Called from any thread: a module may be imported anywhere."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._look_for_schedules)

    # -- timers, on the loop ----------------------------------------------------------------------------------------

    def _look_for_schedules(self) -> None:
        """Serve what is not served yet. Its timer is armed before anything is awaited: a clock that is moved in the
        meantime does not jump over its ticks."""
        if self._loop is None:
            return  # stopped, with this call on its way
        now = self._clock.now()
        for app in self._engine.apps:
            for workflow in list(app.workflows.values()):
                if workflow.schedule is not None and workflow.id not in self._served:
                    self._served[workflow.id] = now
                    self._due.append(Due(workflow, workflow.schedule, int(now), missed=True))
                    self._arm(workflow, workflow.schedule, now)
        self._woken.set()

    def _arm(self, workflow: Workflow[..., Any], schedule: Schedule, now: float) -> None:
        tick = schedule.next_after(now)
        if tick is None:
            return
        when = tick if self._clock.still else min(tick, now + LONGEST_WAIT)
        self._timers[workflow.id] = self._clock.call_at(when, lambda: self._ring(workflow, schedule))

    def _ring(self, workflow: Workflow[..., Any], schedule: Schedule) -> None:
        now = self._clock.now()
        tick = schedule.last_until(now)
        if tick is not None and tick > self._served[workflow.id]:  # not so after a clock was set back
            self._served[workflow.id] = tick
            self._due.append(Due(workflow, schedule, tick))
            self._woken.set()
        self._arm(workflow, schedule, now)

    # -- starting ---------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        pause = PAUSE
        while True:
            self._woken.clear()
            while self._due:
                try:
                    await deal_with(self._engine, self._due[0])
                except Exception as error:
                    unknown = not isinstance(error, WorldUnavailableError)
                    level = logging.ERROR if unknown else logging.WARNING
                    id = self._due[0].workflow.id
                    log.log(level, "schedule of %s: tried again in %s s: %r", id, pause, error, exc_info=unknown)
                    await self._rest(pause)
                    pause = min(pause * 2, LONGEST_PAUSE)
                    self._drop_missed()
                else:
                    self._due.popleft()
                    pause = PAUSE
            await self._woken.wait()

    async def _rest(self, seconds: float) -> None:
        over = asyncio.Event()
        handle = self._clock.call_at(self._clock.now() + seconds, over.set)
        self._resting = True
        try:
            await over.wait()
        finally:
            self._resting = False
            handle.cancel()

    def _drop_missed(self) -> None:
        """After an outage too, only the last tick of each schedule is made up for; and one workflow that cannot be
        started does not hold up the others."""
        latest = {due.workflow.id: due for due in self._due if not due.missed}
        kept = [due for due in self._due if due.missed and due.workflow.id not in latest]
        self._due = deque([*kept, *latest.values()])
        self._due.rotate(-1)


async def deal_with(engine: Engine, due: Due) -> None:
    """Start the tick; or, of a schedule that is looked at now, the last one that was missed."""
    runs, note = engine.world.runs, _note_of(due.workflow, due.schedule)
    tick = due.moment
    if due.missed:
        noted = (await runs.labels(note, NOTE)).position
        last = due.schedule.last_until(due.moment)
        if not noted or last is None or last <= noted:
            if not noted:
                await _write_note(engine, note, due.moment)
            return
        tick = last
    await start_tick(engine, due.workflow, tick)
    await _write_note(engine, note, tick)


async def _write_note(engine: Engine, note: str, moment: int) -> None:
    """Workers may write it in any order: the store keeps the latest."""
    from wdk_cloud.world.ports import Labels

    await engine.world.runs.put_labels(note, NOTE, Labels(values={}, position=moment))


async def start_tick(engine: Engine, workflow: Workflow[..., Any], tick: int) -> None:
    """Start the run of one tick, which all who serve the schedule may do: one of them does."""
    from wdk_cloud import admission
    from wdk_cloud.engine import requests, runids

    key = datetime.fromtimestamp(tick, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data, digest, _ = admission.check_start(workflow, (), {})
    order = requests.Order(
        workflow=workflow.id,
        input=data,
        digest=digest,
        run_id=runids.derived_run_id("key", workflow.id, key),
        version=engine.version,
        attributes={},
        idempotency_key=key,
    )
    try:
        await requests.start(engine.world, engine.keys, order)
    except RunExpiredError:
        log.debug("tick %s of %s was started, and its run is deleted", key, workflow.id)
    except IdempotencyConflictError:
        log.warning("tick %s of %s: its key was used for a run with arguments, it is left out", key, workflow.id)


def _note_of(workflow: Workflow[..., Any], schedule: Schedule) -> str:
    """A schedule that is changed counts afresh: ticks of times when it was not declared are not missed ones."""
    from wdk_cloud.engine import runids

    return runids.derived_run_id("schedule", workflow.id, schedule.text, schedule.timezone)
