"""What workflow and step code touches: sleeping, clocks, metadata, labels, patches."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from wdk_cloud.app import current_body
from wdk_cloud.errors import FatalError, WorkflowContextError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from datetime import timedelta
    from random import Random

    from wdk_cloud.engine.replay import Body
    from wdk_cloud.engine.writers import Writers

MAX_ATTRIBUTES = 64
MAX_KEY = 256
MAX_VALUE_BYTES = 256


@dataclass(frozen=True, slots=True)
class StepInfo:
    """Of the attempt that is running. `step_id` is stable over retries and unique across runs: an idempotency key."""

    run_id: str
    step_id: str
    step_name: str
    """The step's id."""
    attempt: int
    """From 1 on."""
    step_started_at: datetime
    """When the first attempt began, in UTC."""


@dataclass(frozen=True, slots=True)
class WorkflowInfo:
    """Of the run that is running."""

    run_id: str
    workflow_name: str
    """The workflow's id."""
    started_at: datetime
    """In UTC."""
    url: str
    """The base of the URLs of webhooks."""


@dataclass(slots=True)
class StepContext:
    """What an attempt knows of itself and its run."""

    run_id: str
    call_id: str
    step_name: str
    attempt: int
    first_started: float
    workflow_name: str
    run_started: float
    url: str
    set_attributes: Callable[[dict[str, str | None]], Awaitable[None]]
    streams: Writers


step_context: contextvars.ContextVar[StepContext | None] = contextvars.ContextVar("wdk_step", default=None)


def step_id(run_id: str, call_id: str) -> str:
    """The public id of a step: the same for every attempt, another in every run."""
    from hashlib import sha256

    return "step_" + sha256(f"{run_id}\n{call_id}".encode()).hexdigest()[:26]


def require_body(what: str) -> Body:
    body = current_body()
    if body is None:
        raise WorkflowContextError(f"{what} works in a workflow body only; call it from an @app.workflow function")
    return body


def sleep(duration: str | float | timedelta | datetime) -> Coroutine[Any, Any, None]:
    """Sleep durably. `duration`: "5s", "1h 30m", "1 month", seconds, a `timedelta`, or until an aware `datetime`.

    Raises `TypeError` or `ValueError` for a duration without a meaning, WorkflowContextError outside a workflow.
    """
    body = current_body()
    if body is None:
        raise WorkflowContextError("sleep() works in a workflow body only; in a step or elsewhere use asyncio.sleep()")
    return body.sleep(duration)


def get_step_metadata() -> StepInfo:
    """Of the step that is running; raises WorkflowContextError elsewhere."""
    context = step_context.get() if current_body() is None else None
    if context is None:
        raise WorkflowContextError("get_step_metadata() works in a step only, while a run executes it")
    return StepInfo(
        run_id=context.run_id,
        step_id=step_id(context.run_id, context.call_id),
        step_name=context.step_name,
        attempt=context.attempt,
        step_started_at=datetime.fromtimestamp(context.first_started, UTC),
    )


def get_workflow_metadata() -> WorkflowInfo:
    """Of the run that is running, in its body and in its steps; raises WorkflowContextError elsewhere."""
    body = current_body()
    if body is not None:
        started = body.history.started_at or body.loop.now
        return WorkflowInfo(body.run_id, body.workflow.id, datetime.fromtimestamp(started, UTC), body.url)
    context = step_context.get()
    if context is None:
        raise WorkflowContextError("get_workflow_metadata() works in a workflow body and in its steps only")
    started = datetime.fromtimestamp(context.run_started, UTC)
    return WorkflowInfo(context.run_id, context.workflow_name, started, context.url)


def now() -> datetime:
    """The time, in UTC. In a body it is the time of the last event, the same at every replay."""
    return datetime.fromtimestamp(time.time_ns() / 1e9, UTC)


def time_ns() -> int:
    """The time in nanoseconds since the epoch; in a body as `now()`."""
    return time.time_ns()


def random() -> Random:
    """A generator of random numbers; in a body that of `random.*`, which draws the same at every replay."""
    from random import Random

    body = current_body()
    return Random() if body is None else body.loop.guard.random  # noqa: S311 -- for dice, not for secrets


