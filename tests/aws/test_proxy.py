"""The proxy loses what it says, and everything else passes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.aws.metering import session_of
from tests.components import dynoxide, ministack  # noqa: F401  (fixtures)
from tests.proxy import Loss, Proxy, Request, proxy_to
from wdk_aws import schema
from wdk_aws.testing.faults import without_pauses

KEY = {"pk": {"S": "a"}, "sk": {"S": "b"}}
CONFIG = Config(retries={"mode": "standard", "total_max_attempts": 3})


@pytest.fixture
def proxy(dynoxide: str) -> Iterator[Proxy]:  # noqa: F811
    with without_pauses(), proxy_to(dynoxide) as proxy:
        yield proxy


def client(service: str, url: str) -> Any:
    return session_of().client(service, endpoint_url=url, config=CONFIG)


def test_boto3_reports_its_own_write_as_refused_when_an_answer_is_lost(proxy: Proxy) -> None:
    dynamodb = client("dynamodb", proxy.url)
    dynamodb.create_table(**schema.table("of-the-proxy"))
    put: dict[str, Any] = {"TableName": "of-the-proxy", "Item": KEY, "ConditionExpression": "attribute_not_exists(pk)"}
    proxy.clear()
    proxy.lose("answer", words="PutItem")
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        dynamodb.put_item(**put)
    assert proxy.requests == [Request("PutItem", "answer"), Request("PutItem", None)]
    dynamodb.delete_item(TableName="of-the-proxy", Key=KEY)


@pytest.mark.parametrize("loss", ["request", "unavailable"])
def test_a_request_that_does_not_arrive_is_repeated_and_done_once(proxy: Proxy, loss: Loss) -> None:
    dynamodb = client("dynamodb", proxy.url)
    name = f"of-the-proxy-{loss}"
    dynamodb.create_table(**schema.table(name))
    proxy.clear()
    proxy.lose(loss, number=2, times=2)
    add: dict[str, Any] = {"TableName": name, "Key": KEY, "UpdateExpression": "ADD n :n", "ReturnValues": "ALL_NEW"}
    for number in (1, 2, 3):
        answer = dynamodb.update_item(**add, ExpressionAttributeValues={":n": {"N": "1"}})
        assert answer["Attributes"]["n"] == {"N": f"{number}"}
    assert [request.lost for request in proxy.requests] == [None, loss, loss, None, None]


def test_a_client_hears_of_it_when_nothing_comes_through(proxy: Proxy) -> None:
    proxy.lose("request", times=3)
    dynamodb = client("dynamodb", proxy.url)
    with pytest.raises(ConnectionClosedError):
        dynamodb.list_tables()
    dynamodb.list_tables()


def test_objects_and_messages_pass_as_they_are(ministack: str) -> None:  # noqa: F811
    with without_pauses(), proxy_to(ministack) as proxy:
        s3, sqs = client("s3", proxy.url), client("sqs", proxy.url)
        s3.create_bucket(Bucket="of-the-proxy", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        data = bytes(range(256)) * 4096
        proxy.lose("answer", words="PUT /of-the-proxy/one")
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.put_object(Bucket="of-the-proxy", Key="one", Body=data, IfNoneMatch="*")
        assert s3.get_object(Bucket="of-the-proxy", Key="one")["Body"].read() == data
        assert s3.head_object(Bucket="of-the-proxy", Key="one")["ContentLength"] == len(data)
        url = sqs.create_queue(QueueName="of-the-proxy")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="ä")
        assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "ä"
