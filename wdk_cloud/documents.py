"""Runs and events as JSON documents for programs: those of the command line and of the API over HTTP.

Times are ISO 8601 in UTC, payloads JSON values as the codec writes them.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

import msgspec

from wdk_cloud.codec.errors import error_summary
from wdk_cloud.context import step_id
from wdk_cloud.engine import events as ev

if TYPE_CHECKING:
    from wdk_cloud.client import RunInfo
    from wdk_cloud.streams import StreamInfo

Document = dict[str, object]


def iso(moment: float | datetime | None) -> str | None:
    if moment is None:
        return None
    when = datetime.fromtimestamp(moment, UTC) if isinstance(moment, float | int) else moment.astimezone(UTC)
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


def value_of(payload: bytes | None) -> object:
    return None if payload is None else json.loads(payload)


def error_of(payload: bytes | None) -> Document | None:
    """The type and message of a recorded exception; what is hidden stays so."""
    if payload is None:
        return None
    if payload.startswith(b'{"$encrypted"'):
        return {"type": None, "message": None, "encrypted": True}
    summary = error_summary(payload)
    return {"type": summary.type_name, "message": summary.message, "traceback": summary.traceback or None}


def info_document(info: RunInfo) -> Document:
    return {
        "run_id": info.run_id,
        "workflow_name": info.workflow_name,
        "status": info.status,
        "created_at": iso(info.created_at),
        "ended_at": iso(info.ended_at),
        "error_code": info.error_code,
        "version": info.version,
        "parent": info.parent,
        "idempotency_key": info.idempotency_key,
        "continued_from": info.continued_from,
        "continued_to": info.continued_to,
    }


def stream_document(name: str, info: StreamInfo) -> Document:
    return {"name": name, "tail_index": info.tail_index, "closed": info.closed}


def event_document(run_id: str, position: int, event: ev.AnyEvent) -> Document:
    """As `run.events()` yields it; times are text and payloads are JSON values."""
    data = cast("Document", json.loads(msgspec.json.encode(event)))
    kind = str(data.pop("type"))
    time = iso(cast("float", data.pop("time")))
    for name in ev.TIMES:
        if name in data:
            data[name] = iso(cast("float", data[name]))
    call = str(data.get("id"))
    is_step = kind.startswith("step_")
    return {
        "position": position,
        "type": kind,
        "time": time,
        "step_id": step_id(run_id, call) if is_step else None,
        "step_name": call.rpartition("#")[0] if is_step else None,
        "data": data,
    }
