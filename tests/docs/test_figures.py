"""Figures stand on one page and are quoted on others: a quoted row is the row of the page that has its command."""

import re
from pathlib import Path

import pytest

from tests import tables

DOCS = Path(__file__).parents[2] / "docs"
BENCHMARKS = (DOCS / "benchmarks.md").read_text()
MEASURED = re.compile(r"^\| [^|\n]+ \|(?: [a-z-]+ \|)?(?: [\d.,+ ]+ \|)+(?: \|)*$", re.MULTILINE)
"""A row of a table that consists of figures."""


@pytest.mark.parametrize("page", ["cost.md", "compare.md"])
def test_every_row_of_figures_is_quoted_from_the_benchmarks(page):
    rows = MEASURED.findall((DOCS / page).read_text())
    assert len(rows) >= 4
    assert [row for row in rows if f"{row}\n" not in BENCHMARKS] == []


@pytest.mark.parametrize("said", ["cost 52 cents a month", "the sweep costs 35 cents a month"])
def test_what_is_said_of_idle_costs_is_what_the_benchmarks_say(said):
    assert said in (DOCS / "cost.md").read_text().replace("\n", " ")
    assert said in BENCHMARKS.replace("\n", " ")


def test_the_page_of_the_gcp_world_counts_as_the_benchmarks_do():
    counted = tables.rows(tables.section(tables.BENCHMARKS, "What a run costs on Google Cloud"))
    found = tables.rows(tables.section(DOCS / "gcp.md", "Costs and limits"))
    assert len(found) == 5
    assert found == {name: [counted[name][column] for column in (0, 1, 3)] for name in found}


def test_every_product_in_the_comparison_has_its_sources():
    page = (DOCS / "compare.md").read_text()
    table, _, sources = page.partition("## Sources")
    named = re.findall(r"^\| \*\*`?([\w -]+)`?\*\* \[(\d)\]", table, re.MULTILINE)
    assert [int(number) for _, number in named] == list(range(1, 8))
    for name, number in named:
        (listed,) = re.findall(rf"^{number}\. ([^:]+):(?:.|\n)*?https://", sources, re.MULTILINE)
        assert listed.split()[0].lower() in name.lower() or name.startswith(listed.lower().split("-")[0])
