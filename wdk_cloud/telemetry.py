"""Where a process that is pushed its messages tells what it does, and what it counts. Nothing of any payload."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from wdk_cloud.world.ports import Message

Count = Literal[
    "ForeignMessages",
    "ReturnedMessages",
    "DeadLetters",
    "MissingCode",
    "SweptRuns",
    "RefusedCallers",
    "OverdueDeliveries",
]
"""Each counts something that somebody should look at; a healthy deployment writes none of them."""


class Telemetry(Protocol):
    """Of one instance."""

    def delivery(self, namespace: str, message: Message) -> AbstractContextManager[object]:
        """Around the work on one message: its log lines carry the run's id and the trace."""
        ...

    def count(self, name: Count, value: int = 1) -> None: ...

    def flush(self) -> None:
        """At the end of an event."""
        ...


class Silent:
    """Tells nothing by itself; the log goes where the process sends it."""

    def delivery(self, namespace: str, message: Message) -> AbstractContextManager[object]:
        return nullcontext()

    def count(self, name: Count, value: int = 1) -> None: ...

    def flush(self) -> None: ...
