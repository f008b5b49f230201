"""The storm on the AWS world, through the handler of the Lambda function (`onaws.py`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.aws.quick import stage_at
from tests.storm.campaign import Tally, campaign
from tests.storm.onaws import storm
from tests.storm.pushed import note
from tests.storm.replaying import Replayer

SLICES = 4
PROGRAMS = 25
"""In each slice: the four of them take about a minute on one of two quiet processors."""

REGRESSIONS = {
    1017: "a payload that was passed on to the run that goes on came behind a later one, by the clock of who passed it",
}
"""Seeds under which something went wrong once."""

LONG = range(3_000_000, 3_002_000)

DEATHS, REPEATED, LOST = 4_000, 600, 1_000
"""The least that the long one has to bring of deaths, of requests that the SDK repeats, and of answers that are lost."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are logged, each with its reason: thousands of lines that nobody reads here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    with Replayer() as process:
        yield process


@pytest.mark.timeout(300)
@pytest.mark.parametrize("slice", range(SLICES))
def test_programs_yield_what_they_must_whatever_goes_wrong(dynoxide: str, slice: int, replayer: Replayer) -> None:
    stage, tally = stage_at(dynoxide), Tally()
    for seed in range(slice * PROGRAMS, (slice + 1) * PROGRAMS):
        try:
            note(tally, *storm(stage, seed), seed, replayer)
        except BaseException as error:
            error.add_note(f"storm seed {seed} on AWS")
            raise
    assert tally.programs == PROGRAMS


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_went_wrong_once_goes_right(dynoxide: str, seed: int) -> None:
    storm(stage_at(dynoxide), seed)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_two_thousand_programs_meet_no_violation() -> None:
    tally = campaign("aws", LONG)
    assert tally.violations == []
    assert tally.programs == len(LONG)
    assert tally.deaths >= DEATHS
    assert tally.faults["repeat"] >= REPEATED
    assert tally.lost_answers >= LOST
