"""Each rule that is left out is found: here by one program, in `make storm` from nine of ten seeds of the short storm."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.storm.hunting import found, themed
from tests.storm.mutations import MUTATIONS, Mutation, applied
from tests.storm.replaying import ROOT

FOUND_BY: dict[str, int] = {}
"""The seed of a program that finds each mutation, and goes right without it."""

SEEDS = 10
FOUND_IN = 9
PROGRAMS = 2_000
"""From each seed, at most: as many as the short storm has."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Faults are logged, each with its reason: thousands of lines that nobody reads here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_each_mutation_has_a_program_that_finds_it() -> None:
    assert [mutation.rule for mutation in MUTATIONS] == list(FOUND_BY)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[mutation.rule for mutation in MUTATIONS])
def test_a_rule_that_is_left_out_is_found(mutation: Mutation) -> None:
    seed = FOUND_BY[mutation.rule]
    themed(seed)
    with applied(mutation):
        assert found(seed)


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_each_is_found_from_nine_of_ten_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    hunted: dict[str, list[int | None]] = {mutation.rule: [] for mutation in MUTATIONS}
    waiting = [str(seed) for seed in range(1, SEEDS + 1)]
    while waiting:
        together = [waiting.pop(0) for _ in range(min(len(waiting), os.cpu_count() or 1))]
        parts = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.storm.hunting", seed, str(PROGRAMS)],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": "0"},
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in together
        ]
        for part in parts:
            said, _ = part.communicate()
            assert part.returncode == 0, f"a hunt ended with {part.returncode}"
            for line in said.splitlines():
                number, _, rule = line.partition("\t")
                hunted[rule].append(None if number == "None" else int(number))
    with capsys.disabled():
        print("\n| rule left out | programs until it was found, from ten seeds |\n|---|---|")
        for rule, numbers in hunted.items():
            print(f"| {rule} | {', '.join('not found' if number is None else str(number) for number in numbers)} |")
    missed = {rule: numbers for rule, numbers in hunted.items() if len(numbers) - numbers.count(None) < FOUND_IN}
    assert missed == {}
