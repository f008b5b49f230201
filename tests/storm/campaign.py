"""Many programs under rough weather, on all processors, and what they met: the long storm.

`python -m tests.storm.campaign memory 0 1000` is one part of it: it carries out the programs of these seeds and prints
its tally as JSON. `campaign()` runs parts beside each other and adds up their tallies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.storm.execution import Execution, execute
from tests.storm.faults import Weather
from tests.storm.programs import Node, generate
from tests.storm.replaying import ROOT, Replayer
from tests.storm.shrinking import shrink

SHARED_MEMORY = Path("/dev/shm")

MOST_VIOLATIONS = 3
"""A part ends early: each costs a search for the smallest execution that fails alike."""


@dataclass
class Tally:
    """What came of the programs of some seeds."""

    programs: int = 0
    runs: int = 0
    """With the children."""
    workers: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    commands: Counter[int] = field(default_factory=Counter[int])
    """How many programs had so many durable commands."""
    at_once: Counter[int] = field(default_factory=Counter[int])
    """In how many so many commands were outstanding together at most."""
    struck: Counter[int] = field(default_factory=Counter[int])
    """How many met so many faults."""
    replayed: int = 0
    """Logs that were replayed in another process."""
    other_turns: int = 0
    """Programs whose number of turns the faults changed."""
    violations: list[str] = field(default_factory=list[str])

    def add(self, other: Tally) -> None:
        for name in ("programs", "runs", "workers", "replayed", "other_turns"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("faults", "commands", "at_once", "struck"):
            getattr(self, name).update(getattr(other, name))
        self.violations.extend(other.violations)

    @property
    def deaths(self) -> int:
        return self.faults["die before"] + self.faults["die after"]

    @property
    def lost_answers(self) -> int:
        return self.faults["lose the answer"]

    @property
    def duplicates(self) -> int:
        """Messages that came twice: sent twice, or delivered again because an acknowledgement was lost."""
        return self.faults["send twice"] + self.faults["lose the acknowledgement"]

    def note(self, execution: Execution, undisturbed: Execution) -> None:
        self.programs += 1
        self.runs += len(execution.logs)
        self.workers += execution.workers
        self.faults.update(execution.weather.counts)
        self.commands[execution.commands] += 1
        self.at_once[execution.at_once] += 1
        self.struck[len(execution.weather.struck)] += 1
        self.other_turns += execution.turns != undisturbed.turns

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Tally:
        fields = json.loads(text)
        for name in ("commands", "at_once", "struck"):
            fields[name] = Counter({int(value): count for value, count in fields[name].items()})
        return cls(**{**fields, "faults": Counter(fields["faults"])})


def median(distribution: Counter[int]) -> int:
    """The least value that half of them do not exceed."""
    half, seen = distribution.total() / 2, 0
    for value in sorted(distribution):
        seen += distribution[value]
        if seen >= half:
            return value
    return 0


def workers_of(seed: int, world: str) -> int:
    """One to three on `memory`; on `local`, where each is a process of its own, one or two."""
    return 1 + seed % (3 if world == "memory" else 2)


def run_part(world: str, seeds: range, *, rough: bool = True, folder: Path | None = None) -> Tally:
    """Carry out the programs of these seeds, each also undisturbed."""
    tally = Tally()
    with Replayer() as replayer:
        for seed in seeds:
            program, path = generate(seed), None if folder is None else folder / f"{seed}.db"
            draw = Weather.rough if rough else Weather.drawn
            try:
                undisturbed = asyncio.run(execute(program, Weather()))
                execution = asyncio.run(execute(program, draw(seed), workers=workers_of(seed, world), path=path))
                for run_id, batches in execution.logs.items():
                    replayer.check(run_id, batches, seed=seed, all_prefixes=seed % 100 == 0)
                    tally.replayed += 1
                tally.note(execution, undisturbed)
            except Exception as error:  # whatever it is, it is what we look for
                tally.violations.append(_described(world, seed, program, draw(seed), error))
                if len(tally.violations) == MOST_VIOLATIONS:
                    break
            for file in folder.glob("*") if folder is not None else ():
                file.unlink()
    return tally


def _described(world: str, seed: int, program: Node, weather: Weather, error: Exception) -> str:
    smallest = shrink(program, weather, workers_of(seed, world)) if world == "memory" else None
    return f"{world}, seed {seed}: {type(error).__name__}: {error}" + (f"\nsmallest: {smallest}" if smallest else "")


def campaign(world: str, seeds: range, *, rough: bool = True, processes: int | None = None) -> Tally:
    """The same in several processes, by default one for each processor."""
    count = processes or os.cpu_count() or 1
    each = -(-len(seeds) // count)
    words = [str(int(rough)), world]
    parts = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.storm.campaign", *words, str(part.start), str(part.stop)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for part in (seeds[at : at + each] for at in range(0, len(seeds), each))
    ]
    total = Tally()
    for part in parts:
        said, _ = part.communicate()
        assert part.returncode == 0, f"a part of the storm ended with {part.returncode}"
        total.add(Tally.from_json(said))
    return total


def main(words: list[str]) -> None:
    logging.disable(logging.CRITICAL)  # faults are logged, each with its reason: nobody reads millions of lines
    rough, world, first, last = words
    seeds = range(int(first), int(last))
    if world == "aws":
        from tests.storm.onaws import run_part as run_on_aws

        tally = run_on_aws(seeds)
    elif world == "gcp":
        from tests.storm.ongcp import run_part as run_on_gcp

        tally = run_on_gcp(seeds)
    elif world == "memory":
        tally = run_part(world, seeds, rough=rough == "1")
    else:
        with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
            tally = run_part(world, seeds, rough=rough == "1", folder=Path(folder))
    print(tally.to_json())


if __name__ == "__main__":
    main(sys.argv[1:])
