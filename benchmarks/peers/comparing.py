"""Each workload on all engines by turns, and what the peers take as multiples of what wdk-cloud takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.figures import Json, shortened
from benchmarks.peers.engines import PEERS, LeftOutError, beside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.peers.program import Program, Sample

MEASURES = ("last_step", "result", "cpu")

LONG = 8.0
"""Seconds: of a run that takes longer, one is enough to see a ratio, and the whole stays below five minutes."""


@dataclass(frozen=True)
class Workload:
    """`name` of the workflow, how many steps it has, and how often each engine runs it."""

    name: str
    steps: int
    rounds: int

    @property
    def title(self) -> str:
        if self.steps == 1:
            return "start to first step"
        return f"{self.steps:,} steps {'in a row' if self.name == 'row' else 'gathered'}"


@dataclass
class Compared:
    """The samples of each engine by the number of their round, and why an engine has none, or not all."""

    workload: Workload
    samples: dict[str, dict[int, Sample]]
    left_out: dict[str, str] = field(default_factory=dict[str, str])

    def median(self, engine: str, measure: str) -> float:
        return statistics.median(getattr(sample, measure) for sample in self.samples[engine].values())

    def ratio(self, peer: str, ours: str, measure: str) -> float:
        """Theirs ÷ ours: the median of the rounds' ratios, since what disturbed a round disturbed both."""
        theirs, own = self.samples[peer], self.samples[ours]
        return statistics.median(
            getattr(theirs[number], measure) / getattr(own[number], measure) for number in theirs.keys() & own.keys()
        )

    def ratios(self) -> dict[str, dict[str, float]]:
        """Of each peer that was measured, beside ours whose commits survive the same."""
        return {
            peer.name: {measure: self.ratio(peer.name, beside(peer).name, measure) for measure in MEASURES}
            for peer in PEERS
            if peer.name in self.samples
        }

    def to_json(self) -> Json:
        return {
            "steps": self.workload.steps,
            "rounds": {name: len(samples) for name, samples in self.samples.items()},
            "seconds": {
                name: {measure: shortened(self.median(name, measure)) for measure in MEASURES} for name in self.samples
            },
            "ratios": {
                name: {measure: shortened(ratio) for measure, ratio in ratios.items()}
                for name, ratios in self.ratios().items()
            },
            "left_out": self.left_out,
        }


def compare(workload: Workload, programs: Mapping[str, Program], limit: float) -> Compared:
    """Every second round goes backwards. An engine that misses the limit, or takes long, is not asked again."""
    compared = Compared(workload, {name: {} for name in programs})
    asked_again = set(programs)
    for number in range(workload.rounds):
        order = [name for name in programs if name in asked_again]
        for name in reversed(order) if number % 2 else order:
            try:
                sample = programs[name].run(workload.name, workload.steps, limit)
            except LeftOutError as error:
                compared.left_out[name] = str(error)
                asked_again.remove(name)
                continue
            compared.samples[name][number] = sample
            if sample.result > LONG:
                asked_again.remove(name)
    for name in [name for name, samples in compared.samples.items() if not samples]:
        del compared.samples[name]
    return compared
