"""`lambda_env`, and the mapping that delivers in it: for tests of our own, and for those of users."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.invoking import SETTINGS, stage_at
from wdk_aws.testing import EventSourceMapping, Mischief, lambda_env
from wdk_aws.testing.environment import AwsEnv, on_stage
from wdk_aws.testing.functions import Function
from wdk_cloud import Workflows, create_hook, now, resume_hook, sleep


def test_a_workflow_that_sleeps_a_month_ends_on_moto_at_once() -> None:
    app = Workflows()
    asked: list[str] = []

    @app.step(dispatch="queue")
    async def ask(question: str) -> str:
        asked.append(question)
        return question.upper()

    @app.workflow
    async def patient() -> list[Any]:
        first = await ask("a")
        await sleep("30 days")
        return [first, await create_hook(token="t")]

    async def main() -> None:
        async with lambda_env(app, settings=SETTINGS) as env:
            run = await env.start(patient)
            await env.run_until_blocked()
            assert [key[0] for key in env.stage.timetable.schedules] == ["wdk"], "one schedule brings the timer"
            await env.advance("30 days")
            await resume_hook("t", "payload")
            assert await env.run_to_end(run) == ["A", "payload"]
            assert env.stage.timetable.schedules == {}

    asyncio.run(main())
    assert asked == ["a"]


def test_the_ticks_of_a_schedule_come_on_the_clock_of_the_test(dynoxide: str) -> None:
    app = Workflows()
    begun: list[str] = []

    @app.workflow(name="hourly", schedule="every 1 hour")
    async def hourly() -> None:
        begun.append(now().strftime("%H:%M"))

    async def main() -> None:
        async with on_stage(stage_at(dynoxide), [app], SETTINGS) as env:
            await env.advance("150 minutes")
            await env.run_until_blocked()

    asyncio.run(main())
    assert begun == ["01:00", "02:00"]


MISCHIEF: dict[str, Callable[[], Mischief]] = {
    "none": Mischief,
    "duplicates": lambda: Mischief(1, duplicate=0.5),
    "any order": lambda: Mischief(2, shuffle=True),
    # A message that comes again is exchanged for a copy: so if half of all were not deleted, they would never end.
    "crashes": lambda: Mischief(3, crash=0.2),
    "all of it": lambda: Mischief(4, duplicate=0.2, shuffle=True, crash=0.2),
}


@pytest.mark.parametrize("batch_size", [1, 10])
@pytest.mark.parametrize("mischief", MISCHIEF)
def test_whatever_the_queue_does_each_result_is_recorded_once(dynoxide: str, mischief: str, batch_size: int) -> None:
    app = Workflows()
    runs, steps = 3, 4

    @app.step(dispatch="queue")
    async def work(number: int) -> int:
        return number

    @app.workflow
    async def spread() -> int:
        numbers = await asyncio.gather(*(work(number) for number in range(steps)))
        await sleep("20 minutes")
        return sum(numbers)

    async def main() -> None:
        async with on_stage(stage_at(dynoxide), start_worker=False) as env:
            function = Function(
                env.world,
                env.stage.timetable,
                [app],
                SETTINGS,
                batch_size=batch_size,
                mischief=MISCHIEF[mischief](),
            )
            await function.start()
            env.workers = [function]  # type: ignore[list-item]
            try:
                started = [await env.start(spread) for _ in range(runs)]
                for run in started:
                    assert await env.run_to_end(run) == 6
                    counts = Counter([event.type async for event in run.events()])
                    assert (counts["step_created"], counts["step_completed"], counts["run_completed"]) == (4, 4, 1)
                await drained(env)
                assert dead_letters(env) == 0
            finally:
                await function.stop()

    asyncio.run(main())


async def drained(env: AwsEnv) -> None:
    """Until no message is left: what came twice, or was not deleted, comes to nothing."""
    for _ in range(1000):
        await env.run_until_blocked()
        due = env.stage.timetable.next_due("wdk-flow", "wdk-step")
        if due is None:
            return
        env.clock.advance_to(due[0])
    raise AssertionError("messages keep coming")


def dead_letters(env: AwsEnv) -> int:
    return sum(len(env.stage.timetable.queue(f"wdk-{name}-dead").letters) for name in ("flow", "step"))


# -- the mapping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        ({"batchItemFailures": []}, 0),
        (None, 0),
        ({}, 0),
        ({"batchItemFailures": None}, 0),
        ({"batchItemFailures": [{"itemIdentifier": "{second}"}]}, 1),
        ({"batchItemFailures": [{"itemIdentifier": "nobody's"}]}, 3),
        ({"batchItemFailures": [{"itemIdentifier": ""}]}, 3),
        ({"batchItemFailures": [{"badKey": "x"}]}, 3),
        ("text", 3),
        (RuntimeError("it raises"), 3),
    ],
    ids=str,
)
def test_of_a_batch_all_but_the_reported_failures_are_deleted(dynoxide: str, answer: Any, left: int) -> None:
    events: list[Any] = []

    def handler(event: Any, context: Any, /) -> Any:
        events.append(event)
        assert 0 < context.get_remaining_time_in_millis() <= 900_000
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, dict) and answer.get("batchItemFailures"):
            named = {"{second}": event["Records"][1]["messageId"]}
            failures = [{key: named.get(id, id) for key, id in one.items()} for one in answer["batchItemFailures"]]
            return {"batchItemFailures": failures}
        return answer

    async def main() -> None:
        async with on_stage(stage_at(dynoxide), start_worker=False) as env:
            sqs, url = env.stage.clients.sqs, env.world.settings.flow_queue_url
            for body in "abc":
                sqs.send_message(QueueUrl=url, MessageBody=body)
            assert EventSourceMapping(sqs, url, batch_size=10).poll(handler) == 1
            assert len(env.stage.timetable.queue("wdk-flow").letters) == left

    asyncio.run(main())
    (event,) = events
    first = event["Records"][0]
    assert [record["body"] for record in event["Records"]] == ["a", "b", "c"]
    assert set(first) == {
        "messageId",
        "receiptHandle",
        "body",
        "attributes",
        "messageAttributes",
        "md5OfBody",
        "eventSource",
        "eventSourceARN",
        "awsRegion",
    }
    assert set(first["attributes"]) == {
        "ApproximateReceiveCount",
        "SentTimestamp",
        "SenderId",
        "ApproximateFirstReceiveTimestamp",
    }
    assert (first["eventSource"], first["awsRegion"]) == ("aws:sqs", "eu-central-1")
    assert first["eventSourceARN"] == "arn:aws:sqs:eu-central-1:123456789012:wdk-flow"
    assert first["md5OfBody"] == "0cc175b9c0f1b6a831c399e269772661"


def test_a_message_that_nobody_deletes_is_a_dead_letter_in_the_end(dynoxide: str) -> None:
    async def main() -> None:
        async with on_stage(stage_at(dynoxide), start_worker=False) as env:
            timetable = env.stage.timetable
            url = timetable.make_queue("short", visibility=30, dead="short-dead", received=3)
            env.stage.clients.sqs.send_message(QueueUrl=url, MessageBody="x")
            mapping = EventSourceMapping(env.stage.clients.sqs, url)
            counts = []
            for _ in range(4):
                counts += [
                    one.event["Records"][0]["attributes"]["ApproximateReceiveCount"] for one in mapping.receive()
                ]
                env.clock.advance_to(env.clock.now() + 30)
            assert counts == ["1", "2", "3"]
            assert (len(timetable.queue("short").letters), len(timetable.queue("short-dead").letters)) == (0, 1)

    asyncio.run(main())
