"""Schedules of workflows as jobs of Cloud Scheduler: values of the module's variable `schedules`."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import TYPE_CHECKING

from wdk_cloud.packaging import ticking
from wdk_cloud.packaging.ticking import field, times_of
from wdk_cloud.schedules import Every

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_cloud.app import Workflows
    from wdk_cloud.packaging.ticking import Entry
    from wdk_cloud.schedules import Schedule

LONGEST_NAME = 60
"""Characters of the function's part: a job's name has 500 of `[A-Za-z0-9_-]`, and people read it."""


def entries_of(apps: Iterable[Workflows]) -> list[dict[str, str]]:
    """As the variable `schedules` has them."""
    return [
        {
            "name": name_of(entry),
            "workflow": entry.workflow,
            "schedule": entry.expression,
            "time_zone": entry.timezone,
        }
        for entry in ticking.entries_of(apps, expressions)
    ]


def name_of(entry: Entry) -> str:
    """That of the function, for readers, and what tells it from all others."""
    function = re.sub(r"[^a-z0-9]+", "-", entry.workflow.rpartition("//")[2].lower()).strip("-")
    what = f"{entry.workflow}\n{entry.expression}\n{entry.timezone}"
    return f"tick-{function[:LONGEST_NAME]}-{sha256(what.encode()).hexdigest()[:8]}"


def expressions(schedule: Schedule) -> list[str]:
    """Of Cloud Scheduler, which reads cron's five fields: days of the month or of the week, where both are named."""
    times = times_of(schedule)
    if isinstance(schedule, Every):
        return [_cron(minutes, hours, "*", "*", "*") for minutes, hours in times]
    days, of_week = field(schedule.days, range(1, 32)), field(schedule.weekdays, range(7))
    if not schedule.either and of_week != "*":
        days = "*"  # both at once cannot be said: it comes more often
    months = field(schedule.months, range(1, 13))
    return [_cron(minutes, hours, days, months, of_week) for minutes, hours in times]


def _cron(minutes: set[int], hours: set[int], days: str, months: str, of_week: str) -> str:
    return f"{field(minutes, range(60))} {field(hours, range(24))} {days} {months} {of_week}"
