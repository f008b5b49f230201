"""The ways to play a test: the canonical workflows in each; and that what differs between the ways is found."""

import asyncio
import os
import re
import subprocess
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from tests import histories
from tests.canonical import CANONICALS, Canonical, how_it_ended, journal
from tests.e2e import astray
from tests.e2e.elsewhere import ROOT, Elsewhere
from tests.e2e.registries import Anew
from tests.e2e.running import Play
from tests.faults import Life
from wdk_cloud import Workflows, sleep
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.local import LocalWorld
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import World

WORLDS: dict[str, Callable[[Path], World]] = {
    "memory": lambda folder: MemoryWorld(VirtualClock()),
    "local": lambda folder: LocalWorld(folder / "wdk.db", clock=VirtualClock()),
}

WAYS = {"warm", "cold", "elsewhere", "lambda", "cloudrun"}

PATIENCE = 120
"""Seconds for a session of its own, which takes five; on a busy machine every process that it starts takes longer."""

in_a_session_of_its_own = pytest.mark.timeout(PATIENCE + 10)


# -- the canonical workflows ------------------------------------------------------------------------------------------


A_FILE = "its world is a file"

ITS_OWN = {"local": [pytest.mark.not_on_lambda(A_FILE), pytest.mark.not_on_cloudrun(A_FILE)]}

BY_CLOUD = {
    **dict.fromkeys(
        ("produced", "transformed"),
        pytest.mark.not_on_lambda(
            "its step reads a stream, and looks again after a second: AWS tells nobody of an object"
        ),
    ),
    "handed_on": pytest.mark.not_on_cloudrun(
        "its seeds, and so its ids, are drawn between the names of messages, which are drawn in another order"
    ),
}


def named(canonical: Canonical) -> ParameterSet:
    return pytest.param(canonical, id=canonical.name, marks=BY_CLOUD.get(canonical.name, ()))


@pytest.mark.parametrize("world_name", [pytest.param(name, marks=ITS_OWN.get(name, ())) for name in WORLDS])
@pytest.mark.parametrize("canonical", [named(canonical) for canonical in CANONICALS])
def test_a_canonical_leaves_the_same_log_and_begins_the_same_bodies_in_each_way(
    play: Play, canonical: Canonical, world_name: str, tmp_path: Path
) -> None:
    async def main() -> None:
        journal.clear()
        async with place(play, WORLDS[world_name], tmp_path) as world:
            performance = histories.Play(canonical, world)
            await performance.begin()
            await performance.serve(Life(), play.settings)
            with use_world(world):
                ended = await how_it_ended(performance.run)
            assert ended == canonical.ends
            assert histories.begun_by_name() == Counter(canonical.bodies)
            await play.ledger.note(world, [""])
            play.ledger.write(f"ended: {ended}")
            play.ledger.write(f"begun: {sorted(histories.begun_by_step().items())}")

    with play.staged():
        asyncio.run(main())


@asynccontextmanager
async def place(play: Play, make: Callable[[Path], World], folder: Path) -> AsyncIterator[World]:
    """An open world; on a cloud it is that one's."""
    if play.cloud is not None:
        async with play.environment(start_worker=False) as env:
            yield env.world
        return
    world = make(folder)
    await world.open()
    try:
        yield world
    finally:
        await world.close()


# -- each delivery in a fresh registry --------------------------------------------------------------------------------


def apps_seen(play: Play) -> dict[str, list[Workflows]]:
    """By the body of a workflow that is delivered four times, and by its two steps that are delivered once each."""
    app = Workflows()
    seen = {"body": deque[Workflows](), "steps": deque[Workflows]()}  # a list of apps would be one of the app's own

    @app.step(dispatch="queue")
    async def look() -> None:
        seen["steps"].append(app)

    @app.workflow
    async def body() -> None:
        seen["body"].append(app)
        await look()
        await sleep(1)
        seen["body"].append(app)
        await look()

    assert play(body).value is None
    return {name: list(apps) for name, apps in seen.items()}


def test_cold_each_delivery_finds_an_app_of_its_own(cold: Play) -> None:
    seen = apps_seen(cold)
    # One of each of the body's four deliveries, seen once more in the two that came after the sleep.
    assert len({id(app) for app in seen["body"]}) == 4
    assert len(seen["body"]) == 6
    assert len({id(app) for app in seen["steps"]}) == 2
    assert not {id(app) for app in seen["body"]} & {id(app) for app in seen["steps"]}


def test_warm_there_is_one_app(warm: Play) -> None:
    seen = apps_seen(warm)
    assert len(seen["body"]) == 2
    assert len({id(app) for app in (*seen["body"], *seen["steps"])}) == 1


def test_nobody_finds_an_app_that_was_declared_anew_among_all_apps() -> None:
    app = Workflows()
    anew = Anew().of(app)
    assert anew is not app
    assert app in Workflows.all()
    assert anew not in Workflows.all()


