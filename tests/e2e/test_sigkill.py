"""Real processes are killed with SIGKILL at random moments, and nothing of it shows in the end.

`WDK_TEST_SEED` draws the moments of an earlier run again. What happens at them is up to the machine: a failure that does
not come back at once may come back in a few tries.
"""

import asyncio
import math
import os
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from tests.aftermath import Aftermath, all_runs
from tests.canonical import CANONICALS, Act, Ended, chain_of, how_it_ended, read_journal
from wdk_cloud import Run, get_run, list_runs, start
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.opening import use_world

ROOT = Path(__file__).resolve().parents[2]

SEED = os.environ.get("WDK_TEST_SEED") or str(random.SystemRandom().randrange(10**9))

KILLS = 50
RUNS_PER_LIFE = 3
LONGEST_LIFE = 0.4  # seconds; a run takes about as long
STILLBORN = (
    0.2  # the share of lives that are counted from before the file is opened: on a busy machine nothing comes of them
)
WORK = "0.02"  # seconds in each step, so that many deaths fall into one

PATIENCE = 25.0
"""Seconds until all runs have ended after the last death: the worker needs one and a half of them for itself."""

LEASE = 3600.0
"""Seconds of a lease, of a claim and of a message's invisibility: nobody may have to wait for the end of one, or for a
renewal, which comes after a third. On a machine however busy nobody takes the one for the other then."""

CLIENTS_KILLED = 10
KEYS = [f"order-{number}" for number in range(200)]
"""More than clients manage before they are killed: some two a millisecond."""


@pytest.fixture
def rng(request):
    again = f"WDK_TEST_SEED={SEED} PYTHONHASHSEED=0 pytest {request.node.nodeid}"
    print(f"drawn from seed {SEED}; once more with: {again}")
    return random.Random(f"{SEED} {request.node.name}")


class Crowd:
    """Processes on one file, and this one as their client."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.world = LocalWorld(folder / "wdk.db")
        self.journal = folder / "journal"
        self.errors = folder / "errors"
        self._stack = stack
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WDK_")},
            "PYTHONHASHSEED": "0",
            "WDK_LOCAL_PATH": str(self.world.path),
            "WDK_TEST_JOURNAL": str(self.journal),
            "WDK_TEST_WORK": WORK,
            "WDK_LEASE": str(LEASE),
        }

    async def prepare(self, *words: str) -> asyncio.subprocess.Process:
        """A process that has imported everything and waits for its word."""
        with self.errors.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.e2e.killed", *words),
                cwd=ROOT,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        self._stack.push_async_callback(kill, process)
        return process

    async def one_after_the_other(self, *words: str):
        """Such processes: while one of them works the next one gets ready."""
        following = asyncio.create_task(self.prepare(*words))
        try:
            while True:
                process, following = await following, asyncio.create_task(self.prepare(*words))
                yield process
        finally:
            await following


async def begin(process: asyncio.subprocess.Process, *keys: str) -> None:
    assert await process.stdout.readline() == b"ready\n"
    process.stdin.write(" ".join(keys).encode() + b"\n")
    await process.stdin.drain()


async def until_serving(process: asyncio.subprocess.Process) -> None:
    assert await process.stdout.readline() == b"serving\n"


async def kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


@asynccontextmanager
async def a_crowd(folder):
    async with AsyncExitStack() as stack:
        crowd = Crowd(folder, stack)
        await crowd.world.open()
        stack.push_async_callback(crowd.world.close)
        stack.enter_context(use_world(crowd.world))
        yield crowd


# -- workers ----------------------------------------------------------------------------------------------------------


class Batch:
    """Runs of all canonicals, by turns."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.runs = []
        self._next = cycle(CANONICALS)
        self._cancelled = set()

    async def start_some(self) -> None:
        for _ in range(RUNS_PER_LIFE):
            canonical = next(self._next)
            workflow = canonical.workflow.with_options(run_id=f"{canonical.name}-{len(self.runs)}")
            self.runs.append((canonical, await start(workflow, *canonical.brief)))

    async def act(self) -> None:
        """What a client does to some of them once a certain step has begun."""
        begun = {(note.run_id, note.step_name) for note in read_journal(self.crowd.journal)}
        for canonical, run in self.runs:
            act = canonical.act
            if act is None or run.run_id in self._cancelled:
                continue
            if any((link.run_id, act.when_begun) in begun for link in await chain_of(run)):
                self._cancelled.add(run.run_id)
                await act.do(run)

    async def _act_without_note(self, act: Act, run: Run) -> None:
        """Each attempt of the step may have died before its body began: then nobody notes anything any more, and the
        run goes on without the step, or has failed."""
        *_, last = await chain_of(run)
        failed = [e.step_name async for e in last.events() if e.type == "step_failed"]
        over = await last.status() not in ("pending", "running")
        if over or any(name is not None and name.endswith(f"//{act.when_begun}") for name in failed):
            self._cancelled.add(run.run_id)
            if not over:
                await act.do(run)

    async def in_flight(self) -> int:
        return sum([await run.status() == "running" for _, run in self.runs])

    async def end(self, worker: asyncio.subprocess.Process) -> None:
        """Wait for all of them to be worked on."""
        try:
            async with asyncio.timeout(PATIENCE):
                for canonical, run in self.runs:
                    while canonical.act is not None and run.run_id not in self._cancelled:
                        await self.act()
                        await self._act_without_note(canonical.act, run)
                        await asyncio.sleep(0.01)  # until another process has written its note
                    await how_it_ended(run, PATIENCE)
        except TimeoutError as error:
            error.add_note(
                f"the last worker had {cpu_seconds(worker.pid)} s of CPU; of {PATIENCE} s, load {os.getloadavg()}"
            )
            for _, run in self.runs:
                head = await self.crowd.world.runs.head(run.run_id)
                if head is not None and not head.ended:
                    error.add_note(f"not ended: {head}; its inbox: {await self.crowd.world.runs.items(*_key(head))}")
            raise


