"""The process that plays tests a third way: in another folder, with another heap, its modules imported in another order.

Run as a program it is a test session of its own, which runs the tests that it is asked for, one by one. The session
that asks has one such process, started with the first test that is played this way.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

PATIENCE = 30
"""Seconds in which it ends when nothing more is asked; it ends at once, unless a test hangs in it."""


class Elsewhere:
    """The other process, as the session that asks it sees it."""

    def __init__(self, folder: Path, ledgers: Path, modules: Iterable[Path], options: Iterable[str] = ()) -> None:
        """`modules`: those of all tests that may be asked for; `options`: what pytest is told there besides."""
        asked, self._ask = os.pipe()
        answers, answer = os.pipe()
        command = [sys.executable, __file__, str(asked), str(answer), str(ledgers)]
        command += [*options, *sorted(map(str, modules), reverse=True)]  # imported in another order than here
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        self._output = (folder / "output.txt").open("w+b")
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            pass_fds=(asked, answer),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        os.close(asked)
        os.close(answer)
        self._answers = open(answers, encoding="utf-8")  # noqa: SIM115 -- closed with the process

    def play(self, item: pytest.Item) -> None:
        """Have the test run there; it fails, or is skipped, here as it did there."""
        outcome, text = self.ask(item.nodeid)
        if outcome == "skipped":
            pytest.skip(text)
        if outcome == "failed":
            pytest.fail(f"in another process:\n{text}", pytrace=False)

    def ask(self, id: str) -> tuple[str, str]:
        """How that test went, and what there is to say about it."""
        with contextlib.suppress(BrokenPipeError):  # it is dead, which shows below
            os.write(self._ask, (id + "\n").encode())
        for line in self._answers:
            answered, outcome, text = json.loads(line)
            if answered == id:  # not that of a test for which nobody waited any longer
                return outcome, text
        self._output.seek(0)
        return "failed", f"it has died, and this was its output:\n{self._output.read().decode(errors='replace')}"

    def close(self) -> None:
        os.close(self._ask)
        self._answers.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._output.close()


class Asked:
    """The plugin of the other process: it runs the tests whose ids it reads, and tells how each went."""

    def __init__(self, asked: int, answer: int, ledgers: Path) -> None:
        self._ids = open(asked, encoding="utf-8")  # noqa: SIM115 -- open as long as the process lives
        self._answers = open(answer, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self.ledgers = ledgers
        self._reports: list[pytest.TestReport] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        for line in self._ids:
            self._reports.clear()
            id = line.rstrip("\n")
            if (item := items.get(id)) is not None:
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            self._answers.write(json.dumps([id, *self._outcome()]) + "\n")
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(report)

    def _outcome(self) -> tuple[str, str]:
        if not self._reports:
            return "failed", "no such test was found there; do its parameters have ids that vary?"
        for report in self._reports:
            if report.failed:
                return "failed", "\n".join([report.longreprtext, *(text for _, text in report.sections)])
            if report.skipped:
                return "skipped", str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        return "passed", ""


def asked(config: pytest.Config) -> Asked | None:
    """Not None in the process that plays elsewhere."""
    return next((plugin for plugin in config.pluginmanager.get_plugins() if isinstance(plugin, Asked)), None)


def litter() -> list[Any]:
    """Objects of all sizes with holes between them, so that what comes later lies in another order than elsewhere."""
    import random

    draw = random.SystemRandom()
    everything = [[bytes(draw.randrange(1, 512)), {index: [index]}] for index in range(50_000)]
    return [one for one in everything if draw.random() < 0.4]


def main() -> None:
    asked, answer, ledgers, *arguments = sys.argv[1:]
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), "--continue-on-collection-errors"]
    for plugin in ("cacheprovider", "randomly", "xdist", "hypothesispytest"):
        options += ["-p", f"no:{plugin}"]
    pytest.main([*options, "--quiet", *arguments], plugins=[Asked(int(asked), int(answer), Path(ledgers))])


if __name__ == "__main__":
    kept = litter()
    sys.path[0] = str(ROOT)
    from tests.e2e.elsewhere import main as play_what_is_asked  # the module that the tests know, not this one

    play_what_is_asked()
