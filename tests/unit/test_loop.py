"""The deterministic loop: order, hashes, timers, limits, interrupts."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import signal
import sys
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from wdk_cloud.engine import loop as loop_module
from wdk_cloud.engine.loop import BodyInterrupted, BodyLoop, DurableTimer
from wdk_cloud.errors import WorkflowSandboxError, WorkflowStalledError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator


class Host:
    """The least of an engine: steps end in the order in which they were asked for; timers fire when no step is left."""

    def __init__(self, run_id: str = "run-1") -> None:
        self.loop = BodyLoop(run_id)
        self.loop.now = 1_000.0
        self.loop.on_timer = self.timer
        self.loop.on_timer_cancelled = self.timer_cancelled
        self.cancelled: list[DurableTimer] = []
        self.timers: list[DurableTimer] = []
        self.due: list[DurableTimer] = []
        self.outstanding: list[Callable[[], object]] = []

    def timer(self, timer: DurableTimer) -> None:
        self.timers.append(timer)
        self.due.append(timer)

    def timer_cancelled(self, timer: DurableTimer) -> None:
        self.cancelled.append(timer)
        self.due.remove(timer)

    async def step(self, value: Any = None, error: BaseException | None = None) -> Any:
        future = self.loop.create_future()

        def complete() -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(value)

        self.outstanding.append(complete)
        return await future

    def begin(self, coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        root = self.loop.start(coro)
        with self.loop.slice(live=True):
            self.loop.run_until_rest()
        return root

    def run(self, coro: Coroutine[Any, Any, Any]) -> Any:
        root = self.begin(coro)
        with self.loop.slice(live=True):
            while (self.outstanding or self.due) and not root.done():
                self.outstanding.pop(0)() if self.outstanding else self.due.pop(0).fire()
                self.loop.delivered()
                self.loop.run_until_rest()
        assert root.done(), self.loop.waiting_for()
        self.loop.close_body()
        return root.result()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.loop.close_body()


# --- order ------------------------------------------------------------------------------------------------------------


async def _gather(host: Host, seen: list[Any]) -> None:
    async def one(n: int) -> None:
        await host.step()
        seen.append(n)

    seen.append(await asyncio.gather(*(one(n) for n in range(12))))


async def _gather_with_failures(host: Host, seen: list[Any]) -> None:
    steps = [host.step(n, ValueError(n) if n % 3 == 0 else None) for n in range(9)]
    seen.extend(str(result) for result in await asyncio.gather(*steps, return_exceptions=True))


async def _wait_first(host: Host, seen: list[Any]) -> None:
    pending = {asyncio.create_task(host.step(n), name=f"t{n}") for n in range(20)}
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        seen.append([task.get_name() for task in done])
        seen.append([task.get_name() for task in pending])


async def _as_completed(host: Host, seen: list[Any]) -> None:
    async def one(n: int) -> int:
        seen.append(n)
        return await host.step(n)

    steps = asyncio.as_completed([one(n) for n in range(12)], timeout=60)
    seen.extend([await earliest for earliest in steps])


async def _task_group_abort(host: Host, seen: list[Any]) -> None:
    async def one(n: int) -> None:
        try:
            await host.step(n, ValueError() if n == 2 else None)
        finally:
            seen.append(n)

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(one(n))
    except* ValueError as failed:
        seen.append(len(failed.exceptions))


async def _set_of_gathers(host: Host, seen: list[Any]) -> None:
    gathers = {asyncio.gather(host.step(n), host.step(-n)) for n in range(8)}
    seen.extend([await gathered for gathered in gathers])


async def _queue_and_locks(host: Host, seen: list[Any]) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    lock, slots, condition = asyncio.Lock(), asyncio.Semaphore(2), asyncio.Condition()
    event, barrier = asyncio.Event(), asyncio.Barrier(3)

    async def worker(n: int) -> None:
        await barrier.wait()
        async with slots, lock:
            seen.append(("lock", n))
            await host.step()
        await event.wait()
        async with condition:
            condition.notify_all()
        await queue.put(n)

    workers = [asyncio.create_task(worker(n)) for n in range(3)]
    for _ in range(3):
        event.set()
        seen.append(await asyncio.wait_for(queue.get(), 5))
    await asyncio.shield(asyncio.gather(*workers))


async def _all_tasks(host: Host, seen: list[Any]) -> None:
    kept = [asyncio.create_task(host.step(), name=f"t{n}") for n in range(40)]
    for task in kept[::3]:
        task.cancel()
    await asyncio.sleep(0)
    seen.append([task.get_name() for task in asyncio.all_tasks()])


@pytest.mark.parametrize(
    "body",
    [
        *(_gather, _gather_with_failures, _wait_first, _as_completed, _task_group_abort, _set_of_gathers),
        *(_queue_and_locks, _all_tasks),
    ],
)
def test_one_order_in_sixty_runs(body: Callable[[Host, list[Any]], Coroutine[Any, Any, None]]) -> None:
    orders: set[str] = set()
    ballast: list[object] = []
    for n in range(60):
        ballast.extend(object() for _ in range(n * 7 % 50))  # other addresses each time
        seen: list[Any] = []
        host = Host()
        host.run(body(host, seen))
        orders.add(repr(seen))
    assert len(orders) == 1


def test_as_completed_begins_its_tasks_in_the_order_of_the_arguments(host: Host) -> None:
    seen: list[Any] = []
    host.run(_as_completed(host, seen))
    assert seen[:12] == list(range(12))


def test_as_completed_refuses_what_the_original_refuses(host: Host) -> None:
    async def body() -> str:
        step = host.step()
        try:
            list(asyncio.as_completed(step))  # type: ignore[arg-type]
        except TypeError as error:
            return str(error)
        finally:
            step.close()
        return ""

    assert "coroutine" in host.run(body())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="as_completed is an async iterator from 3.13 on")
def test_as_completed_is_an_async_iterator_too(host: Host) -> None:
    async def body() -> list[int]:
        return [await task async for task in asyncio.as_completed([host.step(n) for n in range(5)])]

    assert host.run(body()) == [0, 1, 2, 3, 4]


def test_tasks_and_futures_hash_by_birth_above_a_base_of_the_run(host: Host) -> None:
    base = zlib.crc32(b"run-1") << 24

    async def body() -> list[Any]:
        root = asyncio.current_task()
        child = asyncio.create_task(host.step())
        future = asyncio.get_running_loop().create_future()
        gathered = asyncio.gather(future)
        child.cancel(), gathered.cancel()
        return [hash(root), hash(child), hash(future), hash(gathered), root.get_name(), child.get_name()]

    assert host.run(body()) == [base + 1, base + 2, base + 3, base + 4, "Task-1", "Task-2"]


def test_gather_outside_a_body_is_as_ever() -> None:
    async def main() -> list[int]:
        return await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))

    assert asyncio.run(main()) == [1, 2]


def test_all_tasks_are_those_of_the_body(host: Host) -> None:
    async def body() -> list[str]:
        asyncio.create_task(host.step())  # noqa: RUF006 - the loop holds it
        return sorted(task.get_name() for task in asyncio.all_tasks())

    assert host.run(body()) == ["Task-1", "Task-2"]


def test_ready_callbacks_run_first_in_first_out(host: Host) -> None:
    async def body() -> list[int]:
        seen: list[int] = []
        for n in range(5):
            asyncio.get_running_loop().call_soon(seen.append, n)
        cancelled = asyncio.get_running_loop().call_soon(seen.append, 99)
        cancelled.cancel()
        await asyncio.sleep(0)
        return seen

    assert host.run(body()) == [0, 1, 2, 3, 4]


# --- contexts ---------------------------------------------------------------------------------------------------------

request: contextvars.ContextVar[str] = contextvars.ContextVar("request")


def test_the_root_task_starts_in_an_empty_context(host: Host) -> None:
    token = request.set("of the first delivery")
    try:

        async def body() -> str:
            before = request.get("nothing")
            request.set("of the body")
            return before + await asyncio.create_task(child())

        async def child() -> str:
            await host.step()
            return ", " + request.get()

        assert host.run(body()) == "nothing, of the body"
        assert request.get() == "of the first delivery"
    finally:
        request.reset(token)


# --- timers -----------------------------------------------------------------------------------------------------------


def test_sleeps_and_timeouts_are_told_apart(host: Host) -> None:
    async def body() -> None:
        await asyncio.sleep(3)
        async with asyncio.timeout(4):
            await host.step()
        await asyncio.wait_for(host.step(), 5)
        await asyncio.wait([asyncio.create_task(host.step())], timeout=6)
        asyncio.get_running_loop().call_later(7, print)

    host.run(body())
    assert [(timer.kind, timer.delay) for timer in host.timers] == [
        *(("sleep", 3), ("timeout", 4), ("timeout", 5), ("timeout", 6), ("timeout", 7)),
    ]
    assert [timer.delay for timer in host.cancelled] == [4, 5, 6]


def test_a_timer_is_reported_as_cancelled_once_and_never_after_it_fired(host: Host) -> None:
    fired: list[int] = []
    with host.loop.slice(live=True):
        timer = host.loop.call_at(1_002.5, fired.append, 1)
        other = host.loop.call_later(1, fired.append, 2)
        timer.cancel(), timer.cancel()
        assert isinstance(other, DurableTimer)
        other.fire()
        other.fire()
        other.cancel()
        host.timers[0].fire()
        host.loop.run_until_rest()
    assert (timer.when(), host.timers[0].delay, timer.cancelled()) == (1_002.5, 2.5, True)
    assert fired == [2]
    assert host.cancelled == [timer]


def test_a_sleep_of_nothing_is_a_bare_yield_and_no_wait(host: Host) -> None:
    async def body() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(-1)
        asyncio.get_running_loop().call_later(0, seen.append, "due")
        await asyncio.sleep(0, "result")
        return "done"

    seen: list[str] = []
    assert host.run(body()) == "done"
    assert (seen, host.timers) == (["due"], [])


def test_a_wait_without_end_is_no_timer(host: Host) -> None:
    async def body() -> str:
        async with asyncio.timeout(math.inf):
            await host.step()
        return await asyncio.wait_for(host.step("x"), math.inf)

    assert host.run(body()) == "x"
    assert (host.timers, host.cancelled) == ([], [])


def test_a_delay_that_is_no_number_is_refused(host: Host) -> None:
    async def body() -> None:
        await asyncio.sleep(math.nan)

    with pytest.raises(ValueError, match="NaN"):
        host.run(body())


def test_the_loop_tells_the_time_of_the_last_delivery(host: Host) -> None:
    async def body() -> list[float]:
        loop = asyncio.get_running_loop()
        times = [loop.time()]
        await host.step()
        return [*times, loop.time()]

    root = host.begin(body())
    host.loop.now = 1_060.0
    with host.loop.slice(live=True):
        host.outstanding.pop()()
        host.loop.run_until_rest()
    assert root.result() == [1_000.0, 1_060.0]


# --- limits and interrupts --------------------------------------------------------------------------------------------


def test_a_body_that_never_rests_is_stalled_even_if_it_catches_everything(host: Host) -> None:
    async def body() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(0)

    host.loop.start(body())
    with host.loop.slice(live=True), pytest.raises(WorkflowStalledError, match=r"100,000 callbacks .* never rests"):
        host.loop.run_until_rest()


def test_the_callbacks_are_counted_from_the_last_delivery(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_module, "MAX_CALLBACKS", 10)

    async def body() -> str:
        for _ in range(5):
            for _ in range(6):
                await asyncio.sleep(0)
            await host.step()
        return "done"

    assert host.run(body()) == "done"


def test_running_outside_a_slice_is_a_bug(host: Host) -> None:
    with pytest.raises(RuntimeError, match="bug in wdk-cloud"):
        host.loop.run_until_rest()


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, MemoryError, RecursionError])
@pytest.mark.parametrize("where", ["root", "child that is caught", "callback"])
def test_an_interrupt_is_not_the_bodys_doing(host: Host, interrupt: type[BaseException], where: str) -> None:
    def stop() -> None:
        raise interrupt

    async def child() -> None:
        stop()

    async def body() -> str:
        if where == "root":
            stop()
        elif where == "callback":
            asyncio.get_running_loop().call_soon(stop)
            await asyncio.sleep(0)
        else:
            await asyncio.gather(child(), return_exceptions=True)
        return "recorded"

    host.loop.start(body())
    with host.loop.slice(live=True), pytest.raises(BodyInterrupted) as caught:
        host.loop.run_until_rest()
    assert type(caught.value.__cause__) is interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_interrupts_a_body_that_catches_everything(host: Host, number: signal.Signals) -> None:
    def terminate(*_: object) -> None:
        raise SystemExit(3)

    async def body() -> str:
        try:
            signal.raise_signal(number)
        except BaseException:
            return "ignored"
        return "never"

    before = signal.getsignal(number)
    handler = signal.default_int_handler if number == signal.SIGINT else terminate
    signal.signal(number, handler)
    try:
        host.loop.start(body())
        with host.loop.slice(live=True), pytest.raises(BodyInterrupted) as caught:
            host.loop.run_until_rest()
        assert type(caught.value.__cause__) is (KeyboardInterrupt if number == signal.SIGINT else SystemExit)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)


# --- what a body cannot have ------------------------------------------------------------------------------------------


async def _to_thread() -> None:
    await asyncio.to_thread(print)


async def _executor() -> None:
    await asyncio.get_running_loop().run_in_executor(None, print)


async def _factory() -> None:
    asyncio.get_running_loop().set_task_factory(None)


async def _connection() -> None:
    await asyncio.open_connection("localhost", 1)


async def _subprocess() -> None:
    await asyncio.create_subprocess_exec("true")


async def _reader() -> None:
    asyncio.get_running_loop().add_reader(0, print)


async def _signal_handler() -> None:
    asyncio.get_running_loop().add_signal_handler(2, print)


async def _stop() -> None:
    asyncio.get_running_loop().stop()


async def _bare_task() -> None:
    never = _stop()
    try:
        asyncio.Task(never)
    finally:
        never.close()


@pytest.mark.parametrize(
    ("body", "instead"),
    [
        *((_to_thread, "plain `def` steps"), (_executor, "plain `def` steps"), (_factory, "eager_start")),
        *((_connection, "in a step"), (_subprocess, "in a step"), (_reader, "in a step")),
        *((_signal_handler, "hook"), (_stop, "engine"), (_bare_task, "create_task")),
    ],
)
def test_the_loop_refuses_what_no_replay_could_do_again(host: Host, body: Any, instead: str) -> None:
    with pytest.raises(WorkflowSandboxError, match=f"run run-1 tried to.*{instead}") as caught:
        host.run(body())
    assert host.loop.guard.violation is caught.value


def test_another_thread_cannot_call_into_a_body(host: Host) -> None:
    caught: list[Exception] = []

    def elsewhere() -> None:
        try:
            host.loop.call_soon_threadsafe(print)
        except WorkflowSandboxError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "another thread" in str(caught[0])


def test_call_soon_threadsafe_from_the_body_itself_is_call_soon(host: Host) -> None:
    async def body() -> list[int]:
        seen: list[int] = []
        asyncio.get_running_loop().call_soon_threadsafe(seen.append, 1)
        await asyncio.sleep(0)
        return seen

    assert host.run(body()) == [1]


def test_a_future_of_another_loop_is_explained(host: Host) -> None:
    async def make() -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    foreign = asyncio.run(make())

    async def body() -> None:
        await foreign

    with pytest.raises(RuntimeError, match="different loop") as caught:
        host.run(body())
    explained = host.loop.explain(caught.value)
    assert isinstance(explained, WorkflowSandboxError)
    assert "another event loop" in str(explained)
    assert explained.__cause__ is caught.value
    other = RuntimeError("other")
    assert host.loop.explain(other) is other


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_begins_at_once(host: Host) -> None:
    async def child(seen: list[str]) -> str:
        seen.append("begun")
        return await host.step("ended")

    async def body() -> list[str]:
        seen: list[str] = []
        loop: Any = asyncio.get_running_loop()
        task = loop.create_task(child(seen), eager_start=True)
        done = loop.create_task(asyncio.sleep(0, None), eager_start=None, name="plain")
        seen.append("next")
        finished = loop.create_task(nothing(), eager_start=True)
        assert finished.done()
        await done
        return [*seen, await task]

    async def nothing() -> None: ...

    assert host.run(body()) == ["begun", "next", "ended"]
    assert host.loop.tasks() == []


# --- what the engine asks ---------------------------------------------------------------------------------------------


def test_tasks_are_held_until_they_end_and_listed_by_birth(host: Host) -> None:
    async def body() -> None:
        for _ in range(3):
            asyncio.create_task(host.step())  # noqa: RUF006 - the loop holds it
        await host.step()

    host.begin(body())
    assert [task.get_name() for task in host.loop.tasks()] == ["Task-1", "Task-2", "Task-3", "Task-4"]


async def _forever(event: asyncio.Event) -> None:
    await event.wait()  # the line that is reported


def test_waiting_for_says_where_each_task_stands(host: Host) -> None:
    async def body() -> None:
        child = asyncio.create_task(_forever(asyncio.Event()))
        await asyncio.gather(child)

    host.begin(body())
    root, child = host.loop.waiting_for()
    assert root.startswith(f"Task-1 at {__file__}:")
    assert root.endswith("body, awaiting asyncio.gather()")
    number = _forever.__code__.co_firstlineno + 1
    assert child == f"Task-2 at {__file__}:{number} in _forever, awaiting asyncio.Event.wait()"


def test_waiting_for_names_the_task_that_is_awaited(host: Host) -> None:
    async def body() -> None:
        child = asyncio.create_task(_forever(asyncio.Event()), name="the other")
        await child

    host.begin(body())
    assert host.loop.waiting_for()[0].endswith("awaiting the task the other")


def test_a_failing_callback_is_logged_and_the_body_goes_on(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise ValueError("callback")

    async def body() -> str:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(0)
        return "done"

    assert host.run(body()) == "done"
    assert "Exception in callback" in caplog.text
    assert "run: run-1" in caplog.text


def test_the_bodys_exception_handler_is_called(host: Host) -> None:
    async def body() -> list[str]:
        seen: list[str] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append(context["message"]))
        assert loop.get_exception_handler() is not None
        loop.call_exception_handler({"message": "m"})
        return seen

    assert host.run(body()) == ["m"]


# --- async generators -------------------------------------------------------------------------------------------------


def test_async_generators_left_early_are_closed_in_order_of_birth_and_may_await(host: Host) -> None:
    seen: list[Any] = []

    async def numbers(name: str) -> Any:
        try:
            for n in range(3):
                yield n
        finally:
            seen.append((name, await host.step("cleaned")))

    async def body() -> list[int]:
        for name in ("a", "b", "c"):
            async for _ in numbers(name):
                break
        async for _ in numbers("finished"):
            pass
        seen.append(len(host.loop.live_asyncgens()))
        await host.loop.shutdown_asyncgens()
        return [len(host.loop.live_asyncgens())]

    assert host.run(body()) == [0]
    assert seen == [("finished", "cleaned"), 3, ("a", "cleaned"), ("b", "cleaned"), ("c", "cleaned")]


def test_finished_async_generators_are_not_kept(host: Host) -> None:
    async def one() -> Any:
        yield 1

    async def body() -> None:
        for _ in range(200):
            async for _ in one():
                pass

    host.run(body())
    assert len(host.loop._asyncgens) < 40


def test_an_async_generator_that_fails_to_close_stops_no_other(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    async def numbers(error: Exception | None) -> Any:
        try:
            yield 1
        finally:
            seen.append("closed")
            if error:
                raise error

    async def body() -> None:
        for error in (ValueError("no"), None):
            async for _ in numbers(error):
                break
        await host.loop.shutdown_asyncgens()

    host.run(body())
    assert seen == ["closed", "closed"]
    assert "closing of asynchronous generator" in caplog.text
