"""`replay`: does today's code still ask for what a stored history recorded?"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.app import Workflow
from wdk_cloud.client import EventRecord

if TYPE_CHECKING:
    from wdk_cloud.engine import events as ev
    from wdk_cloud.engine.replay import Body

History = Iterable[EventRecord | Mapping[str, Any]] | Mapping[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Fields = dict[str, Any]


def replay(workflow: Workflow[..., Any], history: History) -> None:
    """Run a stored history against today's code of its `workflow`. Nothing is written, and no step runs.

    `history` is what `run.events()` yields, collected into a list, or what `wdk inspect events RUN --json` prints, as
    `json.load` reads it. A run that has not ended is as good as one that has.

    Raises NondeterminismError, whose `differences` list everything that differs: a call that the log has and the code
    does not make, one with other arguments, and an end that the code no longer comes to. What the code adds behind
    the last event of a run that has not ended is no difference, and neither is another result: a live run may go on
    with both. Raises `ValueError` for what is no history, CorruptedEventLogError for events that cannot follow each
    other, `TypeError` for something else than a workflow.
    """
    if not isinstance(workflow, Workflow):
        raise TypeError(f"replay() takes a workflow (a function under @app.workflow), not {workflow!r}")
    check(workflow, *_read(history))


def check(workflow: Workflow[..., Any], run_id: str, events: list[ev.AnyEvent]) -> None:
    """`replay`, for the events of a log whose payloads have been opened."""
    from wdk_cloud.engine.history import History as Fold
    from wdk_cloud.engine.replay import Body

    folded = Fold(run_id)
    folded.extend(events, "")
    body = Body(workflow, folded, "")
    try:
        body.load(events)
        body.replay()
        body.differences.extend(_differences_of_the_end(body, events[-1]))
        if body.differences:
            raise body.divergence()
    finally:
        body.discard()


def _differences_of_the_end(body: Body, end: ev.AnyEvent) -> list[str]:
    """A body that came to its end must come to it today, and in the same way."""
    from wdk_cloud.codec.errors import error_summary
    from wdk_cloud.engine import events as ev
    from wdk_cloud.engine.replay import USER_ERROR

    asked = [str(getattr(event, "id", "labels")) for event in body.take()]
    failed = type(end) is ev.RunFailed and end.code == USER_ERROR
    if body.differences or not (failed or type(end) is ev.RunCompleted):
        return []
    ended = "the log ends with " + ("a failure of the body" if failed else "its result")
    if body.outcome is None:
        goes_on = f"asks for {', '.join(asked)}" if asked else "waits: " + "; ".join(body.loop.waiting_for())
        return [f"{ended}, and the code goes on and {goes_on}"]
    if (body.outcome.result is None) is not failed:
        if failed:
            return [f"{ended}, and the code returns"]
        error = error_summary(body.outcome.error)
        return [f"{ended}, and the code raises {error.type_name}: {error.message}"]
    return []


# --- reading ----------------------------------------------------------------------------------------------------------


def _read(history: Any) -> tuple[str, list[ev.AnyEvent]]:
    """The id of the run and its events, from either form."""
    if isinstance(history, str | bytes):
        raise ValueError("replay() takes the history itself, not its text or the name of a file: json.load() it first")
    if isinstance(history, Mapping):
        document = cast("Mapping[str, Any]", history)
        if "events" not in document:
            raise ValueError('this is no history: it has no "events", as the output of wdk inspect events --json has')
        run_id, records = str(document.get("run_id", "")), list(document["events"])
    else:
        run_id, records = "", list(history)
    if not records:
        raise ValueError("this history is empty; a run has at least its first event, run_created")
    fields = [_of_record(record) if isinstance(record, EventRecord) else _of_document(record) for record in records]
    _check_positions([field.pop("position") for field in fields])
    if isinstance(records[0], EventRecord):
        run_id = records[0].run_id
    return run_id, _decode(fields)


def _check_positions(positions: list[object]) -> None:
    for expected, found in enumerate(positions, 1):
        if found != expected:
            raise ValueError(
                f"this history is not whole: where position {expected} belongs it has {found}; export all pages of it"
            )


def _of_record(record: EventRecord) -> Fields:
    from wdk_cloud.engine import events as ev

    fields: Fields = {**record.data, "position": record.position, "type": record.type, "time": _seconds(record.time)}
    for name in ev.PAYLOADS:
        if name in fields:
            fields[name] = json.loads(fields[name])
    return fields


def _of_document(record: Any) -> Fields:
    """An event as `wdk inspect events --json` prints it: times are text, payloads JSON values."""
    from wdk_cloud.engine import events as ev

    data = cast("Mapping[str, Any]", record).get("data") if isinstance(record, Mapping) else None
    if not isinstance(data, Mapping):
        raise ValueError(f"this is no event of a history: {record!r:.80}")
    event = cast("Mapping[str, Any]", record)
    fields: Fields = {**event["data"], **{name: event.get(name) for name in ("position", "type", "time")}}
    for name in ("time", *ev.TIMES):
        if isinstance(fields.get(name), str):
            fields[name] = _seconds(datetime.fromisoformat(fields[name]))
    for name in ev.PAYLOADS:
        if isinstance(value := fields.get(name), dict) and "$encrypted" in value:
            raise ValueError(
                f"event {fields['position']} of this history is encrypted; export it where WDK_ENCRYPTION_KEY is set"
            )
    return fields


def _seconds(moment: datetime) -> float:
    # Whole microseconds, divided once: the very number that the engine recorded.
    return (moment - EPOCH) // timedelta(microseconds=1) / 1_000_000


def _decode(fields: list[Fields]) -> list[ev.AnyEvent]:
    import msgspec

    from wdk_cloud.engine import events as ev

    try:
        events = ev.decode_events(json.dumps(fields, default=_base64))
    except msgspec.MsgspecError as error:
        raise ValueError(f"this history has an event that this version does not know: {error}") from error
    if type(events[0]) is not ev.RunCreated:
        raise ValueError("this history does not begin with run_created; export it from its beginning")
    return events


def _base64(value: object) -> str:
    assert isinstance(value, bytes)  # the seed; everything else of an event is JSON
    return b64encode(value).decode()
