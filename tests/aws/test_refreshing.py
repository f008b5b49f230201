"""A run that sleeps longer than anything is kept ends as if it had slept for a minute; ended runs go by themselves."""

from __future__ import annotations

import asyncio
import random
import string
from typing import TYPE_CHECKING, Any

import pytest

from tests.aws.invoking import SETTINGS, stage_at
from tests.components import dynoxide  # noqa: F401  # pyright: ignore[reportUnusedImport] -- a fixture
from wdk_aws.mapping import Context
from wdk_aws.serving import Instance, Parts
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.environment import AwsEnv, on_stage
from wdk_aws.testing.expire import expire
from wdk_aws.world import AwsWorld
from wdk_cloud import (
    RunExpiredError,
    WorkflowRunNotFoundError,
    Workflows,
    continue_as_new,
    create_hook,
    get_run,
    get_writable,
    list_runs,
    resume_hook,
    sleep,
    start,
)
from wdk_cloud.engine import refreshing, requests, runids
from wdk_cloud.telemetry import Silent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from wdk_cloud.engine.service import Engine
    from wdk_cloud.world.ports import Head

    Live: TypeAlias = Callable[[Callable[["Days"], Awaitable[None]]], None]

DAYS_KEPT = 60

NOISE = "".join(random.Random(1).choices(string.ascii_letters, k=20_000))

app = Workflows()
begun: list[str] = []


@app.step(name="notes")
async def notes(text: str) -> str:
    begun.append(text)
    await get_writable("log").write(text)
    return text


@app.workflow(name="sleeps")
async def sleeps(text: str) -> list[str]:
    hook = create_hook("still-open", schema=str)
    first = await notes("before")
    await sleep("400 days")
    return [text, first, await notes("after"), await hook]


@app.workflow(name="quick")
async def quick() -> str:
    return "done"


@app.workflow(name="goes_on")
async def goes_on(left: int) -> str:
    await sleep("25 days")
    if left:
        continue_as_new(left - 1)
    return "at last"


class Days:
    """An environment that lives from day to day: its sweep, and what AWS takes away."""

    def __init__(self, env: AwsEnv) -> None:
        self.env = env
        world = env.world
        assert isinstance(world, AwsWorld)
        self._instance = Instance((app,), Parts(lambda: world, Silent, SETTINGS))
        self.expired = 0
        self.settings = world.settings

    async def pass_by(self, days: int, every: int = 15) -> None:
        clock = self.env.clock
        for _ in range(0, days, every):
            await self.env.advance(f"{every} days")
            await self.env.run_until_blocked()
            assert await self.sweep() == {"woken": 0}
            stage = self.env.stage
            self.expired += expire(self.settings, stage.clients, clock.now(), DAYS_KEPT)

    async def sweep(self) -> object:
        return await self._instance.handle({"sweep": {}}, Context(900, self.env.clock.monotonic))

    async def engine(self) -> Engine:
        await self._instance.prepare()
        engine = self._instance.engines.of("")
        assert engine is not None
        return engine

    def items(self) -> list[str]:
        dynamodb: Any = self.env.stage.clients.dynamodb
        pages = dynamodb.scan(TableName=self.settings.table)["Items"]
        return sorted(f"{item['pk']['S']} {item['sk']['S']}" for item in pages)


@pytest.fixture
def live(dynoxide: str) -> Live:  # noqa: F811
    def play(scenario: Callable[[Days], Awaitable[None]]) -> None:
        async def main() -> None:
            async with on_stage(stage_at(dynoxide), (app,), SETTINGS) as env:
                days = Days(env)
                await scenario(days)

        asyncio.run(main())

    return play


def test_a_run_that_slept_400_days_completes_with_all_that_it_had(live: Live) -> None:
    begun.clear()

    async def scenario(days: Days) -> None:
        run = await start(sleeps, NOISE)
        ended = await start(quick)
        await days.env.run_until_blocked()
        await days.pass_by(390)
        assert days.expired > 0
        with pytest.raises(RunExpiredError):
            await ended.return_value()
        await resume_hook("still-open", "here")
        await days.pass_by(10, every=10)
        assert await run.return_value(timeout=5) == [NOISE, "before", "after", "here"]
        assert [chunk async for chunk in run.readable("log")] == ["before", "after"]

    live(scenario)
    assert begun == ["before", "after"]


def test_without_the_refresh_the_same_run_is_lost(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: object) -> int:
        return 0

    monkeypatch.setattr(refreshing, "refresh_daily", nothing)

    async def scenario(days: Days) -> None:
        run = await start(sleeps, NOISE)
        await days.env.run_until_blocked()
        await days.pass_by(390)
        with pytest.raises(RunExpiredError):
            await run.status()

    live(scenario)


