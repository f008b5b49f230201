"""Deletions in the storm: random programs under random faults, each deleted while somebody works on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.storm.campaign import workers_of
from tests.storm.erasing import Eraser, eraser
from tests.storm.execution import execute
from tests.storm.hunting import drawn

PROGRAMS = 250
"""On `memory`: some ten seconds."""

ON_LOCAL = 25


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are logged, each with its reason: thousands of lines that nobody reads here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def erased(seed: int, path: Path | None = None) -> bool:
    """Delete the program of this seed somewhere; whether it was still running then."""
    program, weather = drawn(seed)
    crews: list[Eraser] = []

    def crew(*args: object) -> Eraser:
        crews.append(eraser(seed)(*args))
        return crews[0]

    try:
        workers = workers_of(seed, "memory" if path is None else "local")
        asyncio.run(execute(program, weather, workers=workers, path=path, crew=crew))
    except BaseException as error:
        error.add_note(f"storm seed {seed}")
        raise
    return crews[0].beside


def test_of_programs_that_are_deleted_while_everything_goes_wrong_nothing_is_left() -> None:
    beside = sum(erased(seed) for seed in range(PROGRAMS))
    assert beside > PROGRAMS // 3


def test_nothing_is_left_in_a_file_either(tmp_path: Path) -> None:
    beside = sum(erased(seed, tmp_path / f"{seed}.db") for seed in range(ON_LOCAL))
    assert beside > ON_LOCAL // 3
