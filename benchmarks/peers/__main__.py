"""`python -m benchmarks.peers`: one JSON document, or, with --table, a table of the ratios."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measuring import data_folder, machine
from benchmarks.peers.comparing import Workload, compare
from benchmarks.peers.engines import OURS, PEERS, LeftOutError, beside, python_of
from benchmarks.peers.program import Program

if TYPE_CHECKING:
    from benchmarks.figures import Json
    from benchmarks.peers.comparing import Compared
    from benchmarks.peers.engines import Engine

FULL = (
    Workload("row", 1, 10),
    Workload("gathered", 50, 3),
    Workload("row", 100, 3),
    Workload("row", 1_000, 3),  # last: who misses the limit here is gone
)
QUICK = (Workload("row", 1, 1), Workload("gathered", 5, 1), Workload("row", 5, 1))

LIMIT = 45.0
"""Seconds for one run; with it the whole stays below five minutes."""


def main() -> None:
    asked = _arguments()
    began = time.monotonic()
    engines = [*OURS, *(peer for peer in PEERS if peer.package not in asked.without)]
    with ExitStack() as stack:
        environments = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wdk-peers-")))
        data = stack.enter_context(data_folder(asked.folder))
        programs: dict[str, Program] = {}
        left_out: dict[str, str] = {}
        for engine in engines:
            print(f"{engine.name} …", file=sys.stderr, flush=True)
            try:
                program = Program(
                    python_of(engine, environments), engine.program, data.path / engine.name, engine.setting
                )
                programs[engine.name] = stack.enter_context(program)
            except LeftOutError as error:
                left_out[engine.name] = str(error)
        results = [_compared(workload, programs, asked.limit) for workload in (QUICK if asked.quick else FULL)]
        where = data.to_json()
    if asked.table:
        _show(results, left_out)
        return
    document: Json = {
        "machine": machine(),
        "data": where,
        "engines": {engine.name: _described(engine) for engine in engines},
        "left_out": left_out,
        "limit": asked.limit,
        "seconds_in_all": round(time.monotonic() - began, 1),
        "workloads": {compared.workload.title: compared.to_json() for compared in results},
    }
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _described(engine: Engine) -> Json:
    said: Json = {"version": engine.version, "commits": engine.commits, "survives": engine.survives}
    return said if engine.is_ours else {**said, "beside": beside(engine).name}


def _compared(workload: Workload, programs: dict[str, Program], limit: float) -> Compared:
    print(f"{workload.title} …", file=sys.stderr, flush=True)
    if workload.steps == 1:
        compare(replace(workload, rounds=1), programs, limit)  # not counted: there, modules are loaded
    return compare(workload, programs, limit)


def _show(results: list[Compared], left_out: dict[str, str]) -> None:
    from rich.console import Console  # rich takes longer to load than a quick benchmark
    from rich.table import Table

    table = Table("workload", "peer", "beside", "last step", "result", "CPU", title="theirs ÷ ours")
    for compared in results:
        for peer in PEERS:
            if peer.name in compared.samples:
                ratios = (f"{ratio:.1f} ×" for ratio in compared.ratios()[peer.name].values())
                table.add_row(compared.workload.title, peer.name, beside(peer).name, *ratios)
            elif peer.name in compared.left_out:
                table.add_row(compared.workload.title, peer.name, beside(peer).name, compared.left_out[peer.name])
    console = Console()
    console.print(table)
    for name, reason in left_out.items():
        console.print(f"without {name}: {reason}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers", description="Measure wdk-cloud beside other engines.")
    parser.add_argument("--without", action="append", default=[], choices=sorted({peer.package for peer in PEERS}))
    parser.add_argument("--folder", type=Path, help="lay the data here, on a disk, instead of in memory")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for one run (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="a smoke run; its figures mean nothing")
    parser.add_argument("--table", action="store_true", help="a table for people instead of JSON")
    return parser.parse_args()


if __name__ == "__main__":
    main()
