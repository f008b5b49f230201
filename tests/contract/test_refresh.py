"""aging, refresh: what a live run needs does not go by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.contract.records import (
    BIRTH,
    NOW,
    OTHER_BIRTH,
    RUN,
    STEP,
    UNTIL,
    a_batch,
    a_head,
    a_token,
    an_item,
    release,
    started,
    without_places,
)
from tests.contract.test_listing import create, fill
from tests.contract.test_removal import nothing_is_left
from wdk_cloud.world.ports import ENDED

if TYPE_CHECKING:
    from tests.contract.conftest import WorldUnderTest

DAY = 86_400.0
YEAR = 365 * DAY


async def aging(place: WorldUnderTest, before: float, limit: int = 10) -> list[str]:
    return [head.run_id for head in await place.runs.aging(before, limit)]


async def test_what_is_refreshed_is_as_it_was(place: WorldUnderTest) -> None:
    await started(place.runs)
    await release(place.runs)
    await fill(place, RUN, BIRTH)
    await place.world.streams.put(RUN, BIRTH, "log", 0, b"first")
    await place.world.streams.mark(RUN, BIRTH, "log", NOW)
    before = await place.runs.head(RUN)
    await place.advance(YEAR)
    await place.runs.refresh(RUN, BIRTH)
    await place.runs.refresh(RUN, BIRTH)
    assert await place.runs.head(RUN) == before
    assert await place.runs.read(RUN, BIRTH, 0) == [a_batch(1)]
    items = await place.runs.items(RUN, BIRTH, ())
    assert without_places([item for item in items if item.kind == "payload"]) == [an_item("item")]
    assert (await place.runs.step(RUN, BIRTH, STEP)) is not None
    assert (await place.runs.labels(RUN, BIRTH)).values == {"a": "1"}
    assert await place.runs.token(a_token().digest) == a_token()
    assert await place.blobs.get_blob(RUN, BIRTH, "blob") == b"blob"
    assert await place.world.streams.get(RUN, BIRTH, "log", 0, 100) == [b"first"]
    assert await place.world.streams.marked(RUN, BIRTH, "log") == NOW


async def test_a_run_of_which_something_may_go_soon_is_aging_until_it_is_refreshed(place: WorldUnderTest) -> None:
    now, keeps = place.clock.now(), place.runs.keeps
    await create(place, a_head("young", created_at=now), a_head("old", created_at=now - 40 * DAY))
    await create(place, a_head("oldest", created_at=now - 41 * DAY, status="pending"))
    if keeps is None:
        assert await aging(place, now + YEAR) == []
        return
    assert await aging(place, now + keeps - 40.5 * DAY) == ["oldest"]
    assert await aging(place, now + keeps - 39.5 * DAY) == ["oldest", "old"]
    assert await aging(place, now + keeps - 39.5 * DAY, limit=1) == ["oldest"]
    await place.runs.refresh("oldest", OTHER_BIRTH)  # of a life that was before
    assert await aging(place, now + keeps - 39.5 * DAY) == ["oldest", "old"]
    await place.runs.refresh("oldest", BIRTH)
    assert await aging(place, now + keeps - 39.5 * DAY) == ["old"]
    assert await aging(place, now + keeps - 2 * DAY) == ["old"]
    assert await aging(place, now + keeps + 1) == ["oldest", "old", "young"]


async def test_runs_that_have_ended_are_left_to_go(place: WorldUnderTest) -> None:
    await create(place, *(a_head(status, status=status, ended_at=NOW) for status in sorted(ENDED)))
    assert await aging(place, place.clock.now() + YEAR) == []


async def test_runs_that_have_continued_as_another_are_aging_too(place: WorldUnderTest) -> None:
    led = {"ended_at": NOW, "status": "completed", "continued_to": "last"}
    await create(place, a_head("first", created_at=1.0, **led), a_head("second", created_at=2.0, **led))
    await create(place, a_head("last", created_at=3.0))
    if place.runs.keeps is None:
        assert await aging(place, place.clock.now() + YEAR) == []
        return
    found = await place.runs.aging(place.clock.now(), 1)
    assert [head.run_id for head in found] == ["first"]
    found = await place.runs.aging(place.clock.now(), 2, found[0])
    assert [head.run_id for head in found] == ["second", "last"]
    assert await place.runs.aging(place.clock.now(), 2, found[-1]) == []


async def test_refreshing_brings_nothing_back(place: WorldUnderTest) -> None:
    await place.runs.refresh("nobody", BIRTH)
    assert await place.runs.head("nobody") is None
    await started(place.runs)
    await fill(place, RUN, BIRTH)
    await place.world.streams.put(RUN, BIRTH, "log", 0, b"first")
    await place.runs.bury(RUN, BIRTH, holder="message-1", fence=1, now=UNTIL)
    await place.advance(YEAR)
    await place.runs.refresh(RUN, BIRTH)  # by one who has seen it alive
    await place.runs.erase([(RUN, BIRTH)])
    await place.runs.refresh(RUN, BIRTH)
    await nothing_is_left(place)
    assert await place.world.streams.get(RUN, BIRTH, "log", 0, 100) == []
    head = await place.runs.head(RUN)
    assert head is not None
    assert (head.status, head.wake_by) == ("deleted", 0)
