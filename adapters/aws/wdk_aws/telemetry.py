"""What an instance tells of its work: log lines with the run's id, metrics, and spans. Nothing of any payload.

Powertools and OpenTelemetry are imported when the first event comes, never before.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wdk_cloud.telemetry import Spans

if TYPE_CHECKING:
    from collections.abc import Generator

    from aws_lambda_powertools import Logger
    from aws_lambda_powertools.metrics import EphemeralMetrics

    from wdk_cloud.telemetry import Count
    from wdk_cloud.world.ports import Message

METRICS_NAMESPACE = "wdk-cloud"


class Powertools:
    """JSON lines on the log of the function, metrics in them (EMF), and spans where opentelemetry-api is installed."""

    def __init__(self) -> None:
        from aws_lambda_powertools import Logger

        # The service is the name of the logger that Powertools equips: that of all modules of ours.
        self._logger: Logger = Logger(service="wdk_cloud", level=os.environ.get("WDK_LOG") or None, utc=True)
        service = os.environ.get("POWERTOOLS_SERVICE_NAME") or os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
        if service:
            self._logger.append_keys(service=service)
        self._spans = Spans("wdk_aws", "aws_sqs")
        self._metrics: EphemeralMetrics | None = None

    @contextmanager
    def delivery(self, namespace: str, message: Message) -> Generator[None]:
        with self._spans.of(namespace, message):
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
