"""A run that sleeps for longer than SQS delays, on real servers whose clock is moved: what is sent, and what it touches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.answers import answering
from tests.aws.stage import SqsReceiver, clients_of, fresh, scheduled_before, shared_clients
from tests.components import Standing
from wdk_aws.world import AwsWorld
from wdk_cloud import Workflows, client, sleep
from wdk_cloud.engine.delivery import deliver
from wdk_cloud.engine.service import Engine
from wdk_cloud.engine.settings import Settings
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Message

DAY = 86_400.0

app = Workflows()


@app.workflow
async def sleeper(days: int) -> str:
    await sleep(days * DAY)
    return "rested"


class Stage:
    """A world, one engine, and the clock of both and of the servers."""

    def __init__(self, dynoxide: str, standing: Standing) -> None:
        self.standing = standing
        self.clients = clients_of(dynoxide, standing.url)
        self.settings = fresh(shared_clients(dynoxide, standing.url), standing.url)
        self.clock = VirtualClock(standing.now())
        self.world = AwsWorld(self.settings, clients=self.clients, clock=self.clock)
        self.receiver = SqsReceiver(self.settings, self.clients, "")
        self.engine = Engine(self.world, [app], Settings(code_version="1"))
        operations = ("PutItem", "UpdateItem", "GetItem", "Query", "DeleteItem", "BatchGetItem", "BatchWriteItem")
        self.asked = [answering(self.clients.dynamodb, name, lambda _: None) for name in operations]

    async def start(self, days: int, **options: Any) -> client.Run[Any]:
        with use_world(self.world):
            return await client.start(sleeper.with_options(**options), days)

    async def pass_by(self, seconds: float) -> None:
        self.clock.advance_to(self.clock.now() + seconds)
        self.standing.move_to(self.clock.now())
        while scheduled_before(self.clock.now(), self.settings, self.clients):
            await asyncio.sleep(0.02)

    async def work(self) -> tuple[Message, int]:
        """The next message, and how often its delivery asked the table."""
        (delivery,) = await self.receiver.receive(1)
        before = sum(len(asked) for asked in self.asked)
        assert await deliver(self.engine, delivery)
        await self.receiver.acknowledge(delivery)
        return delivery.message, sum(len(asked) for asked in self.asked) - before

    def schedules(self) -> int:
        return len(self.clients.scheduler.list_schedules(GroupName=self.settings.scheduler_group)["Schedules"])

    async def status(self, run: client.Run[Any]) -> str:
        head = await self.world.runs.head(run.run_id)
        assert head is not None
        return head.status


@pytest.fixture
def stage(dynoxide: str, ministack_standing: Standing) -> Iterator[Stage]:
    made = Stage(dynoxide, ministack_standing)
    yield made
    made.clients.close()


def test_a_sleep_of_three_days_is_one_schedule_and_a_hop_that_touches_no_table(stage: Stage) -> None:
    async def story() -> None:
        run = await stage.start(3)
        await stage.work()
        assert (stage.schedules(), stage.receiver.busy()) == (1, False)
        await stage.pass_by(3 * DAY - 60)
        hop, asked = await stage.work()
        assert (hop.kind, hop.hop, asked) == ("timer", True, 0)
        assert (stage.schedules(), stage.receiver.busy()) == (0, False)
        await stage.pass_by(61)
        timer, _ = await stage.work()
        assert (timer.kind, timer.hop, timer.identity) == ("timer", False, hop.identity)
        assert await stage.status(run) == "completed"
        assert (stage.schedules(), stage.receiver.busy()) == (0, False)

    asyncio.run(story())


def test_a_sleep_of_400_days_is_two_schedules(stage: Stage) -> None:
    async def story() -> None:
        run = await stage.start(400)
        await stage.work()
        for days in (365, 35):
            assert stage.schedules() == 1
            await stage.pass_by(days * DAY - 60)
            hop, asked = await stage.work()
            assert (hop.hop, asked) == (True, 0)
            if days == 365:
                await stage.pass_by(60)
        await stage.pass_by(61)
        await stage.work()
        assert await stage.status(run) == "completed"

    asyncio.run(story())


def test_a_start_with_a_long_delay_is_a_hop_that_the_worker_carries_on(stage: Stage) -> None:
    async def story() -> None:
        scheduled = answering(stage.clients.scheduler, "CreateSchedule", lambda _: None)
        run = await stage.start(1, delay="2 days")
        assert scheduled == []  # a caller may not
        await stage.pass_by(900)
        hop, asked = await stage.work()
        assert (hop.kind, hop.hop, asked, len(scheduled)) == ("timer", True, 0, 1)
        await stage.pass_by(2 * DAY - 900 - 60)
        assert (await stage.work())[0].hop
        await stage.pass_by(61)
        timer, _ = await stage.work()
        assert not timer.hop
        assert await stage.status(run) == "running"

    asyncio.run(story())


def test_a_sleep_goes_in_hops_of_900_seconds_while_no_schedule_can_be_made(stage: Stage) -> None:
    async def story() -> None:
        throttled = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 429}}
        answers = iter([throttled] * 2)
        answering(stage.clients.scheduler, "CreateSchedule", lambda _: next(answers, None))
        await stage.start(3)
        await stage.work()
        await stage.pass_by(900)
        assert (await stage.work())[1] == 0
        assert stage.schedules() == 0
        await stage.pass_by(900)
        assert (await stage.work())[1] == 0
        assert stage.schedules() == 1

    asyncio.run(story())
