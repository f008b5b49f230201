"""The page on migrating accounts for every public name of `vercel-workflow`.

The names are facts, kept in `vercel_workflow.json` with the version they were read from. To read those of another
version: install it by itself, and print `__all__` of the three modules.
"""

import json
import re
from pathlib import Path

import pytest

import wdk_cloud
from wdk_cloud import errors

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating-from-vercel-workflow.md").read_text()
THEIRS = json.loads((Path(__file__).parent / "vercel_workflow.json").read_text())
NAMES = set(THEIRS["vercel.workflow"])
LEFT = NAMES - set(wdk_cloud.__all__)

STAYING, _, LEAVING = PAGE.partition("## Names that stay")[2].partition("## Names that are not here")

AT_LEAST = 15
"""Characters of a reason; less would say nothing."""


def rows(text):
    """First cell and second cell of each row of a table, without its head."""
    return re.findall(r"^\| (`[^|]+) \| ([^|]+) \|$", text, re.MULTILINE)


def names_in(cell):
    return re.findall(r"`(\w+)`", cell)


def test_each_name_that_is_not_here_is_on_the_page_with_its_reason():
    print(f"names of vercel-workflow {THEIRS['version']} that wdk_cloud does not have: {sorted(LEFT)}")
    reasons = {name: reason for cell, reason in rows(LEAVING) for name in names_in(cell)}
    assert set(reasons) == LEFT
    for name, reason in reasons.items():
        assert reason.startswith("as `") or len(reason) >= AT_LEAST, name


def test_each_name_that_is_here_too_is_on_the_page_with_what_differs():
    named = [name for cell, _ in rows(STAYING) for name in names_in(cell)]
    assert sorted(named) == sorted(NAMES & set(wdk_cloud.__all__))


@pytest.mark.parametrize("name", re.findall(r"as `(\w+)`", LEAVING))
def test_a_reason_that_points_to_another_name_points_to_one_that_has_a_reason(name):
    assert name in LEFT


def test_no_reason_promises_what_is_here_already():
    """When hooks and streams come, their names leave the table by themselves; what the reasons name has to follow."""
    coming = {name for cell, reason in rows(LEAVING) for name in names_in(cell) if reason.startswith("comes with")}
    assert not coming & set(wdk_cloud.__all__)


def test_their_module_of_errors_has_no_name_that_the_page_does_not_account_for():
    assert set(THEIRS["vercel.workflow.errors"]) <= NAMES
    assert set(THEIRS["vercel.workflow.errors"]) - LEFT <= set(vars(errors))


def test_the_page_the_names_and_the_benchmark_are_of_one_version():
    pinned = (ROOT / "benchmarks" / "peers" / "requirements-vercel.txt").read_text()
    assert f"vercel-workflow=={THEIRS['version']}\n" in pinned
    assert f"read at version {THEIRS['version']})" in PAGE
