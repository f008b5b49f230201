"""Clocks and randomness in a body are the same at every replay, and untouched elsewhere."""

import datetime as calendar
import email.utils
import os
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from email.mime.multipart import MIMEMultipart
from os import urandom
from random import choice, randint
from random import random as draw_one
from secrets import token_hex
from time import monotonic, time_ns
from time import time as seconds
from typing import Any
from uuid import uuid1, uuid4

import pytest

import wdk_cloud
from tests.e2e.running import Finished, Play, finish
from wdk_cloud import RetryPolicy, Workflows, now, sleep
from wdk_cloud.testing.environment import WorkflowEnv

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
"""When the clock of these runs begins, as that of every `workflow_env`."""

EPOCH = NEW_YEAR.timestamp()

EAST = timezone(timedelta(hours=9))

PAUSES = ("90s", "1 day", "0.5s")

ELAPSED = (0, 90, 86490, 86490.5)
"""Seconds on the clock at each of the four looks of a body that pauses in between."""


@pytest.fixture(autouse=True, params=["UTC", "Asia/Tokyo", "Pacific/Honolulu"])
def _home(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wherever the process runs, in front of Greenwich or behind it."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def looks(play: Play, look: Callable[[], Any]) -> list[Any]:
    """What a body sees at four places with pauses between them, checked to be the same in every execution of it.

    Each look is the argument of a step, so that one that changed at replay would also fail the run.
    """
    app = Workflows()
    noted: list[Any] = []
    executions: list[list[Any]] = []

    @app.step
    async def note(value: Any) -> None:
        noted.append(value)

    @app.workflow
    async def body() -> list[Any]:
        seen: list[Any] = []
        executions.append(seen)
        for pause in PAUSES:
            seen.append(look())
            await note(seen[-1])
            await sleep(pause)
        seen.append(look())
        return seen

    finished = play(body)
    found: list[Any] = finished.value
    assert finished.types == [
        *["run_created", "run_started"],
        *["step_created", "step_started", "step_completed", "wait_created", "wait_completed"] * 3,
        "run_completed",
    ]
    assert noted == found[:3]
    assert executions == ([found[:1], found[:2], found[:3], found] if play.cold else [found])
    return found


# -- clocks -----------------------------------------------------------------------------------------------------------------


def moments(of: Callable[[datetime], object]) -> list[object]:
    return [of(NEW_YEAR + timedelta(seconds=elapsed)) for elapsed in ELAPSED]


def naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def whole(moment: datetime) -> list[int]:
    return list(moment.timetuple())[:8]


TELLS: dict[str, tuple[Callable[[], object], Callable[[datetime], object]]] = {
    "time.time": (lambda: time.time(), datetime.timestamp),
    "time.time_ns": (lambda: time.time_ns(), lambda moment: int(moment.timestamp() * 10) * 10**8),
    "time.clock_gettime": (lambda: time.clock_gettime(time.CLOCK_REALTIME), datetime.timestamp),
    "time.gmtime": (lambda: list(time.gmtime())[:8], whole),
    "time.localtime": (lambda: list(time.localtime())[:8], whole),
    "time.ctime": (lambda: time.ctime(), datetime.ctime),
    "time.asctime": (lambda: time.asctime(), datetime.ctime),
    "time.strftime": (lambda: time.strftime("%Y-%m-%d %H:%M:%S"), lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}"),
    "datetime.now": (lambda: datetime.now(), naive),
    "datetime.now(UTC)": (lambda: datetime.now(UTC), lambda moment: moment),
    "datetime.now(EAST)": (lambda: datetime.now(EAST), lambda moment: moment.astimezone(EAST)),
    "datetime.utcnow": (lambda: datetime.utcnow(), naive),
    "datetime.today": (lambda: datetime.today(), naive),
    "date.today": (lambda: date.today(), datetime.date),
    "through the module": (lambda: calendar.datetime.now(calendar.UTC), lambda moment: moment),
    "wdk_cloud.now": (lambda: wdk_cloud.now(), lambda moment: moment),
    "now": (lambda: now(), lambda moment: moment),
    "wdk_cloud.time_ns": (lambda: wdk_cloud.time_ns(), lambda moment: int(moment.timestamp() * 10) * 10**8),
    "imported time": (lambda: seconds(), datetime.timestamp),
    "imported time_ns": (lambda: time_ns(), lambda moment: int(moment.timestamp() * 10) * 10**8),
    "in a library": (
        lambda: email.utils.formatdate(usegmt=True),
        lambda moment: email.utils.format_datetime(moment, True),
    ),
}


@pytest.mark.parametrize("clock", TELLS)
def test_a_clock_tells_the_runs_time_in_utc_and_the_same_at_every_replay(play: Play, clock: str) -> None:
    tell, expected = TELLS[clock]
    assert looks(play, tell) == moments(expected)


COUNTS: dict[str, tuple[Callable[[], float], float]] = {
    "time.monotonic": (lambda: time.monotonic(), 1),
    "time.monotonic_ns": (lambda: time.monotonic_ns(), 1e9),
    "time.perf_counter": (lambda: time.perf_counter(), 1),
    "time.perf_counter_ns": (lambda: time.perf_counter_ns(), 1e9),
    "imported monotonic": (lambda: monotonic(), 1),
}


@pytest.mark.parametrize("clock", COUNTS)
def test_a_counter_advances_with_the_runs_time_and_is_the_same_at_every_replay(play: Play, clock: str) -> None:
    count, second = COUNTS[clock]
    found = looks(play, count)
    assert [round((value - found[0]) / second, 3) for value in found] == list(ELAPSED)


@pytest.mark.parametrize("clock", ["time.process_time", "time.thread_time", "time.process_time_ns"])
def test_the_cpus_time_is_the_same_at_every_replay(play: Play, clock: str) -> None:
    looks(play, lambda: getattr(time, clock.removeprefix("time."))())


def test_the_time_stands_still_while_the_body_runs_and_moves_with_the_ends_of_steps(play: Play) -> None:
    app = Workflows()
    failures: list[int] = []

    @app.step(retry=RetryPolicy(delay="1m", backoff=1))
    async def late() -> None:
        failures.append(1)
        if len(failures) < 3:
            raise OSError

    @app.workflow
    async def body() -> list[float]:
        first = [time.time(), sum(range(100_000)) * 0 + time.time()]
        await late()
        return [moment - EPOCH for moment in (*first, time.time(), datetime.now(UTC).timestamp())]

    finished = play(body)
    assert finished.value == [0, 0, 120, 120]
    assert finished.times("step_completed") == [120]


def test_a_moment_of_the_bodys_clock_is_one_to_sleep_until(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> float:
        await sleep("1h")
        await sleep(datetime.now(UTC) + timedelta(hours=2))
        await sleep(now() + timedelta(hours=3))
        return time.time() - EPOCH

    assert play(body).value == 6 * 3600


# -- randomness -------------------------------------------------------------------------------------------------------------


DRAWS: dict[str, Callable[[], object]] = {
    "random.random": lambda: random.random(),
    "random.uniform": lambda: random.uniform(0, 1),
    "random.gauss": lambda: random.gauss(0, 1),
    "random.randint": lambda: random.randint(0, 2**64),
    "random.randrange": lambda: random.randrange(2**64),
    "random.getrandbits": lambda: random.getrandbits(64),
    "random.randbytes": lambda: random.randbytes(16),
    "random.choice": lambda: random.choice(range(2**62)),
    "random.choices": lambda: random.choices(range(1000), k=20),
    "random.sample": lambda: random.sample(range(10_000), 20),
    "random.shuffle": lambda: shuffled(100),
    "random.SystemRandom": lambda: random.SystemRandom().random(),
    "random.Random": lambda: random.Random().random(),
    "uuid.uuid4": lambda: uuid.uuid4(),
    "uuid.uuid1": lambda: uuid.uuid1(),
    "secrets.token_bytes": lambda: secrets.token_bytes(),
    "secrets.token_hex": lambda: secrets.token_hex(),
    "secrets.token_urlsafe": lambda: secrets.token_urlsafe(),
    "secrets.randbelow": lambda: secrets.randbelow(2**64),
    "secrets.randbits": lambda: secrets.randbits(64),
    "secrets.choice": lambda: secrets.choice(range(2**62)),
    "os.urandom": lambda: os.urandom(16),
    "wdk_cloud.random": lambda: wdk_cloud.random().random(),
    "imported random": lambda: draw_one(),
    "imported randint": lambda: randint(0, 2**64),
    "imported choice": lambda: choice(range(2**62)),
    "imported token_hex": lambda: token_hex(),
    "imported urandom": lambda: urandom(16),
    "imported uuid4": lambda: uuid4(),
    "imported uuid1": lambda: uuid1(),
    "in a library": lambda: MIMEMultipart().as_string(),  # its boundary is drawn
}


def shuffled(size: int) -> list[int]:
    items = list(range(size))
    random.shuffle(items)
    assert sorted(items) == list(range(size))
    return items


@pytest.mark.parametrize("source", DRAWS)
def test_a_random_value_is_the_same_at_every_replay_and_another_at_every_draw_and_in_every_run(
    play: Play, source: str
) -> None:
    first = looks(play, DRAWS[source])
    second = looks(play, DRAWS[source])
    assert len({str(value) for value in [*first, *second]}) == 8


def test_random_values_have_the_types_and_ranges_they_always_have(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[Any]:
        return [
            uuid.uuid4(),
            uuid.uuid1(),
            secrets.token_hex(8),
            os.urandom(5),
            [random.randint(1, 6) for _ in range(300)],
            [wdk_cloud.random().random() for _ in range(100)],
        ]

    four, one, text, data, dice, parts = play(body).value
    assert (type(four), four.version, four.variant) == (uuid.UUID, 4, uuid.RFC_4122)
    assert (type(one), one.version, one.variant) == (uuid.UUID, 1, uuid.RFC_4122)
    assert timedelta(microseconds=one.time / 10) + datetime(1582, 10, 15, tzinfo=UTC) - NEW_YEAR < timedelta(seconds=1)
    assert len(bytes.fromhex(text)) == 8
    assert (type(data), len(data)) == (bytes, 5)
    assert set(dice) == {1, 2, 3, 4, 5, 6}
    assert all(0 <= part < 1 for part in parts)


def test_a_seed_that_a_body_sets_is_its_own(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def seeded() -> list[float]:
        random.seed(7)
        first = random.random()
        await sleep("1h")
        return [first, random.random()]

    state = random.getstate()
    generator = random.Random(7)
    assert play(seeded).value == [generator.random(), generator.random()]
    assert random.getstate() == state


def test_the_generator_of_a_body_is_the_one_that_the_module_draws_from(play: Play) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> list[int]:
        random.seed(7)
        return [wdk_cloud.random().randint(1, 1000), random.randint(1, 1000), wdk_cloud.random().choice(range(1000))]

    own = random.Random(7)
    assert play(body).value == [own.randint(1, 1000), own.randint(1, 1000), own.choice(range(1000))]


def test_outside_a_workflow_each_generator_is_another() -> None:
    assert isinstance(wdk_cloud.random(), random.Random)
    assert wdk_cloud.random().random() != wdk_cloud.random().random()


def test_tasks_of_a_body_draw_in_the_order_they_run(play: Play) -> None:
    import asyncio

    app = Workflows()
    executions: list[list[str]] = []

    @app.step
    async def echo(value: str) -> str:
        return value

    @app.workflow
    async def body() -> list[str]:
        drawn: list[str] = []
        executions.append(drawn)

        async def one(n: int) -> str:
            drawn.append(f"{n} {uuid.uuid4()}")
            await sleep(f"{3 - n} minutes")
            drawn.append(f"{n} {random.random()}")
            return await echo(drawn[-1])

        await asyncio.gather(one(0), one(1), one(2))
        return drawn

    found = play(body).value
    assert [text[0] for text in found] == ["0", "1", "2", "2", "1", "0"]
    assert [drawn == found[: len(drawn)] for drawn in executions] == [True] * len(executions)
    assert len(executions) == (4 if play.cold else 1)


# -- elsewhere --------------------------------------------------------------------------------------------------------------


FUNCTIONS: dict[str, Callable[[], object]] = {
    "time.time": lambda: time.time,
    "time.monotonic": lambda: time.monotonic,
    "random.random": lambda: random.random,
    "random.choice": lambda: random.choice,
    "uuid.uuid4": lambda: uuid.uuid4,
    "os.urandom": lambda: os.urandom,
    "secrets.token_hex": lambda: secrets.token_hex,
    "imported time": lambda: seconds,
    "imported urandom": lambda: urandom,
    "imported choice": lambda: choice,
}


def test_the_host_and_its_steps_keep_their_own_clocks_and_generators(play: Play) -> None:
    app = Workflows()
    mine = {name: function() for name, function in FUNCTIONS.items()}
    steps: list[dict[str, object]] = []
    told: list[float] = []

    @app.step
    async def inline() -> None:
        steps.append({name: function() for name, function in FUNCTIONS.items()})
        told.extend([time.time(), seconds(), datetime.now(UTC).timestamp(), datetime.now().timestamp()])

    @app.step(dispatch="queue")
    def threaded() -> None:
        steps.append({name: function() for name, function in FUNCTIONS.items()})
        told.extend([time.time(), seconds(), datetime.now(UTC).timestamp(), datetime.now().timestamp()])

    @app.workflow
    async def body() -> float:
        await inline()
        await sleep("1 day")
        await threaded()
        return time.time()

    began = time.time()
    state = random.getstate()
    assert play(body).value == EPOCH + 86400
    ended = time.time()
    assert steps == [mine, mine]
    assert {name: function() for name, function in FUNCTIONS.items()} == mine
    assert len(told) == 8
    assert all(began - 1 <= moment <= ended + 1 for moment in told)
    assert random.getstate() == state


def test_a_body_does_not_draw_from_the_hosts_generator(play: Play) -> None:
    random.seed(3)
    expected = random.Random(3).random()
    looks(play, lambda: random.random())
    assert random.random() == expected


def test_a_sleeping_runs_clock_is_that_of_its_events(play: Play) -> None:
    app = Workflows()

    @app.step
    async def one() -> None: ...

    @app.workflow
    async def body() -> list[float]:
        seen = [time.time() - EPOCH]
        await one()
        seen.append(time.time() - EPOCH)
        await sleep("1h")
        return [*seen, time.time() - EPOCH]

    async def scenario(env: WorkflowEnv) -> Finished:
        await env.advance("5 minutes")
        run = await env.start(body)
        return await finish(env, run)

    finished = play.scene(scenario, app)
    assert finished.value == [300, 300, 3900]
    assert [event.time.timestamp() - EPOCH for event in finished.events] == [300] * 6 + [3900] * 2
