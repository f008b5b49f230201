"""What ordinary Python a body may use, and what it is refused; each idiom is a case of its own."""

import asyncio
import base64
import bisect
import calendar
import collections
import concurrent.futures
import contextlib
import contextvars
import copy
import csv
import ctypes
import dataclasses
import dbm.dumb
import decimal
import difflib
import email.message
import email.policy
import enum
import fileinput
import fractions
import functools
import gzip
import hashlib
import heapq
import hmac
import html
import http.client
import importlib
import importlib.metadata
import importlib.resources
import inspect
import io
import ipaddress
import itertools
import json
import linecache
import locale
import logging
import logging.handlers
import math
import mmap
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import pickle
import pprint
import queue
import random
import re
import select
import shelve
import shutil
import signal
import smtplib
import socket
import sqlite3
import ssl
import statistics
import string
import struct
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
import time
import traceback
import types
import typing
import unicodedata
import urllib.parse
import urllib.request
import uuid
import warnings
import weakref
import zipfile
import zlib
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pydantic
import pytest

from tests.e2e.running import Play
from wdk_cloud import Workflows, WorkflowSandboxError, sleep

log = logging.getLogger("tests.idioms")


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The working directory, so that errors name the same files in every way to play a test."""
    monkeypatch.chdir(tmp_path)
    pathlib.Path("there").write_text("there")
    pathlib.Path("folder").mkdir()
    tempfile.gettempdir()  # it looks for one that can be written to, once a process
    monkeypatch.setattr(tempfile, "_name_sequence", None)
    return pathlib.Path()


async def value_of(idiom: Callable[[], Any]) -> Any:
    value = idiom()
    return await value if inspect.isawaitable(value) else value


# -- what works -------------------------------------------------------------------------------------------------------------


def zones() -> object:
    zoneinfo.ZoneInfo.clear_cache()
    summer = datetime(2026, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))
    return [summer.utcoffset(), summer.astimezone(zoneinfo.ZoneInfo("America/New_York")).hour]


def list_of_zones() -> object:
    return {"Europe/Berlin", "Asia/Tokyo"} <= zoneinfo.available_timezones()


def lazy_import() -> object:
    for name in ("colorsys", "xml.dom.minidom", "xml.dom.expatbuilder"):
        sys.modules.pop(name, None)
    import colorsys
    import xml.dom.minidom

    document = xml.dom.minidom.parseString("<a b='1'/>")
    return [colorsys.rgb_to_hsv(0, 0, 1)[2], document.documentElement.getAttribute("b")]


def lazy_import_of_a_package() -> object:
    for name in [name for name in sys.modules if name.partition(".")[0] == "h11"]:
        sys.modules.pop(name)
    import h11

    return h11.Connection(h11.CLIENT).our_state.__name__


def import_by_name() -> object:
    sys.modules.pop("this_is_not_there", None)
    with contextlib.suppress(ImportError):
        importlib.import_module("this_is_not_there")
    weekday, days = importlib.import_module("calendar").monthrange(2028, 2)
    return int(weekday), days  # from 3.12 on the weekday is an enumeration, which no app declares


def formatted_traceback() -> object:
    linecache.clearcache()
    try:
        raise ValueError("formatted")
    except ValueError as error:
        lines = traceback.format_exception(error)
    return [lines[-1], 'raise ValueError("formatted")' in lines[1]]


def logged_exception() -> object:
    linecache.clearcache()
    try:
        raise ValueError("logged")
    except ValueError:
        log.exception("with its traceback")
    return log.isEnabledFor(logging.CRITICAL)


def warned() -> object:
    linecache.clearcache()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    return [str(one.message) for one in caught]


def formatted_warning() -> object:
    linecache.clearcache()
    return warnings.formatwarning("careful", UserWarning, __file__, 1).splitlines()[1].strip()[:12]


class Order(pydantic.BaseModel):
    at: datetime
    lines: list[str] = []
    total: decimal.Decimal = decimal.Decimal(0)


def pydantic_model() -> object:
    order = Order.model_validate_json('{"at": "2026-01-01T00:00:00Z", "lines": ["tea"], "total": "9.90"}')
    return [order.model_dump_json(), Order(at=datetime.now(UTC)).at.year]


def pydantic_model_made_in_the_body() -> object:
    made = pydantic.create_model("Made", count=(int, 3))
    with contextlib.suppress(pydantic.ValidationError):
        made(count="many")
    return [made().model_dump(), pydantic.TypeAdapter(list[int]).validate_python(["1"])]


@dataclasses.dataclass(order=True)
class Point:
    x: int
    y: int = 0
    tags: list[str] = dataclasses.field(default_factory=list, compare=False)


def dataclass() -> object:
    moved = dataclasses.replace(Point(1), y=2)
    return [dataclasses.asdict(moved), Point(1) < moved, dataclasses.make_dataclass("Made", ["a"])(1).a]  # type: ignore[attr-defined]


def decimal_context() -> object:
    with decimal.localcontext(prec=6, rounding=decimal.ROUND_UP) as context:
        context.traps[decimal.Inexact] = False
        third = decimal.Decimal(1) / 3
    return [third, decimal.Decimal("2.345").quantize(decimal.Decimal("0.01"))]


def localised() -> object:
    before = locale.setlocale(locale.LC_NUMERIC)
    locale.setlocale(locale.LC_NUMERIC, "C")
    try:
        return [locale.localeconv()["decimal_point"], locale.format_string("%.2f", 1.5)]
    finally:
        locale.setlocale(locale.LC_NUMERIC, before)


def dates() -> object:
    parsed = datetime.strptime("24 Dec 2026 18:30 +0100", "%d %b %Y %H:%M %z")
    return [parsed, f"{parsed:%A}", parsed.isocalendar().week, date(2026, 1, 31) + timedelta(days=1)]


def parsed_time() -> object:
    return [calendar.timegm(time.strptime("2026-01-02", "%Y-%m-%d")), calendar.month_name[2]]


def serialised() -> object:
    value = {"list": [1, 2.5, None], "nested": {"text": "ä"}}
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value
    return json.loads(json.dumps(value, indent=1))


CONTEXT: contextvars.ContextVar[str] = contextvars.ContextVar("CONTEXT", default="outside")


async def context_variables() -> object:
    async def inner() -> str:
        CONTEXT.set("inner")
        return CONTEXT.get()

    before = CONTEXT.get()
    token = CONTEXT.set("body")
    try:
        inside = await asyncio.create_task(inner())
        return [before, inside, CONTEXT.get(), contextvars.copy_context().run(CONTEXT.get)]
    finally:
        CONTEXT.reset(token)


def caches() -> object:
    calls: list[int] = []

    @functools.lru_cache(maxsize=2)
    def square(number: int) -> int:
        calls.append(number)
        return number * number

    assert [square(3), square(3), square(4)] == [9, 9, 16]
    return [calls, functools.reduce(lambda a, b: a * b, range(1, 6)), functools.partial(pow, 2)(10)]


def packaged_data() -> object:
    text = importlib.resources.files("json").joinpath("decoder.py").read_text(encoding="utf-8")
    with importlib.resources.as_file(importlib.resources.files("json") / "tool.py") as path:
        return [text.splitlines()[0], path.name]


def distribution() -> object:
    found = importlib.metadata.version("pydantic"), importlib.metadata.entry_points(group="console_scripts")
    return [found[0] == pydantic.VERSION, len(found[1]) > 0]


class Colour(enum.StrEnum):
    RED = enum.auto()


class Access(enum.Flag):
    READ = 1
    WRITE = 2


def enums() -> object:
    return [Colour("red").name, (Access.READ | Access.WRITE).value, [colour.value for colour in Colour]]


def type_hints() -> object:
    hints = typing.get_type_hints(Point)
    return [hints["x"].__name__, typing.get_args(hints["tags"])[0].__name__, str(inspect.signature(Point))[:10]]


def source() -> object:
    linecache.clearcache()
    return inspect.getsource(Point).splitlines()[:2]


def seeded() -> object:
    generator = random.Random(7)
    return [generator.randint(1, 100), generator.sample(range(10), 3)] == [42, [2, 6, 0]]


def digests() -> object:
    key = hashlib.pbkdf2_hmac("sha256", b"secret", b"salt", 10)
    return [hashlib.sha256(b"x").hexdigest()[:4], hmac.digest(key, b"x", "sha256")[:2], zlib.crc32(b"x")]


def named_uuid() -> object:
    return [uuid.uuid5(uuid.NAMESPACE_URL, "https://example.org"), uuid.uuid3(uuid.NAMESPACE_DNS, "example.org")]


def addresses() -> object:
    network = ipaddress.ip_network("10.0.0.0/29")
    return [str(network[1]), ipaddress.ip_address("10.0.0.7") in network, network.num_addresses]


def mail() -> object:
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["Subject"], message["To"] = "Grüße", "ann@example.org"
    message.set_content("Hallo")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    return [str(message["Subject"]), message.get_content_type(), message.as_bytes().count(b"example.org")]


def text() -> object:
    wrapped = textwrap.fill("one two three", 8)
    return [wrapped, string.Template("$a!").substitute(a="b"), html.escape("<"), pprint.pformat([1]), f"{0.5:.0%}"]


def numbers() -> object:
    return [statistics.median([3, 1, 2]), math.comb(5, 2), str(fractions.Fraction(2, 6)), 7 // 2]


def containers() -> object:
    counted = collections.Counter("banana").most_common(2)
    grouped = collections.defaultdict(list, {"a": [1]})
    grouped["b"].append(2)
    return [counted, dict(grouped), list(collections.deque(range(5), maxlen=2)), collections.ChainMap({"a": 1})["a"]]


def iterators() -> object:
    heap = [3, 1, 2]
    heapq.heapify(heap)
    runs = [(key, len(list(group))) for key, group in itertools.groupby("aab")]
    return [heapq.heappop(heap), runs, bisect.bisect([1, 2, 4], 3), list(itertools.pairwise("abc"))]


def patterns() -> object:
    re.purge()
    found = re.fullmatch(r"(?P<name>\w+)@(\w+)", "ann@home")
    assert found is not None
    return [found["name"], re.sub(r"\d", "#", "a1b2"), struct.unpack("<HI", struct.pack("<HI", 1, 2))]


async def primitives() -> object:
    done: asyncio.Queue[int] = asyncio.Queue(maxsize=1)
    limit, lock, event = asyncio.Semaphore(2), asyncio.Lock(), asyncio.Event()

    async def produce(number: int) -> None:
        async with limit, lock:
            await done.put(number)
        event.set()

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(produce(number))
        received = [await done.get() for _ in range(3)]
    async with asyncio.timeout(60):
        await event.wait()
    return received


async def context_managers() -> object:
    order: list[str] = []

    @contextlib.asynccontextmanager
    async def managed(name: str) -> AsyncIterator[str]:
        order.append(f"+{name}")
        try:
            yield name
        finally:
            order.append(f"-{name}")

    async with contextlib.AsyncExitStack() as stack:
        for name in "ab":
            await stack.enter_async_context(managed(name))
        stack.callback(order.append, "callback")
    return order


async def generators() -> object:
    def count() -> Iterator[int]:
        received = yield 1
        yield from (received, 3)

    async def letters() -> AsyncIterator[str]:
        for letter in "abc":
            await asyncio.sleep(0)
            yield letter

    counting = typing.cast("types.GeneratorType[int, int, None]", count())
    return [next(counting), counting.send(2), next(counting), [letter async for letter in letters()]]


def exception_groups() -> object:
    caught: list[str] = []
    try:
        raise ExceptionGroup("several", [ValueError("a"), ExceptionGroup("inner", [KeyError("b")])])
    except* ValueError as group:
        caught += [repr(error) for error in group.exceptions]
    except* KeyError as group:
        caught += [group.message]
    return caught


def in_memory_files() -> object:
    table = io.StringIO()
    csv.writer(table).writerow(["a", 1])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a" * 100)
    return [table.getvalue(), zipfile.ZipFile(packed).read("a.txt")[:1], gzip.decompress(gzip.compress(b"x"))]


def paths() -> object:
    path = pathlib.PurePosixPath("/a/b.tar.gz")
    return [path.suffixes, os.path.join("a", "b"), str(path.with_name("c")), os.path.isdir(os.sep)]


def links() -> object:
    parts = urllib.parse.urlsplit("https://example.org/a?b=1")
    return [parts.hostname, urllib.parse.parse_qs(parts.query), base64.b64encode(b"x")]


def references() -> object:
    class Thing: ...

    thing, ended = Thing(), list[str]()
    weakref.finalize(thing, ended.append, "gone")
    seen = weakref.ref(thing)() is thing
    del thing
    return [seen, ended]


def locks() -> object:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    with threading.Lock(), threading.RLock():
        waiting.put(1)
    local = threading.local()
    local.value = 2
    return [waiting.get_nowait(), local.value, threading.current_thread().is_alive()]


def compiled_code() -> object:
    names: dict[str, Any] = {}
    exec(compile("def double(x): return 2 * x", "<made>", "exec"), names)
    return [names["double"](4), eval("1 + 1")]


def differences() -> object:
    return [list(difflib.unified_diff(["a"], ["b"], lineterm=""))[-2:], unicodedata.normalize("NFC", "a\u0308")]


def prepared_request() -> object:
    request = httpx.Request("POST", "https://example.org/a", json={"b": 1}, params={"c": "d"})
    return [str(request.url), request.content, urllib.request.Request("https://example.org").get_method()]


def environment() -> object:
    return [os.environ.get("IT_IS_NOT_THERE", "default"), os.path.expandvars("$IT_IS_NOT_THERE"), len(os.getcwd()) > 0]


BERLIN = timedelta(hours=2)
DECODER = "Implementation of JSONDecoder"

WORKS: dict[str, tuple[Callable[[], Any], object]] = {
    "zones": (zones, [BERLIN, 6]),
    "list of zones": (list_of_zones, True),
    "lazy import": (lazy_import, [1, "1"]),
    "lazy import of a package": (lazy_import_of_a_package, "IDLE"),
    "import by name": (import_by_name, (1, 29)),
    "formatted traceback": (formatted_traceback, ["ValueError: formatted\n", True]),
    "logged exception": (logged_exception, True),
    "warned": (warned, ["careful"]),
    "formatted warning": (formatted_warning, '"""What ordi'),
    "pydantic model": (pydantic_model, ['{"at":"2026-01-01T00:00:00Z","lines":["tea"],"total":"9.90"}', 2026]),
    "pydantic model made in the body": (pydantic_model_made_in_the_body, [{"count": 3}, [1]]),
    "dataclass": (dataclass, [{"x": 1, "y": 2, "tags": []}, True, 1]),
    "decimal context": (decimal_context, [decimal.Decimal("0.333334"), decimal.Decimal("2.34")]),
    "locale": (localised, [".", "1.50"]),
    "dates": (
        dates,
        [datetime.fromisoformat("2026-12-24T18:30+01:00"), "Thursday", 52, date(2026, 2, 1)],
    ),
    "parsed time": (parsed_time, [1767312000, "February"]),
    "json, pickle, copy": (serialised, {"list": [1, 2.5, None], "nested": {"text": "ä"}}),
    "context variables": (context_variables, ["outside", "inner", "body", "body"]),
    "caches": (caches, [[3, 4], 120, 1024]),
    "packaged data": (packaged_data, [f'"""{DECODER}', "tool.py"]),
    "distribution": (distribution, [True, True]),
    "enums": (enums, ["RED", 3, ["red"]]),
    "type hints": (type_hints, ["int", "str", "(x: int, y"]),
    "source": (source, ["@dataclasses.dataclass(order=True)", "class Point:"]),
    "seeded generator": (seeded, True),
    "digests": (digests, ["2d71", b"Z\x08", 2363233923]),
    "named uuid": (
        named_uuid,
        [uuid.uuid5(uuid.NAMESPACE_URL, "https://example.org"), uuid.uuid3(uuid.NAMESPACE_DNS, "example.org")],
    ),
    "addresses": (addresses, ["10.0.0.1", True, 8]),
    "mail": (mail, ["Grüße", "multipart/mixed", 1]),
    "text": (text, ["one two\nthree", "b!", "&lt;", "[1]", "50%"]),
    "numbers": (numbers, [2, 10, "1/3", 3]),
    "containers": (containers, [[("a", 3), ("n", 2)], {"a": [1], "b": [2]}, [3, 4], 1]),
    "iterators": (iterators, [1, [("a", 2), ("b", 1)], 2, [("a", "b"), ("b", "c")]]),
    "patterns and structs": (patterns, ["ann", "a#b#", (1, 2)]),
    "primitives of asyncio": (primitives, [0, 1, 2]),
    "context managers": (context_managers, ["+a", "+b", "callback", "-b", "-a"]),
    "generators": (generators, [1, 2, 3, ["a", "b", "c"]]),
    "exception groups": (exception_groups, ["ValueError('a')", "several"]),
    "files in memory": (in_memory_files, ["a,1\r\n", b"a", b"x"]),
    "paths": (paths, [[".tar", ".gz"], "a/b", "/a/c", True]),
    "links": (links, ["example.org", {"b": ["1"]}, b"eA=="]),
    "weak references": (references, [True, ["gone"]]),
    "locks of threads": (locks, [1, 2, True]),
    "compiled code": (compiled_code, [8, 2]),
    "differences": (differences, [["-a", "+b"], "ä"]),
    "prepared request": (prepared_request, ["https://example.org/a?c=d", b'{"b":1}', "GET"]),
    "environment": (environment, ["default", "$IT_IS_NOT_THERE", True]),
}


