"""A cold start of the function: the zip of `wdk build aws` for this machine, under AWS's own runtime client, from the
start of its process to the answer of its first event, the message of a run with one step.

Beside it stands a function that imports boto3 and makes the two clients that every turn needs, from the same zip, and
answers without doing anything. Both start in turns, twice over: as in Lambda, where a function's folder has no bytecode
and cannot be written to, so that each cold start compiles what it imports; and with bytecode, which tells how much of
it that is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.figures import Figure, Json, Report
from benchmarks.measuring import Cost, Series
from tests.aws.functions import Site, under_client
from tests.aws.installed import Unpacked
from tests.aws.runtime_api import RuntimeApi
from tests.components import ministack_running

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

OURS, ALONE = "wdk_aws.handler.handler", "alone.handler"

BOTO3_ALONE = """
import boto3

clients = [boto3.client(service) for service in ("dynamodb", "sqs")]


def handler(event, context):
    return {"batchItemFailures": []}
"""

MEGABYTE = 1024 * 1024

TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds in which the system counts processor time: a hundredth, where a cold start takes most of a second."""

COMPILING = {"PYTHONPYCACHEPREFIX": "", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Start:
    asked: float
    """Seconds from the process to its first question for an event: Lambda calls it the init."""
    answered: Cost
    """Of all up to the first answer."""
    peak: float
    """Megabytes that were resident at most."""


def run(plan: Plan, folder: Folder) -> Report:
    del folder  # DynamoDB and SQS have one of their own
    with stage() as (function, site):
        size = sum(file.stat().st_size for file in function.task.rglob("*") if file.is_file())
        packed = (function.folder / "build/function.zip").stat().st_size
        (function.task / f"{ALONE.partition('.')[0]}.py").write_text(BOTO3_ALONE)
        events = messages(function, site, 2 * plan.cold_starts + 1)
        compiling = [(COMPILING, events.pop()) for _ in range(plan.cold_starts)]
        first_of_all(function, site, events.pop())
        compiled = [(dict[str, str](), events.pop()) for _ in range(plan.cold_starts)]
        as_deployed, with_bytecode = (in_turns(function, site, each) for each in (compiling, compiled))
    return report(as_deployed, with_bytecode, packed, size)


@contextmanager
def stage() -> Generator[tuple[Unpacked, Site]]:
    with tempfile.TemporaryDirectory(prefix="wdk-bench-") as path:
        place = Path(path)
        with ministack_running(place) as endpoint:
            function, site = Unpacked(place / "function"), Site(endpoint)
            function.folder.mkdir()
            function.make()
            # Lambda's runtime client is installed with its bytecode; a function is not.
            subprocess.run([function.python, "-m", "compileall", "-q", function.folder / "venv/lib"], check=True)
            try:
                yield function, site
            finally:
                site.clients.close()


def messages(function: Unpacked, site: Site, number: int) -> list[Any]:
    """The first messages of so many runs, as the mapping hands them to a function."""
    with under_client(function, site, function.folder / "log") as (api, _):
        for _ in range(number):
            api.ask({"start": {"workflow": "greeting", "args": ["Ada"]}})
    found: list[Any] = []
    while len(found) < number:
        found += [invocation.event for invocation in site.flow.receive(wait=1)]
    return found


def first_of_all(function: Unpacked, site: Site, event: Any) -> None:
    """Write the bytecode of all that either of the two imports."""
    for handler in (OURS, ALONE):
        started(function, site, handler, event, {})


def in_turns(
    function: Unpacked, site: Site, rounds: list[tuple[dict[str, str], Any]]
) -> tuple[list[Start], list[Start]]:
    """Ours and the other one, every second round the other way round."""
    found: dict[str, list[Start]] = {OURS: [], ALONE: []}
    for number, (environ, event) in enumerate(rounds):
        for handler in reversed(found) if number % 2 else found:
            found[handler].append(started(function, site, handler, event, environ))
    return found[OURS], found[ALONE]


def started(function: Unpacked, site: Site, handler: str, event: Any, environ: dict[str, str]) -> Start:
    api = RuntimeApi()
    command = [function.python, "-m", "awslambdaric", handler]
    variables = {**site.variables, "AWS_LAMBDA_RUNTIME_API": api.address, **environ}
    with api.serving():
        invocation = api.begin(event)
        began = time.perf_counter()
        with function.running(command, variables, function.folder / "log") as process:
            api.idle.wait()
            asked = time.perf_counter() - began
            answer = invocation.wait()
            wall = time.perf_counter() - began
            start = Start(asked, Cost(wall, processor_time(process.pid)), peak_memory(process.pid))
    if (answer.kind, answer.document) != ("response", {"batchItemFailures": []}):
        raise AssertionError(f"{handler} answered {answer.body!r}")
    return start


def processor_time(process: int) -> float:
    """Seconds up to now, user and system."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def peak_memory(process: int) -> float:
    """Megabytes. What the system says of a child that has ended counts the memory of its parent before it."""
    (line,) = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / MEGABYTE


def report(
    as_deployed: tuple[list[Start], list[Start]],
    with_bytecode: tuple[list[Start], list[Start]],
    packed: int,
    unpacked: int,
) -> Report:
    ours, alone = (Series([start.answered for start in starts]) for starts in as_deployed)
    quick, quick_alone = (Series([start.answered for start in starts]) for starts in with_bytecode)
    times, quick_times = ours.multiple_of(alone), quick.multiple_of(quick_alone)
    cold, bytecode = "cold start to the first answer", "the same with bytecode"
    figures = [
        Figure(f"{cold} ÷ boto3 alone, wall", "aws", times.wall, "×"),
        Figure(f"{cold} ÷ boto3 alone, CPU", "aws", times.cpu, "×"),
        Figure(f"{cold}, CPU", "aws", ours.median.cpu * 1000, "ms"),
        Figure(f"{bytecode} ÷ boto3 alone, wall", "aws", quick_times.wall, "×"),
        Figure(f"{bytecode} ÷ boto3 alone, CPU", "aws", quick_times.cpu, "×"),
        Figure(f"{bytecode}, CPU", "aws", quick.median.cpu * 1000, "ms"),
        Figure("memory after the first answer", "aws", median(start.peak for start in as_deployed[0]), "MB"),
        Figure("memory of boto3 alone", "aws", median(start.peak for start in as_deployed[1]), "MB"),
        Figure("the zip", "aws", packed / MEGABYTE, "MB"),
        Figure("the zip, unpacked", "aws", unpacked / MEGABYTE, "MB"),
    ]
    details: Json = {
        "cold_starts": len(as_deployed[0]),
        "as_deployed": {"handler": details_of(as_deployed[0]), "boto3": details_of(as_deployed[1])},
        "with_bytecode": {"handler": details_of(with_bytecode[0]), "boto3": details_of(with_bytecode[1])},
    }
    return Report(figures, details)


def details_of(starts: list[Start]) -> Json:
    return {
        "init_ms": round(median(start.asked for start in starts) * 1000, 1),
        "first_answer": Series([start.answered for start in starts]).median.to_json(),
        "peak_mb": round(median(start.peak for start in starts), 1),
    }
