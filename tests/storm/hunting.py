"""How soon the storm finds a mutation: programs until the first violation.

`python -m tests.storm.hunting 3 1000 "acknowledge last"` hunts the mutations of this name from the third of the seeds,
for so many programs, and prints a line for each.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable

from tests.storm.campaign import workers_of
from tests.storm.execution import Execution, execute
from tests.storm.faults import THEMES, Weather
from tests.storm.mutations import MUTATIONS, Mutation, applied
from tests.storm.programs import Node, generate

BETWEEN = 10_000
"""Programs from one seed to the next: none of two sequences is the same."""


def drawn(seed: int, themes: int = len(THEMES)) -> tuple[Node, Weather]:
    """One program of the short storm, and its weather, one of so many themes."""
    weather = Weather.themed(seed, themes)
    return generate(
        seed, brief=bool(weather.limit), far=weather.far, hooked=weather.hooked, streamed=weather.streamed
    ), weather


def themed(seed: int, themes: int = len(THEMES)) -> Execution:
    """It is carried out."""
    program, weather = drawn(seed, themes)
    return asyncio.run(execute(program, weather, workers=workers_of(seed, "memory")))


def found(seed: int, themes: int = len(THEMES)) -> bool:
    """Whether anything goes wrong with this program."""
    try:
        themed(seed, themes)
    except Exception:  # whatever it is, it is what we look for
        return True
    return False


def hunt(mutation: Mutation, seeds: Iterable[int]) -> int | None:
    """The number of programs until it was found; None if it was not."""
    with applied(mutation):
        return next((number for number, seed in enumerate(seeds, 1) if found(seed)), None)


def sequence(seed: int, programs: int) -> range:
    return range(seed * BETWEEN, seed * BETWEEN + programs)


def main(words: list[str]) -> None:
    logging.disable(logging.CRITICAL)  # faults are logged, each with its reason: nobody reads them here
    seed, programs, *rules = words
    for mutation in MUTATIONS:
        if not rules or mutation.rule in rules:
            print(f"{hunt(mutation, sequence(int(seed), int(programs)))}\t{mutation.rule}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
