"""What the AWS world stands on, made by plain calls: for tests, and for a first try."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from wdk_aws import schema
from wdk_aws.attributes import KEPT, RECEIVES, VISIBILITY, object_days
from wdk_aws.clients import Clients
from wdk_aws.failures import code
from wdk_aws.schedules import DEAD
from wdk_aws.settings import VARIABLES, AwsSettings
from wdk_cloud.engine.settings import Settings
from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3.literals import BucketLocationConstraintType
    from mypy_boto3_sqs.literals import QueueAttributeNameType

DEFAULT_REGION = "us-east-1"
"""The one whose buckets are made without naming it."""


def create_resources() -> None:
    """Create what the `WDK_AWS_*` variables name and is not there yet: the table, the queues each with a dead-letter
    queue beside it (`<name>-dead`), the bucket, the schedule group. A variable that is not set is passed over; the role
    of `WDK_AWS_SCHEDULER_ROLE_ARN` and a KMS key are taken as given.

    Calling it again is harmless, and puts right what has other attributes. Raises `WorldConfigurationError` that names
    the variable.
    """
    clients = Clients()
    try:
        create(AwsSettings.from_environment(), clients)
    finally:
        clients.close()


def create(settings: AwsSettings, clients: Clients) -> None:
    if settings == AwsSettings():
        raise WorldConfigurationError(
            f"none of {', '.join(VARIABLES.values())} is set; set those of what is to be made"
        )
    if settings.table:
        _create_table(settings.table, clients)
    for field, url in (("flow_queue_url", settings.flow_queue_url), ("step_queue_url", settings.step_queue_url)):
        if url:
            _create_queues(VARIABLES[field], url, clients)
    if settings.bucket:
        _create_bucket(settings.bucket, clients)
    if settings.scheduler_group:
        _create_group(settings.scheduler_group, clients)


def _create_table(name: str, clients: Clients) -> None:
    setting, dynamodb = VARIABLES["table"], clients.dynamodb
    _unless_there(setting, lambda: clients.ask_now(setting, dynamodb.create_table, **schema.table(name)))
    clients.ask_now(setting, dynamodb.get_waiter("table_exists").wait, TableName=name)
    expires = clients.ask_now(setting, dynamodb.describe_time_to_live, TableName=name)["TimeToLiveDescription"]
    if expires.get("TimeToLiveStatus") not in ("ENABLED", "ENABLING"):
        clients.ask_now(setting, dynamodb.update_time_to_live, TableName=name, TimeToLiveSpecification=schema.expiry())


def _create_queues(setting: str, url: str, clients: Clients) -> None:
    name = urlsplit(url).path.rpartition("/")[2]
    if not name:
        raise WorldConfigurationError(f"{setting} is {url!r}; set it to the URL of a queue, which ends in its name")
    attributes: dict[QueueAttributeNameType, str] = {
        "VisibilityTimeout": str(VISIBILITY),
        "MessageRetentionPeriod": str(KEPT),
    }
    dead = _create_queue(setting, name + DEAD, attributes, clients)
    asked = clients.ask_now(setting, clients.sqs.get_queue_attributes, QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": RECEIVES}
    made = _create_queue(setting, name, {**attributes, "RedrivePolicy": json.dumps(redrive)}, clients)
    if urlsplit(made).path != urlsplit(url).path:  # the host may be another one for the same endpoint
        raise WorldConfigurationError(
            f"{setting} is {url}, and a queue of that name made here is {made}; set it to that"
        )


def _create_queue(setting: str, name: str, attributes: dict[QueueAttributeNameType, str], clients: Clients) -> str:
    """Its URL. Made with no attributes first: with those that differ from what is there it would be refused."""
    try:
        url = clients.ask_now(setting, clients.sqs.create_queue, QueueName=name)["QueueUrl"]
        clients.ask_now(setting, clients.sqs.set_queue_attributes, QueueUrl=url, Attributes=attributes)
    except ClientError as error:
        raise _refusal(setting, error) from error
    return url


def _create_bucket(name: str, clients: Clients) -> None:
    setting, s3 = VARIABLES["bucket"], clients.s3
    region = s3.meta.region_name

    def create() -> None:
        if region == DEFAULT_REGION:
            clients.ask_now(setting, s3.create_bucket, Bucket=name)
        else:
            place = cast("BucketLocationConstraintType", region)
            clients.ask_now(
                setting, s3.create_bucket, Bucket=name, CreateBucketConfiguration={"LocationConstraint": place}
            )

    _unless_there(setting, create)
    days = object_days(Settings.from_environment().retention)
    clients.ask_now(
        setting,
        s3.put_bucket_lifecycle_configuration,
        Bucket=name,
        LifecycleConfiguration={
            "Rules": [
                {"ID": "wdk-cloud", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}},
            ]
        },
    )


def _create_group(name: str, clients: Clients) -> None:
    setting = VARIABLES["scheduler_group"]
    _unless_there(setting, lambda: clients.ask_now(setting, clients.scheduler.create_schedule_group, Name=name))


_THERE = frozenset(("BucketAlreadyOwnedByYou", "ConflictException", "ResourceInUseException"))
_ELSEWHERE = frozenset(("BucketAlreadyExists",))


def _unless_there(setting: str, create: Callable[[], object]) -> None:
    try:
        create()
    except ClientError as error:
        if code(error) in _ELSEWHERE:
            raise WorldConfigurationError(
                f"what {setting} names belongs to another account ({code(error)}); choose another name"
            ) from error
        if code(error) not in _THERE:
            raise _refusal(setting, error) from error


def _refusal(setting: str, error: ClientError) -> WorldConfigurationError:
    return WorldConfigurationError(f"what {setting} names cannot be made: {error}; look at that variable")
