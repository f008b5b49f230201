"""`list_runs`, newest first, one page at a time. What it refuses is in `test_bad_input`."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.e2e.running import Play, finish
from wdk_cloud import Run, RunPage, Workflows, get_run, list_runs, sleep, start
from wdk_cloud.testing.environment import WorkflowEnv

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
"""Where the virtual clock stands at first."""

HOUR = timedelta(hours=1)


class Shop:
    """An app with a workflow that naps and one that fails."""

    def __init__(self, namespace: str | None = None) -> None:
        self.app = app = Workflows(namespace)

        @app.workflow(name="nap")
        async def nap(duration: str = "100 days") -> None:
            await sleep(duration)

        @app.workflow(name="fall")
        async def fall() -> None:
            raise ValueError

        self.nap = nap
        self.fall = fall


async def start_hourly(env: WorkflowEnv, shop: Shop, count: int) -> list[str]:
    """Start naps n-0, n-1, … at full hours, the first at midnight."""
    names = [f"n-{n}" for n in range(count)]
    for name in names:
        await env.start(shop.nap.with_options(run_id=name))
        await env.advance("1h")
    return names


def ids(page: RunPage) -> list[str]:
    return [info.run_id for info in page]


# -- pages ----------------------------------------------------------------------------------------------------------------


def test_where_nothing_was_started_there_is_one_empty_page(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        page = await list_runs()
        assert type(page) is RunPage
        assert page == []
        assert page.cursor is None

    play.scene(scenario, shop.app)


def test_the_newest_run_comes_first_and_each_is_an_info(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        names = await start_hourly(env, shop, 4)
        page = await list_runs()
        assert ids(page) == names[::-1]
        assert page.cursor is None
        assert [info.created_at for info in page] == [MIDNIGHT + n * HOUR for n in (3, 2, 1, 0)]
        assert list(page) == [await get_run(name).info() for name in names[::-1]]

    play.scene(scenario, shop.app)


@pytest.mark.parametrize(
    ("count", "limit", "sizes"),
    [(5, 2, [2, 2, 1]), (4, 2, [2, 2]), (3, 3, [3]), (3, 1000, [3]), (3, 1, [1, 1, 1])],
    ids=["a rest", "even", "just one page", "the longest page", "one by one"],
)
def test_pages_follow_each_other_by_their_cursors_and_the_last_has_none(
    play: Play, count: int, limit: int, sizes: list[int]
) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        names = await start_hourly(env, shop, count)
        page = await list_runs(limit=limit)
        pages = [ids(page)]
        while page.cursor is not None:
            assert type(page.cursor) is str
            page = await list_runs(limit=limit, cursor=page.cursor)
            pages.append(ids(page))
        assert [len(page) for page in pages] == sizes
        assert [name for page in pages for name in page] == names[::-1]

    play.scene(scenario, shop.app)


def test_a_page_has_fifty_runs_unless_told_otherwise(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        for n in range(51):
            await env.start(shop.nap.with_options(run_id=f"n-{n}"))
        page = await list_runs()
        assert len(page) == 50
        rest = await list_runs(cursor=page.cursor)
        assert len(rest) == 1
        assert rest.cursor is None
        assert {*ids(page), *ids(rest)} == {f"n-{n}" for n in range(51)}

    play.scene(scenario, shop.app)


def test_runs_started_at_the_same_moment_are_each_on_one_page(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        started = {(await env.start(shop.nap)).run_id for _ in range(7)}
        page = await list_runs(limit=3)
        seen = ids(page)
        while page.cursor is not None:
            page = await list_runs(limit=3, cursor=page.cursor)
            seen += ids(page)
        assert len(seen) == 7
        assert set(seen) == started
        assert seen == ids(await list_runs())

    play.scene(scenario, shop.app)


def test_runs_that_start_between_two_pages_move_nothing(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        names = await start_hourly(env, shop, 4)
        first = await list_runs(limit=2)
        await env.start(shop.nap.with_options(run_id="late"))
        second = await list_runs(limit=2, cursor=first.cursor)
        assert [*ids(first), *ids(second)] == names[::-1]
        assert second.cursor is None

    play.scene(scenario, shop.app)


# -- filters --------------------------------------------------------------------------------------------------------------


async def stock(env: WorkflowEnv, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs at full hours from midnight: three naps of version 1, then of version 2 a fall, a nap that waits for its
    time, one that is cancelled and one that has ended."""
    monkeypatch.setenv("WDK_CODE_VERSION", "1")
    for name in ("asleep-0", "asleep-1", "asleep-2"):
        await start(shop.nap.with_options(run_id=name))
        await env.advance("1h")
    monkeypatch.setenv("WDK_CODE_VERSION", "2")
    await start(shop.fall.with_options(run_id="fallen-3"))
    await env.advance("1h")
    await start(shop.nap.with_options(run_id="waiting-4", delay="300 days"))
    await env.advance("1h")
    cancelled = await start(shop.nap.with_options(run_id="cancelled-5"))
    await env.advance("1h")
    await cancelled.cancel()
    await start(shop.nap.with_options(run_id="ended-6"), "1 min")
    await env.advance("1h")
    await env.run_until_blocked()


EVERY = ["ended-6", "cancelled-5", "waiting-4", "fallen-3", "asleep-2", "asleep-1", "asleep-0"]

