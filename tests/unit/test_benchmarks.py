"""The benchmarks run, and their document has what it promises. Nothing here asks how long anything took."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Figure
from benchmarks.floor import repeat
from benchmarks.measuring import Cost, Folder, Series, in_turns
from benchmarks.meter import Writes
from benchmarks.stage import count, run_to_end
from benchmarks.workflows import in_a_row

ROOT = Path(__file__).parents[2]

HANGS = 240
"""Seconds: all parts together start some fifty processes, on a machine that may be busy."""

pytestmark = pytest.mark.timeout(HANGS + 20)

PARTS = {
    "steps_in_a_row",
    "gathered",
    "many_runs",
    "start_to_first_step",
    "processes",
    "hooks",
    "webhooks",
    "streams",
    "step_to_step",
    "replay",
    "import",
    "memory",
    "growth",
    "clocks",
    "aws",
    "cold_start",
    "gcp",
}


def bench(*words: str) -> str:
    command = [sys.executable, "-m", "benchmarks", "--quick", *words]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, timeout=HANGS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(bench())


def names(document: dict[str, Any], part: str) -> set[tuple[str, str | None]]:
    return {(figure["name"], figure["world"]) for figure in document["benchmarks"][part]["figures"]}


def test_one_document_says_what_was_measured_where_and_how(document: dict[str, Any]) -> None:
    assert set(document) == {"machine", "data", "plan", "seconds", "benchmarks", "missed"}
    assert set(document["machine"]) == {"python", "implementation", "system", "architecture", "cores", "sqlite"}
    assert set(document["data"]) == {"folder", "memory_backed", "local"}
    assert document["plan"]["quick"] is True
    assert set(document["benchmarks"]) == PARTS


def test_each_figure_has_its_target_and_says_whether_it_is_met(document: dict[str, Any]) -> None:
    figures = [figure for part in document["benchmarks"].values() for figure in part["figures"]]
    for figure in figures:
        assert set(figure) == {"name", "world", "value", "unit", "target", "met"}
        assert isinstance(figure["value"], int | float)
        assert isinstance(figure["met"], bool) is (figure["target"] is not None)
    missed = [figure for figure in figures if figure["met"] is False]
    assert len(document["missed"]) == len(missed)


def test_a_row_is_measured_on_both_worlds_and_as_a_multiple_of_the_floor(document: dict[str, Any]) -> None:
    assert {(f"a step of 10 in a row, {what}", world) for what in ("CPU", "wall") for world in ("local", "memory")} | {
        ("a step of 10 in a row, CPU ÷ floor", "local"),
        ("CPU of a step at 10 ÷ at 5", "local"),
        ("CPU of a step at 10 ÷ at 5", "memory"),
    } <= names(document, "steps_in_a_row")
    details = document["benchmarks"]["steps_in_a_row"]["details"]
    assert set(details) == {"5", "10", "20", "further_step"}
    local = details["20"]["local"]
    assert {
        "in_all",
        "per_step",
        "floor_per_step",
        "multiple_of_floor",
        "multiple_of_grouped_floor",
        "calls",
        "calls_per_step",
        "writes",
    } <= set(local)
    assert {"commits", "appends", "rows", "bytes", "commits_per_step", "appends_per_step"} <= set(local["writes"])
    assert set(local["per_step"]) == {"wall_ms", "cpu_ms"}


def test_a_further_step_in_a_row_is_one_append_and_no_other_call(document: dict[str, Any]) -> None:
    assert document["benchmarks"]["steps_in_a_row"]["details"]["further_step"] == {
        "local": {"append": 1.0},
        "memory": {"append": 1.0},
    }


def test_the_other_benchmarks_have_their_details(document: dict[str, Any]) -> None:
    details = {part: document["benchmarks"][part]["details"] for part in PARTS}
    assert set(details["gathered"]) == {"auto", "inline"}
    assert {"calls_per_run", "commits_per_run", "appends_per_run"} <= set(details["many_runs"])
    assert details["start_to_first_step"] == {"starts": 3, "processes": {"local": 2, "memory": 1}}
    assert set(details["processes"]) == {"workers", "wakes", "idle_seconds", "idle_cpu_ms"}
    assert (details["processes"]["workers"], len(details["processes"]["idle_cpu_ms"])) == (3, 3)
    assert set(details["step_to_step"]["local"]) == {"p50_ms", "p90_ms", "p99_ms"}
    assert set(details["replay"]) == {"10", "20"}
    assert set(details["replay"]["10"]["memory"]) == {"in_all", "per_step", "first"}
    assert details["import"]["forbidden_modules"] == []
    assert {"bytes_per_run", "bytes_per_step", "resident_bytes_per_run"} <= set(details["memory"])
    for way in ("as_deployed", "with_bytecode"):
        for function in ("handler", "boto3"):
            assert set(details["cold_start"][way][function]) == {"init_ms", "first_answer", "peak_mb"}
    assert set(details["clocks"]["before"]) == set(details["clocks"]["after"]) == {"time.time", "datetime.now", "id"}


def test_people_get_a_table() -> None:
    table = bench("--table", "--only", "step_to_step")
    assert "step to step, p50" in table
    assert "memory" in table


def metered(tmp_path: Path) -> tuple[Counter[str], Writes]:
    return count("local", Folder(tmp_path, in_memory=False), partial(run_to_end, in_a_row, 5, result=10))


def test_the_meter_counts_calls_and_commits_exactly(tmp_path: Path) -> None:
    calls, writes = metered(tmp_path)
    # One append begins the run with its first step, each further step is one, and the last one ends the run.
    assert calls["append"] == writes.appends == 6
    assert calls["create"] == calls["send"] == calls["acquire"] == calls["acknowledge"] == 1
    # Head and message of the start, the client that listens for the end, the message taken, the lease, six appends,
    # the head's end, the acknowledgement.
    assert writes.commits == writes.rows == 13


def test_the_floor_does_the_writes_that_were_recorded(tmp_path: Path) -> None:
    _, writes = metered(tmp_path)
    assert repeat(writes, tmp_path / "floor.db").wall > 0
    assert (tmp_path / "floor.db").exists()


def test_the_floor_commits_each_operation_by_itself_and_the_grouped_floor_as_the_world_did(tmp_path: Path) -> None:
    async def two_at_once() -> None:
        await asyncio.gather(*(run_to_end(in_a_row, 1, result=0) for _ in range(2)))

    _, writes = count("local", Folder(tmp_path, in_memory=False), two_at_once)
    # Per run: head, message, lease, two appends, the end, the acknowledgement. Both: who listens, the messages taken.
    assert writes.operations == 2 * 7 + 2
    assert writes.commits == 9
    assert sum(len(commit.writes) for commit in writes.measured) == 16
    assert writes.rows == 17  # one statement takes both messages
    assert repeat(writes, tmp_path / "apart.db").wall > 0
    assert repeat(writes, tmp_path / "grouped.db", grouped=True).wall > 0


def test_a_floor_that_changes_other_rows_is_refused(tmp_path: Path) -> None:
    _, writes = metered(tmp_path)
    writes.measured[-1].writes.clear()  # the acknowledgement
    with pytest.raises(AssertionError, match="the floor changed 12 rows, the engine 13"):
        repeat(writes, tmp_path / "floor.db")


def test_measurements_take_turns_and_a_ratio_is_that_of_a_pair() -> None:
    order: list[str] = []
    costs = {"ours": iter([10.0, 40.0, 20.0]), "floor": iter([1.0, 2.0, 4.0])}

    def measured(name: str) -> Cost:
        order.append(name)
        return Cost(next(costs[name]), 1.0)

    ours, floor = in_turns(3, partial(measured, "ours"), partial(measured, "floor"))
    assert order == ["ours", "floor", "floor", "ours", "ours", "floor"]
    assert ours == Series([Cost(10.0, 1.0), Cost(40.0, 1.0), Cost(20.0, 1.0)])
    assert ours.multiple_of(floor).wall == 10.0
    assert ours.median.wall == 20.0


@pytest.mark.parametrize(
    ("figure", "met"),
    [
        (Figure("f", None, 1.0, "ms", most=1.0), True),
        (Figure("f", None, 1.1, "ms", most=1.0), False),
        (Figure("f", None, 1.0, "runs", least=1.0), True),
        (Figure("f", None, 0.9, "runs", least=1.0), False),
        (Figure("f", None, 0.9, "ns"), None),
    ],
)
def test_a_figure_knows_whether_its_target_is_met(figure: Figure, met: bool | None) -> None:
    assert figure.met is met
