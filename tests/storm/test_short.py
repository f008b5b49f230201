"""The short storm: random programs under random faults. `make storm` runs the long one.

A failure prints its seed, and the smallest execution that fails alike. To see one again:
`ARGS="-k '<seed>'"` with the seed in `REGRESSIONS` below.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm.campaign import median, workers_of
from tests.storm.execution import Execution, execute
from tests.storm.faults import Weather
from tests.storm.hunting import drawn, themed
from tests.storm.programs import generate
from tests.storm.replaying import Replayer
from tests.storm.shrinking import shrink

SLICES = 20
PROGRAMS = 100
"""In each slice: together they take about a minute on two processors."""

ON_LOCAL = 25
"""In each of four slices; of every second one two workers share the file, each as a process of its own."""

REGRESSIONS = {
    173: "an operation completed twice when its announcement came beside its result",
    8: "a step's retry was scheduled twice, and its attempt counted twice",
    7: "a step was cancelled before the log said so; a turn that gave up waited for it",
    99: "an interrupted step ran alone, and waited for one that waited behind it",
    230: "a cancellable step went on after its claim was lost",
    599: "an end of an earlier attempt comes through the inbox",
}
"""Seeds under which something went wrong once."""

ROUGH_REGRESSIONS = {
    106608: "a turn released while a step waited behind a suspect that was cancelled, and died before it said so",
    106890: "the same",
}
"""Those of the long storm."""


@pytest.fixture(scope="module")
def replayer() -> Iterator[Replayer]:
    with Replayer() as process:
        yield process


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are logged, each with its reason: thousands of lines that nobody reads here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def replay(execution: Execution, seed: int, replayer: Replayer) -> None:
    for run_id, batches in execution.logs.items():
        replayer.check(run_id, batches, seed=seed, all_prefixes=seed % 100 == 0)


def weathered(seed: int, replayer: Replayer, path: Path | None = None, *, rough: bool = False) -> None:
    draw = Weather.rough if rough else Weather.drawn
    program, workers = generate(seed, early=True), workers_of(seed, "memory" if path is None else "local")
    try:
        replay(asyncio.run(execute(program, draw(seed), workers=workers, path=path)), seed, replayer)
    except BaseException as error:
        error.add_note(f"storm seed {seed}")
        if path is None and (smallest := shrink(program, draw(seed), workers)) is not None:
            error.add_note(f"the smallest that fails alike: {smallest}")
        raise


def calm(seed: int) -> None:
    try:
        asyncio.run(execute(generate(seed, early=True), Weather()))
    except BaseException as error:
        error.add_note(f"calm seed {seed}: program {generate(seed, early=True)}")
        raise


@pytest.mark.parametrize("slice", range(SLICES))
def test_programs_yield_what_they_must_whatever_goes_wrong(slice: int, replayer: Replayer) -> None:
    for seed in range(slice * PROGRAMS, (slice + 1) * PROGRAMS):
        try:
            execution = themed(seed)
            replay(execution, seed, replayer)
        except BaseException as error:
            error.add_note(f"storm seed {seed}")
            program, weather = drawn(seed)
            if (smallest := shrink(program, weather, workers_of(seed, "memory"))) is not None:
                error.add_note(f"the smallest that fails alike: {smallest}")
            raise


@pytest.mark.parametrize("slice", range(4))
def test_they_do_so_on_a_file_as_well(slice: int, replayer: Replayer, tmp_path: Path) -> None:
    for seed in range(slice * ON_LOCAL, (slice + 1) * ON_LOCAL):
        weathered(seed, replayer, tmp_path / f"{seed}.db")


@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_went_wrong_once_goes_right(seed: int, replayer: Replayer) -> None:
    calm(seed)
    weathered(seed, replayer)


@pytest.mark.parametrize("seed", ROUGH_REGRESSIONS)
def test_what_went_wrong_once_in_rough_weather_goes_right(seed: int, replayer: Replayer) -> None:
    weathered(seed, replayer, rough=True)


def test_programs_are_large_enough_to_mean_something() -> None:
    executions = [asyncio.run(execute(generate(seed), Weather())) for seed in range(60)]
    assert median(Counter(execution.commands for execution in executions)) >= 12
    assert median(Counter(execution.at_once for execution in executions)) >= 3