FILTERS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("nothing", {}, EVERY),
    ("id", {"workflow": "nap"}, [name for name in EVERY if name != "fallen-3"]),
    ("other id", {"workflow": "fall"}, ["fallen-3"]),
    ("unknown id", {"workflow": "na"}, []),
    ("pending", {"status": "pending"}, ["waiting-4"]),
    ("running", {"status": "running"}, ["asleep-2", "asleep-1", "asleep-0"]),
    ("completed", {"status": "completed"}, ["ended-6"]),
    ("failed", {"status": "failed"}, ["fallen-3"]),
    ("cancelled", {"status": "cancelled"}, ["cancelled-5"]),
    ("version 1", {"version": "1"}, ["asleep-2", "asleep-1", "asleep-0"]),
    ("version 2", {"version": "2"}, ["ended-6", "cancelled-5", "waiting-4", "fallen-3"]),
    ("unknown version", {"version": "3"}, []),
    ("since", {"since": MIDNIGHT + 4.5 * HOUR}, ["ended-6", "cancelled-5"]),
    ("until", {"until": MIDNIGHT + 1.5 * HOUR}, ["asleep-1", "asleep-0"]),
    ("since and until", {"since": MIDNIGHT + 1.5 * HOUR, "until": MIDNIGHT + 3.5 * HOUR}, ["fallen-3", "asleep-2"]),
    (
        "another time zone",
        {"since": datetime(2026, 1, 1, 9, 30, tzinfo=timezone(timedelta(hours=5)))},
        ["ended-6", "cancelled-5"],
    ),
    ("an empty span", {"since": MIDNIGHT + 3.5 * HOUR, "until": MIDNIGHT + 1.5 * HOUR}, []),
    ("since the future", {"since": MIDNIGHT + 100 * HOUR}, []),
    ("workflow and status", {"workflow": "nap", "status": "failed"}, []),
    ("workflow and version", {"workflow": "nap", "version": "2"}, ["ended-6", "cancelled-5", "waiting-4"]),
    ("status and version", {"status": "running", "version": "2"}, []),
    (
        "status and since",
        {"status": "running", "since": MIDNIGHT + 0.5 * HOUR},
        ["asleep-2", "asleep-1"],
    ),
    (
        "all",
        {
            "workflow": "nap",
            "status": "running",
            "version": "1",
            "since": MIDNIGHT + 0.5 * HOUR,
            "until": MIDNIGHT + 1.5 * HOUR,
        },
        ["asleep-1"],
    ),
]


@pytest.mark.parametrize(("query", "found"), [row[1:] for row in FILTERS], ids=[row[0] for row in FILTERS])
def test_a_listing_holds_what_passes_all_its_filters(
    play: Play, monkeypatch: pytest.MonkeyPatch, query: dict[str, Any], found: list[str]
) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        await stock(env, shop, monkeypatch)
        whole = await list_runs(**query)
        assert ids(whole) == found
        assert whole.cursor is None
        page, paged = await list_runs(**query, limit=1), []
        paged += ids(page)
        while page.cursor is not None:
            page = await list_runs(**query, limit=1, cursor=page.cursor)
            assert len(page) == 1
            paged += ids(page)
        assert paged == found

    play.scene(scenario, shop.app)


def test_the_workflow_may_be_the_workflow_itself(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        nap = await env.start(shop.nap)
        await env.advance("1h")
        fall = await env.start(shop.fall)
        assert ids(await list_runs(workflow=shop.nap)) == [nap.run_id]
        assert ids(await list_runs(workflow=shop.fall)) == [fall.run_id]
        assert ids(await list_runs(workflow=shop.nap.with_options(run_id="x"))) == [nap.run_id]

    play.scene(scenario, shop.app)


def test_a_run_moves_from_one_status_to_the_next(play: Play) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        run: Run[None] = await env.start(shop.nap, "1h")
        seen = []
        for _ in range(2):
            await env.run_until_blocked()
            seen.append([len(await list_runs(status=status)) for status in ("pending", "running", "completed")])
            await finish(env, run)
        assert seen == [[0, 1, 0], [0, 0, 1]]

    play.scene(scenario, shop.app)


def test_the_infos_of_a_listing_tell_how_runs_ended(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop()

    async def scenario(env: WorkflowEnv) -> None:
        await stock(env, shop, monkeypatch)
        told = {info.run_id: info for info in await list_runs()}
        assert [told[name].workflow_name for name in ("ended-6", "fallen-3")] == ["nap", "fall"]
        assert [told[name].version for name in ("asleep-0", "fallen-3")] == ["1", "2"]
        assert told["fallen-3"].error_code == "USER_ERROR"
        assert told["fallen-3"].ended_at == MIDNIGHT + 3 * HOUR
        assert told["ended-6"].ended_at == MIDNIGHT + 6 * HOUR + timedelta(minutes=1)
        assert told["asleep-0"].ended_at is None

    play.scene(scenario, shop.app)


def test_a_workflow_of_a_namespace_is_listed_in_it(play: Play) -> None:
    shop, other = Shop(), Shop("other")

    async def scenario(env: WorkflowEnv) -> None:
        here = await env.start(shop.nap)
        there = await env.start(other.nap)
        assert ids(await list_runs(workflow=shop.nap)) == [here.run_id]
        assert ids(await list_runs(workflow="nap", namespace="other")) == [there.run_id]
        assert ids(await list_runs(workflow=other.nap)) == [there.run_id]

    play.scene(scenario, shop.app, other.app)


def test_a_step_lists_runs(play: Play) -> None:
    shop = Shop()

    @shop.app.step
    async def look() -> list[str]:
        return [info.run_id for info in await list_runs(workflow="nap")]

    @shop.app.workflow
    async def body() -> list[str]:
        return await look()

    async def scenario(env: WorkflowEnv) -> None:
        await env.start(shop.nap.with_options(run_id="found"))
        assert (await finish(env, await env.start(body))).value == ["found"]

    play.scene(scenario, shop.app)
