"""Who was there: every way to play a test that passed must have left its ledger where the others left theirs.

A ledger is compared with those that lie beside it. One that lies elsewhere, or that nobody wrote, would be compared
with nothing and nothing would show; so the process that hears of every test looks once more when all is over.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import pytest

from tests.e2e.ledger import ledger_path

LEDGERS = pytest.StashKey[Path]()
"""The folder in which all processes of this test session lay their ledgers."""

LEFT_OUT = pytest.StashKey[list[str]]()
"""The tests of this process that are not played on Lambda, or on Cloud Run."""

PROPERTY = "played"
"""Of a report: the test, and the way in which it was played; reports travel from xdist's workers to their master."""


class RollCall:
    """The plugin of the process that hears of every test."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ledgers-")
        self.folder = Path(self._folder.name)
        self._passed: dict[str, set[str]] = defaultdict(set)
        self._missing: list[str] = []
        self._left_out: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            for name, value in report.user_properties:
                if name == PROPERTY:
                    test, way = value
                    self._passed[test].add(way)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """A worker of xdist's has ended; all of them collect the same."""
        self._left_out.update(getattr(node, "workeroutput", {}).get("left_out", ()))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._left_out.update(session.config.stash.get(LEFT_OUT, ()))
        for test, ways in sorted(self._passed.items()):
            missing = [way for way in sorted(ways) if not ledger_path(self.folder, test, way).exists()]
            if missing:
                self._missing.append(f"{test} has passed and left no ledger: {', '.join(missing)}")
        if self._missing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._missing:
            terminalreporter.write_line(f"ERROR {line}", red=True)
        several = sum(len(ways) > 1 for ways in self._passed.values())
        if several and not self._missing:
            alone = len(self._passed) - several
            more = f"; {alone} in one way only" if alone else ""
            terminalreporter.write_line(f"{several} tests were played in several ways and left the same logs{more}")

        if self._left_out:
            terminalreporter.write_line(
                f"{len(self._left_out)} tests are not played on a cloud, each for a stated reason"
            )

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """xdist starts a worker."""
        node.workerinput["ledgers"] = str(self.folder)

    def pytest_unconfigure(self) -> None:
        self._folder.cleanup()
