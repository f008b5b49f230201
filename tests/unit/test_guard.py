"""The guard: a body's clocks and randomness are the run's, opening things is refused, nobody else notices."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import datetime
import gc
import hmac
import io
import logging
import os
import pickle
import random
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from pathlib import Path
from random import choice
from time import time as seconds
from typing import TYPE_CHECKING, Any

import freezegun
import msgspec
import pydantic
import pytest

from wdk_cloud.engine import guard as guard_module
from wdk_cloud.engine.guard import BodyGuard
from wdk_cloud.engine.loop import BodyLoop
from wdk_cloud.errors import WorkflowSandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = bytes(range(32))
NOW = 1_000_000_000.25  # 2001-09-09T01:46:40.25Z


def make_loop(run_id: str = "run-1", now: float = NOW, seed: bytes = SEED) -> BodyLoop:
    loop = BodyLoop(run_id)
    loop.guard = BodyGuard(seed)
    loop.guard.module_globals = globals()
    loop.now = now
    return loop


def inside(function: Callable[[], Any], loop: BodyLoop | None = None, live: bool = True) -> Any:
    """What `function` returns or raises when a body calls it."""

    async def body() -> Any:
        return function()

    loop = loop or make_loop()
    with loop.slice(live=live):
        task = loop.start(body())
        loop.run_until_rest()
    loop.close_body()
    return task.result()


# --- clocks -----------------------------------------------------------------------------------------------------------

UTC_NOW = time.struct_time((2001, 9, 9, 1, 46, 40, 6, 252, 0))


@pytest.mark.parametrize(
    ("clock", "value"),
    [
        *((lambda: time.time(), NOW), (lambda: time.time_ns(), 1_000_000_000_250_000_000)),
        *((lambda: time.monotonic(), NOW), (lambda: time.monotonic_ns(), 1_000_000_000_250_000_000)),
        *((lambda: time.perf_counter(), NOW), (lambda: time.perf_counter_ns(), 1_000_000_000_250_000_000)),
        *((lambda: time.process_time(), NOW), (lambda: time.thread_time(), NOW)),
        *((lambda: time.clock_gettime(time.CLOCK_REALTIME), NOW), (lambda: seconds(), NOW)),
        *((lambda: time.gmtime(), UTC_NOW), (lambda: time.localtime(), UTC_NOW)),
        *((lambda: time.gmtime(0).tm_year, 1970), (lambda: time.localtime(0)[:9], time.localtime(0)[:9])),
        *((lambda: time.ctime(), "Sun Sep  9 01:46:40 2001"), (lambda: time.asctime(), "Sun Sep  9 01:46:40 2001")),
        *((lambda: time.strftime("%H:%M"), "01:46"), (lambda: time.strftime("%Y", time.gmtime(0)), "1970")),
        (lambda: datetime.datetime.now(), datetime.datetime(2001, 9, 9, 1, 46, 40, 250_000)),
        (lambda: datetime.datetime.utcnow(), datetime.datetime(2001, 9, 9, 1, 46, 40, 250_000)),
        (lambda: datetime.datetime.today(), datetime.datetime(2001, 9, 9, 1, 46, 40, 250_000)),
        (lambda: datetime.datetime.now(datetime.UTC).isoformat(), "2001-09-09T01:46:40.250000+00:00"),
        (lambda: datetime.datetime.now(tz=datetime.timezone(datetime.timedelta(hours=2))).hour, 3),
        (lambda: datetime.date.today(), datetime.date(2001, 9, 9)),
    ],
)
def test_a_clock_tells_the_time_of_the_last_delivery(clock: Callable[[], Any], value: Any) -> None:
    assert inside(clock) == value


def test_naive_now_is_utc_wherever_the_process_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert inside(lambda: (datetime.datetime.now().hour, datetime.date.today().day, time.localtime()[3])) == (
            1,
            9,
            1,
        )
    finally:
        monkeypatch.undo()
        time.tzset()


class Moment(datetime.datetime):
    pass


class Day(datetime.date):
    pass


def test_subclasses_of_datetime_give_themselves() -> None:
    moment, day = inside(lambda: (Moment.now(), Day.today()))
    assert (type(moment), type(day), day) == (Moment, Day, datetime.date(2001, 9, 9))
    assert type(Moment.now()) is Moment


def test_datetime_is_untouched_outside() -> None:
    inside(lambda: None)
    assert type(datetime.datetime.now) is type(len)
    assert pickle.loads(pickle.dumps(datetime.datetime.now)).__self__ is datetime.datetime
    assert abs(datetime.datetime.now().timestamp() - time.time()) < 60
    assert abs(datetime.date.today().toordinal() - datetime.datetime.now().toordinal()) <= 1


class Model(pydantic.BaseModel):
    at: datetime.datetime


class Record(msgspec.Struct):
    at: datetime.datetime


def test_pydantic_and_msgspec_take_what_a_body_has() -> None:
    model, record = inside(
        lambda: (Model(at=datetime.datetime.now()), msgspec.json.encode(Record(datetime.datetime.now())))
    )
    assert model.at == datetime.datetime(2001, 9, 9, 1, 46, 40, 250_000)
    assert record == b'{"at":"2001-09-09T01:46:40.250000"}'


def test_freezegun_works_beside_it() -> None:
    with freezegun.freeze_time("1990-01-01"):
        assert inside(lambda: time.time()) == NOW
        assert (datetime.datetime.now().year, time.gmtime().tm_year) == (1990, 1990)
    assert datetime.datetime.now().year > 2020
    assert inside(lambda: time.time()) == NOW


@pytest.fixture
def travel() -> Callable[..., Any]:
    import time_machine  # for those who ask: written in C, it cannot be had for every Python of tests/pythons

    return time_machine.travel


def test_time_machine_works_beside_it(travel: Callable[..., Any]) -> None:
    with travel(datetime.datetime(1985, 10, 26, tzinfo=datetime.UTC), tick=False):
        assert inside(lambda: (time.time(), datetime.datetime.now().year)) == (NOW, 2001)
        assert (datetime.datetime.now(datetime.UTC).year, time.gmtime().tm_year) == (1985, 1985)
    assert datetime.datetime.now().year > 2020
    assert inside(lambda: time.time()) == NOW


def test_time_machine_may_start_while_a_slice_runs(travel: Callable[..., Any]) -> None:
    def travelling() -> float:
        with travel(0):
            return time.time()

    def travelled() -> int:
        with travel(0, tick=False):
            return datetime.datetime.now(datetime.UTC).year

    assert inside(travelling) == NOW
    years: list[int] = []
    with make_loop().slice(live=True):
        thread = threading.Thread(target=lambda: years.append(travelled()))
        active = guard_module.active.pop(threading.get_ident())  # this thread is the host's for a moment
        thread.start()
        thread.join()
        guard_module.active[threading.get_ident()] = active
    assert years == [1970]
    assert datetime.datetime.now().year > 2020


# --- randomness -------------------------------------------------------------------------------------------------------


def stream(n: int) -> bytes:
    blocks = [hmac.digest(SEED, b"bytes" + block.to_bytes(8, "big"), "sha256") for block in range(n // 32 + 1)]
    return b"".join(blocks)[:n]


def test_random_draws_from_the_runs_own_generator() -> None:
    own = random.Random(int.from_bytes(hmac.digest(SEED, b"random", "sha256"), "big"))
    expected = [own.random(), own.randint(1, 6), own.choice("abc"), own.sample(range(9), 3), own.choice("xyz")]
    state = random.getstate()
    drawn = inside(
        lambda: [random.random(), random.randint(1, 6), random.choice("abc"), random.sample(range(9), 3), choice("xyz")]
    )
    assert drawn == expected
    assert random.getstate() == state


def test_a_body_may_seed_its_generator() -> None:
    def seeded() -> list[float]:
        random.seed(7)
        first = random.random()
        random.seed()
        return [first, random.random()]

    assert inside(seeded) == inside(seeded)
    assert inside(seeded)[0] == random.Random(7).random()


def test_bytes_come_from_one_stream() -> None:
    assert inside(lambda: [os.urandom(5), os.urandom(40), os.getrandom(3)]) == [
        *(stream(48)[:5], stream(48)[5:45], stream(48)[45:]),
    ]
    guard = BodyGuard(SEED)
    assert guard.bytes(0) + guard.bytes(33) + guard.bytes(1) == stream(34)
    with pytest.raises(ValueError, match="negative"):
        guard.bytes(-1)


def test_uuid4_and_secrets_follow_the_stream() -> None:
    expected = uuid.UUID(bytes=stream(16), version=4)
    assert inside(lambda: uuid.uuid4()) == expected
    assert inside(lambda: secrets.token_bytes(16)) == stream(16)

    def draw() -> tuple[object, ...]:
        system = random.SystemRandom()
        return secrets.token_hex(), secrets.choice("abcdef"), secrets.randbelow(10**9), system.random()

    assert inside(draw) == inside(draw)
    assert inside(draw) != inside(draw, make_loop(seed=b"another"))


def test_uuid1_is_made_of_the_runs_clock_and_stream() -> None:
    first, second = inside(lambda: (uuid.uuid1(), uuid.uuid1()))
    assert (first.version, first.variant) == (1, uuid.RFC_4122)
    assert first != second
    assert (first.time - 0x01B21DD213814000) / 1e7 == NOW
    assert first.node >> 40 & 1
    assert inside(lambda: uuid.uuid1(node=5, clock_seq=3)).node == 5
    assert inside(lambda: uuid.uuid1()) == first


def test_two_runs_in_two_threads_have_their_own_values() -> None:
    results: dict[str, Any] = {}
    both = threading.Barrier(2)

    def run(name: str, now: float) -> None:
        loop = make_loop(name, now, name.encode())
        with loop.slice(live=True):
            both.wait(10)  # both are inside
            results[name] = [time.time(), random.random(), datetime.datetime.now().year, os.urandom(4), seconds()]
            both.wait(10)

    threads = [threading.Thread(target=run, args=("a", 0.0)), threading.Thread(target=run, args=("b", NOW))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = inside(lambda: random.random(), make_loop("b", NOW, b"b"))
    assert [results["a"][0], results["b"][0], results["a"][2], results["b"][2]] == [0.0, NOW, 1970, 2001]
    assert results["b"][1] == alone != results["a"][1]
    assert results["a"][3] == BodyGuard(b"a").bytes(4)
    assert results["b"][4] == NOW


def test_another_thread_sees_nothing_of_a_slice(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Any] = []

    def outside() -> None:
        seen.extend([time.time() > NOW + 1e8, datetime.datetime.now().year > 2020, uuid.uuid4().version])
        (tmp_path / "file").write_text("written")
        time.sleep(0)
        print("printed")
        seen.append(os.urandom(8) != stream(8))

    with make_loop().slice(live=False):
        active = guard_module.active.pop(threading.get_ident())
        thread = threading.Thread(target=outside)
        thread.start()
        guard_module.active[threading.get_ident()] = active
        thread.join()
    assert seen == [True, True, 4, True]
    assert capsys.readouterr().out == "printed\n"


def test_every_name_is_back_after_the_slice() -> None:
    modules = [time, random, os, uuid, builtins, asyncio, asyncio.tasks, threading, sys.modules[__name__]]
    before = [dict(vars(module)) for module in modules]
    handlers = logging.Logger.callHandlers
    inside(lambda: None, live=False)
    assert [dict(vars(module)) for module in modules] == before
    assert logging.Logger.callHandlers is handlers


def test_what_somebody_else_puts_in_place_between_slices_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    inside(lambda: None)
    monkeypatch.setattr(time, "time", lambda: 5.0)
    assert inside(lambda: time.time()) == NOW
    assert time.time() == 5.0


def test_a_name_the_workflows_module_gets_later_is_guarded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    inside(lambda: None)
    monkeypatch.setitem(globals(), "later", time.monotonic)
    assert inside(lambda: later()) == NOW  # type: ignore[name-defined]  # noqa: F821


# --- output -----------------------------------------------------------------------------------------------------------


def test_output_is_dropped_unless_the_slice_is_live(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    loop = make_loop()

    def speak() -> str:
        print("replayed")
        print("replayed", file=sys.stderr)
        logging.getLogger("body").warning("replayed")
        buffer = io.StringIO()
        print("kept", file=buffer)
        with contextlib.redirect_stdout(buffer):
            print("kept")
        loop.live = True
        print("live")
        logging.getLogger("body").warning("logged")
        return buffer.getvalue()

    assert inside(speak, loop, live=False) == "kept\nkept\n"
    output = capsys.readouterr()
    assert (output.out, output.err) == ("live\n", "")
    assert [record.getMessage() for record in caplog.records] == ["logged"]


# --- what is refused --------------------------------------------------------------------------------------------------


def _start_thread() -> None:
    threading.Thread(target=print).start()


@pytest.mark.parametrize(
    ("forbidden", "message"),
    [
        (lambda: open("/etc/hostname"), "open the file '/etc/hostname'.*in a step"),  # noqa: SIM115
        (lambda: os.open("/tmp/new", os.O_CREAT | os.O_WRONLY), "open the file '/tmp/new'"),
        (lambda: Path(sys.prefix, "new").write_text("x"), "open the file"),
        (lambda: tempfile.mkstemp(dir="/tmp"), "open the file '/tmp/"),
        (lambda: socket.socket(), "open a socket.*fetch"),
        (lambda: socket.getaddrinfo("localhost", 1), "look up the host 'localhost'"),
        (lambda: sqlite3.connect(":memory:"), "open the database.*in a step"),
        (lambda: subprocess.run(["true"], check=False), "run the program 'true'"),
        (lambda: os.system("true"), "run the command b'true'"),
        (lambda: os.fork(), "fork the process"),
        (_start_thread, "start a thread.*plain `def` step"),
        (lambda: time.sleep(1), r"call time.sleep\(\).*await asyncio.sleep"),
        (lambda: input("?"), r"call input\(\).*hook"),
    ],
)
def test_opening_something_is_refused(forbidden: Callable[[], Any], message: str) -> None:
    loop = make_loop()
    with pytest.raises(WorkflowSandboxError, match=f"run run-1 tried to {message}"):
        inside(forbidden, loop)
    assert isinstance(loop.guard.violation, WorkflowSandboxError)


def test_a_refusal_is_remembered_even_when_the_body_catches_it() -> None:
    loop = make_loop()

    def stubborn() -> str:
        for path in ("/first", "/second"):
            with contextlib.suppress(Exception):
                open(path)  # noqa: SIM115
        return "recorded"

    assert inside(stubborn, loop) == "recorded"
    assert "'/first'" in str(loop.guard.violation)


def _import_something() -> str:
    sys.modules.pop("colorsys", None)
    import colorsys

    return colorsys.__name__


def _log_to_a_file() -> int:
    path = os.path.join(tempfile.gettempdir(), "wdk-guard-test.log")
    handler = logging.FileHandler(path, delay=True)
    logger = logging.getLogger("to a file")
    logger.addHandler(handler)
    logger.propagate = False
    logger.warning("line")
    logger.removeHandler(handler)
    handler.close()
    return 1


def _format_a_traceback() -> str:
    import linecache
    import traceback

    linecache.clearcache()
    try:
        raise ValueError
    except ValueError:
        return traceback.format_exc()


def _zone() -> str:
    from zoneinfo import ZoneInfo

    ZoneInfo.clear_cache()
    return str(datetime.datetime(2024, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")).utcoffset())


def _packaged_data() -> int:
    with open(os.__file__) as file:
        return len(file.readline())


def _from_a_signal_handler() -> list[int]:
    seen: list[int] = []

    def handler(number: int, _frame: object) -> None:
        with open(__file__) as file:
            seen.append(len(file.readline()) and number)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        signal.raise_signal(signal.SIGUSR1)
        return seen
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    ("allowed", "result"),
    [
        *((_import_something, "colorsys"), (_log_to_a_file, 1), (_format_a_traceback, ...), (_zone, "2:00:00")),
        *((_packaged_data, ...), (_from_a_signal_handler, [signal.SIGUSR1])),
        (lambda: id(object()) > 0, True),
        (lambda: asyncio.Queue().qsize(), 0),
        (lambda: threading.Lock().acquire(), True),
        (lambda: os.path.exists("/etc"), True),
        (lambda: pickle.loads(pickle.dumps({1: (2,)})), {1: (2,)}),
        (lambda: Model.model_validate_json('{"at": "2024-01-01T00:00:00"}').at.year, 2024),
        (lambda: __import__("hashlib").sha256(b"x").hexdigest()[:4], "2d71"),
    ],
)
def test_innocent_things_work(allowed: Callable[[], Any], result: Any) -> None:
    loop = make_loop()
    value = inside(allowed, loop)
    assert loop.guard.violation is None
    assert result is ... or value == result


def test_a_finalizer_that_a_collection_runs_meets_the_world_as_it_is() -> None:
    seen: list[Any] = []

    class Stranger:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            with open(__file__) as file:
                seen.extend([bool(file.readline()), time.time() > NOW + 1e8])

    Stranger()
    loop = make_loop()
    inside(lambda: gc.collect(), loop)
    assert seen == [True, True]
    assert loop.guard.violation is None


def test_nothing_is_installed_by_importing_and_all_of_it_by_the_first_slice() -> None:
    script = """
        import datetime, gc, sys
        added = []
        sys.addaudithook(lambda event, args: added.append(event) if event == "sys.addaudithook" else None)
        from wdk_cloud.engine.loop import BodyLoop
        now, callbacks = vars(datetime.datetime)["now"], len(gc.callbacks)
        assert added == [] and type(now).__name__ == "classmethod_descriptor"
        for _ in range(2):
            with BodyLoop("run").slice(live=True):
                pass
        assert added == ["sys.addaudithook"], added
        assert vars(datetime.datetime)["now"] is not now and len(gc.callbacks) == callbacks + 1
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(script)], check=True)


def test_if_the_types_dict_cannot_be_edited_it_is_said_and_nothing_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(guard_module.gc, "get_referents", lambda *_: [])
    guard_module._guard_datetime()
    assert "datetime.now() cannot be guarded" in caplog.text


@pytest.fixture(autouse=True)
def _no_slice_left() -> Iterator[None]:
    yield
    assert guard_module.active == {}
