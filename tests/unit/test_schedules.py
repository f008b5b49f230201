"""Schedules: what they mean, against a scan of every minute by rules written anew; and what is wrong with bad ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wdk_cloud.schedules import Schedule, parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BERLIN = "Europe/Berlin"
LORD_HOWE = "Australia/Lord_Howe"  # its clocks move by half an hour
NEW_YORK = "America/New_York"
HAVANA = "America/Havana"  # its clocks move at midnight
ZONES = ("UTC", BERLIN, NEW_YORK, LORD_HOWE, HAVANA)

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MINUTE = timedelta(minutes=1)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def shown(moment: float | None) -> str:
    assert moment is not None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def ticks(schedule: Schedule, since: str, count: int) -> list[str]:
    """The next so many after a time in UTC."""
    found: list[str] = []
    moment = at(since)
    for _ in range(count):
        tick = schedule.next_after(moment)
        assert tick is not None
        assert schedule.last_until(tick) == tick
        assert schedule.last_until(tick - 1) != tick
        found.append(shown(tick))
        moment = tick
    return found


# -- a scan of every minute --------------------------------------------------------------------------------------------


def has(word: str, value: int, least: int, names: tuple[str, ...] = ()) -> bool:
    """Whether a field holds the value; the simple reading of what the strategies below make."""
    for part in word.split(","):
        span, _, step = part.partition("/")
        low, _, high = span.partition("-")
        for number, name in enumerate(names, least):
            low, high = low.replace(name, str(number)), high.replace(name, str(number))
        if low == "*":
            if (value - least) % int(step or 1) == 0:
                return True
        elif int(low) <= value <= int(high or low) and (value - int(low)) % int(step or 1) == 0:
            return True
    return False


def reader(text: str) -> Callable[[datetime], bool]:
    """Whether the schedule is meant by what a clock shows."""
    minute, hour, day, month, weekday = text.split()
    minutes = {value for value in range(60) if has(minute, value, 0)}
    hours = {value for value in range(24) if has(hour, value, 0)}
    months = {value for value in range(1, 13) if has(month, value, 1, MONTHS)}
    days = {value for value in range(1, 32) if has(day, value, 1)}
    weekdays = {value for value in range(7) if has(weekday, value, 0, DAYS)}
    if not weekday.startswith("*") and has(weekday, 7, 0, DAYS):
        weekdays.add(0)
    stars = day.startswith("*") or weekday.startswith("*")

    def matches(local: datetime) -> bool:
        if local.minute not in minutes or local.hour not in hours or local.month not in months:
            return False
        of_month, of_week = local.day in days, local.isoweekday() % 7 in weekdays
        return of_month and of_week if stars else of_month or of_week

    return matches


def walk(zone: str, since: float, until: float) -> Iterator[tuple[float, list[datetime]]]:
    """Look at the zone's clock each minute: what it shows for the first time, or has jumped over."""
    there, moment = ZoneInfo(zone), since
    newest = datetime.fromtimestamp(moment, there).replace(tzinfo=None) - MINUTE
    while moment < until:
        local = datetime.fromtimestamp(moment, there).replace(tzinfo=None)
        new: list[datetime] = []
        while newest < local:
            newest += MINUTE
            new.append(newest)
        yield moment, new
        moment += 60


@cache
def days(zone: str, since: float) -> list[tuple[float, list[datetime]]]:
    return list(walk(zone, since, since + SPAN))


