"""Durations and points in time, as users write them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from wdk_cloud import durations

CENTURY = 100 * 365.25 * 86400


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("5s", 5),
        ("250ms", 0.25),
        ("1h 30m", 5400),
        ("1h30m", 5400),
        (" 2 days ", 172_800),
        ("1.5 Hours", 5400),
        (".5m", 30),
        ("1 week", 604_800),
        ("1 month", 365.25 * 86400 / 12),
        ("1 year", 365.25 * 86400),
        ("90", 90),
        ("0", 0),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
        (timedelta(minutes=2, milliseconds=500), 120.5),
        ("100 years", CENTURY),
    ],
)
def test_a_duration_is_text_a_number_of_seconds_or_a_timedelta(written: object, seconds: float) -> None:
    assert durations.seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["5 parsecs", "", "   ", "h", "5 s and more", "-5s", "1..5s", -1, -0.001, math.inf, -math.inf, math.nan],
)
def test_what_has_no_meaning_is_a_value_error(written: object) -> None:
    with pytest.raises(ValueError, match="this pause"):
        durations.seconds(written, "this pause")


@pytest.mark.parametrize("written", ["101 years", CENTURY + 1, 10**400, timedelta(days=40_000)])
def test_more_than_a_century_is_a_mistake_in_a_unit(written: object) -> None:
    with pytest.raises(ValueError, match="longer than a century"):
        durations.seconds(written)


@pytest.mark.parametrize("written", [None, True, b"5s", [5], datetime(2026, 1, 1, tzinfo=UTC)])
def test_another_type_is_a_type_error(written: object) -> None:
    with pytest.raises(TypeError, match="must be text such as"):
        durations.seconds(written)


def test_a_point_in_time_is_an_aware_datetime_or_a_duration_from_now() -> None:
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
    assert durations.due(moment, 0.0) == 1_767_225_600
    assert durations.due("1m", 100.0) == 160


def test_a_point_in_the_past_is_itself() -> None:
    assert durations.due(datetime(2026, 1, 1, tzinfo=UTC), 2e9) == 1_767_225_600


def test_a_datetime_without_a_zone_is_refused_with_what_to_write() -> None:
    with pytest.raises(ValueError, match=r"must have a time zone: .* use datetime\.now\(UTC\)"):
        durations.due(datetime(2026, 1, 1), 0.0)


def test_the_year_10000_and_its_like_are_longer_than_a_century() -> None:
    with pytest.raises(ValueError, match="longer than a century"):
        durations.due(datetime.max.replace(tzinfo=UTC), 1_767_225_600.0)
