"""docs/quickstart-aws.md, typed up to where it needs an account; there a test without one cannot follow."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import COMPONENTS
from tests.e2e.pages import ROOT, blocks, commands

PAGE = ROOT / "docs" / "quickstart-aws.md"
PATIENCE = 110
"""Seconds; the rehearsal takes some fifteen."""

INSTALLING = ("python3 -m venv", "pip install", "make install")
"""What the environment of the tests has already."""


def typed():
    """The commands, with what they show, up to the one that names the account."""
    found = [entry for block in blocks(PAGE) if block.language == "console" for entry in commands(block)]
    names = [command for command, _ in found]
    return [entry for entry in found[: names.index("export WDK_WORLD=aws")] if not entry[0].startswith(INSTALLING)]


@pytest.mark.timeout(120)
def test_the_quickstart_goes_as_the_page_says(tmp_path):
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WDK_", "PYTEST_"))}
    environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}", "NO_COLOR": "1"}
    environ["WDK_MINISTACK"] = str(COMPONENTS / "ministack")
    folder, said = tmp_path, {}
    for command, shown in typed():
        word, _, rest = command.partition(" ")
        if word == "cd":
            folder = folder / rest
        elif word == "export":
            environ.update([rest.split("=", 1)])
        else:
            done = subprocess.run(
                command.split(), cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert done.returncode == 0, f"$ {command}\n{done.stdout}\n{done.stderr}"
            assert not shown or done.stdout.splitlines() == shown, command
            said[command] = done.stdout
    assert "2 passed" in said["python -m pytest -q"]
    assert json.loads(said["wdk rehearse aws signup you@example.com"]) == "user-you@example.com"


def test_what_the_page_says_of_costs_is_what_the_benchmarks_say():
    assert "about $14.50 a million times" in PAGE.read_text()
    assert "| a run of 10 inline steps | 19 | 1 | 1 | 1 | 14.50 |" in (ROOT / "docs" / "benchmarks.md").read_text()
