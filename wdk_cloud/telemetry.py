"""Where a process that is pushed its messages tells what it does, and what it counts. Nothing of any payload."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol

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


class Spans:
    """Around deliveries, where opentelemetry-api is installed. Which of them go where is the matter of whoever installs
    its SDK."""

    def __init__(self, tracer: str, system: str) -> None:
        """`system`: the queue, as OpenTelemetry's conventions for messaging name it."""
        self._system = system
        self._tracer: Any = None
        try:
            from opentelemetry import trace
        except ModuleNotFoundError:
            return
        self._tracer = trace.get_tracer(tracer)

    def of(self, namespace: str, message: Message) -> AbstractContextManager[object]:
        if self._tracer is None:
            return nullcontext()
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        attributes = {
            "messaging.system": self._system,
            "messaging.operation.type": "process",
            "wdk.message.kind": message.kind,
            "wdk.run_id": message.run_id,
            "wdk.namespace": namespace,
        }
        if message.step_id is not None:
            attributes["wdk.step_id"] = message.step_id
        parent = extract({"traceparent": message.trace}) if message.trace is not None else None
        span: AbstractContextManager[object] = self._tracer.start_as_current_span(
            f"wdk {message.kind}", context=parent, kind=SpanKind.CONSUMER, attributes=attributes
        )
        return span