def field(least: int, most: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    named = st.sampled_from(names) if names else st.nothing()
    span = st.tuples(number, number).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    stepped = st.tuples(st.just("*") | span, st.integers(1, most + 1)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    part = number.map(str) | named | span | stepped
    return st.just("*") | st.lists(part, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12, MONTHS), field(0, 7, DAYS)).map(" ".join)

WEEKS = [at("2024-02-25"), at("2024-10-25"), at("2025-03-07"), at("2025-03-27"), at("2026-10-01"), at("2026-12-27")]
SPAN = 7 * 86400


@settings(deadline=None, max_examples=100)
@given(EXPRESSIONS, st.sampled_from(ZONES), st.sampled_from(WEEKS), st.integers(0, 7 * 1440 - 1))
@example("30 2 * * *", BERLIN, at("2025-03-27"), 0)
@example("*/5 * * * *", BERLIN, at("2024-10-25"), 0)
@example("15 2 13 * fri", LORD_HOWE, at("2026-10-01"), 0)
@example("30 0 * * *", HAVANA, at("2025-03-07"), 0)
def test_the_next_and_the_last_tick_are_those_of_a_scan_of_every_minute(
    text: str, zone: str, week: float, minutes: int
) -> None:
    try:
        schedule = parse_schedule(text, zone)
    except ValueError as error:
        assert "never comes" in str(error)
        return
    matches = reader(text)
    expected = [int(moment) for moment, new in days(zone, week) if any(map(matches, new))]
    moment = week + minutes * 60 + 7
    later = [tick for tick in expected if tick > moment]
    found = schedule.next_after(moment)
    assert found == later[0] if later else found is None or found >= week + SPAN
    earlier = [tick for tick in expected if tick <= moment]
    last = schedule.last_until(moment)
    assert last == earlier[-1] if earlier else last is None or last < week


def test_all_ticks_of_three_years_are_those_of_a_scan_of_every_minute() -> None:
    since, until = at("2023-01-01"), at("2026-01-01")
    texts = ["17 2,3 */9 mar-nov 0", "0 0 29 2 *", "45 1-2 1,15 * sun"]
    found: dict[str, list[int]] = {text: [] for text in texts}
    for text in texts:
        schedule = parse_schedule(text, BERLIN)
        tick = schedule.next_after(since - 1)
        while tick is not None and tick < until:
            found[text].append(tick)
            tick = schedule.next_after(tick)
    expected: dict[str, list[int]] = {text: [] for text in texts}
    readers = [(reader(text), expected[text]) for text in texts]
    for moment, new in walk(BERLIN, since, until):
        for matches, moments in readers:
            if any(map(matches, new)):
                moments.append(int(moment))
    assert found == expected
    assert all(found.values())


# -- what they mean ----------------------------------------------------------------------------------------------------


def test_an_interval_counts_from_1970_whoever_serves_it() -> None:
    assert ticks(parse_schedule("every 1 hour"), "2026-01-01T10:20:00", 2) == ["2026-01-01 11:00", "2026-01-01 12:00"]
    assert ticks(parse_schedule("Every  90 min"), "2026-01-01", 2) == ["2026-01-01 01:30", "2026-01-01 03:00"]
    assert ticks(parse_schedule("every 1d"), "2026-01-01", 1) == ["2026-01-02 00:00"]


def test_office_hours() -> None:
    schedule = parse_schedule("0 9 * * 1-5", BERLIN)
    assert ticks(schedule, "2026-01-02T07:00:00", 2) == ["2026-01-02 08:00", "2026-01-05 08:00"]  # Friday, Monday


def test_two_restricted_days_mean_either_and_a_star_leaves_the_day_to_the_other() -> None:
    either = parse_schedule("0 0 13 * fri")
    assert ticks(either, "2026-03-07", 3) == ["2026-03-13 00:00", "2026-03-20 00:00", "2026-03-27 00:00"]
    assert ticks(either, "2026-04-04", 2) == ["2026-04-10 00:00", "2026-04-13 00:00"]
    both = parse_schedule("0 0 */2 * mon")  # Mondays with an odd number, as cron reads it
    assert ticks(both, "2026-01-01", 2) == ["2026-01-05 00:00", "2026-01-19 00:00"]


@pytest.mark.parametrize("days", ["0", "7", "sun", "SUN", "sun-sun"])
def test_sunday_has_two_numbers(days: str) -> None:
    assert ticks(parse_schedule(f"0 0 * * {days}"), "2026-01-01", 2) == ["2026-01-04 00:00", "2026-01-11 00:00"]


@pytest.mark.parametrize("days", ["5-7", "fri-sun", "fri-0", "5,6,0"])
def test_a_range_may_end_with_sunday(days: str) -> None:
    assert ticks(parse_schedule(f"0 0 * * {days}"), "2026-01-01", 3) == [
        "2026-01-02 00:00",
        "2026-01-03 00:00",
        "2026-01-04 00:00",
    ]


def test_a_step_over_the_days_of_the_week_counts_sunday_once() -> None:
    assert ticks(parse_schedule("0 0 * * */7"), "2026-01-01", 2) == ["2026-01-04 00:00", "2026-01-11 00:00"]


def test_a_time_that_does_not_exist_is_the_moment_after_the_gap() -> None:
    schedule = parse_schedule("30 2 * * *", BERLIN)
    assert ticks(schedule, "2026-03-28T00:00:00", 3) == ["2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"]
    assert ticks(parse_schedule("*/20 2 * * *", BERLIN), "2026-03-28T12:00:00", 2) == [
        "2026-03-29 01:00",  # once, for all three
        "2026-03-30 00:00",
    ]


def test_a_time_that_comes_twice_is_the_first_one() -> None:
    schedule = parse_schedule("30 2 * * *", BERLIN)
    assert ticks(schedule, "2026-10-24T12:00:00", 2) == ["2026-10-25 00:30", "2026-10-26 01:30"]


def test_a_day_that_does_not_exist_is_the_beginning_of_the_next() -> None:
    schedule = parse_schedule("0 9 30 12 *", "Pacific/Apia")  # went from the 29th to the 31st in 2011
    assert ticks(schedule, "2011-12-01", 1) == ["2011-12-30 10:00"]


def test_a_leap_day_is_found_over_eight_years_without_one() -> None:
    schedule = parse_schedule("0 0 29 2 *")
    assert ticks(schedule, "2096-03-01", 1) == ["2104-02-29 00:00"]
    assert shown(schedule.last_until(at("2104-02-28"))) == "2096-02-29 00:00"


# -- bad ones ----------------------------------------------------------------------------------------------------------

EXAMPLES = 'write an interval, "every 1 hour", or the five fields of cron, "0 9 * * 1-5"'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"schedule= is empty; {EXAMPLES}"),
        ("hourly", f"schedule 'hourly' has 1 fields instead of five; {EXAMPLES}"),
        ("0 0 9 * * 1", f"schedule '0 0 9 * * 1' has 6 fields instead of five; {EXAMPLES}"),
        ("60 * * * *", "schedule '60 * * * *': the minute 60 does not exist; it is from 0 to 59"),
        ("0 24 * * *", "schedule '0 24 * * *': the hour 24 does not exist; it is from 0 to 23"),
        ("0 0 0 * *", "schedule '0 0 0 * *': the day of the month 0 does not exist; it is from 1 to 31"),
        ("0 0 * 13 *", "schedule '0 0 * 13 *': the month 13 does not exist; it is from 1 to 12"),
        (
            "0 0 * juli *",
            "schedule '0 0 * juli *': the month 'juli' is not understood; it is a number, or a name, jan to dec",
        ),
        ("0 17-9 * * *", "schedule '0 17-9 * * *': the hour '17-9' runs backwards"),
        ("*/0 * * * *", "schedule '*/0 * * * *': the minute '*/0' has a step of 0"),
        ("5/10 * * * *", "schedule '5/10 * * * *': the minute '5/10' has a step and no range; write 5-59/10"),
        (
            "0 0 L * *",
            "schedule '0 0 L * *': the day of the month 'L' is not understood; it is a number",
        ),
        (
            "0 0 ? * 1",
            "schedule '0 0 ? * 1': the day of the month '?' is not understood; it may be a number, a range 1-5, a list 1,3, a step */2",
        ),
        ("0 0 30 2 *", "schedule '0 0 30 2 *' never comes: no such month has such a day"),
        (
            "every blue moon",
            'the interval of schedule \'every blue moon\': \'blue moon\' is not understood; write for example "5s", "1h 30m" or "2 days"',
        ),
        ("every 90 s", "schedule 'every 90 s': an interval is a whole number of minutes and at least one"),
        ("every 0 h", "schedule 'every 0 h': an interval is a whole number of minutes and at least one"),
    ],
)
def test_a_bad_schedule_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        parse_schedule(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["Mars/Olympus", "Europe", "", "../zone", "CEST+", "a\0b"])
def test_an_unknown_time_zone_says_so(name: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        parse_schedule("0 0 * * *", name)
    assert str(caught.value) == (f'timezone {name!r} is not known on this machine; write for example "Europe/Berlin"')


def test_an_interval_has_no_time_zone() -> None:
    with pytest.raises(ValueError, match="is an interval, which has no time zone: leave timezone= out"):
        parse_schedule("every 1 hour", BERLIN)


@pytest.mark.parametrize(("text", "zone"), [(60, "UTC"), (timedelta(hours=1), "UTC"), ("0 0 * * *", 1)])
def test_what_is_no_text_is_refused(text: object, zone: object) -> None:
    with pytest.raises(TypeError, match=r"schedule= is text|timezone= is the name"):
        parse_schedule(text, zone)
