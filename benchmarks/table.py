"""The figures as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from benchmarks.figures import shortened

if TYPE_CHECKING:
    from benchmarks.figures import Figure, Report

MET = {True: "[green]yes", False: "[red]no", None: ""}


def show(reports: dict[str, Report]) -> None:
    table = Table("figure", "world", "value", "target", "met", title="benchmarks")
    table.columns[2].justify = "right"
    for report in reports.values():
        for figure in report.figures:
            table.add_row(figure.name, figure.world or "", value_of(figure), target_of(figure), MET[figure.met])
        table.add_section()
    Console().print(table)


def value_of(figure: Figure) -> str:
    return f"{shortened(figure.value):,} {figure.unit}"


def target_of(figure: Figure) -> str:
    if figure.most is not None:
        return f"≤ {figure.most:,}"
    return f"≥ {figure.least:,}" if figure.least is not None else ""
