"""500 runs of three steps in a row, all started at once and all awaited: starts, work and results together."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.comparison import compare
from benchmarks.figures import Figure, Report
from benchmarks.stage import WORLDS, run_to_end
from benchmarks.workflows import in_a_row

if TYPE_CHECKING:
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

STEPS = 3
RUNS_PER_CPU_SECOND = 2000.0
MULTIPLE = 4.0


def run(plan: Plan, folder: Folder) -> Report:
    runs = plan.runs
    compared = compare(partial(_all, runs), steps=runs * STEPS, rounds=plan.rounds, folder=folder)
    name = f"{runs:,} runs of {STEPS} steps"
    figures: list[Figure] = []
    for world in WORLDS:
        cost = compared.median(world)
        least = RUNS_PER_CPU_SECOND if world == "local" else None
        figures.append(Figure(f"{name}, per CPU second", world, runs / cost.cpu, "runs", least=least))
        figures.append(Figure(f"{name}, per second", world, runs / cost.wall, "runs"))
    figures.append(Figure(f"{name}, CPU ÷ floor", "local", compared.multiple.cpu, "×", most=MULTIPLE))
    figures.append(Figure(f"{name}, wall ÷ floor", "local", compared.multiple.wall, "×", most=MULTIPLE))
    grouped = compared.multiple_of_grouped
    figures.append(Figure(f"{name}, CPU ÷ floor in groups", "local", grouped.cpu, "×"))
    details = compared.to_json()
    details["runs"] = runs
    details["calls_per_run"] = {world: round(calls.total() / runs, 4) for world, calls in compared.calls.items()}
    details["commits_per_run"] = round(compared.writes.commits / runs, 4)
    details["appends_per_run"] = round(compared.writes.appends / runs, 4)
    return Report(figures, details)


async def _all(runs: int) -> None:
    await asyncio.gather(*(run_to_end(in_a_row, STEPS, result=sum(range(STEPS))) for _ in range(runs)))
