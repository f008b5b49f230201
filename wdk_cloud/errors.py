"""Every error that a user of wdk-cloud can meet.

    WorkflowError
    ├── FatalError                      a step says: do not try again
    ├── RetryableError                  a step says: try again, not before
    ├── StepFailedError                 the tries are used up; the original is the cause
    ├── StepTimeoutError                an attempt outlived its time-out
    ├── StepInterruptedError            the process died while the step ran
    ├── StepNotRegisteredError          this code has no such step
    ├── WorkflowNotRegisteredError      this code has no such workflow
    ├── RemoteError                     stands for an exception class that is not known here
    ├── SerializationError              a value cannot become bytes, or bytes a value
    ├── NondeterminismError             the code asks for something else than the log recorded
    ├── WorkflowSandboxError            a body did what only a step may do
    ├── WorkflowContextError            called in the wrong place
    ├── WorkflowDeadlockError           a body waits for nothing
    ├── WorkflowStalledError            a body never rests
    ├── HookNotFoundError
    ├── HookConflictError
    ├── HookDisposedError
    ├── StreamError
    │   └── StreamClosedError
    ├── WorkflowRunNotFoundError
    ├── WorkflowRunFailedError          raised by `return_value()`; the body's exception is the cause
    ├── WorkflowRunCancelledError
    ├── RunExistsError
    ├── RunExpiredError
    ├── IdempotencyConflictError
    ├── CorruptedEventLogError
    ├── MaxDeliveriesExceededError
    ├── MaxEventsExceededError
    ├── WorldConfigurationError
    └── WorldUnavailableError
        └── ThrottleError

Each class has a `slug` and a page `docs/errors/<slug>.md`. A message says what happened, to which run, step or
token, and what to do next. Instances survive the event log: what they carry lies in `args` and in attributes whose
values the codec knows, so that they come back as themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from datetime import datetime, timedelta

BUG = "This is a bug in wdk-cloud, please report it with these facts: "


class WorkflowError(Exception):
    """The root of all errors of wdk-cloud."""

    slug: ClassVar[str] = "workflow"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "slug" not in cls.__dict__ and cls.__module__ == __name__:
            name = cls.__name__.removesuffix("Error")
            # Without `re`: compiling a pattern for it costs every import of the package as much as a small module.
            cls.slug = "".join(f"-{letter}" if letter.isupper() else letter for letter in name).lstrip("-").lower()


class FatalError(WorkflowError):
    """Raised by a step: no retry; the body sees this error."""


class RetryableError(WorkflowError):
    """Raised by a step: try again, not before `retry_after`; it counts as an attempt.

    `retry_after` is a duration string, seconds, a `timedelta` or an aware `datetime`; None follows the step's policy.
    """

    def __init__(self, message: str = "", retry_after: str | float | timedelta | datetime | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StepFailedError(WorkflowError):
    """The attempts of a step are used up; the last attempt's exception is the `__cause__`."""

    def __init__(self, step_name: str, attempts: int, message: str = "") -> None:
        super().__init__(message or f"step {step_name} failed after {attempts} attempt{'s' * (attempts != 1)}")
        self.step_name = step_name
        self.attempts = attempts


class StepTimeoutError(WorkflowError, TimeoutError):
    """An attempt of a step outlived the step's `timeout`; it is retried."""


class StepInterruptedError(WorkflowError):
    """The process died, or was interrupted, while the step ran: it may have happened, wholly or in part."""


class StepNotRegisteredError(WorkflowError):
    """The code that runs here has no step of that id in the app of the workflow."""


class WorkflowNotRegisteredError(WorkflowError):
    """The code that runs here has no workflow of that id."""


class RemoteError(WorkflowError):
    """An exception of a class that is not known here: its type's name and its message."""

    def __init__(self, type_name: str, message: str = "") -> None:
        super().__init__(type_name, message)
        self.type_name = type_name
        self.message = message

    def __str__(self) -> str:
        return f"{self.type_name}: {self.message}" if self.message else self.type_name