def cpu_seconds(pid: int) -> float:
    """What a process has worked: of one that had none all the while, the machine was too busy."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    of_user, of_system = stat.read_text().rpartition(")")[2].split()[11:13]  # proc(5), fields 14 and 15
    return (int(of_user) + int(of_system)) / os.sysconf("SC_CLK_TCK")


def _key(head):
    return head.run_id, head.birth


@pytest.mark.timeout(240)
def test_workers_killed_at_random_moments_leave_no_trace(tmp_path, rng):
    async def main():
        async with a_crowd(tmp_path) as crowd:
            batch, hit, deaths = Batch(crowd), 0, 0
            async for process in crowd.one_after_the_other("serve"):
                await begin(process)
                if deaths == KILLS:
                    break
                await batch.start_some()
                await batch.act()
                if rng.random() >= STILLBORN:
                    await until_serving(process)
                await asyncio.sleep(rng.uniform(0, LONGEST_LIFE))  # the moment that was drawn
                hit += await batch.in_flight() > 0
                assert process.returncode is None, crowd.errors.read_text()
                await kill(process)
                assert process.returncode == -9
                deaths += 1
            await batch.end(process)
            notes = read_journal(crowd.journal)
            aftermath = Aftermath(crowd.world, await all_runs(), notes)
            lost = [await aftermath.check(*one) for one in batch.runs]
            begun = [note for note in notes if note.moment == "begun"]
            interrupted = len(begun) - sum(note.moment == "finished" for note in notes)
        print(
            f"{deaths} kills, {hit} of them with runs in flight; {len(batch.runs)} runs, {len(begun)} bodies begun, "
            f"{interrupted} not finished, {sum(lost)} runs that lost a step's last attempt"
        )
        assert "Traceback" not in crowd.errors.read_text(), crowd.errors.read_text()
        assert hit >= KILLS / 2

    asyncio.run(main())


# -- clients ----------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_a_client_killed_in_the_middle_of_start_repeats_it_and_gets_one_run(tmp_path, rng):
    async def main():
        async with a_crowd(tmp_path) as crowd:
            runs, deaths, unanswered = {}, 0, 0
            async for process in crowd.one_after_the_other("start"):
                new = [key for key in KEYS if key not in runs]
                await begin(process, *(KEYS if deaths == CLIENTS_KILLED else new))
                if deaths == CLIENTS_KILLED:
                    break
                told = b"".join([await process.stdout.readline() for _ in range(rng.randrange(3))])
                await asyncio.sleep(rng.uniform(0, 0.003))  # about what one start takes
                process.kill()
                rest, _ = await process.communicate()
                assert process.returncode == -9
                runs.update(line.split() for line in (told + rest).decode().splitlines())
                unanswered += len(await list_runs(limit=1000)) > len(runs)
                deaths += 1
            told, _ = await process.communicate(b"")  # the end of its input: it may go
            assert process.returncode == 0, crowd.errors.read_text()
            again = dict(line.split() for line in told.decode().splitlines())
            assert {**again, **runs} == again, "a repeated start gave another run"
            runs = again
            infos = await list_runs(limit=1000)
            assert Counter(info.idempotency_key for info in infos) == Counter(KEYS)
            assert {info.idempotency_key: info.run_id for info in infos} == runs
            worker = await crowd.prepare("serve")
            await begin(worker)
            for run_id in runs.values():
                assert await how_it_ended(get_run(run_id), PATIENCE) == Ended(0)
            bodies = Counter(
                (note.run_id, note.step_name) for note in read_journal(crowd.journal) if note.moment == "begun"
            )
            assert bodies == Counter({(run_id, step): 1 for run_id in runs.values() for step in ("add", "double")})
        print(f"{deaths} kills, {unanswered} of them left a run whose start was not answered")
        assert "Traceback" not in crowd.errors.read_text(), crowd.errors.read_text()

    asyncio.run(main())
