"""What steps carry besides their function."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wdk_cloud import RetryPolicy
from wdk_cloud.options import StartOptions, StepOptions


def test_the_default_policy_retries_at_once() -> None:
    assert [RetryPolicy().pause(n, 0.5) for n in (1, 2, 50)] == [0, 0, 0]


def test_pauses_grow_by_the_backoff_up_to_the_longest() -> None:
    policy = RetryPolicy(delay="2s", backoff=3, max_delay="1m")
    assert [policy.pause(n, 0.0) for n in range(1, 6)] == [2, 6, 18, 54, 60]


def test_a_backoff_of_one_keeps_the_delay() -> None:
    assert RetryPolicy(delay=7, backoff=1).pause(1_000_000, 0.0) == 7


def test_jitter_takes_off_a_share_that_is_drawn() -> None:
    policy = RetryPolicy(delay=100, jitter=0.2)
    assert [policy.pause(1, draw) for draw in (0.0, 0.5)] == [100, 90]


@pytest.mark.parametrize("backoff", [10.0, 1e300])
def test_a_pause_never_exceeds_a_century_whatever_the_backoff(backoff: float) -> None:
    assert RetryPolicy(delay=1, backoff=backoff).pause(1_000_000, 0.0) == 100 * 365.25 * 86400


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"backoff": 0.5}, ValueError, r"RetryPolicy\(backoff=\) must be at least 1, not 0.5"),
        ({"backoff": math.inf}, ValueError, "backoff"),
        ({"backoff": "2"}, TypeError, r"RetryPolicy\(backoff=\) must be a number, not '2'"),
        ({"backoff": True}, TypeError, "must be a number"),
        ({"jitter": 1.5}, ValueError, "must be at least 0 and at most 1, not 1.5"),
        ({"jitter": math.nan}, ValueError, "jitter"),
        ({"delay": "5 parsecs"}, ValueError, r"RetryPolicy\(delay=\) '5 parsecs' is not understood"),
        ({"max_delay": -1}, ValueError, r"RetryPolicy\(max_delay=\) must be finite and not negative"),
    ],
)
def test_a_policy_without_a_meaning_is_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        RetryPolicy(**options)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"max_retries": -1}, ValueError, "max_retries must be from 0 to 1,000,000, not -1"),
        ({"max_retries": 1_000_001}, ValueError, "max_retries must be from 0"),
        ({"max_retries": 1.0}, TypeError, "max_retries must be a whole number, not 1.0"),
        ({"max_retries": True}, TypeError, "max_retries must be a whole number"),
        ({"retry": 3}, TypeError, "retry must be a RetryPolicy, not int"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0"),
        ({"timeout": "soon"}, ValueError, "timeout 'soon' is not understood"),
        ({"dispatch": "later"}, ValueError, "dispatch must be one of auto, inline, queue, not 'later'"),
        ({"cancellable": 1}, TypeError, "cancellable must be True or False, not 1"),
    ],
)
def test_step_options_without_a_meaning_are_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        StepOptions(**options)


def test_an_update_changes_what_it_names_and_checks_it() -> None:
    options = StepOptions(max_retries=7, timeout="2m").updated({"dispatch": "queue"})
    assert (options.max_retries, options.timeout_seconds, options.dispatch) == (7, 120, "queue")
    with pytest.raises(ValueError, match="max_retries"):
        options.updated({"max_retries": -1})


@pytest.mark.parametrize(("options", "what"), [(StepOptions(), "a step"), (StartOptions(), "a workflow")])
def test_a_name_that_is_no_option_is_refused_with_those_that_are(options: Any, what: str) -> None:
    with pytest.raises(TypeError, match=f"retries is not an option of {what}; there are: "):
        options.updated({"retries": 3})