def test_a_run_is_refreshed_each_forty_days_and_the_note_of_a_day_spares_it_the_others(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed: list[float] = []

    async def scenario(days: Days) -> None:
        run, began = await start(sleeps, "x"), days.env.clock.now()
        runs, asked = days.env.world.runs, list[float]()
        refresh, aging = runs.refresh, runs.aging

        async def counting(run_id: str, birth: str) -> None:
            refreshed.append((days.env.clock.now() - began) / 86_400)
            await refresh(run_id, birth)

        async def looking(before: float, limit: int, after: Head | None = None) -> list[Head]:
            asked.append(before)
            return await aging(before, limit, after)

        monkeypatch.setattr(runs, "refresh", counting)
        monkeypatch.setattr(runs, "aging", looking)
        await days.pass_by(126, every=2)
        assert len(asked) == 63
        assert [round(day) for day in refreshed] == [42, 82, 122]  # the slack of a day comes on top
        await days.sweep()
        assert len(asked) == 63
        assert await run.status() == "running"

    live(scenario)


def test_an_ended_run_is_there_for_its_retention_then_expired_and_costs_nothing_to_remove(live: Live) -> None:
    async def scenario(days: Days) -> None:
        run = await start(quick.with_options(idempotency_key="once"))
        await days.env.run_until_blocked()
        await days.pass_by(25, every=5)
        assert await run.return_value() == "done"
        assert (await start(quick.with_options(idempotency_key="once"))) == run
        await days.pass_by(10, every=10)
        assert days.expired == 0
        assert not await run.exists()
        for asked in (run.return_value, run.status, run.info):
            with pytest.raises(RunExpiredError):
                await asked()
        with pytest.raises(RunExpiredError):
            await start(quick.with_options(idempotency_key="once"))
        await days.pass_by(30)
        assert days.items() == [f"R##{runids.derived_run_id('refresh')} A#refreshed"]
        await start(quick.with_options(idempotency_key="once"))  # by now it is a new one

    live(scenario)


def test_without_a_head_the_time_in_the_id_tells_an_expired_run_from_one_that_never_was(live: Live) -> None:
    async def scenario(days: Days) -> None:
        run, never = await start(quick), runids.new_run_id(days.env.clock.now() + 90 * 86_400)
        await days.env.run_until_blocked()
        await days.pass_by(75)
        assert await days.env.world.runs.head(run.run_id) is None
        with pytest.raises(RunExpiredError):
            await run.status()
        with pytest.raises(WorkflowRunNotFoundError):
            await get_run(never).status()

    live(scenario)


def test_the_first_of_a_chain_leads_to_the_last_however_long_ago_it_ended(live: Live) -> None:
    async def scenario(days: Days) -> None:
        first = await start(goes_on, 5)
        await days.env.run_until_blocked()
        await days.pass_by(155, every=5)
        assert await first.return_value(timeout=5) == "at last"
        page = await list_runs()
        assert len(page) == 6
        await days.pass_by(105)
        with pytest.raises((RunExpiredError, WorkflowRunNotFoundError)):
            await first.return_value(timeout=5)
        assert len(await list_runs()) == 0

    live(scenario)


def test_a_refresh_that_has_no_time_left_is_gone_on_with_by_the_next_sweep(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refreshing, "SECONDS", 0.0)

    async def scenario(days: Days) -> None:
        await start(sleeps, "x")
        await days.env.run_until_blocked()
        await days.env.advance("45 days")
        engine = await days.engine()
        assert await refreshing.refresh_daily(engine) == 0
        monkeypatch.setattr(refreshing, "SECONDS", 20.0)
        assert await refreshing.refresh_daily(engine) == 1
        assert await refreshing.refresh_daily(engine) == 0

    live(scenario)


def test_a_deleted_run_leaves_its_tombstone_until_that_goes_by_itself(live: Live) -> None:
    async def scenario(days: Days) -> None:
        run = await start(sleeps, NOISE)
        await days.env.run_until_blocked()
        await run.delete()
        assert days.items() == [f"R##{run.run_id} HEAD"]
        await days.pass_by(45)
        with pytest.raises(RunExpiredError):
            await run.status()
        await days.pass_by(30)
        assert days.items() == [f"R##{runids.derived_run_id('refresh')} A#refreshed"]
        assert isinstance(requests.gone(days.env.world, run.run_id), RunExpiredError)

    live(scenario)


@pytest.mark.parametrize(("retention", "days"), [("1 day", 60), ("30 days", 60), ("45.5 days", 91)])
def test_a_world_keeps_things_for_twice_the_retention(
    retention: str, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WDK_RETENTION", retention)
    assert AwsWorld(AwsSettings()).runs.keeps == days * refreshing.DAY
