"""Slices: what is swapped on entering comes back on leaving; signals; the stall watch."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any

import pytest

from wdk_cloud.engine import slices
from wdk_cloud.engine.loop import BodyLoop
from wdk_cloud.engine.slices import BodyInterrupted, active, hash_seed_fixed, interrupt_stalled, under_debugger
from wdk_cloud.errors import WorkflowStalledError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator


@pytest.fixture
def loop() -> Iterator[BodyLoop]:
    loop = BodyLoop("run-1")
    yield loop
    loop.close_body()
    assert active == {}


def run(loop: BodyLoop, body: Coroutine[Any, Any, Any], live: bool = True) -> Any:
    task = loop.start(body)
    with loop.slice(live=live):
        loop.run_until_rest()
    return task.result() if task.done() else None


def surroundings() -> list[object]:
    return [
        *(asyncio._get_running_loop(), sys.get_asyncgen_hooks(), gc.isenabled(), time.time, asyncio.as_completed),
        *(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), dict(active)),
        asyncio.current_task() if asyncio._get_running_loop() else None,
    ]


def test_leaving_restores_what_entering_swapped(loop: BodyLoop) -> None:
    async def host() -> None:
        before = surroundings()
        with loop.slice(live=True):
            during = surroundings()
        assert surroundings() == before
        assert during[0] is loop
        assert during[2] is False
        assert during[-1] is None
        with pytest.raises(ZeroDivisionError), loop.slice(live=False):
            raise ZeroDivisionError
        assert surroundings() == before

    asyncio.run(host())


def test_a_body_has_tasks_of_its_own_inside_a_task_of_the_host(loop: BodyLoop) -> None:
    async def body() -> str:
        child = asyncio.create_task(asyncio.sleep(0, "child"))
        return f"{asyncio.current_task().get_name()} {await child}"  # type: ignore[union-attr]

    async def host() -> tuple[str, bool]:
        mine = asyncio.current_task()
        return run(loop, body()), asyncio.current_task() is mine

    assert asyncio.run(host()) == ("Task-1 child", True)


def test_slices_of_two_runs_nest(loop: BodyLoop) -> None:
    inner = BodyLoop("run-2")
    loop.now, inner.now = 1.0, 2.0
    with loop.slice(live=True):
        with inner.slice(live=False):
            assert (asyncio.get_running_loop(), time.time(), inner.live) == (inner, 2.0, False)
        assert (asyncio.get_running_loop(), time.time(), loop.live) == (loop, 1.0, True)
    assert not loop.is_running()


def test_the_collector_is_off_in_a_slice_and_as_it_was_afterwards(loop: BodyLoop) -> None:
    gc.disable()
    try:
        with loop.slice(live=True):
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
    with loop.slice(live=True):
        assert not gc.isenabled()
    assert gc.isenabled()


def test_an_async_generator_begun_in_a_body_never_reaches_the_host(loop: BodyLoop) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    async def body() -> None:
        async for _ in numbers():
            break

    async def host() -> int:
        run(loop, body())
        return len(asyncio.get_running_loop()._asyncgens)  # type: ignore[attr-defined]

    assert asyncio.run(host()) == 0
    assert len(loop.live_asyncgens()) == 1


def test_slices_in_two_threads_do_not_disturb_each_other() -> None:
    before = surroundings()[1:]
    wrong: list[object] = []

    def work(number: float) -> None:
        for n in range(200):
            loop = BodyLoop(f"{number}-{n}")
            loop.now = number

            async def body() -> float:
                await asyncio.sleep(0)
                return time.time()

            if run(loop, body(), live=bool(n % 2)) != number:
                wrong.append(number)
            loop.close_body()

    threads = [threading.Thread(target=work, args=(float(number),)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert surroundings()[1:] == before


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def sigint() -> Iterator[Callable[[Any], None]]:
    before = signal.getsignal(signal.SIGINT)
    yield lambda handler: signal.signal(signal.SIGINT, handler)  # type: ignore[func-returns-value,misc]
    signal.signal(signal.SIGINT, before)


def test_a_handler_that_raises_nothing_is_just_called(loop: BodyLoop, sigint: Callable[[Any], None]) -> None:
    seen: list[Any] = []

    def handler(number: int, frame: object) -> None:
        seen.extend([number, time.time() > 1e9])  # a handler is the host's: it has the host's clock

    async def body() -> str:
        signal.raise_signal(signal.SIGINT)
        return "done"

    sigint(handler)
    assert run(loop, body()) == "done"
    assert seen == [signal.SIGINT, True]
    assert signal.getsignal(signal.SIGINT) is handler


def test_whatever_a_handler_raises_is_an_interrupt(loop: BodyLoop, sigint: Callable[[Any], None]) -> None:
    class Shutdown(Exception):
        pass

    def handler(*_: object) -> None:
        raise Shutdown

    async def body() -> None:
        signal.raise_signal(signal.SIGINT)

    sigint(handler)
    with pytest.raises(BodyInterrupted) as caught:
        run(loop, body())
    assert type(caught.value.__cause__) is Shutdown


def test_a_signal_while_a_slice_is_left_comes_when_all_is_restored(
    loop: BodyLoop, sigint: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sigint(signal.default_int_handler)
    before = surroundings()
    leave = slices.names.leave

    def interrupted_leave(*args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        leave(*args)

    with monkeypatch.context() as patched:
        patched.setattr(slices.names, "leave", interrupted_leave)
        with pytest.raises(KeyboardInterrupt), loop.slice(live=True):
            pass
    assert surroundings() == before


def test_a_handler_that_the_body_sets_stays(loop: BodyLoop, sigint: Callable[[Any], None]) -> None:
    sigint(signal.default_int_handler)
    mine = lambda *_: None  # noqa: E731

    async def body() -> None:
        signal.signal(signal.SIGINT, mine)

    run(loop, body())
    assert signal.getsignal(signal.SIGINT) is mine


# --- the stall watch --------------------------------------------------------------------------------------------------


@pytest.fixture
def watch() -> Iterator[Callable[[float], None]]:
    """Starts a thread that looks at the slices again and again."""
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def begin(limit: float) -> None:
        def look() -> None:
            while not ended.is_set():
                interrupt_stalled(limit)

        threads.append(threading.Thread(target=look))
        threads[0].start()

    yield begin
    ended.set()
    for thread in threads:
        thread.join()


@pytest.fixture(autouse=True)
def _no_debugger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "under_debugger", lambda: False)


def compute() -> None:
    while True:
        pass


def test_a_body_that_computes_for_ever_is_stalled(loop: BodyLoop, watch: Callable[[float], None]) -> None:
    async def body() -> None:
        compute()

    watch(0.05)
    with pytest.raises(WorkflowStalledError, match=r"run run-1 has computed for more than 0.05 s.*WDK_SLICE_SECONDS"):
        run(loop, body())


def test_a_body_that_catches_everything_is_stalled_too(loop: BodyLoop, watch: Callable[[float], None]) -> None:
    async def body() -> str:
        try:
            compute()
        except BaseException:
            return "recorded"
        return "never"

    watch(0.05)
    with pytest.raises(WorkflowStalledError, match="run-1"):
        run(loop, body())


def test_it_works_in_another_thread_than_the_first(loop: BodyLoop, watch: Callable[[float], None]) -> None:
    caught: list[BaseException] = []

    async def body() -> None:
        compute()

    def work() -> None:
        try:
            run(loop, body())
        except WorkflowStalledError as error:
            caught.append(error)

    watch(0.05)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert "run-1" in str(caught[0])


@pytest.fixture
def _busy_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_busy_switching")
def test_the_exception_never_strikes_after_the_slice(watch: Callable[[float], None]) -> None:
    watch(0.0005)
    stalled = 0
    for n in range(200):
        loop = BodyLoop(f"run-{n}")

        async def body(callbacks: int = n * 10) -> None:
            for _ in range(callbacks):
                await asyncio.sleep(0)

        root = loop.start(body())
        with loop.slice(live=True):
            try:
                loop.run_until_rest()
            except WorkflowStalledError as error:
                stalled += f"run-{n} " in str(error)
        for _ in range(20):  # here it would strike
            _nothing()
        loop.close_body()
        del root
    assert 0 < stalled < 200


def _nothing() -> None: ...


def test_what_is_under_way_to_a_thread_is_met_without_a_trace() -> None:
    """The watch may strike while it is being called off, when nothing around it catches any longer what comes."""
    for _ in range(100):
        slices._meet_what_is_under_way(threading.get_ident())
        for _ in range(20):  # here it would strike
            _nothing()


def test_a_profiler_finds_nothing_left_of_the_exception(watch: Callable[[float], None]) -> None:
    """On 3.11 an exception that was taken back made the interpreter repeat one instruction for ever under a profiler."""
    watch(0.0005)
    loop = BodyLoop("run")

    async def body() -> None:
        while True:
            pass

    root = loop.start(body())
    with pytest.raises(WorkflowStalledError), loop.slice(live=True):
        loop.run_until_rest()
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    faulthandler.dump_traceback_later(20, exit=True)  # nothing else ends that
    sys.setprofile(count)
    try:
        for _ in range(100):
            _nothing()
    finally:
        sys.setprofile(None)
        faulthandler.cancel_dump_traceback_later()
    assert calls == 100
    loop.close_body()
    del root


def test_a_delivery_begins_the_time_anew(loop: BodyLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    used = 0.0
    monkeypatch.setattr(slices, "_cpu", lambda _: used)
    with loop.slice(live=True) as visit:
        visit.watched = True
        interrupt_stalled(10)
        used = 9.0
        interrupt_stalled(10)
        loop.delivered()
        used = 18.0
        interrupt_stalled(10)
        used = 27.0
        interrupt_stalled(10)
        assert visit.trouble is None
        visit._unwatch()
        used = 99.0
        interrupt_stalled(10)
        assert visit.trouble is None


def test_there_is_no_limit_under_a_debugger(loop: BodyLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([0.0, 99.0, 99.0])
    monkeypatch.setattr(slices, "_cpu", lambda _: next(used))
    monkeypatch.setattr(slices, "under_debugger", lambda: True)
    with loop.slice(live=True) as visit:
        visit.watched = True
        interrupt_stalled(10)
        interrupt_stalled(10)
        visit._unwatch()
        assert visit.trouble is None


def test_a_debugger_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("debugpy", "pydevd", "_pydevd_bundle"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    assert not under_debugger()
    monkeypatch.setitem(sys.modules, "debugpy", types.ModuleType("debugpy"))
    assert under_debugger()
    monkeypatch.delitem(sys.modules, "debugpy")
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    assert under_debugger()
    tracer = types.SimpleNamespace(__module__="coverage.pytracer")
    monkeypatch.setattr(sys, "gettrace", lambda: tracer)
    assert not under_debugger()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring came with 3.12")
def test_a_debugger_by_sys_monitoring_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined]
    monitoring.use_tool_id(monitoring.DEBUGGER_ID, "test")
    try:
        assert under_debugger()
    finally:
        monitoring.free_tool_id(monitoring.DEBUGGER_ID)


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seed", "options", "fixed"),
    [("0", [], True), ("7", [], True), ("random", [], False), ("", [], False), ("7", ["-E"], False)],
)
def test_a_fixed_hash_seed_is_recognised(seed: str, options: list[str], fixed: bool) -> None:
    script = "from wdk_cloud.engine.slices import hash_seed_fixed as fixed; print(fixed())"
    script = f"import sys; sys.path[:0] = {sys.path!r}; {script}"
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    command = [sys.executable, *options, "-c", script]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == str(fixed)
    assert hash_seed_fixed() in (True, False)


def test_the_second_interpreters_hash_is_one_for_all(loop: BodyLoop) -> None:
    script = (
        "import asyncio, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from wdk_cloud.engine.loop import BodyLoop\n"
        "loop = BodyLoop('run-1')\n"
        "print(hash(loop.create_future()), hash(loop.create_future()))\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [str(hash(loop.create_future())), str(hash(loop.create_future()))]
