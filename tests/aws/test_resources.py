"""What `create_resources()` makes of the variables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.aws.stage import clients_of
from wdk_aws.settings import AwsSettings
from wdk_aws.testing import create_resources
from wdk_aws.testing.resources import create
from wdk_cloud.errors import WorldConfigurationError

REGION, ACCOUNT = "eu-west-1", "123456789012"
QUEUES = f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}"

VARIABLES = {
    "WDK_AWS_TABLE": "wdk",
    "WDK_AWS_FLOW_QUEUE_URL": f"{QUEUES}/wdk-flow",
    "WDK_AWS_STEP_QUEUE_URL": f"{QUEUES}/wdk-step",
    "WDK_AWS_BUCKET": "wdk-objects",
    "WDK_AWS_SCHEDULER_GROUP": "wdk",
}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (*VARIABLES, "WDK_AWS_SCHEDULER_ROLE_ARN", "WDK_AWS_KMS_KEY_ID", "WDK_RETENTION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws():
        yield


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


def client(service: Any) -> Any:
    return boto3.client(service)


def attributes(name: str) -> dict[str, str]:
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found: dict[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


def expiry() -> list[int]:
    rules = client("s3").get_bucket_lifecycle_configuration(Bucket="wdk-objects")["Rules"]
    return [rule["Expiration"]["Days"] for rule in rules if rule["Status"] == "Enabled"]


def check() -> None:
    table = client("dynamodb").describe_table(TableName="wdk")["Table"]
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]
    assert sorted(index["IndexName"] for index in table["GlobalSecondaryIndexes"]) == ["active", "runs"]
    expires = client("dynamodb").describe_time_to_live(TableName="wdk")["TimeToLiveDescription"]
    assert (expires["AttributeName"], expires["TimeToLiveStatus"]) == ("expires", "ENABLED")
    for name in ("wdk-flow", "wdk-step"):
        queue = attributes(name)
        assert (queue["VisibilityTimeout"], queue["MessageRetentionPeriod"]) == ("960", "1209600")
        assert json.loads(queue["RedrivePolicy"]) == {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}-dead",
            "maxReceiveCount": 1000,
        }
        dead = attributes(f"{name}-dead")
        assert (dead["VisibilityTimeout"], dead["MessageRetentionPeriod"]) == ("960", "1209600")
        assert "RedrivePolicy" not in dead
    assert client("s3").get_bucket_location(Bucket="wdk-objects")["LocationConstraint"] == REGION
    assert expiry() == [60]
    assert client("scheduler").get_schedule_group(Name="wdk")["State"] == "ACTIVE"


@pytest.mark.usefixtures("variables")
def test_everything_that_is_named_is_created() -> None:
    create_resources()
    check()


@pytest.mark.usefixtures("variables")
def test_creating_again_changes_nothing() -> None:
    create_resources()
    client("s3").put_object(Bucket="wdk-objects", Key="kept", Body=b"data")
    create_resources()
    check()
    assert client("s3").get_object(Bucket="wdk-objects", Key="kept")["Body"].read() == b"data"


@pytest.mark.usefixtures("variables")
def test_a_queue_that_is_there_with_other_attributes_is_put_right() -> None:
    client("sqs").create_queue(QueueName="wdk-flow", Attributes={"VisibilityTimeout": "30"})
    client("sqs").create_queue(QueueName="wdk-flow-dead", Attributes={"MessageRetentionPeriod": "60"})
    create_resources()
    check()


def test_what_is_not_named_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_AWS_TABLE", "wdk")
    create_resources()
    assert client("dynamodb").list_tables()["TableNames"] == ["wdk"]
    assert "QueueUrls" not in client("sqs").list_queues()
    assert client("s3").list_buckets()["Buckets"] == []


def test_with_no_variable_set_they_are_listed() -> None:
    with pytest.raises(WorldConfigurationError, match=r"none of WDK_AWS_TABLE, .*WDK_AWS_KMS_KEY_ID is set"):
        create_resources()


@pytest.mark.usefixtures("variables")
def test_objects_are_kept_for_twice_the_retention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_RETENTION", "45.5 days")
    create_resources()
    assert expiry() == [91]


def test_the_first_region_makes_its_buckets_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("WDK_AWS_BUCKET", "wdk-objects")
    create_resources()
    assert expiry() == [60]


def test_the_servers_of_our_tests_take_it_too(dynoxide: str, ministack: str) -> None:
    clients = clients_of(dynoxide, ministack)
    url = f"{ministack}/000000000000/made"
    settings = AwsSettings(table="made", flow_queue_url=url, bucket="made", scheduler_group="made")
    for _ in range(2):
        create(settings, clients)
    assert clients.sqs.get_queue_attributes(QueueUrl=url + "-dead", AttributeNames=["All"])["Attributes"]
    assert clients.dynamodb.describe_table(TableName="made")["Table"]["TableStatus"] == "ACTIVE"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"{QUEUES.replace(ACCOUNT, '999999999999')}/wdk-flow", f"made here is {QUEUES}/wdk-flow; set it to that"),
        ("https://sqs.eu-west-1.amazonaws.com/", "set it to the URL of a queue"),
        (f"{QUEUES}/bad name", "cannot be made: .*look at that variable"),
    ],
)
def test_a_queue_that_would_be_another_one_is_named_by_its_setting(
    url: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WDK_AWS_FLOW_QUEUE_URL", url)
    with pytest.raises(WorldConfigurationError, match=f"WDK_AWS_FLOW_QUEUE_URL .*{told}"):
        create_resources()


def test_a_profile_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    monkeypatch.setenv("WDK_AWS_TABLE", "wdk")
    with pytest.raises(
        WorldConfigurationError, match=r"profile \(gone\) could not be found; set AWS_PROFILE to one that"
    ):
        create_resources()


def test_a_bucket_that_cannot_be_is_named_by_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_AWS_BUCKET", "X")
    with pytest.raises(WorldConfigurationError, match="WDK_AWS_BUCKET"):
        create_resources()
