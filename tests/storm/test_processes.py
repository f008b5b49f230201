"""Three workers and two clients on one file, each killed with SIGKILL at random moments; nothing of it shows in the end.

`WDK_TEST_SEED` draws victims and moments of an earlier run again. What happens at them is up to the machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.aftermath import Aftermath, all_runs
from tests.canonical import CANONICALS, Act, Note, how_it_ended, read_journal
from tests.storm.nursery import canonical_of, order, read_told
from wdk_cloud import Run, get_run, list_runs
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world

ROOT = Path(__file__).resolve().parents[2]

SEED = os.environ.get("WDK_TEST_SEED") or str(random.SystemRandom().randrange(10**9))

WORKERS, CLIENTS = 3, 2
BETWEEN = 0.4  # seconds at most between two kills; a run takes about as long
WORK = "0.02"  # seconds in each step, so that many deaths fall into one

PATIENCE = 25.0
"""Seconds until all runs have ended after the last death: less than a lease, whose end nobody may have to wait for."""


WHEN_TO_ACT: dict[str, dict[str, Act]] = defaultdict(dict)
"""By the step that has begun, and the workflow."""
for canonical in CANONICALS:
    if canonical.act is not None:
        WHEN_TO_ACT[canonical.act.when_begun][canonical.workflow.id] = canonical.act


class Crowd:
    def __init__(self, folder: Path, nursery: asyncio.subprocess.Process, world: LocalWorld) -> None:
        self.world = world
        self.journal = folder / "journal"
        self.told = [folder / f"told-{number}" for number in range(CLIENTS)]
        self.living: dict[int, str] = {}
        """Pids, and what each was asked to do."""
        self._acted: set[str] = set()
        """The runs that have had what a client does to them: a second attempt of the step begins too, and by then the
        hook may be gone while its run goes on."""
        self._nursery = nursery
        self._read = 0

    async def _ask(self, words: str) -> int:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.write(f"{words}\n".encode())
        return int(await self._nursery.stdout.readline())

    async def bear(self, words: str) -> None:
        self.living[await self._ask(words)] = words

    async def kill(self, pid: int) -> str:
        """What it was asked to do. Nobody kills one that has ended by itself."""
        words = self.living.pop(pid)
        os.kill(pid, signal.SIGKILL)
        assert await self._ask(f"bury {pid}") == -signal.SIGKILL
        return words

    async def cancel_who_waits(self) -> None:
        """What a client does to the runs that ask for it, once they wait."""
        for note in self._new_notes():
            if note.moment == "begun" and note.step_name in WHEN_TO_ACT:
                run = get_run(note.run_id)
                act = WHEN_TO_ACT[note.step_name].get((await run.info()).workflow_name)
                if act is not None and run.run_id not in self._acted:
                    self._acted.add(run.run_id)
                    await act.do(run)

    def _new_notes(self) -> list[Note]:
        if not self.journal.exists():
            return []
        with self.journal.open("rb") as file:
            file.seek(self._read)
            lines, _, _ = file.read().rpartition(b"\n")
        self._read += len(lines) + 1 if lines else 0
        return [Note(**json.loads(line)) for line in lines.splitlines()]


@asynccontextmanager
async def a_crowd(folder: Path) -> AsyncIterator[Crowd]:
    world = LocalWorld(folder / "wdk.db")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WDK_")},
        "PYTHONHASHSEED": "0",
        "WDK_LOCAL_PATH": str(world.path),
        "WDK_TEST_JOURNAL": str(folder / "journal"),
        "WDK_TEST_WORK": WORK,
    }
    with (folder / "errors").open("wb") as errors:
        nursery = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.storm.nursery"),
            cwd=ROOT,
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    await world.open()
    try:
        with use_world(world):
            yield Crowd(folder, nursery, world)
    finally:
        await world.close()
        await nursery.communicate(b"")  # the end of its input: it takes all of them with it


async def rage(crowd: Crowd, kills: int, rng: random.Random) -> tuple[Counter[str], int]:
    """Kill so many, each followed by another one. How many of each kind; and how many deaths met runs in flight."""
    deaths: Counter[str] = Counter()
    hit = 0
    for words in ["serve"] * WORKERS + [f"call {told}" for told in crowd.told]:
        await crowd.bear(words)
    while deaths.total() < kills:
        await asyncio.sleep(rng.uniform(0, BETWEEN))  # the moment that was drawn
        await crowd.cancel_who_waits()
        if deaths.total() % 3:
            await a_run_is_in_flight(crowd)
        hit += len(await list_runs(limit=1, status="running"))
        words = await crowd.kill(rng.choice(list(crowd.living)))
        deaths[words.split()[0]] += 1
        await crowd.bear(words)
    for pid in [pid for pid, words in crowd.living.items() if words != "serve"]:
        await crowd.kill(pid)
    return deaths, hit


async def a_run_is_in_flight(crowd: Crowd) -> None:
    """On a machine that is slow to start processes, random moments alone would come before anything has begun."""
    async with asyncio.timeout(PATIENCE):
        while not await list_runs(limit=1, status="running"):
            await crowd.cancel_who_waits()


async def all_have_ended(crowd: Crowd, runs: Sequence[Run[Any]]) -> None:
    """Nothing is stranded, and nobody has to wait until a lease runs out. There is no sweep."""
    async with asyncio.timeout(PATIENCE):
        for run in runs:
            while not await how_it_ended_soon(run):
                await crowd.cancel_who_waits()


async def how_it_ended_soon(run: Run[Any]) -> bool:
    try:
        await how_it_ended(run, 0.1)
    except TimeoutError:
        return False
    return True


def check_what_was_told(told: Sequence[dict[str, Any]], runs: Sequence[Run[Any]], ended: Sequence[str]) -> None:
    """Whatever a client heard before it died, or its sibling heard, is what is true in the end."""
    for one in told:
        number = one["number"]
        if "run_id" in one:
            assert one["run_id"] == runs[number].run_id, f"order {number} was given two runs"
        else:
            assert one["ended"] == ended[number], f"order {number} ended in two ways"


async def kill_and_check(folder: Path, kills: int, rng: random.Random) -> str:
    async with a_crowd(folder) as crowd:
        deaths, hit = await rage(crowd, kills, rng)
        told = [one for file in crowd.told for one in read_told(file)]
        # One start more than were answered: it may have happened.
        runs = [await order(number) for number in range(max(one["number"] for one in told) + 2)]
        before = time.monotonic()
        await all_have_ended(crowd, runs)
        waited = time.monotonic() - before
        infos = await all_runs()
        started = [info for info in infos if info.parent is None and info.continued_from is None]
        assert Counter(info.idempotency_key for info in started) == Counter(
            f"order-{number}" for number in range(len(runs))
        ), "a run is lost, or there are two of it"
        assert not [info.run_id for info in infos if info.status in ("pending", "running")]
        check_what_was_told(told, runs, [repr(await how_it_ended(run)) for run in runs])
        notes = read_journal(crowd.journal)
        aftermath = Aftermath(crowd.world, infos, notes)
        lost = [await aftermath.check(canonical_of(number), run) for number, run in enumerate(runs)]
        assert set(crowd.living.values()) == {"serve"}
    errors = (folder / "errors").read_text()
    assert "Traceback" not in errors, errors
    begun = [note for note in notes if note.moment == "begun"]
    interrupted = len(begun) - sum(note.moment == "finished" for note in notes)
    assert hit >= kills / 2
    assert deaths["serve"] >= kills / 4
    assert deaths["call"] >= kills / 10
    return (
        f"{deaths['serve']} workers and {deaths['call']} clients killed, {hit} times with runs in flight; {len(infos)} "
        f"runs, none lost, stranded or doubled, {sum(lost)} that lost a step's last attempt; {len(begun)} bodies begun, "
        f"{interrupted} not finished; {len(told)} answers; the last run ended {waited:.1f} s after the last death"
    )


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    again = f"WDK_TEST_SEED={SEED} PYTHONHASHSEED=0 pytest -m 'long or not long' {request.node.nodeid}"
    print(f"drawn from seed {SEED}; once more with: {again}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.mark.timeout(120)
def test_fifty_deaths_among_three_workers_and_two_clients_leave_no_trace(tmp_path: Path, rng: random.Random) -> None:
    print(asyncio.run(kill_and_check(tmp_path, 50, rng)))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_deaths_among_three_workers_and_two_clients_leave_no_trace(
    tmp_path: Path, rng: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    found = asyncio.run(kill_and_check(tmp_path, 1000, rng))
    with capsys.disabled():
        print(f"\n{found}")
