"""Tests that must not pass, for what they do is not the same whichever way they are played; and some that must.

`test_ways.py` runs them, in sessions of their own; by its name no other session collects this module.
"""

import os
from collections import deque
from collections.abc import Iterator

import pytest

from tests.e2e.elsewhere import ROOT
from tests.e2e.running import Play
from wdk_cloud import Workflows, sleep

app = Workflows()

replays: deque[None] = deque()


@app.step
async def same(value: object) -> object:
    return value


@app.workflow
async def constant(value: str) -> None:
    await same(value)
    await sleep(1)


@app.workflow
async def folder() -> None:
    await same(os.getcwd())


@app.workflow
async def order_in_memory() -> None:
    some = {str(number): object() for number in range(40)}
    await same(sorted(some, key=lambda name: id(some[name])))


@app.workflow
async def count_of_replays() -> None:
    replays.append(None)
    await sleep(1)
    await same(len(replays))


@pytest.fixture(params=["a-warm", "cold"])
def number(request: pytest.FixtureRequest) -> str:
    """Ids that are made like those of the ways."""
    return request.param


@pytest.mark.parametrize("dispatch", ["x", "elsewhere"])
def test_well_behaved(number: str, play: Play, dispatch: str) -> None:
    play(constant, f"{number} {dispatch}")


def test_that_asks_for_the_folder(play: Play) -> None:
    play(folder)


def test_that_looks_at_the_order_in_memory(play: Play) -> None:
    play(order_in_memory)


def test_that_counts_replays(play: Play) -> None:
    replays.clear()
    play(count_of_replays)


def test_that_starts_more_when_warm(play: Play) -> None:
    for _ in range(1 if play.cold else 2):
        play(constant, "whatever")


def test_that_is_skipped_when_cold(play: Play) -> None:
    if play.cold:
        pytest.skip("it cannot be played cold")
    play(constant, "whatever")


def test_that_plays_nothing(play: Play) -> None:
    pass


def test_that_fails_elsewhere(play: Play) -> None:
    play(constant, "whatever")
    assert os.getcwd() == str(ROOT)


@pytest.fixture
def torn_out(play: Play) -> Iterator[None]:
    yield
    assert play.ledger is not None
    play.ledger.path.unlink(missing_ok=True)


@pytest.mark.usefixtures("torn_out")
def test_that_loses_its_ledger(play: Play) -> None:
    play(constant, "whatever")
