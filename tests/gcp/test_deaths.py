"""An instance of the service dies just before, or just after, any of its requests to Google Cloud; another takes over.

Each canonical runs undisturbed once, which counts the requests, those that a call repeats or adds included; then once
for each death. Nobody sweeps: the tasks that the dead one had come back. `make test` has three canonicals, `make storm`
all of them.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import pytest

from tests.canonical import CANONICALS, Canonical, app, journal
from tests.deaths import FEW, Shape, no_death_shows, shape_of
from tests.e2e.test_death_at_every_call import judge
from tests.faults import FaultyWorld, Life
from tests.histories import SETTINGS, Play, fixed_draws, watch
from tests.storm.answers import ClientsOf, Line, Requests
from tests.storm.ongcp import stage_standing
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world
from wdk_gcp.testing.services import Service
from wdk_gcp.testing.stage import Stage
from wdk_gcp.world import GcpWorld

if TYPE_CHECKING:
    from wdk_gcp.settings import GcpSettings
    from wdk_gcp.testing.mischief import Fault


# An instance that dies in the middle of a request to Cloud Storage leaves its connection, as a process does.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*unclosed <socket:ResourceWarning", "ignore:.*socket.socket:pytest.PytestUnraisableExceptionWarning"
)


class Death(NamedTuple):
    number: int
    """Of the request, from 1."""
    moment: Literal["before", "after"]


class Deadly(Line):
    """Counts the requests of an instance; at one of them it dies."""

    def __init__(self, death: Death | None = None) -> None:
        super().__init__()
        self._death = death
        self.count = 0

    def at(self, operation: str, among: tuple[Fault, ...]) -> Any:
        self.count += 1
        return f"die {self._death.moment}" if self._death is not None and self._death.number == self.count else None


class GcpPlay(Play):
    """One run of a canonical, while one service after the other is there."""

    def __init__(self, canonical: Canonical, world: GcpWorld, stage: Stage, settings: GcpSettings) -> None:
        super().__init__(canonical, world)
        self._stage = stage
        self._settings = settings
        self.clients_of = ClientsOf
        """An instance, and what its requests meet."""

    async def serve(self, life: Life, settings: Any = SETTINGS) -> None:
        """Until nothing is left to do and no task is on its way, or until this life ends."""
        requests: Any = self._stage.mischief
        own = GcpWorld(self._settings, clients=self.clients_of(self._stage.clients, life, requests), clock=self.clock)
        seen: Any = FaultyWorld(own, Life(None, watch))
        seen.settings, seen.clients = own.settings, own.clients
        seen.message_of, seen.pass_on = own.message_of, own.pass_on

        def scoped(namespace: str) -> Any:
            return seen

        seen.scoped = scoped
        service = Service(seen, self._stage, [app], settings)
        await service.start()
        life.at_death.append(service.vanish)
        try:
            with use_world(self.world):  # what the test and steps ask by themselves is not the service's
                self.env.workers = cast("Any", [service])
                await self._until_over(life)
            await life.mourn()
        finally:
            await service.stop()


def played(stage: Stage, canonical: Canonical, *deaths: Death) -> tuple[list[Deadly], Shape]:
    """Play it with one service after the other; each but the last dies. What they met, and the logs that are left."""

    async def main() -> tuple[list[Deadly], Shape]:
        journal.clear()
        clock = VirtualClock()
        settings = stage.begin(clock)
        requests = stage.mischief
        assert isinstance(requests, Requests)
        with ExitStack() as stack:
            stack.callback(stage.end)
            stack.enter_context(fixed_draws())
            world = GcpWorld(settings, clients=stage.clients, clock=clock)
            play = GcpPlay(canonical, world, stage, settings)
            await play.begin()
            lines: list[Deadly] = []
            for death in (*deaths, None):
                requests.line = line = Deadly(death)
                life = Life(None, watch)
                await play.serve(life)
                assert life.dead == (death is not None), "the run took another way than the undisturbed one"
                lines.append(line)
            requests.line = None
            await judge(canonical, play, died=bool(deaths))
            assert stage.tasks.waiting() == 0
            return lines, await shape_of(world, canonical.name)

    return asyncio.run(main())


def a_death_at_every_request(stage: Stage, canonical: Canonical) -> int:
    """How many deaths there were."""

    def undisturbed() -> tuple[Iterator[Death], Shape]:
        (line,), shape = played(stage, canonical)
        return (Death(number, when) for number in range(1, line.count + 1) for when in ("before", "after")), shape

    def disturbed(death: Death) -> tuple[bool, Shape]:
        _, shape = played(stage, canonical, death)
        return True, shape

    return no_death_shows(canonical, undisturbed, disturbed)


@pytest.fixture(autouse=True)
def _connections_of_the_dead_go_here() -> Iterator[None]:
    """Not when the garbage is collected in another test, which would be charged with them."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with stage_standing() as standing:
        yield standing


@pytest.mark.timeout(300)
@pytest.mark.parametrize("canonical", FEW, ids=lambda canonical: canonical.name)
def test_no_death_of_an_instance_shows(stage: Stage, canonical: Canonical) -> None:
    assert a_death_at_every_request(stage, canonical) >= 50


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("canonical", CANONICALS, ids=lambda canonical: canonical.name)
def test_no_death_at_any_request_shows(stage: Stage, canonical: Canonical) -> None:
    assert a_death_at_every_request(stage, canonical) >= 10