def patched(change_id: str) -> bool:
    """Whether this run has the change `change_id`.

    True in runs that first reach the call with the change deployed (recorded once per run); false, and false for good,
    in a run that had passed it before. Raises WorkflowContextError outside a body, `TypeError` for what is no text.
    """
    if not isinstance(change_id, str) or not change_id or not encodable(change_id):
        raise TypeError(f"patched() takes the name of a change, text that is not empty, not {change_id!r}")
    return require_body("patched()").patched(change_id)


def continue_as_new(*args: object, **kwargs: object) -> NoReturn:
    """End this run and start its workflow afresh with these arguments, as a run of its own; works in a body only.

    For what goes on for ever, or long: the new run begins with an empty log. It has the labels of this one, and its
    parent; whoever awaits, cancels or wakes this run, or one that continued as it, reaches the run that is alive.

    It never returns: it raises an exception that `except Exception` does not catch, and `finally` blocks run as at any
    exception, with steps if they have some. The run ends when the exception leaves the body, or a task that nobody
    awaits; called again before that, the last call counts; another exception that leaves the body fails the run. Steps
    that still run end and are ignored. Arguments are bound and copied by the call: it raises `TypeError` for those that
    do not fit the workflow of this run, SerializationError, WorkflowContextError outside a body.
    """
    require_body("continue_as_new()").continue_as_new(args, kwargs)


async def set_attributes(changes: Mapping[str, str | None] | None = None, /, **more: str | None) -> None:
    """Set labels of the run, plain text; None removes one. They are `changes` and any `more`. In a body or a step.

    At most 64 labels, keys of at most 256 characters that do not begin with `$`, values of at most 256 bytes of UTF-8.
    Raises FatalError for a bad one; the run stays healthy. WorkflowContextError elsewhere.
    """
    wanted = {**check_attributes(changes), **check_attributes(more)}
    body = current_body()
    if body is not None:
        if wanted:
            check_attribute_count(body.label_names(), wanted)
            body.set_attributes(wanted)
        return
    context = step_context.get()
    if context is None:
        raise WorkflowContextError("set_attributes() works in a workflow body and in its steps only")
    if wanted:
        await context.set_attributes(wanted)


async def remove_attributes(*keys: str) -> None:
    """Remove labels of the run; `keys` that it does not have do not matter. Raises as `set_attributes`."""
    await set_attributes(dict.fromkeys(keys))


def check_attributes(changes: Mapping[str, str | None] | None, *, reserved: bool = False) -> dict[str, str | None]:
    """Raises FatalError that names the label; `reserved` allows the engine's own, which begin with `$`."""
    if changes is None:
        return {}
    if not isinstance(changes, Mapping):
        raise FatalError(f"labels must be a mapping of names to text, not {type(changes).__name__}")
    for key, value in changes.items():
        if not isinstance(key, str) or not key or len(key) > MAX_KEY:
            raise FatalError(f"the label {key!r} must be named by 1 to {MAX_KEY} characters")
        if key.startswith("$") and not reserved:
            raise FatalError(f"the label {key!r} begins with '$', which is reserved for wdk-cloud; choose another name")
        if value is None:
            continue
        if not isinstance(value, str):
            raise FatalError(f"the label {key!r} must be text, not {type(value).__name__}")
        if not encodable(key) or not encodable(value) or len(value.encode()) > MAX_VALUE_BYTES:
            raise FatalError(f"the label {key!r} must be text of at most {MAX_VALUE_BYTES} bytes of UTF-8")
    return dict(changes)


def check_attribute_count(names: set[str], changes: Mapping[str, str | None]) -> None:
    after = (names | {key for key, value in changes.items() if value is not None}) - {
        key for key, value in changes.items() if value is None
    }
    if len(after) > MAX_ATTRIBUTES:
        raise FatalError(
            f"a run has at most {MAX_ATTRIBUTES} labels; with this change it would have {len(after)}: "
            "remove others in the same change"
        )


def encodable(text: str) -> bool:
    """Whether it can be written: not if it holds a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
