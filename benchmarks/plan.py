"""How much is measured: the whole of it, or a smoke run that shows only that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    rounds: int
    """Rounds of each comparison; in each, the engine and the floor take turns."""
    row: tuple[int, int, int]
    """Steps in a row. The second divided by the first is the growth."""
    repeats: int
    """Runs of the shortest row in one measurement: a single one is over too soon to be measured well."""
    gathered: int
    runs: int
    """Runs of three steps, all started at once."""
    starts: int
    """Starts of a run whose first step is waited for."""
    wakes: int
    """Wakes of a sleeping run from another process, and as many payloads for a run that waits for one."""
    hooks: int
    """Hooks that are open at once, and then resumed."""
    chunks: int
    """Small chunks of a stream, written and read back."""
    live: tuple[int, int]
    """Chunks that are written at 10 and at 1,000 a second."""
    piped: int
    """Bytes that go from step to step to step."""
    idle: float
    """Seconds for which idle workers are watched."""
    chain: int
    """Steps whose distances are measured."""
    replayed: tuple[int, int]
    replays: int
    """Fresh processes for each replay."""
    imports: int
    """Fresh processes for each import."""
    cold_starts: int
    """Fresh processes for each kind of function."""
    retained: int
    """Runs that are kept, to see what one takes."""
    long: int
    """Steps of a kept run, to see what one takes."""
    events: tuple[int, int, int, int]
    """Events of a log. Each of the last two divided by the second is the growth."""
    calls: int
    """Calls of a clock in one measurement."""
    requests: int
    """Requests to a webhook in one measurement."""
    queued: int
    """Queued steps of one run on AWS, of which twenty end in a second."""


FULL = Plan(
    rounds=7,
    row=(100, 1_000, 5_000),
    repeats=10,
    gathered=500,
    runs=500,
    starts=200,
    wakes=200,
    hooks=1_000,
    chunks=50_000,
    live=(50, 3_000),
    piped=1024 * 1024 * 1024,
    idle=30.0,
    chain=1_000,
    replayed=(1_000, 5_000),
    replays=7,
    imports=20,
    cold_starts=9,
    retained=500,
    long=1_000,
    events=(100, 1_000, 10_000, 20_000),
    calls=200_000,
    requests=1_000,
    queued=100,
)

QUICK = Plan(
    rounds=1,
    row=(5, 10, 20),
    repeats=1,
    gathered=30,
    runs=10,
    starts=3,
    wakes=3,
    hooks=10,
    chunks=500,
    live=(3, 20),
    piped=8 * 1024 * 1024,
    idle=0.2,
    chain=10,
    replayed=(10, 20),
    replays=1,
    imports=1,
    cold_starts=1,
    retained=10,
    long=20,
    events=(9, 15, 30, 45),
    calls=1_000,
    requests=8,
    queued=5,
)
