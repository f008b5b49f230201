"""list_heads, overdue, erase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.records import (
    BIRTH,
    NOW,
    OTHER_BIRTH,
    RUN,
    STEP,
    a_batch,
    a_head,
    a_token,
    an_item,
    started,
)
from wdk_cloud.world.ports import ENDED, Head, HeadPage, Labels, RunQuery

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest


async def pages(place: WorldUnderTest, **query: Any) -> list[list[str]]:
    """The run ids of every page."""
    found: list[list[str]] = []
    cursor: str | None = None
    while True:
        page = await place.runs.list_heads(RunQuery(**query, cursor=cursor))
        found.append([head.run_id for head in page.heads])
        cursor = page.cursor
        if cursor is None:
            return found


async def listed(place: WorldUnderTest, **query: Any) -> list[str]:
    return [run_id for page in await pages(place, **query) for run_id in page]


async def create(place: WorldUnderTest, *heads: Head) -> None:
    for head in heads:
        assert await place.runs.create(head) is None


async def test_a_place_without_runs_lists_none(place: WorldUnderTest) -> None:
    assert await pages(place) == [[]]


async def test_runs_are_listed_newest_first_with_their_whole_heads(place: WorldUnderTest) -> None:
    old, new, newest = a_head("m", created_at=10.5), a_head("a", created_at=20.5), a_head("z", created_at=30.5)
    await create(place, new, newest, old)
    page = await place.runs.list_heads(RunQuery())
    assert page.heads == [newest, new, old]
    assert page.cursor is None


async def test_runs_of_one_moment_are_listed_by_id_last_first(place: WorldUnderTest) -> None:
    await create(place, *(a_head(run_id) for run_id in ("b", "a", "c", "B", "a1")))
    assert await listed(place) == ["c", "b", "a1", "a", "B"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 7])
async def test_pages_hold_every_run_once_also_where_many_were_created_at_one_moment(
    place: WorldUnderTest, limit: int
) -> None:
    await create(place, *(a_head(f"run-{number}", created_at=1.1) for number in range(5)))
    await create(place, a_head("older", created_at=1.0999), a_head("newer", created_at=1.1001))
    found = await pages(place, limit=limit)
    everything = ["newer", "run-4", "run-3", "run-2", "run-1", "run-0", "older"]
    assert [run_id for page in found for run_id in page] == everything
    assert all(len(page) <= limit for page in found)


async def test_a_run_created_between_two_pages_moves_no_other(place: WorldUnderTest) -> None:
    await create(place, *(a_head(f"run-{number}", created_at=float(number)) for number in range(1, 5)))
    first = await place.runs.list_heads(RunQuery(limit=2))
    await create(place, a_head("newest", created_at=9.0))
    second = await place.runs.list_heads(RunQuery(limit=2, cursor=first.cursor))
    assert [head.run_id for head in first.heads + second.heads] == ["run-4", "run-3", "run-2", "run-1"]


async def test_a_page_has_fifty_runs_unless_told(place: WorldUnderTest) -> None:
    await create(place, *(a_head(f"run-{number}") for number in range(52)))
    assert [len(page) for page in await pages(place)] == [50, 2]


async def test_runs_are_listed_by_workflow_status_and_version(place: WorldUnderTest) -> None:
    await create(
        place,
        a_head("a", workflow="signup", status="running", version="v1"),
        a_head("b", workflow="signup", status="failed", version="v2"),
        a_head("c", workflow="billing", status="running", version="v2"),
        a_head("d", workflow="billing", status="failed", version="v1", last_version="v2"),
    )
    assert await listed(place, workflow="signup") == ["b", "a"]
    assert await listed(place, status="running") == ["c", "a"]
    assert await listed(place, version="v2") == ["c", "b"]
    assert await listed(place, workflow="billing", status="failed", version="v1") == ["d"]
    assert await listed(place, workflow="signup", version="v3") == []


async def test_a_filter_goes_on_from_page_to_page(place: WorldUnderTest) -> None:
    await create(place, *(a_head(f"run-{number}", workflow="odd" if number % 2 else "even") for number in range(9)))
    assert await listed(place, workflow="odd", limit=1) == ["run-7", "run-5", "run-3", "run-1"]


async def test_the_status_listed_is_the_one_of_now(place: WorldUnderTest) -> None:
    await started(place.runs)
    await place.runs.change(RUN, BIRTH, {"status": "running"}, holder="message-1", fence=1)
    assert await listed(place, status="pending") == []
    assert await listed(place, status="running") == [RUN]


async def test_since_is_included_and_until_is_not(place: WorldUnderTest) -> None:
    await create(place, *(a_head(f"run-{number}", created_at=float(number)) for number in range(1, 5)))
    assert await listed(place, since=2.0) == ["run-4", "run-3", "run-2"]
    assert await listed(place, until=3.0) == ["run-2", "run-1"]
    assert await listed(place, since=2.0, until=3.0) == ["run-2"]
    assert await listed(place, since=2.0, until=4.0, limit=1) == ["run-3", "run-2"]


async def test_a_span_that_ends_before_it_begins_holds_no_run(place: WorldUnderTest) -> None:
    await create(place, *(a_head(f"run-{number}", created_at=float(number)) for number in range(1, 5)))
    assert await listed(place, since=3.0, until=2.0) == []
    assert await listed(place, since=3.0, until=3.0) == []
    first = await place.runs.list_heads(RunQuery(limit=1))
    assert await place.runs.list_heads(RunQuery(limit=1, since=5.0, cursor=first.cursor)) == HeadPage(
        heads=[], cursor=None
    )


# -- overdue ----------------------------------------------------------------------------------------------------------


async def test_overdue_runs_come_longest_overdue_first(place: WorldUnderTest) -> None:
    await create(
        place,
        a_head("a", wake_by=NOW - 5),
        a_head("b", wake_by=NOW - 50, status="running"),
        a_head("c", wake_by=NOW + 0.001),
        a_head("d", wake_by=NOW - 0.001),
    )
    assert await place.runs.overdue(NOW, 10) == [
        a_head("b", wake_by=NOW - 50, status="running"),
        a_head("a", wake_by=NOW - 5),
        a_head("d", wake_by=NOW - 0.001),
    ]
    assert [head.run_id for head in await place.runs.overdue(NOW, 2)] == ["b", "a"]


async def test_runs_that_have_ended_are_never_overdue(place: WorldUnderTest) -> None:
    await create(place, *(a_head(status, status=status, wake_by=1.0) for status in sorted(ENDED)))
    assert await place.runs.overdue(NOW, 10) == []


async def test_a_run_whose_time_was_moved_on_is_not_overdue(place: WorldUnderTest) -> None:
    await started(place.runs, wake_by=NOW - 5)
    assert len(await place.runs.overdue(NOW, 10)) == 1
    await place.runs.change(RUN, BIRTH, {"wake_by": NOW + 60}, holder="message-1", fence=1)
    assert await place.runs.overdue(NOW, 10) == []


# -- erase ------------------------------------------------------------------------------------------------------------


async def test_erasing_a_run_leaves_nothing_but_its_head(place: WorldUnderTest) -> None:
    runs = place.runs
    lease = await started(runs)
    await fill(place, RUN, BIRTH)
    await runs.erase([(RUN, BIRTH)])
    assert await runs.head(RUN) == lease.head
    assert await runs.read(RUN, BIRTH, 0) == []
    assert await runs.read_at(RUN, BIRTH, 1) is None
    assert await runs.items(RUN, BIRTH) == []
    assert await runs.step(RUN, BIRTH, STEP) is None
    assert await runs.labels(RUN, BIRTH) == Labels(values={})
    assert await runs.token(a_token().digest) is None
    assert await place.blobs.get_blob(RUN, BIRTH, "blob") is None


async def test_erasing_again_does_not_matter(place: WorldUnderTest) -> None:
    await started(place.runs)
    await place.runs.erase([(RUN, BIRTH)])
    await fill(place, RUN, BIRTH)
    await place.runs.erase([(RUN, BIRTH)])
    await place.runs.erase([(RUN, BIRTH)])
    assert await place.runs.read(RUN, BIRTH, 0) == []


@pytest.mark.parametrize(("run_id", "birth"), [("run-2", BIRTH), (RUN, OTHER_BIRTH), ("run-11", BIRTH)])
async def test_erasing_a_run_leaves_other_runs_and_births_alone(place: WorldUnderTest, run_id: str, birth: str) -> None:
    await fill(place, run_id, birth)
    await place.runs.erase([(RUN, BIRTH)])
    runs = place.runs
    assert await runs.read(run_id, birth, 0) == [a_batch(1)]
    assert [item.key for item in await runs.items(run_id, birth)] == ["item", f"step:{STEP}"]
    assert await runs.labels(run_id, birth) == Labels(values={"a": "1"}, position=1)
    assert await runs.token(a_token().digest) == a_token(run_id, birth)
    assert await place.blobs.get_blob(run_id, birth, "blob") == b"blob"


async def fill(place: WorldUnderTest, run_id: str, birth: str) -> None:
    """Give the run one of everything."""
    await place.runs.append(run_id, birth, a_batch(1))
    await place.runs.put_item(run_id, birth, an_item("item"))
    await place.runs.end_step(run_id, birth, STEP, attempt=None, end=b"end")
    await place.runs.put_labels(run_id, birth, Labels(values={"a": "1"}, position=1))
    await place.runs.claim_token(a_token(run_id, birth))
    await place.blobs.put_blob(run_id, birth, "blob", b"blob")
