"""A plugin of the sessions that other Pythons run: it writes down what became of each of their tests, as JSON."""

import json
from pathlib import Path

import pytest


class Outcomes:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._of: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._of = dict.fromkeys((item.nodeid for item in session.items), "not run")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self._of[report.nodeid] = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        elif report.failed or report.when == "call":
            self._of[report.nodeid] = report.outcome

    def pytest_sessionfinish(self) -> None:
        self._file.write_text(json.dumps(self._of))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, required=True, help="the file to write to")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Outcomes(config.getoption("outcomes")))
