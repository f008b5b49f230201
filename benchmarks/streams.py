"""Streams: how many small chunks a second, how soon a reader has one, and what a large pipe takes of memory.

Throughput: one step writes 50,000 small values, and a reader in the same process follows it to the end. Beside it, in
each round, SQLite alone: the same bytes inserted one by one and read back, once in a single transaction, once each
committed by itself. Live: a worker in another process writes, each chunk with the moment before it was written; taken
until the reader here has it. First chunk: from before `start()` here until the first chunk of its first step is here.
Pipe: one step makes blocks, another passes them on, a third counts them, all in one fresh process; its peak memory.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, Json, Report, shortened
from benchmarks.fresh import ENVIRONMENT, PATIENCE
from benchmarks.stage import make_world, serving
from benchmarks.workflows import piped, writing, writing_slowly
from wdk_cloud import start, use_world
from wdk_cloud.codec.values import encode
from wdk_cloud.references import types_known_to

if TYPE_CHECKING:
    from collections.abc import Generator

    from benchmarks.measuring import Folder
    from benchmarks.plan import Plan

CHUNKS_PER_SECOND = 50_000.0
OF_SQLITE = 0.3
LIVE_MS = 20.0
FIRST_MS = 5.0
PEAK_MB = 120.0

RATES = (10, 1_000)
"""Chunks a second of a live stream."""

BLOCKS = (64 * 1024, 4 * 1024 * 1024)
"""Bytes of a block in a pipe."""

FIRSTS = 30
"""Starts whose first chunk is waited for."""

PAUSE = 0.02  # seconds between two of them: the worker finishes the last run and falls asleep


def run(plan: Plan, folder: Folder) -> Report:
    ours, together, apart = _throughput(plan, folder)
    figures = [
        Figure("chunks a second, written and read", "local", statistics.median(ours), "", least=CHUNKS_PER_SECOND),
        Figure("÷ bare SQLite, one transaction", "local", _ratio(ours, together), "×", least=OF_SQLITE),
        Figure("÷ bare SQLite, a commit each", "local", _ratio(ours, apart), "×"),
    ]
    path = folder.new_database()
    with _worker(path):
        for rate, count in zip(RATES, plan.live, strict=True):
            samples = asyncio.run(_live(path, rate, count))
            name = f"chunk from another process at {rate:,} a second, p50"
            figures.append(Figure(name, "local", statistics.median(samples), "ms", most=LIVE_MS))
        firsts = asyncio.run(_first_chunks(path, min(FIRSTS, plan.starts)))
        figures.append(Figure("start to first chunk, p50", "local", statistics.median(firsts), "ms", most=FIRST_MS))
    folder.clear()
    for size in BLOCKS:
        peak = _pipe(size, max(1, plan.piped // size))
        name = f"peak memory of a pipe of {plan.piped // 2**20:,} MiB in blocks of {size // 1024:,} KiB"
        figures.append(Figure(name, "local", peak, "MB", most=PEAK_MB))
    details: Json = {
        "chunks": plan.chunks,
        "bare_chunks_per_second": {
            "one transaction": shortened(statistics.median(together)),
            "a commit each": shortened(statistics.median(apart)),
        },
    }
    return Report(figures, details)


def _ratio(ours: list[float], bare: list[float]) -> float:
    """The median of the rounds' ratios: what disturbed a round disturbed both of its halves."""
    return statistics.median(one / other for one, other in zip(ours, bare, strict=True))


def _throughput(plan: Plan, folder: Folder) -> tuple[list[float], list[float], list[float]]:
    """Chunks a second of each round: ours, and SQLite's in one transaction and with a commit each."""
    ours: list[float] = []
    together: list[float] = []
    apart: list[float] = []
    for _ in range(plan.rounds):
        ours.append(plan.chunks / asyncio.run(_written_and_read(folder.new_database(), plan.chunks)))
        together.append(plan.chunks / _bare(folder.new_database(), plan.chunks, grouped=True))
        apart.append(plan.chunks / _bare(folder.new_database(), plan.chunks, grouped=False))
        folder.clear()
    return ours, together, apart


async def _written_and_read(path: Path, count: int) -> float:
    async with serving(make_world("local", path)):
        began = time.perf_counter()
        run = await start(writing, count)
        found = 0
        async for _ in run.readable():
            found += 1
        seconds = time.perf_counter() - began
        await run.return_value(timeout=60)
    if found != count:
        raise AssertionError(f"{count} chunks were written, and {found} read")
    return seconds


def _bare(path: Path, count: int, *, grouped: bool) -> float:
    known = types_known_to(None)
    sql = sqlite3.connect(path, isolation_level=None)
    try:
        sql.execute("PRAGMA journal_mode = WAL")
        sql.execute("PRAGMA synchronous = NORMAL")
        sql.execute("CREATE TABLE chunks (place INTEGER PRIMARY KEY, data BLOB NOT NULL)")
        chunks = [encode({"number": number, "text": "a chunk"}, known=known) for number in range(count)]
        began = time.perf_counter()
        if grouped:
            sql.execute("BEGIN")
        for data in chunks:
            sql.execute("INSERT INTO chunks (data) VALUES (?)", (data,))
        if grouped:
            sql.execute("COMMIT")
        found = sum(1 for _ in sql.execute("SELECT data FROM chunks ORDER BY place"))
        seconds = time.perf_counter() - began
    finally:
        sql.close()
    if found != count:
        raise AssertionError(f"{count} rows were inserted, and {found} read")
    return seconds


@contextmanager
def _worker(path: Path) -> Generator[None]:
    command = [sys.executable, "-m", "benchmarks.latency", str(path)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT)
    try:
        assert server.stdout is not None
        server.stdout.readline()  # it serves
        yield
    finally:
        server.communicate(timeout=PATIENCE)  # the end of its input ends it


async def _live(path: Path, rate: int, count: int) -> list[float]:
    """Milliseconds from before a chunk was written until it is here."""
    world = make_world("local", path)
    await world.open()
    try:
        with use_world(world):
            run = await start(writing_slowly, count, 1 / rate)
            return [(time.monotonic_ns() - before) / 1e6 async for before in run.readable(type=int)]
    finally:
        await world.close()


async def _first_chunks(path: Path, starts: int) -> list[float]:
    world = make_world("local", path)
    await world.open()
    samples: list[float] = []
    try:
        with use_world(world):
            for _ in range(starts + 2):
                await asyncio.sleep(PAUSE)
                before = time.monotonic()
                run = await start(writing, 1)
                samples.extend([(time.monotonic() - before) * 1000 async for _ in run.readable()])
    finally:
        await world.close()
    return samples[2:]  # the first ones load modules


def _pipe(size: int, count: int) -> float:
    """The peak of a fresh process, in MB. On a disk: in memory there may not be room."""
    with tempfile.TemporaryDirectory(prefix="wdk-bench-") as folder:
        command = [sys.executable, "-m", "benchmarks.streams", f"{folder}/pipe.db", str(size), str(count)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        raise AssertionError(done.stderr)
    return float(done.stdout)


async def _piped(path: Path, size: int, count: int) -> None:
    async with serving(make_world("local", path)):
        found = await (await start(piped, size, count)).return_value(timeout=600)
    if found != size * count:
        raise AssertionError(f"{size * count} bytes were sent, and {found} came")


if __name__ == "__main__":
    asyncio.run(_piped(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)  # KiB on Linux
