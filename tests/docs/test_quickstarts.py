"""The quickstarts of the clouds, docs/quickstart-aws.md and docs/quickstart-gcp.md, typed up to where they need an account.

What they type there has tests of its own, against what stands in for the cloud: tests/infra.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components import COMPONENTS
from tests.e2e.pages import ROOT, blocks, commands

DOCS = ROOT / "docs"
PATIENCE = 150
"""Seconds; the rehearsal takes some fifteen."""

INSTALLING = ("python3 -m venv", "pip install", "make install")
"""What the environment of the tests has already."""


def typed(page, until):
    """The commands, with what they show, up to the one that needs an account."""
    found = [entry for block in blocks(page) if block.language == "console" for entry in commands(block)]
    names = [command for command, _ in found]
    return [entry for entry in found[: names.index(until)] if not entry[0].startswith(INSTALLING)]


def follow(page, until, folder):
    """Types them, in a folder with the page's files; gives what each has said."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WDK_", "PYTEST_"))}
    environ |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ['PATH']}", "NO_COLOR": "1"}
    environ["WDK_MINISTACK"] = str(COMPONENTS / "ministack")
    for block in blocks(page):
        if block.file:
            (folder / block.file).write_text(block.text)
    said = {}
    for command, shown in typed(page, until):
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
    return said


@pytest.mark.timeout(180)  # a busy machine takes four times as long for so many processes
def test_the_quickstart_of_aws_goes_as_the_page_says(tmp_path):
    said = follow(DOCS / "quickstart-aws.md", "wdk deploy aws", tmp_path)
    assert "2 passed" in said["python -m pytest -q"]
    assert json.loads(said["wdk rehearse aws signup you@example.com"]) == "user-you@example.com"


@pytest.mark.timeout(180)  # a busy machine takes four times as long for so many processes
def test_the_quickstart_of_google_cloud_goes_as_the_page_says(tmp_path):
    said = follow(DOCS / "quickstart-gcp.md", "gcloud auth login", tmp_path)
    assert "2 passed" in said["python -m pytest -q"]
    assert json.loads(said["wdk rehearse gcp signup you@example.com"]) == "user-you@example.com"
    assert said["wdk build gcp"].startswith("image      build/gcp/image, for Python")
    assert (tmp_path / "shop/build/gcp/image/Dockerfile").exists()


def test_what_the_page_says_of_costs_is_what_the_benchmarks_say():
    assert "about $14.50 a million times" in (DOCS / "quickstart-aws.md").read_text()
    assert "| a run of 10 inline steps | 19 | 1 | 1 | 1 | 14.50 |" in (DOCS / "benchmarks.md").read_text()
