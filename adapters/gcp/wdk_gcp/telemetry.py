"""What an instance tells of its work: JSON lines in the fields of Cloud Logging. Nothing of any payload."""

from __future__ import annotations

import json
import logging
import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wdk_cloud.telemetry import Spans

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from wdk_cloud.telemetry import Count
    from wdk_cloud.world.ports import Message
    from wdk_gcp.world import GcpWorld

log = logging.getLogger("wdk_cloud")

_fields: ContextVar[Mapping[str, str]] = ContextVar("wdk_gcp_log_fields")
"""Of the delivery that is worked on: deliveries run side by side, each in a task."""

OURS = "wdk_"
"""What the names of fields begin with that a log line brings along (`extra=`)."""


class Lines(logging.Formatter):
    """One JSON document a line, as the agent of Cloud Run reads it (Cloud Logging, "Structured logging")."""

    def __init__(self, project: str) -> None:
        super().__init__()
        self._project = project

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, object] = {
            "severity": record.levelname if record.levelno >= logging.DEBUG else "DEFAULT",
            "message": record.getMessage(),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            **self._traced(_fields.get({})),
        }
        document |= {name: value for name, value in vars(record).items() if name.startswith(OURS)}
        if record.exc_info:
            document["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str)

    def _traced(self, fields: Mapping[str, str]) -> dict[str, object]:
        traced: dict[str, object] = dict(fields)
        parts = fields.get("traceparent", "").split("-")
        if len(parts) == 4 and self._project:
            traced["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{parts[1]}"
            traced["logging.googleapis.com/spanId"] = parts[2]
            traced["logging.googleapis.com/trace_sampled"] = parts[3] == "01"
        return traced


class CloudLogging:
    """Log lines for the whole process, unless it has set up its log itself; counts are lines with `wdk_count`."""

    def __init__(self, world: GcpWorld) -> None:
        self._spans = Spans("wdk_gcp", "gcp_cloud_tasks")
        root = logging.getLogger()
        if root.handlers:
            return
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(Lines(world.settings.project))
        root.addHandler(handler)
        log.setLevel((os.environ.get("WDK_LOG") or "INFO").upper())
        server = logging.getLogger("uvicorn")
        server.handlers.clear()
        server.propagate = True
        logging.getLogger("uvicorn.access").disabled = True  # Cloud Run writes one, and paths hold secrets

    @contextmanager
    def delivery(self, namespace: str, message: Message) -> Generator[None]:
        fields = {"run_id": message.run_id}
        if namespace:
            fields["wdk_namespace"] = namespace
        if message.trace is not None:
            fields["traceparent"] = message.trace
        with self._spans.of(namespace, message):
            token = _fields.set(fields)
            try:
                yield
            finally:
                _fields.reset(token)

    def count(self, name: Count, value: int = 1) -> None:
        fields: dict[str, Any] = {"wdk_count": name, "wdk_value": value}
        log.info("counted: %s %s", value, name, extra=fields)

    def flush(self) -> None:
        """Each line is written at once."""
