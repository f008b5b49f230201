"""The meter says what a DynamoDB that reports its charges says, and counts the requests of the other services."""

from __future__ import annotations

import itertools
import threading
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from tests.aws.metering import Scales, session_of
from tests.components import dynoxide  # noqa: F401  (a fixture)
from wdk_aws import schema
from wdk_aws.testing.capacity import item_size, number_size
from wdk_aws.testing.meter import Meter

NAMES = itertools.count()


class Bench:
    """A table like that of the world, on a DynamoDB that says what it charges."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch, *, alone: bool) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        session = session_of()
        self.scales = Scales(alone=alone)
        self.aside: list[str] = []
        """What the meter asked, or we."""
        session.events.register("before-call.dynamodb", lambda model, **_: self.aside.append(model.name))
        self.scales.attach(session)
        self.dynamodb: Any = session.client("dynamodb")
        self.table = f"of-the-meter-{next(NAMES)}"
        self.dynamodb.create_table(**schema.table(self.table))
        self.scales.clear()

    def units(self, operation: str, **params: Any) -> tuple[float, int]:
        with self.scales.part() as calls, suppress(ClientError):
            getattr(self.dynamodb, operation)(TableName=self.table, **params)
        (call,) = calls
        return call.read, call.write


@pytest.fixture(params=[False, True], ids=["beside others", "alone"])
def bench(request: pytest.FixtureRequest, dynoxide: str, monkeypatch: pytest.MonkeyPatch) -> Bench:  # noqa: F811
    return Bench(dynoxide, monkeypatch, alone=request.param)


def text(size: int) -> dict[str, str]:
    return {"S": "x" * size}


KEY: dict[str, Any] = {"pk": {"S": "a"}, "sk": {"S": "b"}}
LISTED = {**KEY, "rs": {"S": "0"}, "ra": {"S": "1"}}


@pytest.mark.parametrize(
    ("number", "size"),
    [("0", 1), ("-0", 1), ("7", 2), ("100", 2), ("1234", 3), ("12345", 4), ("-7", 3), ("1.5", 3), ("0.001", 2),
     ("3.14159", 5), ("1700000000.123456", 9), ("1E125", 2), ("9" * 38, 20), ("1234567890123456789012345678901234567800", 20)],
)  # fmt: skip
def test_a_number_takes_a_byte_for_two_digits_and_one_more(number: str, size: int) -> None:
    assert number_size(number) == size


def test_an_item_is_its_names_and_values_and_what_lists_and_maps_add() -> None:
    item: dict[str, Any] = {
        "ä": {"S": "ü"},  # 2 + 2
        "b": {"B": b"123"},  # 1 + 3
        "t": {"BOOL": False},  # 1 + 1
        "l": {"L": [{"NULL": True}, {"N": "5"}]},  # 1 + 3 + (1 + 1) + (1 + 2)
        "m": {"M": {"nn": {"S": ""}}},  # 1 + 3 + (2 + 1 + 0)
        "s": {"SS": ["a", "bc"]},  # 1 + 3
        "n": {"NS": ["1", "22"]},  # 1 + 4
    }
    assert item_size(item) == 4 + 4 + 2 + 9 + 7 + 4 + 5


def test_a_write_is_charged_by_the_larger_of_both_items_and_an_index_by_what_it_holds(bench: Bench) -> None:
    change: dict[str, Any] = {"Key": KEY, "UpdateExpression": "SET z = :z"}
    assert bench.units("put_item", Item={**KEY, "z": text(3000)}) == (0, 3)
    assert bench.units("put_item", Item={**LISTED, "z": text(10)}) == (0, 4)  # 3 for the old one, and it is listed now
    assert bench.units("update_item", **change, ExpressionAttributeValues={":z": text(20)}) == (0, 1)
    assert bench.units("put_item", Item={**LISTED, "z": text(20), "st": text(1)}) == (0, 2)  # what the index projects
    assert bench.units("put_item", Item={**LISTED, "ra": {"S": "2"}, "st": text(1)}) == (0, 3)  # its key: out, and in
    assert bench.units("delete_item", Key=KEY) == (0, 2)
    assert bench.units("delete_item", Key=KEY) == (0, 1)  # there was none


def test_a_refused_condition_costs_what_lies_there(bench: Bench) -> None:
    absent = {"ConditionExpression": "attribute_not_exists(pk)"}
    present = {"ConditionExpression": "attribute_exists(pk)"}
    assert bench.units("delete_item", Key=KEY, **present) == (0, 1)
    bench.units("put_item", Item={**LISTED, "z": text(2500)})
    assert bench.units("put_item", Item={**LISTED, "z": text(5000)}, **absent) == (0, 3)
    assert bench.scales.unsaid == {"PutItem": 1, "DeleteItem": 1}


def test_a_request_that_is_wrong_costs_nothing(bench: Bench) -> None:
    assert bench.units("update_item", Key=KEY, UpdateExpression="nonsense") == (0, 0)


def test_a_read_is_charged_for_all_that_it_looks_at(bench: Bench) -> None:
    for number in range(3):
        bench.units("put_item", Item={"pk": {"S": "a"}, "sk": {"S": f"{number}"}, "z": text(3000)})
    of = {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "a"}}}
    assert bench.units("get_item", Key=KEY) == (0.5, 0)
    assert bench.units("get_item", Key=KEY, ConsistentRead=True) == (1, 0)
    assert bench.units("query", **of, ConsistentRead=True) == (3, 0)
    assert bench.units("query", **of) == (1.5, 0)
    assert bench.units("query", **of, ProjectionExpression="sk") == (1.5, 0)
    assert bench.units("query", **of, Select="COUNT", Limit=1) == (0.5, 0)
    assert bench.units("query", **of, FilterExpression="attribute_exists(q)", ConsistentRead=True) == (3, 0)
    assert bench.units("scan") == (1.5, 0)


def test_an_item_of_which_a_part_is_read_is_charged_whole(bench: Bench) -> None:
    """So DynamoDB's rules have it: the item's size decides, not what is returned of it. dynoxide goes by what it returns, so
    that gets with a projection are not drawn below; what our meter says of one stands here."""
    bench.units("put_item", Item={**KEY, "z": text(10), "y": text(5000)})
    asked = {"Key": KEY, "ProjectionExpression": "z"}
    for more, whole, part in (({}, 1, 0.5), ({"ConsistentRead": True}, 2, 1)):
        with (
            bench.scales.part() as calls,
            pytest.raises(AssertionError, match=f"dynoxide says .*'CapacityUnits': {part}"),
        ):
            bench.dynamodb.get_item(TableName=bench.table, **asked, **more)
        assert [(call.read, call.write) for call in calls] == [(whole, 0)]


def test_a_batch_is_charged_item_by_item(bench: Bench) -> None:
    puts = [{"PutRequest": {"Item": {**LISTED, "sk": {"S": f"{number}"}, "z": text(1000)}}} for number in range(3)]
    deletes = [{"DeleteRequest": {"Key": {**KEY, "sk": {"S": "0"}}}}, {"DeleteRequest": {"Key": KEY}}]
    keys = [{**KEY, "sk": {"S": f"{number}"}} for number in range(4)]
    with bench.scales.part() as calls:
        bench.dynamodb.batch_write_item(RequestItems={bench.table: puts})
        bench.dynamodb.batch_write_item(RequestItems={bench.table: deletes})
        bench.dynamodb.batch_get_item(RequestItems={bench.table: {"Keys": keys, "ConsistentRead": True}})
    assert [(call.read, call.write) for call in calls] == [(0, 3 * 2), (0, 2 + 1), (4, 0)]


# --- generated items and calls ----------------------------------------------------------------------------------------

NUMBER = st.one_of(
    st.integers(-(10**37), 10**37).map(str),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=6).map(lambda number: str(number.normalize())),
    st.builds("{}E{}".format, st.integers(1, 999), st.integers(-120, 120)),
)
VALUE = st.recursive(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda text: {"S": text}),
        st.integers(1, 5000).map(text),
        NUMBER.map(lambda number: {"N": number}),
        st.binary(max_size=2000).map(lambda data: {"B": data}),
        st.sampled_from([{"BOOL": True}, {"BOOL": False}, {"NULL": True}]),
        st.sets(st.text("abcü", min_size=1, max_size=8), min_size=1, max_size=4).map(
            lambda texts: {"SS": sorted(texts)}
        ),
        st.sets(st.integers(0, 9999), min_size=1, max_size=4).map(lambda found: {"NS": [str(one) for one in found]}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: {"L": values}),
        st.dictionaries(st.text("abäc", min_size=1, max_size=5), inner, max_size=4).map(lambda values: {"M": values}),
    ),
    max_leaves=6,
)
PLAIN = st.dictionaries(st.sampled_from(["z", "y", "größe", "st", "wb", "e"]), VALUE, max_size=4)
INDEXED = st.dictionaries(
    st.sampled_from(["rs", "ra", "as"]), st.sampled_from(["0", "1", "x" * 600]).map(lambda text: {"S": text})
)
WHERE = st.builds(lambda sk: {"pk": {"S": "g"}, "sk": {"S": sk}}, st.sampled_from("ab"))
CONDITION = st.sampled_from(
    [{}, {"ConditionExpression": "attribute_exists(pk)"}, {"ConditionExpression": "attribute_not_exists(pk)"}]
)


def changed(key: dict[str, Any], put: dict[str, Any], gone: set[str]) -> dict[str, Any]:
    """The arguments of an update."""
    gone -= put.keys()
    names = {f"#{position}": name for position, name in enumerate([*put, *sorted(gone)])}
    sets = [f"#{position} = :{position}" for position in range(len(put))]
    removes = [f"#{len(put) + position}" for position in range(len(gone))]
    expression = " SET " * bool(sets) + ", ".join(sets) + " REMOVE " * bool(removes) + ", ".join(removes)
    asked: dict[str, Any] = {"Key": key, "UpdateExpression": expression, "ExpressionAttributeNames": names}
    if put:
        asked["ExpressionAttributeValues"] = {f":{position}": value for position, value in enumerate(put.values())}
    return asked


PUT = st.builds(lambda *parts: {name: value for part in parts for name, value in part.items()}, WHERE, PLAIN, INDEXED)
GONE = st.sets(st.sampled_from(["z", "y", "st", "wb", "rs", "ra", "as"]), min_size=1, max_size=3)
CALL = st.one_of(
    st.tuples(st.just("put_item"), PUT.map(lambda item: {"Item": item}), CONDITION),
    st.tuples(
        st.just("update_item"),
        st.builds(lambda key, *parts: changed(key, {**parts[0], **parts[1]}, parts[2]), WHERE, PLAIN, INDEXED, GONE),
        st.sampled_from([{}, {"ReturnValues": "ALL_NEW"}, {"ReturnValues": "UPDATED_OLD"}]),
    ),
    st.tuples(st.just("delete_item"), WHERE.map(lambda key: {"Key": key}), CONDITION),
    st.tuples(
        st.just("get_item"),
        WHERE.map(lambda key: {"Key": key}),
        st.sampled_from([{}, {"ConsistentRead": True}]),
    ),
    st.tuples(
        st.just("query"),
        st.sampled_from(
            [
                {"KeyConditionExpression": "pk = :p", "ExpressionAttributeValues": {":p": {"S": "g"}}},
                {
                    "KeyConditionExpression": "rs = :p",
                    "ExpressionAttributeValues": {":p": {"S": "0"}},
                    "IndexName": "runs",
                },
                {
                    "KeyConditionExpression": "#k = :p",
                    "ExpressionAttributeNames": {"#k": "as"},
                    "ExpressionAttributeValues": {":p": {"S": "0"}},
                    "IndexName": "active",
                },
            ]
        ),
        st.sampled_from([{}, {"Limit": 1}, {"Select": "COUNT"}, {"ProjectionExpression": "sk"}]),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CALL, min_size=1, max_size=12))
def test_every_call_costs_what_dynamodb_says(
    bench: Bench, calls: list[tuple[str, dict[str, Any], dict[str, Any]]]
) -> None:
    for operation, asked, more in calls:
        bench.units(operation, **asked, **more)
    assert bench.scales.differences == []


# --- what else is counted ---------------------------------------------------------------------------------------------


def test_writers_of_one_item_do_not_mislead_each_other(bench: Bench) -> None:
    def write(size: int) -> None:
        for step in range(6):
            bench.dynamodb.put_item(TableName=bench.table, Item={**LISTED, "z": text(size * step)})

    threads = [threading.Thread(target=write, args=(size,)) for size in (100, 900, 1800)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bench.scales.differences == []
    assert bench.scales.agreed == {"PutItem": 18}


@pytest.mark.parametrize("bench", [True], ids=["alone"], indirect=True)
def test_a_meter_that_is_alone_looks_at_an_item_before_its_first_write_only(bench: Bench) -> None:
    update: dict[str, Any] = {"Key": KEY, "UpdateExpression": "SET z = :z"}
    bench.units("put_item", Item={**KEY, "z": text(1500)})
    bench.units("put_item", Item={**KEY, "z": text(2500)}, ConditionExpression="attribute_not_exists(pk)")
    bench.units("update_item", **update, ExpressionAttributeValues={":z": text(10)}, ReturnValues="ALL_NEW")
    assert bench.units("delete_item", Key=KEY) == (0, 1)
    assert bench.units("put_item", Item={**KEY, "z": text(1500)}) == (0, 2)
    assert bench.aside.count("GetItem") == 1
    bench.scales.clear()
    assert bench.units("put_item", Item={**KEY, "z": text(10)}) == (0, 2)
    assert bench.aside.count("GetItem") == 2


def test_what_no_world_uses_is_refused_instead_of_left_out(bench: Bench) -> None:
    check = {"ConditionCheck": {"TableName": bench.table, "Key": KEY, "ConditionExpression": "attribute_exists(pk)"}}
    with pytest.raises(NotImplementedError, match="TransactWriteItems"):
        bench.dynamodb.transact_write_items(TransactItems=[check])


@mock_aws
def test_requests_of_every_kind_are_counted_as_they_are_charged() -> None:
    session = session_of()
    meter = Meter()
    meter.attach(session)
    sqs, s3 = session.client("sqs"), session.client("s3")
    url = sqs.create_queue(QueueName="of-the-meter")["QueueUrl"]
    s3.create_bucket(Bucket="of-the-meter", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    meter.clear()

    sqs.send_message(QueueUrl=url, MessageBody="x" * 65_537)
    sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": f"{number}", "MessageBody": "x"} for number in range(3)])
    received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=1)["Messages"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=received[0]["ReceiptHandle"], VisibilityTimeout=0)
    s3.put_object(Bucket="of-the-meter", Key="one", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError):
        s3.put_object(Bucket="of-the-meter", Key="one", Body=b"1", IfNoneMatch="*")
    s3.get_object(Bucket="of-the-meter", Key="one")
    s3.list_objects_v2(Bucket="of-the-meter")

    tally = meter.tally()
    assert tally.requests == {
        "sqs.SendMessage": 2,
        "sqs.SendMessageBatch": 1,
        "sqs.ReceiveMessage": 2,  # as long as the message
        "sqs.ChangeMessageVisibility": 1,
        "s3.PutObject": 2,
        "s3.GetObject": 1,
        "s3.ListObjectsV2": 1,
    }
    assert tally.messages == {"sqs.SendMessage": 1, "sqs.SendMessageBatch": 3, "sqs.ReceiveMessage": 1}
    assert (tally.sent, tally.read, tally.write) == (4, 0, 0)
    assert [(call.target, call.key) for call in meter.calls()][-1] == ("of-the-meter", "")
    assert meter.calls()[-3].error == "PreconditionFailed"
