"""The report of a storm, as the Markdown tables of docs/reliability.md."""

from __future__ import annotations

from collections import Counter

from tests.storm.campaign import Tally, median
from tests.storm.faults import ROUGH


def report(found: dict[str, Tally]) -> str:
    """What the storms of these worlds met, side by side."""
    rows = [("", *found)]

    def row(name: str, *values: object) -> None:
        rows.append((name, *(f"{value:,}" if isinstance(value, int) else str(value) for value in values)))

    tallies = list(found.values())
    row("programs", *(tally.programs for tally in tallies))
    row("runs, with the children", *(tally.runs for tally in tallies))
    row("violations", *(len(tally.violations) for tally in tallies))
    row("logs replayed in another process", *(tally.replayed for tally in tallies))
    row("workers, one after the other and beside each other", *(tally.workers for tally in tallies))
    row("deaths", *(tally.deaths for tally in tallies))
    row("lost answers", *(tally.lost_answers for tally in tallies))
    row("duplicates", *(tally.duplicates for tally in tallies))
    for kind in ROUGH:
        row(f"- {kind}", *(tally.faults[kind] for tally in tallies))
    row("programs whose number of turns a fault changed", *(_share(tally) for tally in tallies))
    row("durable commands of a program", *(_spread(tally.commands) for tally in tallies))
    row("of them outstanding at once", *(_spread(tally.at_once) for tally in tallies))
    row("faults that a program met", *(_spread(tally.struck) for tally in tallies))
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    lines.insert(1, "|---" + "|---:" * len(found) + "|")
    return "\n".join(lines)


def _share(tally: Tally) -> str:
    return f"{tally.other_turns / max(1, tally.programs):.0%}"


def _spread(distribution: Counter[int]) -> str:
    """The median, and the values between which nine in ten lie."""
    values = sorted(distribution.elements())
    if not values:
        return "none"
    low, high = values[len(values) // 20], values[-1 - len(values) // 20]
    return f"{median(distribution)} ({low} to {high})"
