"""Durations and points in time, as users write them: "5s", "1h 30m", seconds, `timedelta`, aware `datetime`."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

Duration = str | int | float | timedelta

# The words of the `ms` package that the original accepts, plus "month". A year is 365.25 days, a month a twelfth.
_YEAR = 365.25 * 86400
_UNITS: dict[str, float] = {}
for _seconds, _words in (
    (0.001, "ms msec msecs millisecond milliseconds"),
    (1.0, "s sec secs second seconds"),
    (60.0, "m min mins minute minutes"),
    (3600.0, "h hr hrs hour hours"),
    (86400.0, "d day days"),
    (7 * 86400.0, "w week weeks"),
    (_YEAR / 12, "mo month months"),
    (_YEAR, "y yr yrs year years"),
):
    _UNITS.update(dict.fromkeys(_words.split(), _seconds))

_PART = r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)"

LONGEST = 100 * _YEAR
"""Seconds. A wait of more than a century is a mistake in a unit; the limit also keeps every due time a valid date."""


def seconds(duration: object, what: str = "a duration") -> float:
    """The duration in seconds.

    Takes text ("5s", "1h 30m", "1 month"; a bare number is seconds), a number of seconds or a `timedelta`. Raises
    `TypeError` for any other type and `ValueError` for one without a meaning: unknown words, empty text, negative,
    infinite, not a number, or longer than a century.
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        value = _parse(duration, what)
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        if isinstance(duration, int) and duration > LONGEST:
            raise ValueError(f"{what} of {duration} seconds is longer than a century")
        value = float(duration)
    else:
        raise TypeError(
            f'{what} must be text such as "1h 30m", a number of seconds or a timedelta, not {type(duration).__name__}'
        )
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{what} must be finite and not negative, not {duration!r}")
    if value > LONGEST:
        raise ValueError(f"{what} of {duration!r} is longer than a century")
    return value


def due(when: object, now: float, what: str = "a duration") -> float:
    """The point in time (seconds since the epoch) that a duration from `now`, or an aware `datetime`, means."""
    if isinstance(when, datetime):
        if when.tzinfo is None or when.utcoffset() is None:
            raise ValueError(
                f"{what} given as a datetime must have a time zone: {when!r} has none; "
                "use datetime.now(UTC) or .astimezone()"
            )
        moment = when.timestamp()  # not astimezone(): in UTC the last hours of 9999 may have no date
        if moment - now > LONGEST:
            raise ValueError(f"{what} until {when.isoformat()} is longer than a century")
        return moment
    return now + seconds(when, what)


def _parse(text: str, what: str) -> float:
    total, end = 0.0, 0
    stripped = text.strip()
    parts = re.compile(_PART, re.IGNORECASE)  # at import it would cost those who never wait; re keeps it
    while end < len(stripped):
        part = parts.match(stripped, end)
        unit = _UNITS.get(part.group(2).lower() or "s") if part else None
        if part is None or unit is None:
            raise ValueError(f'{what} {text!r} is not understood; write for example "5s", "1h 30m" or "2 days"')
        total += float(part.group(1)) * unit
        end = part.end()
    if not end:
        raise ValueError(f'{what} is empty; write for example "5s", "1h 30m" or "2 days"')
    return total
