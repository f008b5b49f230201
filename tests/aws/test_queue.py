"""SQS and EventBridge Scheduler: what the contract cannot see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.aws.answers import answering, refusal
from tests.aws.stage import ACCOUNT, REGION, ROLE, SqsReceiver, bodies, clients_of, fresh, sent, shared_clients
from tests.components import Standing
from wdk_aws import messages
from wdk_aws.clients import Clients
from wdk_aws.queue import SqsQueue
from wdk_aws.schedules import arn_of
from wdk_aws.settings import AwsSettings
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.errors import WorldConfigurationError, WorldUnavailableError
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.ports import Delivery, Message

DAY = 86_400.0


@dataclass(frozen=True)
class Stage:
    settings: AwsSettings
    clients: Clients
    clock: VirtualClock
    standing: Standing

    @property
    def queue(self) -> SqsQueue:
        return SqsQueue(self.settings, self.clients, self.clock, "blue")

    def send(self, *messages: tuple[Message, float]) -> None:
        asyncio.run(self.queue.send(messages))

    def receive(self) -> Delivery:
        (delivery,) = asyncio.run(SqsReceiver(self.settings, self.clients, "blue").receive(1))
        return delivery

    def flow(self) -> list[Message]:
        return sent(self.clients, self.settings.flow_queue_url)

    def step(self) -> list[Message]:
        return sent(self.clients, self.settings.step_queue_url)

    def schedules(self) -> list[dict[str, Any]]:
        found = self.clients.scheduler.list_schedules(GroupName=self.settings.scheduler_group)["Schedules"]
        return [
            dict(self.clients.scheduler.get_schedule(GroupName=self.settings.scheduler_group, Name=one["Name"]))
            for one in found
        ]


@pytest.fixture
def stage(dynoxide: str, ministack_standing: Standing) -> Iterator[Stage]:
    clients = clients_of(dynoxide, ministack_standing.url)
    settings = fresh(shared_clients(dynoxide, ministack_standing.url), ministack_standing.url)
    yield Stage(settings, clients, VirtualClock(ministack_standing.now()), ministack_standing)
    clients.close()


def message(identity: str = "i", kind: Any = "wake", **fields: Any) -> Message:
    return Message(kind=kind, run_id="run-1", birth="b", identity=identity, **fields)


# -- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_is_ascii_json_with_the_namespace(stage: Stage) -> None:
    odd = message("ä€\U0001f600\x00\x1f\x7f", trace="\u2028")
    stage.send((odd, 0.0))
    (body,) = bodies(stage.clients, stage.settings.flow_queue_url)
    assert body.isascii()
    assert json.loads(body)["ns"] == "blue"
    assert json.loads(body)["identity"] == "ä€\U0001f600\x00\x1f\x7f"
    assert messages.decode(body) == ("blue", odd)


def test_a_body_without_a_namespace_is_of_the_one_without_a_name() -> None:
    assert "ns" not in json.loads(messages.encode(message(), ""))
    assert messages.decode(messages.encode(message(), "")) == ("", message())


@pytest.mark.parametrize("body", ["", "secret", "[]", "{}", '{"kind":"wake"}', '{"Records":[{"secret":1}]}', "\ud800"])
def test_a_body_that_is_not_ours_is_refused_without_its_content(body: str) -> None:
    with pytest.raises(ValueError, match=r"^the body is not a message of wdk-cloud$") as refused:
        messages.decode(body)
    assert refused.value.__cause__ is None


def test_a_message_of_a_newer_kind_is_not_taken_for_a_strangers() -> None:
    body = messages.encode(message(), "blue").replace('"wake"', '"wonder"')
    with pytest.raises(NewerFormatError):
        messages.decode(body)


def test_fields_that_a_newer_version_added_are_passed_over() -> None:
    body = json.dumps({**json.loads(messages.encode(message(), "blue")), "colour": "red"})
    assert messages.decode(body) == ("blue", message())


# -- batches ----------------------------------------------------------------------------------------------------------


def test_messages_go_in_tens_each_kind_to_its_queue(stage: Stage) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", lambda _: None)
    steps = [(message(f"s{number:02}", "step"), 0.0) for number in range(23)]
    stage.send((message("w"), 0.0), *steps, (message("c", "continue"), 0.0))
    assert sorted((request["QueueUrl"], len(request["Entries"])) for request in asked) == [
        (stage.settings.flow_queue_url, 2),
        *((stage.settings.step_queue_url, size) for size in (3, 10, 10)),
    ]
    assert sorted(one.identity for one in stage.flow()) == ["c", "w"]
    assert sorted(one.identity for one in stage.step()) == [f"s{number:02}" for number in range(23)]


def test_a_batch_has_no_more_bytes_than_sqs_takes(stage: Stage) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", lambda _: None)
    stage.send(*((message(f"s{number}", "step", order=bytes(300_000)), 0.0) for number in range(4)))
    assert sorted(len(request["Entries"]) for request in asked) == [2, 2]
    assert len(stage.step()) == 4


def failing(identities: dict[str, int], *, sender: bool = False) -> Any:
    """Entries of these identities fail so many times; nothing of such a request is sent."""

    def answer(asked: dict[str, Any]) -> dict[str, Any] | None:
        failed: list[dict[str, Any]] = []
        for entry in asked["Entries"]:
            identity = json.loads(entry["MessageBody"])["identity"]
            if identities.get(identity, 0):
                identities[identity] -= 1
                failed.append({"Id": entry["Id"], "SenderFault": sender, "Code": "InternalError"})
        return {"Successful": [], "Failed": failed} if failed else None

    return answer


def test_only_the_entries_that_failed_are_sent_again(stage: Stage) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", failing({"b": 2, "c": 1}))
    stage.send(*((message(identity), 0.0) for identity in "abcd"))
    sizes = [[json.loads(entry["MessageBody"])["identity"] for entry in request["Entries"]] for request in asked]
    assert sizes == [["a", "b", "c", "d"], ["b", "c"], ["b"]]


def test_entries_that_fail_on_and_on_are_an_error_and_the_others_are_sent(stage: Stage) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", failing({"s00": 99}))
    with pytest.raises(WorldUnavailableError, match=r"took 9 of 10 messages for WDK_AWS_STEP_QUEUE_URL"):
        stage.send(*((message(f"s{number:02}", "step"), 0.0) for number in range(20)), (message("w"), 0.0))
    assert len(asked) == 5 + 1 + 1
    assert sorted(one.identity for one in stage.step()) == [f"s{number:02}" for number in range(10, 20)]
    assert [one.identity for one in stage.flow()] == ["w"]


def test_entries_that_are_the_senders_fault_are_not_sent_again(stage: Stage) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", failing({"a": 99}, sender=True))
    with pytest.raises(WorldConfigurationError, match=r"refuses 1 messages for WDK_AWS_FLOW_QUEUE_URL \(InternalErr"):
        stage.send((message("a"), 0.0))
    assert len(asked) == 1


def test_what_fails_for_good_does_not_stop_what_is_tried_again(stage: Stage) -> None:
    for_good, once = failing({"a": 99}, sender=True), failing({"s": 1})
    answering(stage.clients.sqs, "SendMessageBatch", lambda asked: for_good(asked) or once(asked))
    with pytest.raises(WorldConfigurationError):
        stage.send((message("a"), 0.0), (message("s", "step"), 0.0))
    assert [one.identity for one in stage.step()] == ["s"]


def test_a_queue_that_is_not_there_is_named_by_its_setting(stage: Stage) -> None:
    elsewhere = replace(stage.settings, flow_queue_url=stage.settings.flow_queue_url + "-gone")
    with pytest.raises(WorldConfigurationError, match="what WDK_AWS_FLOW_QUEUE_URL names is not there"):
        asyncio.run(SqsQueue(elsewhere, stage.clients, stage.clock, "").send([(message(), 0.0)]))


def test_a_queue_that_is_not_set_is_named_by_its_setting(stage: Stage) -> None:
    with pytest.raises(WorldConfigurationError, match="WDK_AWS_STEP_QUEUE_URL is not set"):
        asyncio.run(
            SqsQueue(replace(stage.settings, step_queue_url=""), stage.clients, stage.clock, "").send(
                [(message("s", "step"), 0.0)]
            )
        )


def test_a_delay_ends_at_the_next_second_and_not_before(stage: Stage) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", lambda _: None)
    stage.send(*((message(str(delay)), delay) for delay in (-3.0, 0.0, 0.01, 1.0, 899.2, 900.0)))
    assert [entry["DelaySeconds"] for entry in asked[0]["Entries"]] == [0, 0, 1, 1, 900, 900]


# -- schedules --------------------------------------------------------------------------------------------------------


def timer(stage: Stage, delay: float, identity: str = "t", **fields: Any) -> tuple[Message, float]:
    return message(identity, "timer", due=stage.clock.now() + delay, **fields), delay


def test_a_timer_beyond_900_seconds_is_one_schedule_a_minute_early_with_a_hop_in_it(stage: Stage) -> None:
    one, delay = timer(stage, 3 * DAY)
    stage.send((one, delay))
    assert stage.flow() == []
    (schedule,) = stage.schedules()
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{stage.settings.flow_queue_url.rpartition('/')[2]}"
    assert one.due is not None
    assert schedule["ScheduleExpression"] == f"at({_utc(one.due - 60.0)})"
    assert schedule["ScheduleExpressionTimezone"] == "UTC"
    assert schedule["FlexibleTimeWindow"] == {"Mode": "OFF"}
    assert schedule["ActionAfterCompletion"] == "DELETE"
    target = schedule["Target"]
    assert (target["Arn"], target["RoleArn"]) == (arn, ROLE)
    assert target["DeadLetterConfig"] == {"Arn": f"{arn}-dead"}
    assert messages.decode(target["Input"]) == ("blue", msgspec.structs.replace(one, hop=True))


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def test_a_schedule_fires_into_its_queue_and_is_gone(stage: Stage) -> None:
    one, delay = timer(stage, 2 * DAY)
    stage.send((one, delay))
    stage.standing.move_to(stage.standing.now() + delay - 61)
    assert stage.flow() == []
    stage.standing.move_to(stage.standing.now() + 1)
    delivery = stage.receive()
    assert delivery.message == msgspec.structs.replace(one, hop=True)
    assert not delivery.again
    assert stage.schedules() == []


def test_the_same_timer_sent_twice_is_one_schedule_whoever_sends_it(stage: Stage) -> None:
    one, delay = timer(stage, DAY, "first")
    stage.send((one, delay))
    stage.clock.advance_to(stage.clock.now() + 7.25)
    stage.send((msgspec.structs.replace(one, identity="second"), delay - 7.0))  # it was reckoned a moment ago
    (schedule,) = stage.schedules()
    assert messages.decode(schedule["Target"]["Input"])[1].identity == "first"
    delayed = "ApproximateNumberOfMessagesDelayed"
    asked = stage.clients.sqs.get_queue_attributes(QueueUrl=stage.settings.flow_queue_url, AttributeNames=[delayed])
    assert asked["Attributes"][delayed] == "0"


def test_other_timers_are_other_schedules(stage: Stage) -> None:
    one, delay = timer(stage, DAY)
    stage.send(
        (one, delay),
        (msgspec.structs.replace(one, due=one.due + 0.25), delay + 0.25),
        (msgspec.structs.replace(one, birth="other"), delay),
        (msgspec.structs.replace(one, run_id="run-2"), delay),
        # Cut to the longest delay: it must not meet the name of the schedule that led here, which may still be there.
        (one, delay - 3_600),
    )
    asyncio.run(SqsQueue(stage.settings, stage.clients, stage.clock, "green").send([(one, delay)]))
    assert len(stage.schedules()) == 6


def test_the_name_of_a_schedule_fits_and_says_whose_it_is(stage: Stage) -> None:
    long = Message(kind="timer", run_id="r" * 128, birth="b", identity="i", due=stage.clock.now() + DAY)
    odd = msgspec.structs.replace(long, run_id="ä/b c")
    stage.send((long, DAY), (odd, DAY))
    names = sorted(schedule["Name"].partition(".")[0] for schedule in stage.schedules())
    assert names == ["bc", "r" * 31]
    assert {len(schedule["Name"]) for schedule in stage.schedules()} == {35, 64}


def test_a_step_is_scheduled_into_its_own_queue_for_its_time(stage: Stage) -> None:
    step = message("s", "step", step_id="charge#1", order=b"order")
    stage.send((step, DAY))
    stage.send((step, DAY + 3_600))  # the next try of the same step, under the same identity
    first, second = sorted(stage.schedules(), key=lambda schedule: schedule["ScheduleExpression"])
    assert first["ScheduleExpression"] == f"at({_utc(stage.clock.now() + DAY)})"
    assert second["ScheduleExpression"] == f"at({_utc(stage.clock.now() + DAY + 3_600)})"
    assert first["Target"]["Arn"].endswith(stage.settings.step_queue_url.rpartition("/")[2])
    assert messages.decode(first["Target"]["Input"]) == ("blue", step)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ThrottlingException", 429),
        ("ServiceQuotaExceededException", 402),
        ("InternalServerException", 500),
        ("ResourceNotFoundException", 404),
        ("AccessDeniedException", 403),
        ("ValidationException", 400),
    ],
)
def test_a_timer_for_which_no_schedule_can_be_made_goes_in_hops(stage: Stage, code: str, status: int) -> None:
    answering(stage.clients.scheduler, "CreateSchedule", lambda _: refusal(code, status))
    asked = answering(stage.clients.sqs, "SendMessageBatch", lambda _: None)
    one, delay = timer(stage, DAY)
    stage.send((one, delay), (message("s", "step"), delay))
    entries = [entry for request in asked for entry in request["Entries"]]
    assert [entry["DelaySeconds"] for entry in entries] == [900, 900]
    assert sorted((messages.decode(entry["MessageBody"])[1] for entry in entries), key=lambda m: m.identity) == [
        message("s", "step"),
        msgspec.structs.replace(one, hop=True),
    ]


@pytest.mark.parametrize("missing", ["scheduler_group", "scheduler_role_arn"])
def test_without_a_scheduler_timers_go_in_hops(stage: Stage, missing: str) -> None:
    asked = answering(stage.clients.sqs, "SendMessageBatch", lambda _: None)
    settings = replace(stage.settings, **{missing: ""})
    one, delay = timer(stage, DAY)
    asyncio.run(SqsQueue(settings, stage.clients, stage.clock, "").send([(one, delay)]))
    (entry,) = asked[0]["Entries"]
    assert entry["DelaySeconds"] == 900
    assert messages.decode(entry["MessageBody"]) == ("", msgspec.structs.replace(one, hop=True))
    assert stage.schedules() == []


@pytest.mark.parametrize(
    ("url", "arn"),
    [
        ("https://sqs.us-west-2.amazonaws.com/123456789012/flow", "arn:aws:sqs:us-west-2:123456789012:flow"),
        ("https://vpce-1.sqs.us-west-2.vpce.amazonaws.com/1/flow", "arn:aws:sqs:us-west-2:1:flow"),
        ("http://127.0.0.1:4566/000000000000/flow", f"arn:aws:sqs:{REGION}:000000000000:flow"),
    ],
)
def test_the_arn_of_a_queue_is_told_by_its_url(stage: Stage, url: str, arn: str) -> None:
    assert arn_of(url, stage.clients) == arn


# -- extend -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wake", "step"])
def test_extending_asks_the_queue_of_the_delivery(stage: Stage, kind: str) -> None:
    stage.send((message("m", kind), 0.0))
    delivery = stage.receive()
    asked = answering(stage.clients.sqs, "ChangeMessageVisibility", lambda _: None)
    stage.queue.extend(delivery, 30.2)
    url = stage.settings.step_queue_url if kind == "step" else stage.settings.flow_queue_url
    assert asked == [{"QueueUrl": url, "ReceiptHandle": delivery.receipt.partition(":")[2], "VisibilityTimeout": 31}]


def test_extending_has_the_bounds_of_sqs(stage: Stage) -> None:
    stage.send((message(), 0.0))
    delivery = stage.receive()
    asked = answering(stage.clients.sqs, "ChangeMessageVisibility", lambda _: None)
    stage.queue.extend(delivery, 1e9)
    stage.queue.extend(delivery, -5.0)
    assert [request["VisibilityTimeout"] for request in asked] == [43_200, 0]


@pytest.mark.parametrize(
    "code", ["InvalidParameterValue", "ReceiptHandleIsInvalid", "AWS.SimpleQueueService.MessageNotInflight"]
)
def test_extending_what_is_gone_is_harmless(stage: Stage, code: str) -> None:
    answering(stage.clients.sqs, "ChangeMessageVisibility", lambda _: refusal(code))
    delivery = Delivery(message=message(), provider_id="p", receipt="flow:h")
    stage.queue.extend(delivery, 30.0)


def test_extending_under_an_outage_says_so(stage: Stage) -> None:
    answering(stage.clients.sqs, "ChangeMessageVisibility", lambda _: refusal("ServiceUnavailable", 503))
    with pytest.raises(WorldUnavailableError):
        stage.queue.extend(Delivery(message=message(), provider_id="p", receipt="flow:h"), 30.0)


def test_a_caller_delays_by_what_sqs_can() -> None:
    assert (SqsQueue.callers_delay, SqsQueue.longest_delay) == (900.0, 365 * DAY)
