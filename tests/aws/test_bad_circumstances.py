"""What is wrong around a run on AWS: each ends in a recorded error or comes again, and the log tells of it."""

from __future__ import annotations

import asyncio
import functools
import logging
from dataclasses import replace
from typing import Any

import pytest

from tests.aws.answers import answering, refusal
from tests.aws.disturbed import AwsPlay, dead_letters
from tests.aws.invoking import SETTINGS, Hands, Played, played_at
from tests.aws.quick import stage_at
from tests.canonical import CANONICALS, journal
from tests.faults import Call, Life, Plan
from tests.histories import begun_by_name, fixed_draws
from wdk_aws import messages
from wdk_aws.world import AwsWorld
from wdk_cloud import Workflows, WorldConfigurationError, sleep, start
from wdk_cloud.engine.replay import MAX_DELIVERIES_EXCEEDED
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.records import Message

ORDER = b'{"name":"s","input":{},"workflow":"w","run_started":0}'

FORTNIGHT = 14 * 86_400.0
"""Seconds that SQS keeps a message."""


@pytest.fixture
def played(dynoxide: str) -> Played:
    return functools.partial(played_at, dynoxide)


def app_of(begun: list[str]) -> Workflows:
    app = Workflows()

    @app.step
    async def here(name: str) -> str:
        begun.append(name)
        return name

    @app.step(dispatch="queue")
    async def there(name: str) -> str:
        begun.append(name)
        return name

    @app.workflow
    async def work() -> str:
        return await here("a") + await there("b")

    @app.workflow
    async def rest() -> str:
        await sleep(10)
        return await here("late")

    return app


def workflow(hands: Hands, name: str) -> Any:
    return next(one for one in hands.instance.engines.apps()[0].workflows.values() if one.id.endswith(f".{name}"))


async def works(hands: Hands) -> None:
    """Hand over what is visible until nothing is."""
    while records := hands.received("wdk-flow", "wdk-step"):
        for record in records:
            answer = await hands.invoke({"Records": [record]})
            assert answer == {"batchItemFailures": []}
            queue = hands.env.stage.timetable.queue(record["eventSourceARN"].rpartition(":")[2])
            queue.delete(record["receiptHandle"])


# -- a run that kills whoever works on it --------------------------------------------------------------------------------


@pytest.mark.parametrize(("deaths", "status"), [(10, "completed"), (11, "failed")])
def test_a_run_that_kills_each_instance_fails_in_the_end_and_no_message_is_dead(
    dynoxide: str, deaths: int, status: str
) -> None:
    """The first lease, and ten that are taken over without growth of the log: the next turn runs no code of it."""
    canonical = next(one for one in CANONICALS if one.name == "sequence")
    stage = stage_at(dynoxide)

    async def main() -> None:
        journal.clear()
        clock = VirtualClock()
        settings = stage.begin(clock)
        world = AwsWorld(settings, clients=stage.clients, clock=clock)
        play = AwsPlay(canonical, world, stage, settings)
        try:
            with fixed_draws():
                await play.begin()
                for _ in range(deaths):
                    life = Life(Poison())
                    await play.serve(life)
                    assert life.dead
                await play.serve(Life())
            head = await world.runs.head(canonical.name)
            assert head is not None
            failed = status == "failed"
            assert (head.status, head.error_code) == (status, MAX_DELIVERIES_EXCEEDED if failed else None)
            assert bool(begun_by_name()) is not failed
            assert dead_letters(stage) == []
        finally:
            stage.end()

    asyncio.run(main())


class Poison(Plan):
    """Death when the log is about to grow."""

    def before(self, call: Call, life: Life) -> None:
        if call.method == "WDK_AWS_TABLE: put_item":
            life.end()


# -- messages that come late, or for nobody ------------------------------------------------------------------------------


def test_a_message_that_is_fourteen_days_old_goes_on_with_its_run(played: Played) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        (first,) = hands.received("wdk-flow")
        hands.env.clock.advance_to(hands.env.clock.now() + FORTNIGHT)
        await hands.invoke({"Records": [first]})
        (step,) = hands.received("wdk-step")
        hands.env.clock.advance_to(hands.env.clock.now() + FORTNIGHT)
        await hands.invoke({"Records": [step]})
        await works(hands)
        assert await run.return_value(timeout=1) == "ab"
        assert begun == ["a", "b"]

    played(scenario, app_of(begun))


def test_messages_that_come_a_fortnight_after_the_end_do_nothing(played: Played) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        kept = hands.received("wdk-flow")
        await hands.invoke({"Records": [kept[0]]})
        kept += hands.received("wdk-step")
        await hands.invoke({"Records": [kept[1]]})
        await works(hands)
        assert await run.status() == "completed"
        before = await hands.env.world.runs.head(run.run_id)
        hands.env.clock.advance_to(hands.env.clock.now() + FORTNIGHT)
        for record in kept:
            late = {**record, "attributes": {**record["attributes"], "ApproximateReceiveCount": "1"}}
            assert await hands.invoke({"Records": [late]}) == {"batchItemFailures": []}
        await works(hands)
        after = await hands.env.world.runs.head(run.run_id)
        assert {f for f in before.__struct_fields__ if getattr(before, f) != getattr(after, f)} <= {"retired"}
        assert begun == ["a", "b"]

    played(scenario, app_of(begun))


