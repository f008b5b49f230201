"""What the events of a run add up to, batches as bytes, and logs that something else has touched."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from wdk_cloud import CorruptedEventLogError
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import pack
from wdk_cloud.engine import events as ev
from wdk_cloud.engine.history import History

RAW = ev.Raw(b"1")
CREATED = ev.RunCreated(time=1.0, workflow="w", input=RAW, digest="d", seed=b"s", attributes={"a": "1"})
STARTED = ev.RunStarted(time=2.0)


def step(id: str = "s#1", *, queued: bool = False) -> ev.StepCreated:
    return ev.StepCreated(time=3.0, id=id, name="s", digest="d", input=RAW, queued=queued)


def begun(id: str = "s#1", attempt: int = 1, time: float = 4.0) -> ev.StepStarted:
    return ev.StepStarted(time=time, id=id, attempt=attempt)


def completed(id: str = "s#1", key: str | None = None) -> ev.StepCompleted:
    return ev.StepCompleted(time=5.0, id=id, attempt=1, result=RAW, key=key)


def folded(*events: ev.AnyEvent) -> History:
    history = History("run-1")
    history.extend([CREATED, STARTED, *events], "1.v")
    return history


def test_positions_count_events_and_the_time_is_the_latest() -> None:
    history = folded(step(), begun())
    history.extend([msgspec.structs.replace(completed(), time=3.5)], "2.v")
    assert (history.position, history.last_time, history.last_version) == (5, 4.0, "2.v")
    assert (history.created, history.started_at) == (CREATED, 2.0)


def test_a_step_leaves_when_it_ends() -> None:
    history = folded(step(), step("q#1", queued=True))
    assert (list(history.steps), history.queued) == (["s#1", "q#1"], 1)
    history.extend([completed("q#1", key="step:q#1"), begun(), completed()], "1.v")
    assert (history.steps, history.queued, history.admitted) == ({}, 0, {"step:q#1"})


def test_a_retry_counts_a_try_and_says_when() -> None:
    history = folded(step(), begun(), ev.StepRetrying(time=5.0, id="s#1", attempt=1, error=RAW, retry_at=9.0))
    state = history.steps["s#1"]
    assert (state.attempt, state.open, state.tries, state.retry_at, state.interruptions) == (1, False, 1, 9.0, 0)


@pytest.mark.parametrize(("charged", "tries"), [(False, 0), (True, 1)])
def test_an_interruption_counts_a_try_only_when_it_is_charged(charged: bool, tries: int) -> None:
    history = folded(step(), begun(), ev.StepInterrupted(time=5.0, id="s#1", attempt=1, charged=charged))
    state = history.steps["s#1"]
    assert (state.open, state.tries, state.interruptions, state.suspect) == (False, tries, 1, True)


def test_the_first_start_of_a_step_is_kept_over_its_retries() -> None:
    retrying = ev.StepRetrying(time=5.0, id="s#1", attempt=1, error=RAW, retry_at=9.0)
    history = folded(step(), begun(time=4.0), retrying, begun(attempt=2, time=9.0))
    state = history.steps["s#1"]
    assert (state.first_started, state.attempt, state.open) == (4.0, 2, True)


def test_waits_and_operations_leave_when_they_are_over() -> None:
    history = folded(
        ev.WaitCreated(time=3.0, id="sleep#1", due=9.0),
        ev.WaitCreated(time=3.0, id="sleep#2", due=8.0),
        ev.OperationCreated(time=3.0, id="start#1", name="start", digest="d", input=RAW),
    )
    assert (history.waits, list(history.operations)) == ({"sleep#1": 9.0, "sleep#2": 8.0}, ["start#1"])
    history.extend(
        [
            ev.WaitCompleted(time=9.0, id="sleep#1"),
            ev.WaitCancelled(time=9.0, id="sleep#2"),
            ev.OperationCompleted(time=9.0, id="start#1", result=RAW),
        ],
        "1.v",
    )
    assert (history.waits, history.operations) == ({}, {})


def test_labels_are_the_last_that_were_set_with_the_position_of_the_change() -> None:
    history = folded(ev.AttributesSet(time=3.0, key="k", changes={"a": None, "b": "2"}))
    assert (history.labels, history.labels_at, history.admitted) == ({"b": "2"}, 3, {"k"})


def test_the_end_is_remembered_with_the_position_of_its_batch() -> None:
    history = folded(step(), begun())
    history.extend([completed(), ev.RunCompleted(time=6.0, result=RAW)], "1.v")
    assert isinstance(history.end, ev.RunCompleted)
    assert (history.end_at, history.position) == (5, 6)


# -- logs that something else has touched -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("doubled", "position"),
    [
        pytest.param([CREATED], 3, id="two creations"),
        pytest.param([STARTED], 3, id="two starts"),
        pytest.param([step(), step()], 4, id="a step created twice"),
        pytest.param([step(), begun(), completed(), completed()], 6, id="a step that ends twice"),
        pytest.param([completed()], 3, id="an end of a step that was never created"),
        pytest.param([ev.RunCancelled(time=3.0), ev.RunCompleted(time=4.0, result=RAW)], 4, id="two ends"),
    ],
)
def test_an_event_that_cannot_come_where_it_lies_is_corruption(doubled: list[Any], position: int) -> None:
    with pytest.raises(CorruptedEventLogError, match=f"run run-1: position {position} of its log"):
        folded(*doubled)


def test_an_event_in_a_batch_after_the_end_is_corruption() -> None:
    history = folded(ev.RunCancelled(time=3.0))
    with pytest.raises(CorruptedEventLogError, match="position 4 of its log"):
        history.extend([step()], "1.v")


def test_a_log_that_does_not_begin_with_the_creation_is_corrupted() -> None:
    with pytest.raises(CorruptedEventLogError, match="position 1 of its log"):
        History("run-1").extend([STARTED], "1.v")


# -- batches as bytes -------------------------------------------------------------------------------------------------


def test_a_batch_comes_back_as_it_was_written() -> None:
    events: list[ev.AnyEvent] = [CREATED, STARTED, step(queued=True), begun(), completed(key="k")]
    batch = ev.decode_batch(ev.encode_batch(events, "1.v"), "run-1", 1)
    assert (batch.version, batch.events) == ("1.v", events)


def test_every_event_has_a_type_of_its_own_and_a_payload_that_it_has() -> None:
    kinds: list[Any] = list(ev.AnyEvent.__args__)
    assert len({kind.__struct_config__.tag for kind in kinds}) == len(kinds) == 27
    assert all(kind.PAYLOAD is None or kind.PAYLOAD in kind.__struct_fields__ for kind in kinds)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00garbage", id="no packing"),
        pytest.param(pack(b"{"), id="no JSON"),
        pytest.param(pack(b'{"v":1,"version":"1"}'), id="no events"),
        pytest.param(pack(b'{"v":1,"version":"1","events":[{"type":"party","time":1}]}'), id="an unknown event"),
        pytest.param(pack(b'{"v":1,"version":"1","events":[{"type":"run_started"}]}'), id="a field too few"),
        pytest.param(ev.encode_batch([CREATED] * 50, "1")[:-5], id="cut off"),
    ],
)
def test_bytes_that_are_no_batch_are_corruption_and_name_run_and_position(data: bytes) -> None:
    with pytest.raises(CorruptedEventLogError, match="run run-1: the record at position 7 of its log cannot be read"):
        ev.decode_batch(data, "run-1", 7)


@pytest.mark.parametrize(
    "data", [pack(b'{"v":2,"version":"9","events":"in another way"}'), b"\x20packed in another way"], ids=["v", "pack"]
)
def test_a_batch_of_a_newer_format_is_no_corruption(data: bytes) -> None:
    with pytest.raises(NewerFormatError):
        ev.decode_batch(data, "run-1", 7)
