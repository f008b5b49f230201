"""500 steps in one `asyncio.gather`: dispatched as a user has it by default, and all of them inline.

By default (`auto`) the first ten run in the turn and the others go through the queue, so that several workers could
share them; with `dispatch="inline"` all of them run in the turn, ten at a time.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.comparison import compare
from benchmarks.figures import Figure, Report
from benchmarks.stage import WORLDS, run_to_end
from benchmarks.workflows import gathered, gathered_inline

if TYPE_CHECKING:
    from benchmarks.figures import Json
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

CPU = {"local": 0.08, "memory": 0.06}  # ms


def run(plan: Plan, folder: Folder) -> Report:
    figures: list[Figure] = []
    details: Json = {}
    steps = plan.gathered
    for dispatch, workflow in (("auto", gathered), ("inline", gathered_inline)):
        work = partial(run_to_end, workflow, steps, result=sum(range(steps)))
        compared = compare(work, steps=steps, rounds=plan.rounds, folder=folder)
        details[dispatch] = compared.to_json()
        name = f"a step of {steps:,} gathered ({dispatch})"
        for world in WORLDS:
            cost = compared.median(world).each(steps)
            figures.append(Figure(f"{name}, CPU", world, cost.cpu * 1000, "ms", most=CPU[world]))
            figures.append(Figure(f"{name}, wall", world, cost.wall * 1000, "ms"))
        figures.append(Figure(f"{name}, CPU ÷ floor", "local", compared.multiple.cpu, "×"))
        figures.append(Figure(f"{name}, CPU ÷ floor in groups", "local", compared.multiple_of_grouped.cpu, "×"))
    return Report(figures, details)
