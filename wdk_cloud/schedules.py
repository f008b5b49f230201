"""When a scheduled workflow is due: `every 1 hour`, or five fields as cron reads them. Pure: times in, times out.

A tick is a whole second since the epoch. It depends on the schedule alone, so that all who serve it name it alike.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from wdk_cloud import durations

if TYPE_CHECKING:
    from collections.abc import Iterator

MINUTE = 60
"""Seconds. No cloud's scheduler ticks more often, and cron knows nothing smaller."""

LONGEST_SEARCH = timedelta(days=41 * 366)
"""What comes at all comes again within 40 years: the same day of the week on a 29 February, across a year 2100."""

LAST_DAY = date(9998, 12, 30)
"""Dates end a year later; time zones need room."""

EXAMPLES = 'write an interval, "every 1 hour", or the five fields of cron, "0 9 * * 1-5"'


@dataclass(frozen=True, slots=True)
class Every:
    """A fixed interval, counted from the beginning of 1970 in UTC."""

    text: str
    period: int
    timezone: str = "UTC"

    def next_after(self, moment: float) -> int | None:
        """The first tick after the moment."""
        return (int(moment // self.period) + 1) * self.period

    def last_until(self, moment: float) -> int | None:
        """The last tick that is not after the moment."""
        return int(moment // self.period) * self.period


@dataclass(frozen=True, slots=True)
class Field:
    """What one of the five fields may hold."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    """Of the values from `least` on."""

    @property
    def last(self) -> int:
        """Where a star ends: Sunday counts once, or it would shift a step."""
        return self.least + len(self.names) - 1 if self.names else self.most


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of the month", 1, 31),
    Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    Field("day of the week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)

SUNDAY = 7
"""Cron's other number of Sunday, so that a week may also end with it."""


class Cron:
    """Five fields, in the local time of a zone; they are public for whoever says the same to a scheduler of a cloud."""

    def __init__(self, text: str, timezone: str) -> None:
        self.text = text
        self.timezone = timezone
        self.zone = _zone(timezone)
        words = text.split()
        if len(words) != len(FIELDS):
            raise ValueError(f"schedule {text!r} has {len(words)} fields instead of five; {EXAMPLES}")
        try:
            minutes, hours, days, months, weekdays = (_values(f, w) for f, w in zip(FIELDS, words, strict=True))
        except ValueError as error:
            raise ValueError(f"schedule {text!r}: {error}") from None
        self.minutes, self.hours = sorted(minutes), sorted(hours)
        self.days, self.months = days, months
        self.weekdays = {value % SUNDAY for value in weekdays}
        # As cron has it: only a field that begins with a star leaves the day to the other one.
        self.either = not words[2].startswith("*") and not words[4].startswith("*")
        if self.next_after(0) is None:
            raise ValueError(f"schedule {text!r} never comes: no such month has such a day")

    def __repr__(self) -> str:
        return f"Cron({self.text!r}, {self.timezone!r})"

    def next_after(self, moment: float) -> int | None:
        """The first tick after the moment; None beyond the calendar."""
        for day in self._matching(self._date(moment) - timedelta(days=1), 1):
            ticks = self._ticks(day)
            place = bisect_right(ticks, moment)
            if place < len(ticks):
                return ticks[place]
        return None

    def last_until(self, moment: float) -> int | None:
        """The last tick that is not after the moment; None before the first."""
        for day in self._matching(self._date(moment) + timedelta(days=1), -1):
            ticks = self._ticks(day)
            place = bisect_right(ticks, moment)
            if place:
                return ticks[place - 1]
        return None

    def _date(self, moment: float) -> date:
        return datetime.fromtimestamp(moment, self.zone).date()

    def _matching(self, day: date, direction: int) -> Iterator[date]:
        step, left = timedelta(days=direction), LONGEST_SEARCH.days
        while left and date(2, 1, 1) < day < LAST_DAY:
            if self._has(day):
                yield day
            day, left = day + step, left - 1

    def _has(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.days, day.isoweekday() % SUNDAY in self.weekdays
        return of_month or of_week if self.either else of_month and of_week

    def _ticks(self, day: date) -> list[int]:
        """Those of a local day. Local time never runs back here (the second of two is never meant): so they are in
        order, and several that fall into one gap are one."""
        moments = (
            _moment(datetime(day.year, day.month, day.day, hour, minute), self.zone)  # noqa: DTZ001 - local time
            for hour in self.hours
            for minute in self.minutes
        )
        return list(dict.fromkeys(moments))


Schedule = Every | Cron


def parse_schedule(text: object, timezone: object = "UTC") -> Schedule:
    """Raises `TypeError` or `ValueError` that says what is wrong."""
    if not isinstance(text, str):
        raise TypeError(f"schedule= is text, not {text!r}; {EXAMPLES}")
    if not isinstance(timezone, str):
        raise TypeError(f'timezone= is the name of a time zone, such as "Europe/Berlin", not {timezone!r}')
    words = text.split()
    if not words:
        raise ValueError(f"schedule= is empty; {EXAMPLES}")
    if words[0].lower() != "every":
        return Cron(" ".join(words), timezone)
    if timezone != "UTC":
        raise ValueError(
            f"schedule {text!r} is an interval, which has no time zone: leave timezone= out, or write the five fields "
            'of cron, "0 9 * * *"'
        )
    return Every(" ".join(words), _period(text, " ".join(words[1:])))


def _period(text: str, interval: str) -> int:
    seconds = durations.seconds(interval, f"the interval of schedule {text!r}:")
    if seconds < MINUTE or seconds % MINUTE:
        raise ValueError(f"schedule {text!r}: an interval is a whole number of minutes and at least one")
    return int(seconds)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; no name at all, or one that leaves the folder; a folder
        raise ValueError(f'timezone {name!r} is not known on this machine; write for example "Europe/Berlin"') from None


# --- the fields -------------------------------------------------------------------------------------------------------

_PART = re.compile(r"(?:(\*)|(\w+)(?:-(\w+))?)(?:/(\d+))?", re.ASCII)


def _values(field: Field, word: str) -> set[int]:
    """The values that a field names: numbers, names, ranges, lists and steps."""
    values: set[int] = set()
    for part in word.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(
                f"the {field.name} {part!r} is not understood; it may be a number, a range 1-5, a list 1,3, a step */2"
            )
        star, first, last, step = found.groups()
        if step is not None and last is None and not star:
            raise ValueError(f"the {field.name} {part!r} has a step and no range; write {first}-{field.most}/{step}")
        if step is not None and int(step) == 0:
            raise ValueError(f"the {field.name} {part!r} has a step of 0")
        low = field.least if star else _number(field, first)
        high = field.last if star else _number(field, last or first)
        if low > high == 0 and field.most == SUNDAY:
            high = SUNDAY  # "fri-sun"
        if low > high:
            raise ValueError(f"the {field.name} {part!r} runs backwards")
        values.update(range(low, high + 1, int(step or 1)))
    return values


def _number(field: Field, word: str) -> int:
    name = word.lower()
    if name in field.names:
        return field.least + field.names.index(name)
    if not word.isdecimal():
        names = f", or a name, {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"the {field.name} {word!r} is not understood; it is a number{names}")
    if not field.least <= int(word) <= field.most:
        raise ValueError(f"the {field.name} {word} does not exist; it is from {field.least} to {field.most}")
    return int(word)


# --- local time -------------------------------------------------------------------------------------------------------


def _moment(local: datetime, zone: ZoneInfo) -> int:
    """When the clocks of the zone show this: for the first time if twice; if never, when they are moved on past it."""
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local:
        return int(moment.timestamp())
    # In a gap the two readings of `local` lie on both sides of the change, the one with the later offset before it.
    before = int(local.replace(tzinfo=zone, fold=1).timestamp())
    after = int(moment.timestamp())
    offset = moment.astimezone(zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after
