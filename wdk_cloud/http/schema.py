"""The documents of the API: what is sent and what comes back, and the OpenAPI document that tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from wdk_cloud.admission import LONGEST_PAGE, MAX_IDEMPOTENCY_KEY
from wdk_cloud.hooks import MAX_TOKEN
from wdk_cloud.http.problems import LONGEST_INDEX
from wdk_cloud.streams import MAX_NAME
from wdk_cloud.world.ports import Status

Document = dict[str, Any]

EVENTS_PAGE = 1000
"""Events on one page unless the caller wants fewer."""

Form = Literal["sse", "raw"]
"""How a stream is sent: as server-sent events, or as bytes."""

_RunId = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_-]+$"})]
_Key = Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY})]
_Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class StartOrder(Struct, forbid_unknown_fields=True):
    """A run to be started: `workflow` is the id, or the name of its function; `args` and `kwargs` its arguments."""

    workflow: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    run_id: _RunId | None = None
    idempotency_key: _Key | None = None
    attributes: dict[str, str] = {}
    delay: str | float | None = None


class CancelOrder(Struct, forbid_unknown_fields=True):
    reason: str | None = None


class WakeOrder(Struct, forbid_unknown_fields=True):
    pass


class ResumeOrder(Struct, forbid_unknown_fields=True):
    """A payload for a hook; the same `key` delivers once."""

    payload: Any = None
    key: Annotated[str, Meta(extra_json_schema={"minLength": 1, "maxLength": MAX_TOKEN})] | None = None


class Started(Struct):
    run_id: str


class Asked(Struct):
    """What was asked of the run is durable; a worker carries it out."""

    run_id: str


class RunLine(Struct):
    run_id: str
    workflow_name: str
    status: Literal["pending", "running", "completed", "failed", "cancelled", "deleted"]
    created_at: _Time
    ended_at: _Time | None
    error_code: str | None
    version: str
    parent: str | None
    idempotency_key: str | None
    continued_from: str | None
    continued_to: str | None


class Failure(Struct):
    """How the body of a failed run ended."""

    type: str | None
    message: str | None
    traceback: str | None = None


class RunDetails(RunLine):
    attributes: dict[str, str]
    result: Any
    """As the codec writes it; null while the run has none."""
    error: Failure | None


class Runs(Struct):
    runs: list[RunLine]
    cursor: str | None


class EventLine(Struct):
    position: int
    type: str
    time: _Time
    step_id: str | None
    step_name: str | None
    data: dict[str, Any]


class Events(Struct):
    run_id: str
    events: list[EventLine]
    cursor: str | None


class StreamLine(Struct):
    name: str
    tail_index: int
    """Of the last chunk; -1 before the first."""
    closed: bool


class Streams(Struct):
    run_id: str
    streams: list[StreamLine]


class HookDetails(Struct):
    hook_id: str
    run_id: str
    created_at: _Time
    metadata: Any


class Resumed(Struct):
    """The payload is durable; the run gets it."""

    hook_id: str
    run_id: str


class Problem(Struct):
    """What went wrong: `error` is one word for programs, `message` is for people."""

    error: str
    message: str


@dataclass(frozen=True)
class Operation:
    """One thing that the API does: the method of `Api` that does it, and what the OpenAPI document says of it."""

    name: str
    method: str
    path: str
    summary: str
    answer: type[Struct] | None
    """None: a stream, as events or as bytes."""
    status: int = 200
    body: type[Struct] | None = None
    optional: bool = False
    refusals: tuple[int, ...] = ()
    query: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


OPERATIONS = (
    Operation(
        "start", "POST", "start", "Start a run", Started, 201, StartOrder, refusals=(400, 404, 409, 410, 413, 415)
    ),
    Operation(
        "list_runs",
        "GET",
        "runs",
        "List runs, newest first",
        Runs,
        refusals=(400,),
        query=("workflow", "status", "version", "since", "until", "limit", "cursor"),
    ),
    Operation("run", "GET", "runs/{run_id}", "What is known of a run", RunDetails, refusals=(400, 404, 410)),
    Operation(
        "events",
        "GET",
        "runs/{run_id}/events",
        "The log of a run",
        Events,
        refusals=(400, 404, 410),
        query=("limit", "after"),
    ),
    Operation("streams", "GET", "runs/{run_id}/streams", "The streams of a run", Streams, refusals=(400, 404, 410)),
    Operation(
        "stream",
        "GET",
        "runs/{run_id}/streams/{name}",
        "A stream, live until it is closed",
        None,
        refusals=(400, 404, 410),
        query=("start_index", "format"),
        header=("Last-Event-ID",),
    ),
    Operation(
        "cancel",
        "POST",
        "runs/{run_id}/cancel",
        "Ask for a run's end",
        Asked,
        202,
        CancelOrder,
        True,
        (400, 404, 410, 413, 415),
    ),
    Operation(
        "wake",
        "POST",
        "runs/{run_id}/wake",
        "End a run's sleeps now",
        Asked,
        202,
        WakeOrder,
        True,
        (400, 404, 410, 413, 415),
    ),
    Operation("hook", "GET", "hooks/{token}", "The live hook that has a token", HookDetails, refusals=(400, 404)),
    Operation(
        "resume",
        "POST",
        "hooks/{token}",
        "Send a payload to a hook",
        Resumed,
        202,
        ResumeOrder,
        refusals=(400, 404, 413, 415),
    ),
)

_QUERY: dict[str, Document] = {
    "namespace": {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,31}$"},
    "workflow": {"type": "string"},
    "status": {"enum": list(get_args(Status))},
    "version": {"type": "string"},
    "since": {"type": "string", "format": "date-time"},
    "until": {"type": "string", "format": "date-time"},
    "limit": {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE},
    "cursor": {"type": "string"},
    "after": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    "start_index": {"type": "integer", "minimum": -(10**LONGEST_INDEX) + 1, "maximum": 10**LONGEST_INDEX - 1},
    "format": {"enum": list(get_args(Form))},
}

_HEADER: dict[str, Document] = {
    "Last-Event-ID": {"type": "integer", "minimum": 0, "maximum": 10**LONGEST_INDEX - 1},
}

_PATH: dict[str, Document] = {
    "run_id": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[A-Za-z0-9_-]+$"},
    "token": {"type": "string", "minLength": 1, "maxLength": MAX_TOKEN, "pattern": "^[!-~]+$"},
    "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME, "pattern": "^[!-?A-~][!-~]*$"},
}

_REFUSALS = {
    400: "The request makes no sense; nothing was written",
    401: "The caller is not accepted",
    404: "There is no such run, workflow or hook",
    409: "The id or the idempotency key is taken",
    410: "The run was deleted, or has expired",
    413: "The body is too large",
    415: "The body is no JSON by its content type",
    500: "Something is wrong with the server",
    503: "The world did not answer; try again",
}

_EVENT: Document = {
    "type": "object",
    "description": "A chunk, with its index as id and its value as JSON in data; at last an end, or an error",
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"enum": ["end", "error"]},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "retry": {"type": "integer"},
    },
    "additionalProperties": False,
}

_STREAM: Document = {
    "text/event-stream": {"schema": _EVENT},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}

_TEMPLATE = "#/components/schemas/{name}"


def openapi(version: str, base: str) -> Document:
    """The OpenAPI document of the API; `base` is the path before the routes."""
    structs = [struct for op in OPERATIONS for struct in (op.answer, op.body) if struct is not None] + [Problem]
    schemas, components = msgspec.json.schema_components(list(dict.fromkeys(structs)), ref_template=_TEMPLATE)
    del schemas  # each is a reference to its component
    paths: dict[str, Document] = {}
    for op in OPERATIONS:
        paths.setdefault(f"{base}/{op.path}", {})[op.method.lower()] = _operation(op)
    return {
        "openapi": "3.1.0",
        "info": {"title": "wdk-cloud", "version": version},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(op: Operation) -> Document:
    in_path = [name for name in _PATH if f"{{{name}}}" in op.path]
    parameters = [{"name": name, "in": "path", "required": True, "schema": _PATH[name]} for name in in_path]
    parameters += [{"name": name, "in": "query", "schema": _QUERY[name]} for name in (*op.query, "namespace")]
    parameters += [{"name": name, "in": "header", "schema": _HEADER[name]} for name in op.header]
    content = _STREAM if op.answer is None else _json(op.answer)
    answers = {str(op.status): {"description": op.summary, "content": content}}
    for status in sorted((*op.refusals, 401, 500, 503)):
        answers[str(status)] = {"description": _REFUSALS[status], "content": _json(Problem)}
    told: Document = {
        "operationId": op.name,
        "summary": op.summary,
        "parameters": parameters,
        "responses": answers,
    }
    if op.body is not None:
        told["requestBody"] = {"required": not op.optional, "content": _json(op.body)}
    return told


def _json(struct: type[Struct]) -> Document:
    return {"application/json": {"schema": {"$ref": _TEMPLATE.format(name=struct.__name__)}}}
