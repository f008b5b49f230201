"""What an instance tells of its work: log lines with the run's id, metrics, and spans. Nothing of any payload.

Powertools and OpenTelemetry are imported when the first event comes, never before.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Generator
    from contextlib import AbstractContextManager

    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.metrics import EphemeralMetrics

    from wdk_cloud.world.ports import Message

Count = Literal["ForeignMessages", "ReturnedMessages", "DeadLetters", "MissingCode", "SweptRuns"]
"""Each counts something that somebody should look at; a healthy deployment writes none of them."""

METRICS_NAMESPACE = "wdk-cloud"


class Telemetry(Protocol):
    """Where an instance tells what it does."""

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


class Powertools:
    """JSON lines on the log of the function, metrics in them (EMF), and spans where opentelemetry-api is installed."""

    def __init__(self) -> None:
        from aws_lambda_powertools import Logger

        # The service is the name of the logger that Powertools equips: that of all modules of ours.
        self._logger: Logger = Logger(service="wdk_cloud", level=os.environ.get("WDK_LOG") or None, utc=True)
        service = os.environ.get("POWERTOOLS_SERVICE_NAME") or os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        if service:
            self._logger.append_keys(service=service)
        self._tracer = _tracer()
        self._metrics: EphemeralMetrics | None = None

    @contextmanager
    def delivery(self, namespace: str, message: Message) -> Generator[None]:
        with self._span(namespace, message):
            keys: dict[str, str] = {"run_id": message.run_id}
            if namespace:
                keys["wdk_namespace"] = namespace
            if message.trace is not None:
                keys["traceparent"] = message.trace
            self._logger.thread_safe_append_keys(**keys)  # of the task's own context: messages run side by side
            try:
                yield
            finally:
                self._logger.thread_safe_remove_keys(keys)

    def count(self, name: Count, value: int = 1) -> None:
        if self._metrics is None:
            from aws_lambda_powertools.metrics import EphemeralMetrics

            self._metrics = EphemeralMetrics(namespace=METRICS_NAMESPACE)
        self._metrics.add_metric(name=name, unit="Count", value=value)

    def flush(self) -> None:
        if self._metrics is not None:
            self._metrics.flush_metrics()
            self._metrics = None

    def _span(self, namespace: str, message: Message) -> AbstractContextManager[object]:
        if self._tracer is None:
            return nullcontext()
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        attributes = {
            "messaging.system": "aws_sqs",
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


def _tracer() -> Any:
    """None without opentelemetry-api. Which spans go where is the matter of whoever installs its SDK."""
    try:
        from opentelemetry import trace
    except ModuleNotFoundError:
        return None
    return trace.get_tracer("wdk_aws")
