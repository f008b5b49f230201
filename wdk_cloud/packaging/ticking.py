"""Schedules of workflows in the words of a cloud's scheduler, as far as those are alike everywhere.

Their expressions do not say all that ours do, so where one does not fit an entry comes more often than the schedule: at
each event the handler looks whether its time is a tick (`exact`), and starts nothing when it is none. So a tick is one
start, and at the edges (days of the month and of the week, clocks that are set) a tick is what `wdk_cloud.schedules`
says that it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from wdk_cloud.schedules import Cron, Every

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from zoneinfo import ZoneInfo

    from wdk_cloud.app import Workflows
    from wdk_cloud.schedules import Schedule

PERIODS = (*(minutes for minutes in range(1, 61) if 60 % minutes == 0), *(60 * h for h in range(2, 25) if 24 % h == 0))
"""Minutes: the periods that a cron expression can keep, counted from midnight in UTC, shortest first."""

YEARS = range(2025, 2046)
"""In which clocks are looked for that are set: of laws to come nobody knows."""

ALL_HOURS = set(range(24))


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the scheduler: an expression of its own, in a time zone, for a workflow."""

    workflow: str
    expression: str
    timezone: str


def entries_of(apps: Iterable[Workflows], expressions: Callable[[Schedule], list[str]]) -> list[Entry]:
    """In an order that depends on nothing but them. A workflow goes by its id, which is the same in each namespace."""
    found = {
        Entry(workflow.id, expression, workflow.schedule.timezone)
        for app in apps
        for workflow in app.workflows.values()
        if workflow.schedule is not None
        for expression in expressions(workflow.schedule)
    }
    return sorted(found, key=lambda entry: (entry.workflow, entry.expression))


def times_of(schedule: Schedule) -> list[tuple[set[int], set[int]]]:
    """Minutes and hours at which, together, each tick comes: of the schedule's own days, or of every day."""
    if isinstance(schedule, Every):
        # A rate would count from the moment at which it was made, ours counts from the beginning of 1970.
        period = max(minutes for minutes in PERIODS if schedule.period % (60 * minutes) == 0)
        if period >= 60:
            return [({0}, set(range(0, 24, period // 60)))]
        return [(set(range(0, 60, period)), ALL_HOURS)]
    return [(set(schedule.minutes), set(schedule.hours)), *(({m}, {h}) for h, m in sorted(_after_gaps(schedule)))]


def field(values: Iterable[int], whole: range) -> str:
    """A star for all of them; else numbers and ranges, since expressions have a longest length."""
    ordered = sorted(values)
    if ordered == list(whole):
        return "*"
    runs: list[list[int]] = []
    for value in ordered:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _after_gaps(cron: Cron) -> set[tuple[int, int]]:
    """Local times at which clocks have been set forward over a tick: it is then, and schedulers leave it out."""
    found: set[tuple[int, int]] = set()
    for moment in _gaps(cron.zone):
        local = datetime.fromtimestamp(moment, cron.zone)
        regular = local.hour in cron.hours and local.minute in cron.minutes
        if cron.last_until(moment) == moment and not regular:
            found.add((local.hour, local.minute))
    return found


def _gaps(zone: ZoneInfo) -> Iterator[int]:
    """The first moment after each of them."""
    first, last = datetime(YEARS.start, 1, 1, tzinfo=UTC), datetime(YEARS.stop, 1, 1, tzinfo=UTC)
    days = [int((first + timedelta(days=n)).timestamp()) for n in range((last - first).days)]
    for before, after in pairwise(days):
        if _offset(before, zone) < _offset(after, zone):
            low, high = before, after
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if _offset(middle, zone) > _offset(before, zone) else (middle, high)
            yield high


def _offset(moment: int, zone: ZoneInfo) -> timedelta:
    offset = datetime.fromtimestamp(moment, zone).utcoffset()
    return timedelta() if offset is None else offset
