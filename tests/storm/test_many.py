"""10,000 runs with 10 open sleeps each, at once, on `local`: memory stays flat, and each of them ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

SLEEPS = 10

FLAT = 14 * 1024 * 1024
"""Bytes by which the process may grow after the first fifth of the runs, however many follow: SQLite's page cache, 8 MB
for a connection, and what the allocator does not give back."""

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads resident memory as Linux shows it")


def many(path: Path, runs: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.storm.many", str(path), str(runs), str(SLEEPS)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, stdout=subprocess.PIPE, text=True
    )
    assert done.returncode == 0
    return json.loads(done.stdout)


def check(found: dict[str, Any], runs: int) -> None:
    print(found)
    assert found["open"] == runs * SLEEPS
    assert found["resting"] == {"running": runs}
    assert found["ended"] == {"completed": runs}
    assert found["grown"] < FLAT


@pytest.mark.timeout(120)
def test_a_thousand_runs_with_ten_open_sleeps_each_rest_in_flat_memory_and_end(tmp_path: Path) -> None:
    check(many(tmp_path / "local.db", 1000), 1000)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_thousand_runs_with_a_hundred_thousand_open_sleeps_rest_in_flat_memory_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = many(tmp_path / "local.db", 10_000)
    check(found, 10_000)
    assert found["bytes_per_run"] < 2048
    with capsys.disabled():
        print(f"\n10,000 runs, 100,000 open sleeps: {found}")