@pytest.mark.parametrize("name", WORKS)
def test_an_innocent_idiom_works_in_a_body(play: Play, name: str) -> None:
    app = Workflows()
    idiom, expected = WORKS[name]

    @app.workflow
    async def body() -> object:
        first = await value_of(idiom)
        await sleep("1 day")
        return [first, await value_of(idiom)]

    assert play(body).value == [expected, expected]


# -- logging: each handler of the standard library, made before the run --------------------------------------------------------


def lines_of(path: str) -> Callable[[], list[str]]:
    return lambda: pathlib.Path(path).read_text(encoding="utf-8").splitlines()


def rotating(folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    """Each line begins a file of its own, so both are rotated inside the body."""
    handler = logging.handlers.RotatingFileHandler(folder / "log", maxBytes=1, backupCount=5)
    return handler, lambda: [lines_of(name)()[0] for name in ("log.1", "log")]


def rotating_by_time(folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    handler = logging.handlers.TimedRotatingFileHandler(folder / "log", when="S", utc=True)
    handler.rolloverAt = 0  # long ago

    def lines() -> list[str]:
        rotated = sorted(path.name for path in folder.glob("log.*"))
        return [line for name in [*rotated, "log"] for line in lines_of(name)()]

    return handler, lines


def watched(folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    """Somebody has taken its file away: it opens another."""
    handler = logging.handlers.WatchedFileHandler(folder / "log")
    (folder / "log").rename("taken")
    return handler, lines_of("log")


def in_memory(folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    target = logging.FileHandler(folder / "log", delay=True)

    def lines() -> list[str]:
        target.close()
        return lines_of("log")()

    return logging.handlers.MemoryHandler(1, target=target), lines


def on_a_stream(_folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    stream = io.StringIO()
    return logging.StreamHandler(stream), lambda: stream.getvalue().splitlines()


def queued(_folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    return logging.handlers.QueueHandler(records), lambda: [records.get_nowait().msg for _ in range(records.qsize())]


def over_tcp(_folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
    """It connects with its first record, inside the body."""
    server = socket.create_server(("127.0.0.1", 0))
    handler = logging.handlers.SocketHandler(*server.getsockname())

    def lines() -> list[str]:
        handler.close()
        with server, server.accept()[0] as connection, connection.makefile("rb") as received:
            messages: list[str] = []
            while length := received.read(4):
                messages.append(pickle.loads(received.read(int.from_bytes(length, "big")))["msg"])
        return messages

    return handler, lines


def by_datagram(kind: Callable[[tuple[str, int]], logging.Handler], read: Callable[[bytes], str]) -> Any:
    def make(_folder: pathlib.Path) -> tuple[logging.Handler, Callable[[], list[str]]]:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        server.settimeout(10)

        def lines() -> list[str]:
            with server:
                return [read(server.recv(4096)) for _ in range(2)]

        return kind(server.getsockname()), lines

    return make


HANDLERS: dict[str, Callable[[pathlib.Path], tuple[logging.Handler, Callable[[], list[str]]]]] = {
    "file": lambda folder: (logging.FileHandler(folder / "log"), lines_of("log")),
    "file that is opened late": lambda folder: (logging.FileHandler(folder / "log", delay=True), lines_of("log")),
    "rotating file": rotating,
    "file rotated by time": rotating_by_time,
    "watched file": watched,
    "memory": in_memory,
    "stream": on_a_stream,
    "queue": queued,
    "socket": over_tcp,
    "datagram": by_datagram(
        lambda address: logging.handlers.DatagramHandler(*address), lambda data: pickle.loads(data[4:])["msg"]
    ),
    "syslog": by_datagram(
        lambda address: logging.handlers.SysLogHandler(address), lambda data: data.decode().strip("<>0123456789\0")
    ),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_a_handler_that_was_there_before_the_run_writes_each_line_once(
    play: Play, folder: pathlib.Path, name: str
) -> None:
    app = Workflows()
    handler, lines = HANDLERS[name](folder)

    @app.workflow
    async def body() -> None:
        log.warning("first")
        await sleep("1 day")
        log.warning("second")

    log.addHandler(handler)
    try:
        assert play(body).value is None
        assert lines() == ["first", "second"]
    finally:
        log.removeHandler(handler)
        handler.close()


# -- what is refused --------------------------------------------------------------------------------------------------------


async def in_the_loop(method: str, *args: object) -> object:
    return await value_of(lambda: getattr(asyncio.get_running_loop(), method)(*args))


def in_a_pool(kind: type[concurrent.futures.Executor]) -> object:
    with kind(1) as pool:  # type: ignore[call-arg]
        return pool.submit(os.getpid).result()


def spawned(method: str) -> object:
    process = multiprocessing.get_context(method).Process(target=os.getpid)  # type: ignore[attr-defined]
    process.start()
    return process.join()


def mapped() -> object:
    with open("there") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).read()


def connected() -> object:
    with socket.socket() as opened:
        return opened.connect(("127.0.0.1", 9))


def forked() -> object:
    if (child := os.fork()) == 0:
        os._exit(0)
    return os.waitpid(child, 0)


def low_level_thread() -> object:
    import _thread

    return _thread.start_new_thread(os.getpid, ())


DISCARD = "http://127.0.0.1:9/"
NOWHERE = ("127.0.0.1", 9)
NOTHING = "nothing-of-this-name"

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "open to write": (lambda: open("new", "w"), "open the file 'new'"),  # noqa: SIM115
    "open to read": (lambda: open("there"), "open the file 'there'"),  # noqa: SIM115
    "open to append": (lambda: open("there", "a"), "open the file 'there'"),  # noqa: SIM115
    "io.FileIO": (lambda: io.FileIO("there"), "open the file 'there'"),
    "os.open": (lambda: os.open("there", os.O_RDONLY), "open the file 'there'"),
    "Path.write_text": (lambda: pathlib.Path("new").write_text("x"), "open the file 'new'"),
    "Path.read_bytes": (lambda: pathlib.Path("there").read_bytes(), "open the file 'there'"),
    "Path.touch": (lambda: pathlib.Path("new").touch(), "change the times of 'new'"),
    "Path.unlink": (lambda: pathlib.Path("there").unlink(), "remove the file 'there'"),
    "Path.mkdir": (lambda: pathlib.Path("new").mkdir(), "make the folder 'new'"),
    "Path.rename": (lambda: pathlib.Path("there").rename("new"), "rename 'there' to 'new'"),
    "Path.symlink_to": (lambda: pathlib.Path("new").symlink_to("there"), "link 'new' to 'there'"),
    "Path.hardlink_to": (lambda: pathlib.Path("new").hardlink_to("there"), "link 'new' to 'there'"),
    "Path.chmod": (lambda: pathlib.Path("there").chmod(0o600), "change the mode of 'there'"),
    "os.remove": (lambda: os.remove("there"), "remove the file 'there'"),
    "os.replace": (lambda: os.replace("there", "new"), "rename 'there' to 'new'"),
    "os.makedirs": (lambda: os.makedirs("new/new"), "make the folder 'new'"),
    "os.rmdir": (lambda: os.rmdir("folder"), "remove the folder 'folder'"),
    "os.truncate": (lambda: os.truncate("there", 0), "truncate the file 'there'"),
    "os.utime": (lambda: os.utime("there", (0, 0)), "change the times of 'there'"),
    "os.chown": (lambda: os.chown("there", -1, -1), "change the owner of 'there'"),
    "shutil.copy": (lambda: shutil.copy("there", "new"), "open the file 'there'"),
    "shutil.move": (lambda: shutil.move("there", "new"), "rename 'there' to 'new'"),
    "shutil.rmtree": (lambda: shutil.rmtree("folder"), "open the file 'folder'"),
    "mkstemp": (lambda: tempfile.mkstemp(), "open the file '"),
    "mkdtemp": (lambda: tempfile.mkdtemp(), "make the folder '"),
    "TemporaryDirectory": (lambda: tempfile.TemporaryDirectory(), "make the folder '"),
    "NamedTemporaryFile": (lambda: tempfile.NamedTemporaryFile(), "open the file '"),  # noqa: SIM115
    "mmap": (mapped, "open the file 'there'"),
    "gzip.open": (lambda: gzip.open("new", "wb"), "open the file 'new'"),  # noqa: SIM115
    "ZipFile": (lambda: zipfile.ZipFile("new", "w"), "open the file 'new'"),
    "tarfile.open": (lambda: tarfile.open("new", "w"), "open the file '"),  # noqa: SIM115
    "fileinput": (lambda: list(fileinput.input(["there"])), "open the file 'there'"),  # noqa: SIM115
    "dbm": (lambda: dbm.dumb.open("new", "c"), "open the file "),  # noqa: SIM115
    "shelve": (lambda: shelve.open("new"), "open the file "),  # noqa: SIM115
    "FileHandler": (lambda: logging.FileHandler(os.devnull), "open the file '/dev/null'"),
    "basicConfig": (lambda: logging.basicConfig(filename=os.devnull, force=True), "open the file '/dev/null'"),
    "SysLogHandler": (lambda: logging.handlers.SysLogHandler(NOWHERE), "look up the host '127.0.0.1'"),
    "QueueListener": (lambda: logging.handlers.QueueListener(queue.Queue()).start(), "start a thread"),
    "socket": (lambda: socket.socket(), "open a socket"),
    "connect": (connected, "open a socket"),
    "create_connection": (lambda: socket.create_connection(NOWHERE), "look up the host '127.0.0.1'"),
    "create_server": (lambda: socket.create_server(("127.0.0.1", 0)), "open a socket"),
    "getaddrinfo": (lambda: socket.getaddrinfo("localhost", 80), "look up the host 'localhost'"),
    "gethostbyname": (lambda: socket.gethostbyname("localhost"), "look up the host 'localhost'"),
    "gethostbyaddr": (lambda: socket.gethostbyaddr("127.0.0.1"), "look up the host '127.0.0.1'"),
    "getnameinfo": (lambda: socket.getnameinfo(NOWHERE, 0), "look up the host ('127.0.0.1', 9)"),
    "ssl": (lambda: ssl.get_server_certificate(NOWHERE), "look up the host '127.0.0.1'"),
    "urlopen": (lambda: urllib.request.urlopen(DISCARD), "look up the host '127.0.0.1'"),
    "http.client": (lambda: http.client.HTTPConnection(*NOWHERE).request("GET", "/"), "look up the host '127.0.0.1'"),
    "smtplib": (lambda: smtplib.SMTP(*NOWHERE), "look up the host '127.0.0.1'"),
    "httpx": (lambda: httpx.get(DISCARD, trust_env=False, verify=False), "look up the host '127.0.0.1'"),
    "sqlite3": (lambda: sqlite3.connect(":memory:"), "open the database ':memory:'"),
    "subprocess.run": (lambda: subprocess.run([NOTHING], check=False), f"run the program '{NOTHING}'"),
    "Popen": (lambda: subprocess.Popen(NOTHING), f"run the program '{NOTHING}'"),
    "check_output": (lambda: subprocess.check_output([NOTHING]), f"run the program '{NOTHING}'"),
    "os.system": (lambda: os.system("exit 0"), "run the command b'exit 0'"),
    "os.popen": (lambda: os.popen("exit 0"), "run the program '/bin/sh'"),
    "os.fork": (forked, "fork the process"),
    "os.execv": (lambda: os.execv(f"/{NOTHING}", [NOTHING]), f"run the program '/{NOTHING}'"),
    "os.posix_spawn": (lambda: os.posix_spawn(f"/{NOTHING}", [NOTHING], {}), f"run the program '/{NOTHING}'"),
    "multiprocessing, fork": (lambda: spawned("fork"), "fork the process"),
    "multiprocessing, spawn": (lambda: spawned("spawn"), "run a program"),
    "Thread": (lambda: threading.Thread(target=os.getpid).start(), "start a thread"),
    "Timer": (lambda: threading.Timer(1, os.getpid).start(), "start a thread"),
    "_thread": (low_level_thread, "start a thread"),
    "ThreadPoolExecutor": (lambda: in_a_pool(concurrent.futures.ThreadPoolExecutor), "start a thread"),
    "run_in_executor": (lambda: in_the_loop("run_in_executor", None, os.getpid), "use run_in_executor()"),
    "to_thread": (lambda: asyncio.to_thread(os.getpid), "use run_in_executor()"),
    "create_subprocess_exec": (lambda: asyncio.create_subprocess_exec(NOTHING), "use subprocess_exec()"),
    "create_subprocess_shell": (lambda: asyncio.create_subprocess_shell("exit 0"), "use subprocess_shell()"),
    "open_connection": (lambda: asyncio.open_connection(*NOWHERE), "use create_connection()"),
    "start_server": (lambda: asyncio.start_server(print, "127.0.0.1", 0), "use create_server()"),
    "loop.getaddrinfo": (lambda: in_the_loop("getaddrinfo", "localhost", 80), "use getaddrinfo()"),
    "add_reader": (lambda: in_the_loop("add_reader", 0, print), "use add_reader()"),
    "add_signal_handler": (
        lambda: in_the_loop("add_signal_handler", signal.SIGUSR1, print),
        "use add_signal_handler()",
    ),
    "time.sleep": (lambda: time.sleep(0), "call time.sleep()"),
    "input": (lambda: input("? "), "call input()"),
}

INSTEAD = ("step", "hook", "await sleep(")


@pytest.mark.parametrize("name", REFUSED)
def test_an_idiom_with_an_effect_fails_the_run_even_if_the_body_catches_the_refusal(
    play: Play, folder: pathlib.Path, name: str
) -> None:
    app = Workflows()
    idiom, tried = REFUSED[name]
    multiprocessing.resource_tracker.ensure_running()  # where there is none, "spawn" is refused at another line
    caught: list[type] = []
    before = [(path.name, path.stat().st_mtime, path.stat().st_mode) for path in sorted(folder.iterdir())]
    handlers = list(logging.getLogger().handlers)

    @app.workflow
    async def body() -> str:
        try:
            await value_of(idiom)
        except BaseException as error:
            caught.append(type(error))
        return "as if nothing had happened"

    finished = play(body)
    logging.getLogger().handlers[:] = handlers
    assert isinstance(finished.error, WorkflowSandboxError)
    message = str(finished.error)
    assert message.startswith(f"the body of run {finished.run.run_id} tried to {tried}")
    assert any(word in message.partition("it may not do that. ")[2] for word in INSTEAD)
    assert caught == [WorkflowSandboxError]
    assert finished.types == ["run_created", "run_started", "run_failed"]
    assert [(path.name, path.stat().st_mtime, path.stat().st_mode) for path in sorted(folder.iterdir())] == before


def test_an_idiom_that_fails_in_a_body_works_in_a_step(play: Play, folder: pathlib.Path) -> None:
    app = Workflows()

    @app.step
    async def change() -> list[str]:
        (folder / "new").mkdir()
        os.rename("there", "new/there")
        os.rmdir("folder")
        logging.FileHandler("log").close()
        return sorted(os.listdir("."))

    @app.workflow
    async def body() -> list[str]:
        return await change()

    assert play(body).value == ["log", "new"]


NOT_SEEN: dict[str, Callable[[], Any]] = {
    "ctypes.CDLL": lambda: ctypes.CDLL(None) is not None,
    "signal.signal": lambda: signal.signal(signal.SIGUSR2, signal.getsignal(signal.SIGUSR2)) is not None,
    "select.select": lambda: select.select([], [], [], 0) is not None,
    "os.pipe": lambda: [os.close(end) for end in os.pipe()] == [None, None],
    "os.listdir": lambda: "there" in os.listdir("."),
    "ssl context": lambda: ssl.create_default_context() is not None,
}


@pytest.mark.parametrize("name", NOT_SEEN)
def test_the_seat_belt_does_not_hold_what_it_does_not_promise_to(play: Play, folder: pathlib.Path, name: str) -> None:
    app = Workflows()

    @app.workflow
    async def body() -> object:
        return NOT_SEEN[name]()

    assert play(body).value is True
