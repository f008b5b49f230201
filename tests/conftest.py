"""Loaded in every process of a test session, xdist's master included: which of them calls the roll."""

import gc
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.components import (
    dynoxide,
    firestore_emulator,
    gcp_failing,
    gcp_service,
    gcp_stage,
    gcp_standing,
    ministack,
    ministack_standing,
)
from tests.distributions import distributions
from tests.e2e.elsewhere import asked
from tests.e2e.rollcall import LEDGERS, RollCall

__all__ = [
    "distributions",
    "dynoxide",
    "firestore_emulator",
    "gcp_failing",
    "gcp_service",
    "gcp_stage",
    "gcp_standing",
    "ministack",
    "ministack_standing",
]  # the fixtures that every test may ask for


def pytest_configure(config: pytest.Config) -> None:
    if (elsewhere := asked(config)) is not None:
        config.stash[LEDGERS] = elsewhere.ledgers
    elif hasattr(config, "workerinput"):
        config.stash[LEDGERS] = Path(config.workerinput["ledgers"])
    else:
        roll = RollCall()
        config.stash[LEDGERS] = roll.folder
        config.pluginmanager.register(roll)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """The garbage collector would look through a million objects of the tests again and again while they are collected,
    for ten seconds in all; they stay until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A module that a test has written and loaded goes with it: the next one of that name is another one."""
    before = set(sys.modules)
    try:
        return (yield)
    finally:
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        for name in set(sys.modules) - before if folder is not None else ():
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(f"{folder}/"):
                del sys.modules[name]


ON_ACCOUNT = pytest.StashKey[set[str]]()
"""The tests that need an account: deselected, but not in silence."""


def pytest_deselected(items: list[pytest.Item]) -> None:
    found = {item.nodeid for item in items if item.get_closest_marker("aws")}
    if found:
        items[0].config.stash.setdefault(ON_ACCOUNT, set()).update(found)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """A worker of xdist's has ended: what it has collected, which the master has not."""
    found = getattr(node, "workeroutput", {}).get("on_account", ())
    node.config.stash.setdefault(ON_ACCOUNT, set()).update(found)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["on_account"] = sorted(session.config.stash.get(ON_ACCOUNT, set()))


def _seconds_by_part(terminalreporter: pytest.TerminalReporter) -> Counter[str]:
    """By folder of the tests; each second of a process counts, so that two processes make two in one."""
    spent: Counter[str] = Counter()
    for report in (one for reports in terminalreporter.stats.values() for one in reports):
        if isinstance(report, pytest.TestReport):
            spent[Path(report.nodeid.partition("::")[0]).parent.as_posix()] += report.duration
    return spent


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    parts = _seconds_by_part(terminalreporter).most_common()
    terminalreporter.write_line("seconds: " + ", ".join(f"{part} {spent:.0f}" for part, spent in parts))
    if found := config.stash.get(ON_ACCOUNT, None):
        terminalreporter.write_line(f"not run here: {len(found)} tests on an AWS account; with one: pytest -m aws")
