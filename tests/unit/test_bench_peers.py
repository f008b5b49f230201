"""The comparison with other engines, on wdk-cloud beside itself: no environment is made here, no package fetched."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.peers.comparing import Compared, Workload, compare
from benchmarks.peers.engines import OURS, PEERS, LeftOutError, beside
from benchmarks.peers.program import Program, Sample

ROOT = Path(__file__).parents[2]


def test_a_run_without_peers_measures_wdk_cloud_alone():
    without = [word for peer in PEERS for word in ("--without", peer.package)]
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", *without]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["left_out"] == {}
    assert list(document["workloads"]) == ["start to first step", "5 steps gathered", "5 steps in a row"]
    for workload in document["workloads"].values():
        assert {name: set(seconds) for name, seconds in workload["seconds"].items()} == {
            "wdk-cloud": {"last_step", "result", "cpu"},
            "wdk-cloud-full": {"last_step", "result", "cpu"},
        }
        assert (workload["ratios"], workload["left_out"]) == ({}, {})


def test_each_engine_is_asked_once_a_round_and_its_last_step_comes_before_its_result(tmp_path):
    with (
        Program(sys.executable, OURS[0].program, tmp_path / "one", "normal") as one,
        Program(sys.executable, OURS[1].program, tmp_path / "other", "full") as other,
    ):
        compared = compare(Workload("row", 3, 2), {"wdk-cloud": one, "dbos-normal": other}, 30)
    assert {name: list(samples) for name, samples in compared.samples.items()} == {
        "wdk-cloud": [0, 1],
        "dbos-normal": [0, 1],
    }
    for samples in compared.samples.values():
        assert all(0 < sample.last_step <= sample.result for sample in samples.values())
    assert set(compared.to_json()["ratios"]) == {"dbos-normal"}


def test_a_program_that_misses_its_limit_is_left_out_with_the_reason(tmp_path):
    hangs = tmp_path / "hangs.py"
    hangs.write_text("import sys\nprint('ready', flush=True)\nfor line in sys.stdin:\n    pass\n")
    with Program(sys.executable, hangs, tmp_path / "data") as program:
        compared = compare(Workload("row", 3, 2), {"hangs": program}, 0.2)
        with pytest.raises(LeftOutError, match=r"^not done after 0\.2 s$"):
            program.run("row", 3, 30)
    assert (compared.samples, compared.left_out) == ({}, {"hangs": "not done after 0.2 s"})


def test_a_program_that_breaks_is_left_out_with_its_last_line(tmp_path):
    breaks = tmp_path / "breaks.py"
    breaks.write_text("raise SystemExit('no such engine')\n")
    with (
        pytest.raises(LeftOutError, match="its program ended: no such engine"),
        Program(sys.executable, breaks, tmp_path / "data"),
    ):
        pass


def test_a_ratio_is_theirs_through_ours_in_the_rounds_that_both_have():
    ours = {0: Sample(1.0, 2.0, 1.0), 1: Sample(2.0, 2.0, 1.0), 2: Sample(1.0, 1.0, 1.0)}
    compared = Compared(Workload("row", 100, 3), {"wdk-cloud": ours, "peer": {1: Sample(6.0, 8.0, 1.0)}})
    assert [compared.ratio("peer", "wdk-cloud", of) for of in ("last_step", "result", "cpu")] == [3.0, 4.0, 1.0]


def test_a_peer_is_set_beside_ours_that_survives_the_same():
    assert {peer.name: beside(peer).name for peer in PEERS} == {
        "dbos": "wdk-cloud-full",
        "dbos-normal": "wdk-cloud",
        "vercel-workflow": "wdk-cloud",
    }
    assert {engine.setting: engine.survives for engine in OURS} == {
        "normal": "the death of the process",
        "full": "a power cut",
    }


def test_the_page_says_what_is_measured_and_gives_the_figures_of_the_pinned_versions():
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    for name in BENCHMARKS:
        assert f"| `{name}` |" in page, name
    for engine in (*OURS, *PEERS):
        assert f"| `{engine.name}` |" in page, engine.name
    for peer in PEERS:
        assert f"{peer.package} {peer.version}" in page
        assert f"| `{beside(peer).name}` |\n" in page


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_the_requirements_of_a_peer_are_exact_and_name_no_host(peer):
    lines = peer.requirements.read_text().splitlines()
    assert all(re.fullmatch(r"[\w-]+==[\w.]+( ; .+)?", line) for line in lines)
    assert peer.version is not None
    assert "//" not in peer.requirements.read_text()