class SerializationError(WorkflowError):
    """A value that cannot be recorded, or a record that cannot be read; `path` says where it lies."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class NondeterminismError(WorkflowError):
    """The code asks for something else than the run's log recorded; `differences` lists everything that differs."""

    def __init__(self, message: str, differences: list[str] | None = None) -> None:
        super().__init__(message)
        self.differences = differences or []


class WorkflowSandboxError(WorkflowError):
    """A workflow body did something that only a step may do; the run fails even if the body catches this."""


class WorkflowContextError(WorkflowError):
    """Called where it has no meaning: outside a workflow body, outside a step, inside a running loop."""


class WorkflowDeadlockError(WorkflowError):
    """A body waits, and nothing is outstanding that could ever wake it."""


class WorkflowStalledError(WorkflowError):
    """A body never rests: it goes round without waiting for anything durable, or computes for too long."""


class HookNotFoundError(WorkflowError):
    """No live hook has this token."""


class HookConflictError(WorkflowError):
    """The token belongs to a hook of another live run."""

    def __init__(self, message: str, run_id: str = "") -> None:
        super().__init__(message)
        self.run_id = run_id


class HookDisposedError(WorkflowError):
    """The hook was disposed of and can receive nothing more."""


class StreamError(WorkflowError):
    """The producer of a stream failed or died."""


class StreamClosedError(StreamError):
    """The stream is closed: nothing more can be written."""


class WorkflowRunNotFoundError(WorkflowError):
    """There is no run of that id here."""

    def __init__(self, run_id: str, message: str = "") -> None:
        super().__init__(
            message or f"run {run_id} does not exist in this world; check the id, WDK_WORLD and the namespace"
        )
        self.run_id = run_id


class WorkflowRunFailedError(WorkflowError):
    """The run failed; `error_code` says in which way, and what the body raised is the `__cause__`."""

    def __init__(self, run_id: str, error_code: str, message: str = "") -> None:
        super().__init__(message or f"run {run_id} failed with {error_code}; `wdk inspect run {run_id}` shows its log")
        self.run_id = run_id
        self.error_code = error_code


class WorkflowRunCancelledError(WorkflowError):
    """The run was cancelled and has no result."""

    def __init__(self, run_id: str, reason: str | None = None) -> None:
        super().__init__(f"run {run_id} was cancelled" + (f": {reason}" if reason else ""))
        self.run_id = run_id
        self.reason = reason


class RunExistsError(WorkflowError):
    """`start` was given the id of a run that exists."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"a run with the id {run_id} exists already; choose another run_id, or pass an idempotency_key instead: "
            "it gives back the run that is there"
        )
        self.run_id = run_id


class RunExpiredError(WorkflowError):
    """The run ended longer ago than the retention, or was deleted: its data is gone."""

    def __init__(self, run_id: str, message: str = "") -> None:
        super().__init__(
            message
            or f"run {run_id} ended longer ago than the retention, or was deleted; "
            "set a longer WDK_RETENTION to keep later runs"
        )
        self.run_id = run_id


class IdempotencyConflictError(WorkflowError):
    """An idempotency key was used again with another input."""

    def __init__(self, run_id: str, idempotency_key: str) -> None:
        super().__init__(
            f"the idempotency key {idempotency_key!r} belongs to run {run_id}, which was started with another input; "
            "use another key for another input"
        )
        self.run_id = run_id
        self.idempotency_key = idempotency_key


class CorruptedEventLogError(WorkflowError):
    """The run's log has a hole or a record that cannot be read; the run fails with `CORRUPTED_EVENT_LOG`."""


class MaxDeliveriesExceededError(WorkflowError):
    """Workers died over this run again and again without its log growing; it fails with `MAX_DELIVERIES_EXCEEDED`."""


class MaxEventsExceededError(WorkflowError):
    """The run's log reached WDK_MAX_EVENTS; it fails with `MAX_EVENTS_EXCEEDED`."""


class WorldConfigurationError(WorkflowError):
    """The world cannot be opened as it is configured."""


class WorldUnavailableError(WorkflowError):
    """The world did not answer, or answered with an error that may pass: try again later."""


class ThrottleError(WorldUnavailableError):
    """The world asks for fewer requests; `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
