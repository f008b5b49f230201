"""When a turn has something to do by itself."""

from __future__ import annotations

from wdk_cloud.engine.schedule import Schedule


def everything(kind: str, id: str) -> bool:
    return True


def test_entries_come_by_due_time_and_then_in_the_order_in_which_they_were_made() -> None:
    schedule = Schedule()
    schedule.wait("sleep#1", 20.0)
    schedule.retry("b#1", 10.0)
    schedule.wait("a#1", 10.0)
    assert schedule.next_due(everything) == 10.0
    popped = [schedule.pop_due(30.0, everything) for _ in range(4)]
    assert popped == [("retry", "b#1", 10.0), ("wait", "a#1", 10.0), ("wait", "sleep#1", 20.0), None]
    assert schedule.empty


def test_what_is_not_due_yet_stays() -> None:
    schedule = Schedule()
    schedule.wait("sleep#1", 20.0)
    assert schedule.pop_due(19.9, everything) is None
    assert schedule.pop_due(20.0, everything) == ("wait", "sleep#1", 20.0)


def test_entries_that_no_longer_matter_are_skipped() -> None:
    schedule = Schedule()
    schedule.wait("timeout#1", 5.0)
    schedule.retry("s#1", 6.0)
    assert schedule.next_due(lambda kind, id: kind == "retry") == 6.0
    assert schedule.next_due(lambda kind, id: False) is None
    assert schedule.empty
