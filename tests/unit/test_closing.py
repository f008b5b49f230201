"""Closing bodies: no command, no warning, no unraisable, whatever the body does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import logging
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from wdk_cloud.engine import closing
from wdk_cloud.engine.loop import BodyLoop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    Body = Callable[["Run"], Coroutine[Any, Any, Any]]


class Run:
    """A run whose steps are commands, and never end."""

    def __init__(self, run_id: str = "run-1") -> None:
        self.loop = BodyLoop(run_id)
        self.commands: list[str] = []
        self.lines: list[str] = []
        self.loop.on_timer = lambda timer: self.commands.append(f"{timer.kind} {timer.delay:g}")
        self.loop.on_timer_cancelled = lambda timer: self.commands.append(f"cancel {timer.kind}")

    async def step(self, name: str = "step") -> None:
        if not self.loop.closed_inert:
            self.commands.append(name)
        await self.loop.create_future()

    def suspend(self, body: Body) -> list[str]:
        self.loop.start(body(self))
        with self.loop.slice(live=True):
            self.loop.run_until_rest()
        return list(self.commands)


async def refunds(run: Run) -> None:
    try:
        await run.step("charge")
    finally:
        run.lines.append("finally")
        await run.step("refund")
        run.lines.append("refunded")


async def never_gives_in(run: Run) -> None:
    while True:
        try:
            await run.step()
        except BaseException:
            continue


async def nested_finally(run: Run) -> None:
    try:
        try:
            try:
                await run.step()
            finally:
                await run.step("one")
        finally:
            await asyncio.sleep(3)
    finally:
        async with asyncio.timeout(4):
            await run.step("three")


async def catches_generator_exit(run: Run) -> None:
    try:
        await run.step()
    except GeneratorExit:
        await run.step("caught")


async def group(run: Run) -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(refunds(run))
        await run.step()


async def deadline(run: Run) -> None:
    async with asyncio.timeout(60):
        try:
            await asyncio.wait_for(run.step(), 30)
        finally:
            await asyncio.wait_for(run.step("late"), 30)


async def counting(run: Run) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        run.lines.append("generator")
        await run.step("of the generator")
        await run.step("again")


async def async_generators(run: Run) -> None:
    async for _ in counting(run):
        break
    held = counting(run)
    async for _ in held:
        await run.step()


async def inside_an_async_generator(run: Run) -> None:
    async def waiting() -> AsyncIterator[int]:
        yield 1
        await refunds(run)

    async for _ in waiting():
        pass


async def unstarted_coroutines(run: Run) -> None:
    kept = [run.step("never"), refunds(run)]
    await run.step()
    del kept


async def unstarted_tasks(run: Run) -> None:
    try:
        await run.step()
    finally:
        asyncio.create_task(refunds(run))  # noqa: RUF006
        asyncio.get_running_loop().call_soon(run.commands.append, "callback")
        asyncio.get_running_loop().call_later(5, run.commands.append, "timer")
        await asyncio.gather(refunds(run), refunds(run))


async def raises_on_the_way_out(run: Run) -> None:
    try:
        await run.step()
    finally:
        raise ValueError("from the finally")


async def exits_on_the_way_out(run: Run) -> None:
    try:
        await run.step()
    finally:
        sys.exit(3)


async def plain_generators(run: Run) -> None:
    @contextlib.contextmanager
    def charged() -> Iterator[None]:
        try:
            yield
        finally:
            run.lines.append("context manager")
            run.step("never awaited")

    with charged():
        await run.step()


async def driven_by_hand(run: Run) -> None:
    async def stubborn() -> None:
        while True:
            with contextlib.suppress(BaseException):
                await asyncio.sleep(0)

    coroutine = stubborn()
    coroutine.send(None)
    try:
        await run.step()
    finally:
        del coroutine  # now: "coroutine ignored GeneratorExit"


async def condition(run: Run) -> None:
    waited = asyncio.Condition()
    async with waited:
        await waited.wait()


async def failed_and_forgotten(run: Run) -> None:
    async def fail() -> None:
        raise ValueError("nobody asks")

    kept = asyncio.create_task(fail())
    await asyncio.shield(run.step())
    del kept


async def asks_for_itself(run: Run) -> None:
    try:
        await run.step()
    finally:
        run.lines.append(asyncio.current_task().get_name())  # type: ignore[union-attr]
        run.lines.append(str(asyncio.get_running_loop() is run.loop))
        print("printed")
        logging.getLogger("body").warning("logged")


async def polls(run: Run) -> None:
    try:
        await run.step()
    finally:
        for _ in range(20):
            with contextlib.suppress(GeneratorExit):
                await asyncio.sleep(0)


async def finalizer(run: Run) -> None:
    class Loud:
        def __del__(self) -> None:
            raise ValueError("in __del__")

    loud = Loud()
    await run.step()
    del loud


NASTY: list[Body] = [
    *(refunds, never_gives_in, nested_finally, catches_generator_exit, group, deadline, async_generators),
    *(inside_an_async_generator, unstarted_coroutines, unstarted_tasks, raises_on_the_way_out, exits_on_the_way_out),
    *(plain_generators, driven_by_hand, condition, failed_and_forgotten, asks_for_itself, polls, finalizer),
]


@pytest.mark.parametrize("body", NASTY)
def test_closing_leaves_no_trace(
    body: Body,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gc.collect()
    caplog.clear()  # what tests before this one have left is not of this body
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: unraisable.append(report.exc_value))
    parked = len(closing.parked)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        run = Run()
        commands = run.suspend(body)
        run.loop.close_body()
        run.loop.close_body()
        gc.collect()
        gc.collect()
    output = capsys.readouterr()
    assert (run.commands, unraisable, [str(warning.message) for warning in warned]) == (commands, [], [])
    assert (output.out, output.err) == ("", "")
    stubborn = body is never_gives_in
    assert len(closing.parked) - parked == stubborn
    assert len(caplog.records) == stubborn
    assert run.loop.tasks() == []


def test_what_never_gives_in_is_parked_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    run = Run("run-7")
    run.suspend(never_gives_in)
    run.loop.close_body()
    assert "the body of run run-7 catches BaseException" in caplog.text
    task = closing.parked[-1]
    assert isinstance(task, asyncio.Task)
    assert not task.done()


def test_plain_statements_of_a_finally_do_run_and_a_durable_call_suspends() -> None:
    run = Run()
    run.suspend(refunds)
    run.loop.close_body()
    assert run.lines == ["finally"]


def test_a_coroutine_is_closed_in_its_own_context_and_task() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="of the host")

    async def body(run: Run) -> None:
        variable.set("of the body")
        try:
            await asks_for_itself(run)
        finally:
            run.lines.append(variable.get())

    run = Run()
    run.suspend(body)
    run.loop.close_body()
    assert run.lines == ["Task-1", "True", "of the body"]
    assert variable.get() == "of the host"


def test_the_youngest_task_is_closed_first() -> None:
    async def child(run: Run, name: str) -> None:
        try:
            await run.step()
        finally:
            run.lines.append(name)

    async def body(run: Run) -> None:
        kept = [asyncio.create_task(child(run, name)) for name in "abc"]
        await child(run, "root")
        del kept

    run = Run()
    run.suspend(body)
    run.loop.close_body()
    assert run.lines == ["c", "b", "a", "root"]


def test_the_guard_stays_on_while_a_body_is_closed() -> None:
    async def body(run: Run) -> None:
        try:
            await run.step()
        finally:
            try:
                open(__file__)  # noqa: SIM115
            except Exception as error:
                run.lines.append(type(error).__name__)

    run = Run()
    run.suspend(body)
    run.loop.close_body()
    assert run.lines == ["WorkflowSandboxError"]


def test_an_interrupt_while_closing_is_raised_when_all_is_closed() -> None:
    async def body(run: Run) -> None:
        try:
            await run.step()
        finally:
            run.lines.append("one")
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = Run()
        run.suspend(body)
        with pytest.raises(KeyboardInterrupt):
            run.loop.close_body()
        assert run.lines == ["one"]
        assert run.loop.tasks() == []
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_body_can_be_closed_from_another_thread() -> None:
    run = Run()
    commands = run.suspend(refunds)
    thread = threading.Thread(target=run.loop.close_body)
    thread.start()
    thread.join()
    assert (run.lines, run.commands) == (["finally"], commands)


def test_a_closed_loop_accepts_everything_and_does_nothing() -> None:
    run = Run()
    run.suspend(refunds)
    commands = list(run.commands)
    run.loop.close_body()
    assert run.loop.is_closed()
    run.loop.call_soon(run.commands.append, "soon")
    run.loop.call_later(1, run.commands.append, "later").cancel()
    run.loop.create_future().cancel()
    with run.loop.slice(live=False):
        run.loop.run_until_rest()
    assert run.commands == commands


def test_a_dropped_run_is_held_until_it_is_closed() -> None:
    lines: list[str] = []

    def drop() -> None:
        run = Run("dropped")
        run.lines = lines
        run.suspend(refunds)

    drop()
    gc.collect()
    assert lines == []
    (loop,) = [loop for loop in closing.open_loops.values() if loop.run_id == "dropped"]
    loop.close_body()
    assert lines == ["finally"]


def test_a_run_that_has_ended_is_not_held() -> None:
    async def body(run: Run) -> None:
        await asyncio.create_task(asyncio.sleep(0))

    run = Run()
    run.suspend(body)
    assert id(run.loop) not in closing.open_loops


SCRIPT = """
    import asyncio, sys
    from wdk_cloud.engine import closing
    from wdk_cloud.engine.loop import BodyLoop

    def refund(loop):
        sys.stdout.write("nothing" if loop.closed_inert or closing.exited else "REALLY RAN")

    async def body(loop):
        try:
            await loop.create_future()
        finally:
            refund(loop)

    async def stubborn(loop):
        while True:
            try:
                await loop.create_future()
            except BaseException:
                pass

    def suspend(body):
        loop = BodyLoop("run")
        loop.start(body(loop))
        with loop.slice(live=True):
            loop.run_until_rest()

    suspend(body)
    suspend(stubborn)
"""


def test_the_end_of_the_interpreter_closes_what_is_left() -> None:
    script = textwrap.dedent(SCRIPT)
    ended = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "nothing"
    assert ended.stderr.splitlines() == [line for line in ended.stderr.splitlines() if "cannot be closed" in line]
