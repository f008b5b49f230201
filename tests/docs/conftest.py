"""The site, built once for all tests of a process."""

import subprocess
import sys
from pathlib import Path

import pytest

BUILDER = Path(__file__).parents[2] / "docs" / "site" / "build.py"
PATIENCE = 100
"""Seconds; it takes ten of a processor."""


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs") / "built"
    done = subprocess.run(
        [sys.executable, BUILDER, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, "No issues found" in done.stdout) == (0, True), done.stdout
    return folder
