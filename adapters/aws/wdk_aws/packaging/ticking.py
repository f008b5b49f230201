"""Schedules of workflows as entries of EventBridge Scheduler, written into the template.

Scheduler's own expressions do not say all that ours do, so where one does not fit an entry comes more often than the
schedule: at each event the handler looks whether its time is a tick (`exact`), and starts nothing when it is none. So
a tick is one start, and at the edges (days of the month and of the week, clocks that are set) a tick is what
`wdk_cloud.schedules` says that it is.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.schedules import Cron, Every

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from zoneinfo import ZoneInfo

    from wdk_cloud.app import Workflows
    from wdk_cloud.schedules import Schedule

MARK = "  # --- the schedules of the app: `wdk build aws` writes them below"
"""The line of the template below which they come."""

PERIODS = (*(minutes for minutes in range(1, 61) if 60 % minutes == 0), *(60 * h for h in range(2, 25) if 24 % h == 0))
"""Minutes: the periods that a cron expression can keep, counted from midnight in UTC, shortest first."""

YEARS = range(2025, 2046)
"""In which clocks are looked for that are set: of laws to come nobody knows."""

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


@dataclass(frozen=True, slots=True)
class Entry:
    workflow: str
    expression: str
    timezone: str

    @property
    def name(self) -> str:
        """Its name in the template: that of the function, for readers, and what tells it from all others."""
        function = re.sub(r"[^A-Za-z0-9]", "", self.workflow.rpartition("//")[2].title())
        what = f"{self.workflow}\n{self.expression}\n{self.timezone}"
        return f"Tick{function[:100]}{sha256(what.encode()).hexdigest()[:8]}"


def entries_of(apps: Iterable[Workflows]) -> list[Entry]:
    """In an order that depends on nothing but them. A workflow goes by its id, which is the same in each namespace."""
    found = {
        Entry(workflow.id, expression, workflow.schedule.timezone)
        for app in apps
        for workflow in app.workflows.values()
        if workflow.schedule is not None
        for expression in expressions(workflow.schedule)
    }
    return sorted(found, key=lambda entry: (entry.workflow, entry.expression))


def expressions(schedule: Schedule) -> list[str]:
    """Of Scheduler, in the schedule's time zone. Together they come at each tick, and perhaps at other times."""
    if isinstance(schedule, Every):
        # Scheduler's `rate` counts from the moment at which it was made, ours from the beginning of 1970.
        period = max(minutes for minutes in PERIODS if schedule.period % (60 * minutes) == 0)
        minutes, hours = (
            ({0}, set(range(0, 24, period // 60))) if period >= 60 else (set(range(0, 60, period)), ALL_HOURS)
        )
        return [_cron(minutes, hours, "*", "*", "?")]
    days = _field(schedule.days, range(1, 32))
    # Scheduler counts from Sunday, 1, on, and wants a `?` in one of both.
    of_week = _field({day + 1 for day in schedule.weekdays}, range(1, 8))
    if schedule.either:
        chosen = [(days, "?"), ("?", of_week)]
    elif of_week == "*":
        chosen = [(days, "?")]
    else:
        chosen = [("?", of_week)]  # with days of the month, too, it comes more often
    months = _field(schedule.months, range(1, 13))
    times = [(set(schedule.minutes), set(schedule.hours)), *(({m}, {h}) for h, m in sorted(_after_gaps(schedule)))]
    return [_cron(m, h, day, months, weekday) for m, h in times for day, weekday in chosen]


ALL_HOURS = set(range(24))


def _after_gaps(cron: Cron) -> set[tuple[int, int]]:
    """Local times at which clocks have been set forward over a tick: it is then, and Scheduler leaves it out."""
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


def _cron(minutes: set[int], hours: set[int], days: str, months: str, weekdays: str) -> str:
    return f"cron({_field(minutes, range(60))} {_field(hours, range(24))} {days} {months} {weekdays} *)"


def _field(values: Iterable[int], whole: range) -> str:
    """A star for all of them; else numbers and ranges, since an expression has 256 characters at most."""
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


def written_into(template: str, entries: Iterable[Entry]) -> str:
    """The template with the entries below its mark, in the place of those that may be there."""
    head, mark, rest = template.partition(MARK)
    title, end, _ = rest.partition("\n")
    following = re.search(r"^(?=\S)", rest[len(title) + len(end) :], re.MULTILINE)
    if not mark or following is None:
        raise WorldConfigurationError(
            f"the template has no line that begins with {MARK.strip()!r}, or nothing after it; put it at the end of "
            "the Resources, before the Outputs: the entries of schedules go there"
        )
    outputs = rest[len(title) + len(end) + following.start() :]
    written = "".join(f"{_yaml(entry)}\n" for entry in entries)
    return f"{head}{mark}{title}\n\n{written}{outputs}"


def _yaml(entry: Entry) -> str:
    order = {"tick": {"workflow": entry.workflow, "time": SCHEDULED_TIME, "exact": True}}
    return f"""\
  {entry.name}:
    Type: AWS::Scheduler::Schedule
    Properties:
      GroupName: !Ref TickGroup
      Description: {_quoted(f"A tick of {entry.workflow}"[:512])}
      ScheduleExpression: {entry.expression}
      ScheduleExpressionTimezone: {entry.timezone}
      FlexibleTimeWindow: {{ Mode: "OFF" }}
      Target:
        Arn: !GetAtt Worker.Arn
        RoleArn: !GetAtt TickRole.Arn
        Input: {_quoted(json.dumps(order))}
        DeadLetterConfig: {{ Arn: !GetAtt TickDead.Arn }}
"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
