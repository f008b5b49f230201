"""The servers that stand in for AWS: that they are there, and are what the other tests take them for."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests import components


def client(service: str, url: str) -> Any:
    return boto3.client(
        service, endpoint_url=url, region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )


def test_dynoxide_refuses_a_condition_and_returns_what_lies_there(dynoxide: str) -> None:
    dynamodb = client("dynamodb", dynoxide)
    dynamodb.create_table(
        TableName="of-components",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    asked: dict[str, Any] = {
        "TableName": "of-components",
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    dynamodb.put_item(Item={"pk": {"S": "one"}, "by": {"S": "first"}}, **asked)
    with pytest.raises(ClientError) as refused:
        dynamodb.put_item(Item={"pk": {"S": "one"}, "by": {"S": "second"}}, **asked)
    assert refused.value.response["Error"]["Code"] == "ConditionalCheckFailedException"
    assert refused.value.response["Item"] == {"pk": {"S": "one"}, "by": {"S": "first"}}


def test_ministack_writes_an_object_only_once_if_asked_to(ministack: str) -> None:
    s3 = client("s3", ministack)
    s3.create_bucket(Bucket="of-components", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="of-components", Key="one", Body=b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as refused:
        s3.put_object(Bucket="of-components", Key="one", Body=b"second", IfNoneMatch="*")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket="of-components", Key="one")["Body"].read() == b"first"


def test_a_component_that_is_missing_fails_the_test_and_says_how_to_install_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "DYNOXIDE", tmp_path / "dynoxide")
    with (
        pytest.raises(pytest.fail.Exception, match=r"make \.components/\.installed"),
        components.dynoxide_running(tmp_path),
    ):
        pass


def test_a_component_ends_with_its_test(tmp_path: Any) -> None:
    with components.dynoxide_running(tmp_path) as url:
        client("dynamodb", url).list_tables()
    port = int(url.rpartition(":")[2])
    with components.socket.socket() as again:
        # Our own connections to it may linger in the kernel for a while; a server that listened would be in the way.
        again.setsockopt(components.socket.SOL_SOCKET, components.socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))
