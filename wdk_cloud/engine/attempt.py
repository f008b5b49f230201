"""One attempt of a step in this process: its body, its time-out, its cancellation, and how it ended."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import msgspec

from wdk_cloud import durations
from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.values import decode_arguments
from wdk_cloud.context import StepContext, step_context
from wdk_cloud.engine.payloads import check_size
from wdk_cloud.engine.results import encode_result
from wdk_cloud.errors import (
    FatalError,
    RetryableError,
    SerializationError,
    StepFailedError,
    StepNotRegisteredError,
    StepTimeoutError,
    StreamClosedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from wdk_cloud.app import Step
    from wdk_cloud.codec.known import KnownTypes
    from wdk_cloud.options import StepOptions
    from wdk_cloud.world.ports import Clock


log = logging.getLogger("wdk_cloud")


class Ending(msgspec.Struct, frozen=True):
    """How an attempt ended. `final` failures are not retried; an `interrupted` attempt has no end at all."""

    kind: Literal["completed", "failed", "interrupted"]
    data: bytes = b""
    final: bool = False
    retry_at: float | None = None
    """Not before this time, when the step said so itself."""
    cause: BaseException | None = None


class Attempt:
    """A running attempt. `run` never raises; `cancel` ends a cancellable one."""

    def __init__(
        self,
        step: Step[..., Any],
        options: StepOptions,
        arguments: bytes,
        context: StepContext,
        clock: Clock,
        executor: Callable[[], Executor],
        after: asyncio.Future[object] | None = None,
    ) -> None:
        self.step = step
        self.options = options
        self.context = context
        self._arguments = arguments
        self._clock = clock
        self._executor = executor
        self._after = after
        self._task: asyncio.Future[Any] | None = None
        self._stops = 0
        """How often this attempt has cancelled its own task."""
        self._timed_out = False
        self._cancelled = self._abandoned = False
        self.thread: asyncio.Future[object] | None = None
        """The thread that still runs when a plain function outlived its time-out."""

    @property
    def known(self) -> KnownTypes:
        return self.step.app.known

    def cancel(self) -> None:
        """Raise CancelledError inside the step; a thread cannot be ended, its result will be ignored."""
        self._cancelled = True
        self._stop()

    def abandon(self) -> None:
        """End it without a result: somebody else will begin it again."""
        self._abandoned = True
        self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._stops += isinstance(self._task, asyncio.Task)

    def arguments(self) -> dict[str, object]:
        return decode_arguments(self._arguments, self.step.annotations, known=self.known)

    async def run(self) -> Ending:
        ending = await self._run()
        streams = self.context.streams
        if ending.kind == "failed" and streams.are_open:
            ending = await self._with_what_it_wrote(ending)
        streams.is_over = True
        if ending.kind == "interrupted":
            streams.abandon()
        return ending

    async def _run(self) -> Ending:
        if self._after is not None:
            await asyncio.wait([self._after])
        try:
            result = await self._call(self.arguments())
            data = encode_result(result, f"step {self.step.id}", self.known)
            check_size(data, f"the result of step {self.step.id}")
            if self.context.streams.are_open:
                await self.context.streams.drain()
            return Ending("completed", data)
        except asyncio.CancelledError as error:
            return self._after_cancelled(error)
        except (KeyboardInterrupt, MemoryError) as error:
            return Ending("interrupted", cause=error)
        except BaseException as error:  # whatever a step raises is the end of its attempt
            return self.failed(error)

    async def _with_what_it_wrote(self, ending: Ending) -> Ending:
        """Readers see what a failed attempt has written, as far as its streams take it."""
        try:
            await self.context.streams.drain()
        except asyncio.CancelledError as error:
            return Ending("interrupted", cause=error)
        except Exception as error:  # it has failed already, and is told of that
            log.warning("%s: what it wrote before it failed is lost in part: %s", self._name(), error)
        return ending

    def _name(self) -> str:
        return f"step {self.step.id} of run {self.context.run_id}"

    async def _call(self, arguments: dict[str, object]) -> object:
        timeout = self.options.timeout_seconds
        token = step_context.set(self.context)
        process = os.getpid()
        try:
            if timeout is None and not self.options.cancellable and self.step.is_async:
                return await self.step.signature.call(arguments)
            return await self._call_interruptibly(arguments, timeout)
        finally:
            step_context.reset(token)
            if os.getpid() != process:
                _end_child(self._name())

    async def _call_interruptibly(self, arguments: dict[str, object], timeout: float | None) -> object:
        """With a time-out, or cancellable, or in a thread: `_task` is what a cancel ends."""
        handle = None
        if timeout is not None:
            handle = self._clock.call_at(self._clock.now() + timeout, self._time_out)
        try:
            if not self.step.is_async:
                return await self._call_in_thread(arguments)
            self._task = asyncio.current_task()
            if self._cancelled or self._abandoned:
                raise asyncio.CancelledError
            result = await self.step.signature.call(arguments)
            if self._timed_out:
                raise asyncio.CancelledError  # the step caught it and went on: its time was over all the same
            return result
        finally:
            self._task = None
            if handle is not None:
                handle.cancel()

    async def _call_in_thread(self, arguments: dict[str, object]) -> object:
        """Until the thread returns, or its time is over: then it goes on, and only the attempt ends."""
        loop, context, call = asyncio.get_running_loop(), contextvars.copy_context(), self.step.signature.call
        name = self._name()
        thread = loop.run_in_executor(self._executor(), lambda: context.run(_in_thread, name, call, arguments))
        self._task = over = loop.create_future()
        if self._cancelled or self._abandoned:
            over.cancel()
        thread.add_done_callback(lambda _: over.done() or over.set_result(None))
        try:
            await over
        except asyncio.CancelledError:
            self.thread = thread
            thread.add_done_callback(_retrieve)
            raise
        result = thread.result()
        if type(result) is _Exit:
            raise SystemExit(*result.args)
        return result

    def _time_out(self) -> None:
        self._timed_out = True
        self._stop()

    def _after_cancelled(self, error: BaseException) -> Ending:
        current = asyncio.current_task()
        for _ in range(self._stops if current is not None else 0):
            current.uncancel()  # pyright: ignore[reportOptionalMemberAccess] -- the range is empty without one
        self._stops = 0
        if self._abandoned or (current is not None and current.cancelling()):
            return Ending("interrupted", cause=error)  # the worker shuts down, or its turn has given up
        if self._timed_out:
            return self.failed(
                StepTimeoutError(
                    f"run {self.context.run_id}: attempt {self.context.attempt} of step {self.step.id} outlived its "
                    f"timeout of {self.options.timeout_seconds} s; give it a longer timeout=, or split its work"
                )
            )
        if self._cancelled:
            return Ending("failed", self._encoded(error), final=True)
        return self.failed(error)

    def failed(self, error: BaseException) -> Ending:
        final = isinstance(error, FatalError | SerializationError | StepNotRegisteredError | StreamClosedError)
        retry_at = None
        if isinstance(error, RetryableError) and error.retry_after is not None:
            try:
                retry_at = durations.due(error.retry_after, self._clock.now(), "RetryableError(retry_after=)")
            except (TypeError, ValueError) as bad:
                bad.__cause__ = error
                error, final = bad, True
        return Ending("failed", self._encoded(error), final=final, retry_at=retry_at, cause=error)

    def _encoded(self, error: BaseException) -> bytes:
        return encode_error(error, known=self.known)


class _Exit(SystemExit):
    """A SystemExit of a thread, carried as a value: raised, it would end the event loop's thread."""


