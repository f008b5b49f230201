"""Each fault is what it says: what was done, what the program hears, and what botocore repeats by itself."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError
from moto import mock_aws

from tests.aws.metering import session_of
from tests.components import dynoxide  # noqa: F401  (a fixture)
from wdk_aws import schema
from wdk_aws.testing.faults import EACH, Died, Fault, Faults, Met, without_pauses
from wdk_aws.testing.meter import Meter
from wdk_aws.testing.timetable import Timetable
from wdk_cloud.world.clock import VirtualClock

STANDARD = Config(retries={"mode": "standard", "total_max_attempts": 3})

NAMES = itertools.count()


class Bench:
    """A table on a real server, or on moto."""

    def __init__(self) -> None:
        session = session_of()
        self.meter, self.faults = Meter(), Faults()
        self.meter.attach(session)
        self.faults.attach(session)
        self.dynamodb: Any = session.client("dynamodb", config=STANDARD)
        self.s3: Any = session.client("s3", config=STANDARD)
        self.sqs: Any = session.client("sqs", config=STANDARD)
        self.table = f"of-faults-{next(NAMES)}"
        self.dynamodb.create_table(**schema.table(self.table))
        self.meter.clear()

    def add(self) -> int:
        """One more, without a condition: what is done twice shows."""
        answer = self.dynamodb.update_item(
            TableName=self.table,
            Key={"pk": {"S": "a"}, "sk": {"S": "b"}},
            UpdateExpression="ADD n :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
            ReturnValues="ALL_NEW",
        )
        return int(answer["Attributes"]["n"]["N"])

    def errors(self) -> list[str]:
        return [call.error for call in self.meter.calls()]

    def written(self) -> list[int]:
        return [call.write for call in self.meter.calls()]


@pytest.fixture(params=["dynoxide", "moto"])
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with without_pauses():
        if request.param == "moto":
            with mock_aws():
                yield Bench()
        else:
            monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("dynoxide"))
            yield Bench()


def test_a_lost_answer_is_of_a_request_that_was_done_and_botocore_does_it_again(bench: Bench) -> None:
    bench.faults.at(1, Fault.ANSWER_LOST)
    assert bench.add() == 2
    assert bench.errors() == ["unanswered", ""]
    assert bench.written() == [1, 1]
    assert bench.add() == 3


def test_when_all_answers_are_lost_the_caller_hears_of_it(bench: Bench) -> None:
    bench.faults.at(1, Fault.ANSWER_LOST, attempts=EACH)
    with pytest.raises(ReadTimeoutError):
        bench.add()
    assert bench.add() == 4
    assert bench.errors() == ["unanswered"] * 3 + [""]
    assert bench.faults.met == [Met(2, "dynamodb.UpdateItem", Fault.ANSWER_LOST)] * 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.THROTTLED, "ThrottlingException"),
        (Fault.SERVER_ERROR, "InternalServerError"),
        (Fault.TIMED_OUT, "unanswered"),
    ],
)
def test_what_is_refused_or_never_sent_is_not_done_and_repeated(bench: Bench, fault: Fault, error: str) -> None:
    bench.faults.at(1, fault, attempts=2)
    assert bench.add() == 1
    assert bench.errors() == [error, error, ""]
    assert bench.written() == [0, 0, 1]


def test_a_request_that_fails_each_time_raises_what_aws_would_say(bench: Bench) -> None:
    bench.faults.at(1, Fault.THROTTLED, attempts=EACH)
    with pytest.raises(ClientError, match="ThrottlingException"):
        bench.add()
    bench.faults.at(1, Fault.TIMED_OUT, attempts=EACH)
    with pytest.raises(ConnectTimeoutError):
        bench.add()
    assert bench.add() == 1


def test_expired_credentials_are_not_repeated(bench: Bench) -> None:
    bench.faults.at(1, Fault.EXPIRED)
    with pytest.raises(ClientError, match="ExpiredTokenException"):
        bench.add()
    assert bench.errors() == ["ExpiredTokenException"]


def test_a_call_is_chosen_by_number_by_operation_or_each_nth(bench: Bench) -> None:
    bench.faults.on("dynamodb.UpdateItem", Fault.EXPIRED, number=2)
    bench.dynamodb.describe_table(TableName=bench.table)
    assert bench.add() == 1
    with pytest.raises(ClientError):
        bench.add()
    bench.faults.clear()
    bench.faults.every(2, Fault.EXPIRED)
    for number in (2, 3):
        assert bench.add() == number
        with pytest.raises(ClientError):
            bench.add()


@pytest.mark.parametrize(("fault", "done"), [(Fault.DEATH_BEFORE, 0), (Fault.DEATH_AFTER, 1)])
def test_a_dead_process_does_nothing_more_until_another_takes_over(bench: Bench, fault: Fault, done: int) -> None:
    bench.faults.at(1, fault)
    for _ in range(2):
        with pytest.raises(Died):
            bench.add()
    bench.faults.revive()
    assert bench.add() == done + 1


def test_a_dead_process_has_no_other_threads(bench: Bench) -> None:
    bench.faults.at(1, Fault.DEATH_BEFORE)
    with pytest.raises(Died):
        bench.add()
    heard: list[BaseException] = []

    def other() -> None:
        try:
            bench.add()
        except BaseException as error:
            heard.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert [type(error) for error in heard] == [Died]


@mock_aws
def test_s3_and_sqs_fail_in_words_of_their_own() -> None:
    with without_pauses():
        bench = Bench()
        bench.s3.create_bucket(Bucket="of-faults", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        url = bench.sqs.create_queue(QueueName="of-faults")["QueueUrl"]
        put = {"Bucket": "of-faults", "Key": "one", "Body": b"1", "IfNoneMatch": "*"}
        bench.faults.on("s3.PutObject", Fault.CONFLICT)
        with pytest.raises(ClientError, match="ConditionalRequestConflict"):
            bench.s3.put_object(**put)
        bench.faults.on("s3.PutObject", Fault.THROTTLED, attempts=2)
        bench.s3.put_object(**put)
        bench.faults.on("sqs.SendMessage", Fault.THROTTLED, attempts=EACH)
        with pytest.raises(ClientError, match="RequestThrottled"):
            bench.sqs.send_message(QueueUrl=url, MessageBody="x")
        bench.faults.on("sqs.SendMessage", Fault.ANSWER_LOST)
        bench.sqs.send_message(QueueUrl=url, MessageBody="x")
        got = bench.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        assert len(got) == 2
        assert [call.error for call in bench.meter.calls() if call.service == "s3"] == [
            "",
            "ConditionalRequestConflict",
            "SlowDown",
            "SlowDown",
            "",
        ]


def test_a_refusal_keeps_a_request_from_services_in_this_process() -> None:
    session, faults = session_of(), Faults()
    timetable = Timetable(VirtualClock())
    timetable.put_under(session)
    faults.attach(session)
    url = timetable.make_queue("of-faults")
    sqs = session.client("sqs", config=STANDARD)
    with without_pauses():
        faults.at(1, Fault.SERVER_ERROR, attempts=2)
        sqs.send_message(QueueUrl=url, MessageBody="refused twice")
        faults.at(1, Fault.ANSWER_LOST)
        sqs.send_message(QueueUrl=url, MessageBody="done twice")
    got = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(message["Body"] for message in got) == ["done twice", "done twice", "refused twice"]
