"""Text that sorts like what it stands for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdk_aws.places import age, moment, shard, shards, step_id_of, step_sort, steps_of

TIMES = st.integers(0, 10**16).map(lambda microseconds: microseconds / 1_000_000)


def test_steps_of_one_name_sort_by_their_numbers() -> None:
    steps = [f"charge#{number}" for number in (1, 2, 9, 10, 11, 99, 100, 1_000, 12_345)]
    mixed = random.Random(1).sample(steps, len(steps))
    assert sorted(mixed, key=lambda step: step_sort("b", step)) == steps


@given(st.lists(st.one_of(st.text(), st.from_regex(r"\A[a-c#~]{0,3}#?[0-9]{0,3}\Z")), unique=True))
def test_no_two_steps_have_one_key_and_each_key_says_its_step(steps: list[str]) -> None:
    keys = [step_sort("b", step) for step in steps]
    assert len(set(keys)) == len(steps)
    assert [step_id_of(key.removeprefix(steps_of("b"))) for key in keys] == steps


@pytest.mark.parametrize("step", ["", "#", "a", "a#", "a#0", "a#01", "a#b1", "a#~1", "7", "a#" + "9" * 21, "a#²"])
def test_a_step_that_ends_in_no_number_has_a_key(step: str) -> None:
    assert step_id_of(step_sort("b", step).removeprefix(steps_of("b"))) == step


@given(TIMES, TIMES)
def test_ages_sort_like_times(one: float, other: float) -> None:
    earlier, later = sorted((one, other))
    if round(earlier, 6) < round(later, 6):
        assert moment(earlier) < age(earlier, "z") < moment(later) < age(later, "a")
    else:
        assert age(earlier, "a") < age(later, "z")


def test_all_shards_are_used_and_no_others() -> None:
    assert {shard("blue", f"run-{number}") for number in range(200)} == set(shards("blue"))
