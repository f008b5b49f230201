"""From a failing execution to a small one: fewer faults, then fewer nodes, as long as the same thing goes wrong."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.storm.execution import execute
from tests.storm.faults import Fault, Weather
from tests.storm.programs import Node, at_path, in_a_list, paths, replaced

TRIES = 400
"""Executions that a search may cost: some ten seconds."""

NEIGHBOURS = 6
"""Other weathers that are tried with a smaller program: faults strike at call numbers, and those have moved."""


@dataclass(frozen=True)
class Failure:
    """An execution that goes wrong, and how."""

    program: Node
    faults: tuple[Fault, ...]
    offsets: dict[int, float]
    """By how much the clock of each worker was off."""
    workers: int
    error: str

    def __str__(self) -> str:
        return f"{self.error}\n  program {self.program}\n  faults {list(self.faults)}\n  workers {self.workers}, clocks off by {self.offsets}"


def attempt(program: Node, weather: Weather, workers: int) -> str | None:
    """The kind of error of one execution; None if all is well."""
    try:
        asyncio.run(execute(program, weather, workers=workers))
    except Exception as error:  # whatever it is, it is what we look for
        return f"{type(error).__name__}: {error}"
    return None


def shrink(program: Node, weather: Weather, workers: int) -> Failure | None:
    """The smallest failing execution found; None if it does not fail again. `weather` is fresh: nothing has struck."""
    error = attempt(program, weather, workers)
    if error is None:
        return None
    best = Failure(program, tuple(weather.struck), weather.offsets, workers, error)
    budget = iter(range(TRIES))
    while (smaller := _step(best, budget)) is not None:
        best = smaller
    return best


def _step(failure: Failure, budget: Iterator[int]) -> Failure | None:
    for candidate in (*_fewer_faults(failure), *_smaller_programs(failure)):
        for make in candidate.weathers:
            if next(budget, None) is None:
                return None
            weather = make()
            error = attempt(candidate.program, weather, failure.workers)
            if error is not None and _kind(error) == _kind(failure.error):
                return Failure(candidate.program, tuple(weather.struck), weather.offsets, failure.workers, error)
    return None


def _kind(error: str) -> list[str]:
    """Its class, its first words, and the errors that it speaks of: a program that is cut down must not fail in
    another way."""
    return [*error.split()[:3], *re.findall(r"[A-Z]\w*Error", error)]


@dataclass(frozen=True)
class Candidate:
    program: Node
    weathers: list[Callable[[], Weather]]


def _planned(failure: Failure, faults: tuple[Fault, ...]) -> Callable[[], Weather]:
    def make() -> Weather:
        return Weather(offsets=dict(failure.offsets), planned=frozenset(faults), left=len(faults))

    return make


def _fewer_faults(failure: Failure) -> Iterator[Candidate]:
    for at in range(len(failure.faults)):
        fewer = (*failure.faults[:at], *failure.faults[at + 1 :])
        yield Candidate(failure.program, [_planned(failure, fewer)])


def _smaller_programs(failure: Failure) -> Iterator[Candidate]:
    for path in sorted(paths(failure.program), key=len):
        inside = [at_path(failure.program, (*path, *rest)) for rest in paths(at_path(failure.program, path))]
        choices: list[list[Node]] = [[one] for one in inside[:3]] + [[["zero"]]]
        if in_a_list(failure.program, path):
            choices.insert(0, [])
        for new in choices:
            if new != [at_path(failure.program, path)]:
                program = replaced(failure.program, path, new)
                yield Candidate(program, [_planned(failure, failure.faults), *_neighbours(failure)])


def _neighbours(failure: Failure) -> Iterator[Callable[[], Weather]]:
    rng = random.Random(repr(failure.program))
    for _ in range(NEIGHBOURS if failure.faults else 0):
        moved = tuple(
            Fault(fault.worker, max(1, fault.call + rng.randint(-6, 2)), fault.kind, fault.seconds)
            for fault in failure.faults
        )
        yield _planned(failure, moved)
