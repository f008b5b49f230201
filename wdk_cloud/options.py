"""What steps and workflows carry besides their function: frozen, checked when they are made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from wdk_cloud import durations

if TYPE_CHECKING:
    from collections.abc import Mapping

Dispatch = Literal["auto", "inline", "queue"]

MAX_RETRIES_LIMIT = 1_000_000
"""More retries than this is a mistake, and would not fit the history limit anyway."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is tried again: after `delay`, multiplied by `backoff` each time, at most `max_delay`.

    Durations are text, seconds or `timedelta`. `jitter` is the share (0 to 1) of the delay that is drawn at random,
    so that many runs that failed together do not come back together. The default retries at once.
    """

    delay: durations.Duration = 0
    backoff: float = 2.0
    max_delay: durations.Duration | None = None
    jitter: float = 0

    def __post_init__(self) -> None:
        durations.seconds(self.delay, "RetryPolicy(delay=)")
        if self.max_delay is not None:
            durations.seconds(self.max_delay, "RetryPolicy(max_delay=)")
        _number("RetryPolicy(backoff=)", self.backoff, 1, math.inf)
        _number("RetryPolicy(jitter=)", self.jitter, 0, 1)

    def pause(self, failures: int, draw: float) -> float:
        """Seconds before the next attempt, after so many failures; `draw` is a random number below 1."""
        first = durations.seconds(self.delay)
        limit = durations.LONGEST if self.max_delay is None else durations.seconds(self.max_delay)
        exponent = min(failures - 1, 1000)  # beyond that every backoff above 1 has long reached the limit
        try:
            pause = min(first * self.backoff**exponent, limit)
        except OverflowError:
            pause = limit
        return pause * (1 - self.jitter * draw)


@dataclass(frozen=True, slots=True)
class StepOptions:
    """The options of `@app.step` and of `step.with_options`."""

    max_retries: int = 3
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    timeout: durations.Duration | None = None
    dispatch: Dispatch = "auto"
    cancellable: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or isinstance(self.max_retries, bool):
            raise TypeError(f"max_retries must be a whole number, not {self.max_retries!r}")
        if not 0 <= self.max_retries <= MAX_RETRIES_LIMIT:
            raise ValueError(f"max_retries must be from 0 to {MAX_RETRIES_LIMIT:,}, not {self.max_retries}")
        if not isinstance(self.retry, RetryPolicy):
            raise TypeError(f"retry must be a RetryPolicy, not {type(self.retry).__name__}")
        if self.timeout is not None and durations.seconds(self.timeout, "timeout") == 0:
            raise ValueError("timeout must be more than 0")
        if self.dispatch not in get_args(Dispatch):
            raise ValueError(f"dispatch must be one of {', '.join(get_args(Dispatch))}, not {self.dispatch!r}")
        if not isinstance(self.cancellable, bool):
            raise TypeError(f"cancellable must be True or False, not {self.cancellable!r}")

    @property
    def timeout_seconds(self) -> float | None:
        return None if self.timeout is None else durations.seconds(self.timeout)

    def updated(self, changes: Mapping[str, object]) -> StepOptions:
        """A copy with these fields changed; raises `TypeError` for a name that is no option."""
        _only(changes, StepOptions.__dataclass_fields__, "a step")
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class StartOptions:
    """The options of `workflow.with_options`, for `start`."""

    run_id: str | None = None
    idempotency_key: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])
    delay: object = None

    def updated(self, changes: Mapping[str, object]) -> StartOptions:
        _only(changes, StartOptions.__dataclass_fields__, "a workflow")
        return replace(self, **changes)


def _only(changes: Mapping[str, object], allowed: Mapping[str, object], what: str) -> None:
    for name in changes:
        if name not in allowed:
            raise TypeError(f"{name} is not an option of {what}; there are: {', '.join(allowed)}")


def _number(what: str, value: object, least: float, most: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{what} must be a number, not {value!r}")
    if not least <= value <= most or not math.isfinite(value):
        limit = "" if most == math.inf else f" and at most {most}"
        raise ValueError(f"{what} must be at least {least}{limit}, not {value!r}")