def test_a_timer_that_comes_a_fortnight_late_is_proof_enough(played: Played) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "rest"))
        await works(hands)
        hands.env.clock.advance_to(hands.env.clock.now() + FORTNIGHT)
        await works(hands)
        assert await run.return_value(timeout=1) == "late"
        assert begun == ["late"]

    played(scenario, app_of(begun))


@pytest.mark.parametrize("kind", ["wake", "continue", "timer", "sweep", "step"])
def test_a_message_of_a_run_that_is_not_there_is_told_and_taken(
    played: Played, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(hands: Hands) -> None:
        run_id = "wrun_unheardof"
        more: dict[str, Any] = {"step_id": "s#1", "order": ORDER} if kind == "step" else {}
        if kind == "timer":
            more = {"due": hands.env.clock.now()}
        message = Message(kind=kind, run_id=run_id, birth="b", identity="i", **more)
        source = "step" if kind == "step" else "flow"
        hands.env.stage.timetable.send(
            hands.env.stage.timetable.queue(f"wdk-{source}"), messages.encode(message, ""), 0
        )
        (record,) = hands.received(f"wdk-{source}")
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        told = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
        assert any(run_id in line for line in told), told

    played(scenario, app_of([]))


def test_a_workflow_that_this_code_does_not_have_is_handed_on_until_it_is_there(
    played: Played, caplog: pytest.LogCaptureFixture
) -> None:
    newer = Workflows()

    @newer.workflow(name="newer")
    async def work() -> str:
        return "done"

    async def scenario(hands: Hands) -> None:
        run = await start(work)
        (record,) = hands.received("wdk-flow")
        assert await hands.invoke({"Records": [record]}) == {"batchItemFailures": []}
        head = await hands.env.world.runs.head(run.run_id)
        assert head is not None and head.trouble is not None
        assert (head.status, head.trouble.count) == ("running", 1)
        assert any(one.levelno == logging.ERROR and run.run_id in one.getMessage() for one in caplog.records)
        due = hands.env.stage.timetable.next_due("wdk-flow")
        assert due is not None and due[0] > hands.env.clock.now()

    played(scenario, app_of([]))


# -- resources that are not ours, and places that are wrong --------------------------------------------------------------


def test_a_table_with_other_keys_is_named_by_its_setting(dynoxide: str) -> None:
    stage = stage_at(dynoxide)
    settings = stage.begin(clock := VirtualClock())
    theirs = f"{settings.table}-theirs"
    stage.clients.dynamodb.create_table(
        TableName=theirs,
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )

    async def main() -> None:
        world = AwsWorld(replace(settings, table=theirs), clients=stage.clients, clock=clock)
        app = app_of([])
        with use_world(world), pytest.raises(WorldConfigurationError, match="WDK_AWS_TABLE"):
            await start(next(iter(app.workflows.values())))

    try:
        asyncio.run(main())
    finally:
        stage.clients.dynamodb.delete_table(TableName=theirs)
        stage.end()


@pytest.mark.parametrize("code", ["MissingParameter", "InvalidParameterValue", "UnsupportedOperation"])
def test_a_queue_that_takes_none_of_our_messages_is_named_by_its_setting(dynoxide: str, code: str) -> None:
    """A queue of the kind FIFO asks for a group of each message."""

    async def scenario(hands: Hands) -> None:
        _, there = hands.env.stage.another()
        answering(there.sqs, "SendMessageBatch", lambda asked: refusal(code))
        world = AwsWorld(hands.env.world.settings, clients=there, clock=hands.env.clock)
        with use_world(world), pytest.raises(WorldConfigurationError, match="WDK_AWS_FLOW_QUEUE_URL"):
            await start(workflow(hands, "work"))

    played_at(dynoxide, scenario, app_of([]))


@pytest.mark.parametrize(
    ("client", "operation", "code"),
    [
        ("dynamodb", "UpdateItem", "UnrecognizedClientException"),
        ("dynamodb", "UpdateItem", "InvalidSignatureException"),
        ("sqs", "ChangeMessageVisibility", "InvalidClientTokenId"),
        ("sqs", "ChangeMessageVisibility", "InvalidAddress"),
    ],
)
def test_a_wrong_region_is_told_and_the_message_comes_back(
    played: Played, client: str, operation: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun: list[str] = []

    async def scenario(hands: Hands) -> None:
        run = await start(workflow(hands, "work"))
        (record,) = hands.received("wdk-flow")
        _, there = hands.env.stage.another()
        answering(getattr(there, client), operation, lambda asked: refusal(code))
        elsewhere = Hands(hands.env, hands.instance.engines.apps(), SETTINGS)
        elsewhere.instance.parts = elsewhere.instance.parts._replace(
            world=lambda: AwsWorld(hands.env.world.settings, clients=there, clock=hands.env.clock)
        )
        answer = await elsewhere.invoke({"Records": [record]})
        told = [f"{one.getMessage()} {one.exc_info}" for one in caplog.records if one.levelno == logging.ERROR]
        assert any("AWS_DEFAULT_REGION" in line for line in told), told
        if client == "dynamodb":
            assert answer == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
            assert await run.status() == "pending"

    played(scenario, app_of(begun))