def _in_thread(name: str, call: Callable[[dict[str, object]], object], arguments: dict[str, object]) -> object:
    process = os.getpid()
    try:
        return call(arguments)
    except SystemExit as error:
        if os.getpid() != process:
            raise
        return _Exit(*error.args)
    finally:
        if os.getpid() != process:
            _end_child(name)


def _end_child(name: str) -> NoReturn:
    """A step has forked, and this is the child, which has left the step: further on it would be a second worker with
    the connections and the leases of the first. It ends as if it were a program; what it had to do is the parent's."""
    error = sys.exception()
    code = 1
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        if error is not None:
            traceback.print_exception(error)
        sys.stderr.write(
            f"{name} has forked, and the child has left the step; it ends here. End it in the step, by os._exit(), or "
            "run another program with subprocess\n"
        )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _retrieve(thread: asyncio.Future[object]) -> None:
    if not thread.cancelled():
        thread.exception()  # the attempt has ended without it; asked for, so that nobody logs it as forgotten


def exhausted(step_id: str, attempts: int, cause: BaseException | None, known: KnownTypes) -> bytes:
    """The error that the body sees when the attempts are used up."""
    error = StepFailedError(
        step_id, attempts, f"step {step_id} failed after {attempts} attempt{'s' * (attempts != 1)}: {_text(cause)}"
    )
    error.__cause__ = cause
    return encode_error(error, known=known)


def _text(cause: BaseException | None) -> str:
    try:
        return f"{type(cause).__name__}: {cause}"
    except Exception as broken:
        return f"{type(cause).__name__} (its text cannot be shown: {type(broken).__name__})"
