"""Steps in a row: one run that awaits 100, 1,000 and 5,000 steps, one after the other.

What begins and ends a run is in the figures; `further_step` in the details has the calls of each step more without it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.comparison import compare
from benchmarks.figures import Figure, Report
from benchmarks.meter import further
from benchmarks.stage import WORLDS, run_to_end
from benchmarks.workflows import in_a_row

if TYPE_CHECKING:
    from benchmarks.comparison import Compared
    from benchmarks.figures import Json
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

CPU = {"local": 0.15, "memory": 0.06}  # ms
WALL = {"local": 0.25, "memory": 0.10}  # ms
MULTIPLE = 10.0
GROWTH = 1.3


def run(plan: Plan, folder: Folder) -> Report:
    compared = [_row(steps, plan, folder) for steps in plan.row]
    short, middle, _ = compared
    figures = [figure for one in compared for figure in _figures(one)]
    for world in WORLDS:
        growth = middle.median(world).each(middle.steps).cpu / short.median(world).each(short.steps).cpu
        name = f"CPU of a step at {middle.steps:,} ÷ at {short.steps:,}"
        figures.append(Figure(name, world, growth, "×", most=GROWTH))
    return Report(figures, _details(compared))


def _row(steps: int, plan: Plan, folder: Folder) -> Compared:
    work = partial(run_to_end, in_a_row, steps, result=sum(range(steps)))
    repeats = plan.repeats if steps == plan.row[0] else 1
    return compare(work, steps=steps, rounds=plan.rounds, folder=folder, repeats=repeats)


def _figures(compared: Compared) -> list[Figure]:
    figures: list[Figure] = []
    row = f"a step of {compared.steps:,} in a row"
    for world in WORLDS:
        cost = compared.median(world).each(compared.steps)
        figures.append(Figure(f"{row}, CPU", world, cost.cpu * 1000, "ms", most=CPU[world]))
        figures.append(Figure(f"{row}, wall", world, cost.wall * 1000, "ms", most=WALL[world]))
    multiple = compared.multiple
    figures.append(Figure(f"{row}, CPU ÷ floor", "local", multiple.cpu, "×", most=MULTIPLE))
    figures.append(Figure(f"{row}, wall ÷ floor", "local", multiple.wall, "×", most=MULTIPLE))
    return figures


def _details(compared: list[Compared]) -> Json:
    short, middle, _ = compared
    details: Json = {str(one.steps): one.to_json() for one in compared}
    details["further_step"] = {
        world: further(middle.calls[world], short.calls[world], middle.steps - short.steps) for world in WORLDS
    }
    return details