def test_what_is_declared_anew_refers_to_what_was_declared_with_it() -> None:
    app = Workflows()
    counted: list[int] = []

    @app.step
    async def one() -> int:
        counted.append(1)
        return 1

    async def both(again: object = one) -> list[object]:
        return [one, again, body]

    @app.workflow
    async def body() -> list[object]:
        return await both()

    anew = Anew().of(body)
    assert anew is not body
    assert anew.id == body.id
    referred = asyncio.run(anew.fn())
    assert referred == [anew.app.steps[one.id], anew.app.steps[one.id], anew]
    assert referred[0] is not one
    asyncio.run(referred[0].fn())
    assert counted == [1], "what else its functions hold is that of the test"


# -- differences are found --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    """What a test session on `astray.py` has printed, and how it ended."""

    status: int
    output: str

    def outcomes(self, test: str) -> dict[str, str]:
        found = re.findall(rf"^(\w+) tests/e2e/astray\.py::{test}\[(.+?)\]", self.output, re.MULTILINE)
        return {way: outcome for outcome, way in found}


def play_astray(folder: Path, *options: str, only: str = "") -> Session:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"tests/e2e/astray.py{only}", "-r", "A", "--assert=plain"]
        + ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", f"--basetemp={folder / 'session'}", *options],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Session(done.returncode, done.stdout)


ASTRAY = (
    "test_that_asks_for_the_folder",
    "test_that_looks_at_the_order_in_memory",
    "test_that_counts_replays",
    "test_that_starts_more_when_warm",
    "test_that_is_skipped_when_cold",
    "test_that_plays_nothing",
    "test_that_fails_elsewhere",
)


DISTRIBUTIONS = {
    "in one process": ("-n", "0", "-p", "no:randomly"),
    "in two processes, in random order": ("-n", "2", "--dist", "worksteal"),
}

LOST = (
    "ERROR tests/e2e/astray.py::test_that_loses_its_ledger[] has passed and left no ledger: "
    "cloudrun, cold, elsewhere, lambda, warm"
)


@in_a_session_of_its_own
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_what_differs_between_the_ways_fails_the_test_and_nothing_else_does(tmp_path: Path, distribution: str) -> None:
    session = play_astray(tmp_path, *DISTRIBUTIONS[distribution])
    assert session.status == pytest.ExitCode.TESTS_FAILED
    for test in ASTRAY:
        assert "FAILED" in session.outcomes(test).values(), f"{test} has passed in each way"
    assert Counter(session.outcomes("test_well_behaved").values()) == {"PASSED": 4 * len(WAYS)}
    assert session.outcomes("test_that_loses_its_ledger") == dict.fromkeys(WAYS, "PASSED")
    lines = session.output.splitlines()
    assert LOST in lines
    assert any(line.startswith("The ways to play this test have left different logs.") for line in lines)
    folders = {line[0] for line in lines if '"step_created"' in line and f'"{ROOT}"' in line}
    assert folders & {"-", "+"}, "the events that differ are shown"


@in_a_session_of_its_own
def test_lost_ledgers_alone_are_enough_to_fail_it(tmp_path: Path) -> None:
    session = play_astray(tmp_path, only="::test_that_loses_its_ledger")
    assert session.outcomes("test_that_loses_its_ledger") == dict.fromkeys(WAYS, "PASSED")
    assert session.status == pytest.ExitCode.TESTS_FAILED


@in_a_session_of_its_own
@pytest.mark.parametrize(
    ("options", "only", "passed"),
    [
        ((), "::test_that_asks_for_the_folder[elsewhere]", {"elsewhere"}),
        (("-k", "asks_for_the_folder and not elsewhere", "-n", "2"), "", WAYS - {"elsewhere"}),
    ],
)
def test_some_ways_can_be_played_without_the_others(
    tmp_path: Path, options: tuple[str, ...], only: str, passed: set[str]
) -> None:
    session = play_astray(tmp_path, *options, only=only)
    assert session.status == pytest.ExitCode.OK, session.output
    assert session.outcomes(r"\w+") == dict.fromkeys(passed, "PASSED")


def test_a_test_that_the_other_process_does_not_find_or_does_not_survive_fails(tmp_path: Path, ledgers: Path) -> None:
    process = Elsewhere(tmp_path, ledgers, [Path(astray.__file__)], ["--assert=plain"])
    outcome, text = process.ask("tests/e2e/astray.py::test_that_is_not_there[elsewhere]")
    assert (outcome, text) == ("failed", "no such test was found there; do its parameters have ids that vary?")
    process._process.kill()
    outcome, text = process.ask("tests/e2e/astray.py::test_well_behaved[cold-elsewhere-x]")
    assert outcome == "failed"
    assert text.startswith("it has died, and this was its output:\n")
    process.close()
