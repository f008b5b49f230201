"""Runs and events as JSON documents: what the command line prints and the API answers with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from wdk_cloud.client import RunInfo
from wdk_cloud.codec.errors import encode_error
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.context import step_id
from wdk_cloud.documents import error_of, event_document, info_document, iso, value_of
from wdk_cloud.engine import events as ev
from wdk_cloud.http.schema import EventLine, Failure, RunLine

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (None, None),
        (NOON.timestamp(), "2026-01-31T12:00:00.000000Z"),
        (1_769_860_800, "2026-01-31T12:00:00.000000Z"),
        (NOON.astimezone(timezone(timedelta(hours=-5))), "2026-01-31T12:00:00.000000Z"),
        (NOON.timestamp() + 0.25, "2026-01-31T12:00:00.250000Z"),
    ],
)
def test_times_are_iso_8601_in_utc_with_microseconds(moment: float | datetime | None, text: str | None) -> None:
    assert iso(moment) == text


def test_a_payload_is_the_json_value_that_the_codec_wrote() -> None:
    assert value_of(None) is None
    assert value_of(b'{"$bytes":"AA=="}') == {"$bytes": "AA=="}


def test_an_error_tells_its_type_and_message_and_an_encrypted_one_only_that() -> None:
    assert error_of(None) is None
    told = error_of(encode_error(ValueError("no"), known=KnownTypes()))
    assert told is not None
    assert (told["type"], told["message"]) == ("ValueError", "no")
    assert msgspec.convert(told, Failure).type == "ValueError"
    hidden = error_of(b'{"$encrypted":"x"}')
    assert hidden == {"type": None, "message": None, "encrypted": True}


def test_a_run_has_all_its_fields_as_the_openapi_document_tells_of_them() -> None:
    info = RunInfo(
        "r", "w", "failed", NOON, NOON, ValueError("no"), "USER_ERROR", "1", "parent", "key", "before", "after"
    )
    document = info_document(info)
    assert document == {
        "run_id": "r",
        "workflow_name": "w",
        "status": "failed",
        "created_at": "2026-01-31T12:00:00.000000Z",
        "ended_at": "2026-01-31T12:00:00.000000Z",
        "error_code": "USER_ERROR",
        "version": "1",
        "parent": "parent",
        "idempotency_key": "key",
        "continued_from": "before",
        "continued_to": "after",
    }
    assert set(document) == set(RunLine.__struct_fields__)


def test_an_event_of_a_step_names_the_step_and_its_times_are_text() -> None:
    event = ev.StepCreated(time=NOON.timestamp(), id="charge#2", name="charge", digest="d", input=ev.Raw(b'{"a":1}'))
    document = event_document("r", 7, event)
    assert (document["position"], document["type"], document["time"]) == (7, "step_created", iso(NOON))
    assert (document["step_id"], document["step_name"]) == (step_id("r", "charge#2"), "charge")
    data = document["data"]
    assert isinstance(data, dict)
    assert (data["input"], data["id"]) == ({"a": 1}, "charge#2")
    assert set(document) == set(EventLine.__struct_fields__)
    json.dumps(document)


def test_an_event_of_something_else_has_no_step() -> None:
    document = event_document("r", 1, ev.HookDisposed(time=0.0, id="hook#1"))
    assert (document["step_id"], document["step_name"]) == (None, None)
