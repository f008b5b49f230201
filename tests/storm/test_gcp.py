"""The storm on the Google Cloud world, through the handler of the service (`ongcp.py`)."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest

from tests.storm.campaign import Tally, campaign
from tests.storm.ongcp import stage_standing, storm
from tests.storm.pushed import note
from tests.storm.replaying import Replayer
from wdk_gcp.testing.stage import Stage

# An instance that dies in the middle of a request to Cloud Storage leaves its connection, as a process does.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*unclosed <socket:ResourceWarning", "ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning"
)

SLICES = 4
PROGRAMS = 25
"""In each slice: the four of them take about a minute and a half on one of two quiet processors."""

REGRESSIONS = {
    18: "by a clock that was behind, a message for later came at once, over and over, until that clock had caught up",
}
"""Seeds under which something went wrong once."""

LONG = range(4_000_000, 4_001_000)

DEATHS, LOST = 2_000, 500
"""The least that the long one has to bring of deaths, and of answers that are lost on their way to the libraries."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are logged, each with its reason: thousands of lines that nobody reads here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def _connections_of_the_dead_go_here() -> Iterator[None]:
    """Not when the garbage is collected in another test, which would be charged with them."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with stage_standing() as standing:
        yield standing


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    with Replayer() as process:
        yield process


@pytest.mark.timeout(300)
@pytest.mark.parametrize("slice", range(SLICES))
def test_programs_yield_what_they_must_whatever_goes_wrong(stage: Stage, slice: int, replayer: Replayer) -> None:
    tally = Tally()
    for seed in range(slice * PROGRAMS, (slice + 1) * PROGRAMS):
        try:
            note(tally, *storm(stage, seed), seed, replayer)
        except BaseException as error:
            error.add_note(f"storm seed {seed} on Google Cloud")
            raise
    assert tally.programs == PROGRAMS


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_went_wrong_once_goes_right(stage: Stage, seed: int) -> None:
    storm(stage, seed)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_thousand_programs_meet_no_violation() -> None:
    tally = campaign("gcp", LONG)
    assert tally.violations == []
    assert tally.programs == len(LONG)
    assert tally.deaths >= DEATHS
    assert tally.faults["lost"] >= LOST
