"""What callers may ask for: ids, keys, reasons, time-outs and queries are checked before anything is opened or written.

Messages say what was given and what it may be; what was given is cut, for it may be as large as anything.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast, get_args

from wdk_cloud import durations
from wdk_cloud.app import Workflow
from wdk_cloud.codec.refusal import belonging_to, shown
from wdk_cloud.context import check_attribute_count, check_attributes, encodable
from wdk_cloud.errors import FatalError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.options import StartOptions
    from wdk_cloud.world.ports import RunQuery, Status

RUN_ID = r"[A-Za-z0-9_-]{1,128}"
MAX_IDEMPOTENCY_KEY = 256

LONGEST_PAGE = 1000
"""Runs on one page of a listing: each costs a worker or a client about a kilobyte."""


def check_run_id(run_id: object) -> str:
    if not isinstance(run_id, str) or not re.fullmatch(RUN_ID, run_id):
        raise ValueError(f"a run id is 1 to 128 of A-Z a-z 0-9 _ -, not {shown(run_id)}")
    return run_id


def check_idempotency_key(key: object, run_id: str | None) -> str | None:
    if key is None:
        return None
    if not isinstance(key, str) or not key or not encodable(key) or len(key.encode()) > MAX_IDEMPOTENCY_KEY:
        raise ValueError(f"an idempotency key is text of 1 to {MAX_IDEMPOTENCY_KEY} bytes of UTF-8, not {shown(key)}")
    if run_id is not None:
        raise ValueError("give run_id or idempotency_key, not both: the key makes the id")
    return key


def check_start(
    workflow: Workflow[..., Any], args: tuple[object, ...], kwargs: Mapping[str, object]
) -> tuple[bytes, str, dict[str, str]]:
    """The recorded arguments of a start, their digest, and the labels. Raises for whatever `start` refuses by itself.

    Only a point in time that is more than a century away is left to `due_of`, which knows the world's clock.
    """
    from wdk_cloud.codec.values import encode_arguments

    arguments = workflow.signature.bind(args, kwargs)
    try:
        data, digest = encode_arguments(arguments, known=workflow.app.known, annotations=workflow.annotations)
    except SerializationError as error:
        raise belonging_to(error, f"workflow {workflow.id}") from error.__cause__
    options = workflow.options
    if options.run_id is not None:
        check_run_id(options.run_id)
    check_idempotency_key(options.idempotency_key, options.run_id)
    if options.delay is not None:
        durations.due(options.delay, math.inf, "delay")
    return data, digest, _labels(options)


def _labels(options: StartOptions) -> dict[str, str]:
    attributes = check_attributes(options.attributes)
    for name, value in attributes.items():
        if value is None:
            raise FatalError(f"the label {name!r} must be text, not None: a run that starts has none to remove")
    check_attribute_count(set(), attributes)
    return cast("dict[str, str]", attributes)


def check_reason(reason: object) -> None:
    if reason is None:
        return
    if not isinstance(reason, str):
        raise TypeError(f"a reason is text, not {type(reason).__name__}")
    if not encodable(reason):
        raise ValueError(f"a reason is text without lone surrogates, not {shown(reason)}")


def check_timeout(timeout: object) -> None:
    """A negative one is over already, as in asyncio."""
    if timeout is None:
        return
    if not isinstance(timeout, int | float) or isinstance(timeout, bool):
        raise TypeError(f"timeout must be a number of seconds or None, not {shown(timeout)}")
    if math.isnan(timeout):
        raise ValueError("timeout must be a number of seconds or None, not nan")


def query(
    workflow: Workflow[..., Any] | str | None,
    status: Status | None,
    version: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> RunQuery:
    """The query of `list_runs`. A value that nothing could match is an error, not an empty page."""
    from wdk_cloud.world.ports import RunQuery, Status

    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= LONGEST_PAGE:
        raise ValueError(f"limit must be from 1 to {LONGEST_PAGE}, not {shown(limit)}")
    if status is not None and status not in get_args(Status):
        raise ValueError(f"status must be one of {', '.join(get_args(Status))}, not {shown(status)}")
    id = workflow.id if isinstance(workflow, Workflow) else workflow
    for name, value in (("workflow", id), ("version", version), ("cursor", cursor)):
        if value is not None and not (isinstance(value, str) and encodable(value)):
            kind = "a workflow or its id" if name == "workflow" else "text"
            raise TypeError(f"{name} must be {kind}, not {shown(value)}")
    return RunQuery(
        workflow=id,
        status=status,
        version=version,
        since=_moment(since, "since"),
        until=_moment(until, "until"),
        limit=limit,
        cursor=cursor,
    )


def _moment(value: datetime | None, what: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError(f"{what} must be a datetime with a time zone, not {shown(value)}")
    return value.timestamp()
