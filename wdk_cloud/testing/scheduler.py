"""The schedules of workflows as a cloud's scheduler has them: it calls at each tick, on a clock that a test moves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wdk_cloud.app import Workflow, Workflows
    from wdk_cloud.schedules import Schedule
    from wdk_cloud.world.ports import Clock, Handle


class Scheduler:
    """`ring` is given the workflow's id and the tick."""

    def __init__(self, clock: Clock, ring: Callable[[str, int], Awaitable[None]]) -> None:
        self._clock = clock
        self._call = ring
        self._timers: dict[str, Handle] = {}
        """The next tick of each workflow that has a schedule."""
        self._tasks: set[asyncio.Future[None]] = set()

    @property
    def idle(self) -> bool:
        return not self._tasks

    def serve(self, apps: Sequence[Workflows]) -> None:
        for app in apps:
            for workflow in list(app.workflows.values()):
                if workflow.schedule is not None:
                    self._arm(workflow, workflow.schedule, self._clock.now())

    async def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _arm(self, workflow: Workflow[..., object], schedule: Schedule, moment: float) -> None:
        tick = schedule.next_after(moment)
        if tick is not None:
            self._timers[workflow.id] = self._clock.call_at(tick, lambda: self._ring(workflow, schedule, tick))

    def _ring(self, workflow: Workflow[..., object], schedule: Schedule, tick: int) -> None:
        task = asyncio.ensure_future(self._call(workflow.id, tick))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._arm(workflow, schedule, tick)
