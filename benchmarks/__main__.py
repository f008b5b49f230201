"""`python -m benchmarks`: measure, and print one JSON document (or, with --table, a table)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from typing import TYPE_CHECKING

from benchmarks import (
    aws_units,
    clocks,
    cold_start,
    footprint,
    gathered,
    gcp_units,
    growth,
    hooks,
    imports,
    in_a_row,
    latency,
    many_runs,
    processes,
    replay,
    streams,
    webhooks,
)
from benchmarks.measuring import data_folder, machine
from benchmarks.plan import FULL, QUICK

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.figures import Report
    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

BENCHMARKS: dict[str, Callable[[Plan, Folder], Report]] = {
    "steps_in_a_row": in_a_row.run,
    "gathered": gathered.run,
    "many_runs": many_runs.run,
    "start_to_first_step": latency.start_to_first_step,
    "processes": processes.run,
    "hooks": hooks.run,
    "webhooks": webhooks.run,
    "streams": streams.run,
    "step_to_step": latency.step_to_step,
    "replay": replay.run,
    "import": imports.run,
    "memory": footprint.run,
    "growth": growth.run,
    "clocks": clocks.run,
    "aws": aws_units.run,
    "cold_start": cold_start.run,
    "gcp": gcp_units.run,
}


def main() -> None:
    asked = _arguments()
    plan = QUICK if asked.quick else FULL
    if asked.rounds is not None:
        plan = dataclasses.replace(plan, rounds=asked.rounds, replays=asked.rounds)
    began = time.monotonic()
    reports: dict[str, Report] = {}
    with data_folder() as folder:
        for name in asked.only or BENCHMARKS:
            print(f"{name} …", file=sys.stderr, flush=True)
            reports[name] = BENCHMARKS[name](plan, folder)
        data = folder.to_json()
    if asked.table:
        from benchmarks.table import show  # rich takes longer to load than a quick benchmark

        show(reports)
        return
    document = {
        "machine": machine(),
        "data": {**data, "local": "write-ahead log, synchronous=NORMAL"},
        "plan": {"quick": asked.quick, **dataclasses.asdict(plan)},
        "seconds": round(time.monotonic() - began, 1),
        "benchmarks": {name: report.to_json() for name, report in reports.items()},
        "missed": [
            f"{figure.name}{f' ({figure.world})' if figure.world else ''}"
            for report in reports.values()
            for figure in report.figures
            if figure.met is False
        ],
    }
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure wdk-cloud on its embedded worlds.")
    parser.add_argument(
        "--only", action="append", choices=BENCHMARKS, metavar="NAME", help=f"one of {', '.join(BENCHMARKS)}"
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of each comparison, and processes of each replay")
    parser.add_argument("--quick", action="store_true", help="a smoke run in seconds; its figures mean nothing")
    parser.add_argument("--table", action="store_true", help="a table for people instead of JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    main()
