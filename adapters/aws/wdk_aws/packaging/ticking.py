"""Schedules of workflows as entries of EventBridge Scheduler, written into the template."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging import ticking
from wdk_cloud.packaging.ticking import field, times_of
from wdk_cloud.schedules import Every

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_cloud.app import Workflows
    from wdk_cloud.packaging.ticking import Entry
    from wdk_cloud.schedules import Schedule

MARK = "  # --- the schedules of the app: `wdk build aws` writes them below"
"""The line of the template below which they come."""

LONGEST_NAME = 64
"""Characters of a schedule's: https://docs.aws.amazon.com/scheduler/latest/APIReference/API_CreateSchedule.html"""

SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"


def entries_of(apps: Iterable[Workflows]) -> list[Entry]:
    """Those of the template."""
    return ticking.entries_of(apps, expressions)


def name_of(entry: Entry, longest: int = 112) -> str:
    """Its name in the template: that of the function, for readers, and what tells it from all others."""
    function = re.sub(r"[^A-Za-z0-9]", "", entry.workflow.rpartition("//")[2].title())
    what = f"{entry.workflow}\n{entry.expression}\n{entry.timezone}"
    return f"Tick{function[: longest - 12]}{sha256(what.encode()).hexdigest()[:8]}"


def variable(entries: Iterable[Entry]) -> list[dict[str, str]]:
    """As the variable `schedules` of the Terraform module has them."""
    return [
        {
            "name": name_of(entry, LONGEST_NAME),
            "workflow": entry.workflow,
            "expression": entry.expression,
            "timezone": entry.timezone,
        }
        for entry in entries
    ]


def expressions(schedule: Schedule) -> list[str]:
    """Of Scheduler, in the schedule's time zone. Together they come at each tick, and perhaps at other times."""
    times = times_of(schedule)
    if isinstance(schedule, Every):
        return [_cron(minutes, hours, "*", "*", "?") for minutes, hours in times]
    days = field(schedule.days, range(1, 32))
    # Scheduler counts from Sunday, 1, on, and wants a `?` in one of both.
    of_week = field({day + 1 for day in schedule.weekdays}, range(1, 8))
    if schedule.either:
        chosen = [(days, "?"), ("?", of_week)]
    elif of_week == "*":
        chosen = [(days, "?")]
    else:
        chosen = [("?", of_week)]  # with days of the month, too, it comes more often
    months = field(schedule.months, range(1, 13))
    return [_cron(m, h, day, months, weekday) for m, h in times for day, weekday in chosen]


def _cron(minutes: set[int], hours: set[int], days: str, months: str, weekdays: str) -> str:
    return f"cron({field(minutes, range(60))} {field(hours, range(24))} {days} {months} {weekdays} *)"


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
  {name_of(entry)}:
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
