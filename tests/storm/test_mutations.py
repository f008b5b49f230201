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

FOUND_BY: dict[str, int | tuple[int, int]] = {
    "an append asks for its free position": 16,
    "release asks for `dirty` unset": 5,
    "acknowledge last": 1,
    "a message that finds the run held sets `dirty`": 5,
    "a timer message is proof": 0,
    "a timer message that finds the run held clears `armed`": 128,
    "the holder's own message is never let go": 151,
    "a message received before is exchanged": 21,
    "an earlier receiver of an exchanged message cannot acquire": 21,
    "an unclean turn sends everything again": 4,
    "`dirty` is set only if the holder seen still holds": 62,
    "a log longer than `length` makes a turn unclean": 16,
    "`continue` before `release`": 36,
    "the end of a step before its message": 0,
    "a request before its message": 5,
    "`dirty` is cleared before the inbox is read": 73,
    "`dirty` counts only while the run is held": 62,
    "a nudge that is refused looks again": 62,
    "what follows the end is done again by the message that the head names": 1,
    "the run that goes on is there before the head names it": 14,
    "an attempt is in the log before its body": 4,
    "1: the time of an event is never before its predecessor's": 1,
    "2: directly before a body the lease is looked at": 292,
    "2: directly before a body the claim is looked at": 244,
    "3: an item whose key is in the log is dropped unread": 0,
    "3: only what a committed batch admitted is deleted": 0,
    "4: a step is in the log before its message is sent": 0,
    "5: an attempt that an earlier lease began was interrupted": 2,
    "5: a step without retries is never begun twice": 114,
    "5: interrupted steps run one at a time": 2,
    "5: of several interrupted steps none is charged before the fifth time": 2,
    "7: too many stalls end the run": 9,
    "7: stalls begin anew when the log has grown": 37,
    "7: an outage of the world takes its stall back": 93,
    "6: an end that is announced while its watcher looks makes it look again": 14,
    "9: the first end of a step stands": 11,
    "9: a live claim is respected": 4,
    "tokens are claimed before anything that follows is announced or begun": 10,
    "an unclean turn claims and frees again": 51,
    "a token is taken over from nobody who is alive": 0,
    "a token whose owner has ended is free": 55,
    "a token is free when its hook is disposed of": 18,
    "an unclean turn frees again what was disposed of": 30,
    "the runs that go on for a run keep its tokens": 32,
    "payloads come over before a token does": (259, 26),
    "a token comes over only when the heads say for whom": 465,
    "who has put a payload looks whether the run has gone on": (947, 26),
    "payloads that a body has not taken go to the next run": 7,
    "payloads that a run has not admitted go to the next run": 25,
    "what a run has received goes no further": 7,
    "a key that an earlier run has received delivers nothing": (947, 26),
    "a key that a run between the token's and the last has received delivers nothing": 246,
    "payloads that came before their hook are looked at when it is there": (647, 26),
    "of several hooks of a run on one token the oldest receives": 751,
    "several hooks of a run claim one token one after the other": 2795,
    "what a body sends is noted before it is put": (349, 26),
    "a step is recorded when its chunks are durable": 732,
    "who is refused an ordinal goes behind what lies there": 2,
    "an object whose answer was lost is not written again": 55,
    "a store that fails a writer or a reader is asked again": 55,
    "a producer is recorded when its first mark is durable": 184,
    "a producer marks its stream again and again": 242,
    "a producer is recorded before it produces": 52,
    "of a producer that was recorded nobody begins another": 759,
    "the end of a run closes its streams": 31,
    "a stream whose run ends before its producer is cut off": 166,
    "with `resume` what the step has written is left out": 1454,
    "with `resume` it is left out beside an attempt that was given up as well": 1174,
    "a reader that comes back begins at its index": 503,
}
"""The seed of a program that finds each mutation, and goes right without it; with a number of themes, it is one of the
programs that there were with so many."""

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
    by = FOUND_BY[mutation.rule]
    program = by if isinstance(by, tuple) else (by,)
    themed(*program)
    with applied(mutation):
        assert found(*program)


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
