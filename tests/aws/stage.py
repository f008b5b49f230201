"""The AWS world's resources on the servers of `tests/components.py`, fresh for each test, and what receives from them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from boto3.session import Session
from botocore.exceptions import ClientError
from botocore.session import get_session

from tests.aws.metering import Scales
from wdk_aws import attributes, messages, schema
from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_cloud.world.ports import Delivery

if TYPE_CHECKING:
    from wdk_cloud.world.ports import Message

REGION = "eu-west-1"
ACCOUNT = "000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/scheduler"

LOOK_EVERY = 0.01
"""Seconds: the servers are on this machine."""

_numbers = count(1)

_models: Any = get_session().get_component("data_loader")  # it keeps what it has read, which takes most of a second


class LocalSession(Session):
    """boto3's, with these endpoints: nothing is taken from the environment, and nothing put there."""

    def __init__(self, endpoints: Mapping[str, str]) -> None:
        plain = get_session()
        plain.register_component("data_loader", _models)
        super().__init__("test", "test", region_name=REGION, botocore_session=plain)
        self._endpoints = endpoints

    def client(self, service_name: Any, *args: Any, **kwargs: Any) -> Any:
        given = {name: value for name, value in kwargs.items() if value is not None}
        return super().client(service_name, *args, **{"endpoint_url": self._endpoints[service_name], **given})


def session_at(dynamodb: str, rest: str) -> LocalSession:
    return LocalSession({"dynamodb": dynamodb, "sqs": rest, "s3": rest, "scheduler": rest, "kms": rest})


def clients_of(dynamodb: str, rest: str) -> Clients:
    return Clients(session_at(dynamodb, rest))


@cache
def shared_clients(dynamodb: str, rest: str) -> Clients:
    """For all tests of this process: making them takes longer than most tests."""
    return clients_of(dynamodb, rest)


@cache
def weighed_clients(dynamodb: str, rest: str) -> tuple[Clients, Scales]:
    """As `shared_clients`, and what they ask of DynamoDB is metered, and must cost what it reports. The meter lets one
    writer at a time to an item: not for races."""
    session, scales = session_at(dynamodb, rest), Scales()
    scales.attach(session)
    return Clients(session), scales


def fresh(clients: Clients, endpoint: str) -> AwsSettings:
    """Settings of resources that nobody has used, which exist now, made with a third of `create_resources()`'s calls:
    without what no test of a world sees, dead-letter queues and expiry."""
    number = next(_numbers)
    settings = AwsSettings(
        table=f"table-{number}",
        flow_queue_url=f"{endpoint}/{ACCOUNT}/flow-{number}",
        step_queue_url=f"{endpoint}/{ACCOUNT}/step-{number}",
        bucket=f"bucket-{number}",
        scheduler_group=f"group-{number}",
        scheduler_role_arn=ROLE,
    )
    clients.dynamodb.create_table(**schema.table(settings.table))
    for url in (settings.flow_queue_url, settings.step_queue_url):
        visibility = {"VisibilityTimeout": str(attributes.VISIBILITY)}
        clients.sqs.create_queue(QueueName=url.rpartition("/")[2], Attributes=visibility)
    clients.s3.create_bucket(Bucket=settings.bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    clients.scheduler.create_schedule_group(Name=settings.scheduler_group)
    return settings


class SqsReceiver:
    """Receives from both queues, as an event source mapping does, for the cases of the contract."""

    def __init__(self, settings: AwsSettings, clients: Clients, namespace: str) -> None:
        self._urls = {"step": settings.step_queue_url, "flow": settings.flow_queue_url}
        self._clients = clients
        self._namespace = namespace
        self._held: set[str] = set()

    async def receive(self, limit: int) -> list[Delivery]:
        while True:
            taking = asyncio.create_task(asyncio.to_thread(self._take, limit))
            try:
                found = await asyncio.shield(taking)
            except asyncio.CancelledError:
                for delivery in await taking:
                    self._show(delivery, 0)
                raise
            if found:
                return found
            await asyncio.sleep(LOOK_EVERY)

    def _take(self, limit: int) -> list[Delivery]:
        for name, url in self._urls.items():
            answer = self._clients.sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=min(limit, 10),
                WaitTimeSeconds=0,
                MessageSystemAttributeNames=["ApproximateReceiveCount"],
            )
            if found := answer.get("Messages"):
                return [self._delivery(name, message) for message in found]
        return []

    def _delivery(self, name: str, found: Mapping[str, Any]) -> Delivery:
        namespace, message = messages.decode(found["Body"])
        assert namespace == self._namespace
        self._held.add(found["MessageId"])
        return Delivery(
            message=message,
            provider_id=found["MessageId"],
            receipt=f"{name}:{found['ReceiptHandle']}",
            again=int(found["Attributes"]["ApproximateReceiveCount"]) > 1,
        )

    async def acknowledge(self, delivery: Delivery) -> None:
        url, handle = self._place(delivery)
        self._held.discard(delivery.provider_id)
        with suppress(ClientError):  # somebody else's by now, or gone
            await asyncio.to_thread(self._clients.sqs.delete_message, QueueUrl=url, ReceiptHandle=handle)

    async def put_back(self, delivery: Delivery, delay: float) -> None:
        await asyncio.to_thread(self._show, delivery, int(delay))

    def busy(self) -> bool:
        asked: Any = ["ApproximateNumberOfMessages"]
        return bool(self._held) or any(
            int(self._clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=asked)["Attributes"][asked[0]])
            for url in self._urls.values()
        )

    def _show(self, delivery: Delivery, delay: int) -> None:
        url, handle = self._place(delivery)
        with suppress(ClientError):
            self._clients.sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=delay)
            self._held.discard(delivery.provider_id)

    def _place(self, delivery: Delivery) -> tuple[str, str]:
        name, _, handle = delivery.receipt.partition(":")
        return self._urls[name], handle


def scheduled_before(time: float, settings: AwsSettings, clients: Clients) -> bool:
    """Whether a schedule is due that has not fired yet."""
    group = settings.scheduler_group
    names = [one["Name"] for one in clients.scheduler.list_schedules(GroupName=group)["Schedules"]]
    return any(_due(name, group, clients) <= time for name in names)


def _due(name: str, group: str, clients: Clients) -> float:
    try:
        at = clients.scheduler.get_schedule(GroupName=group, Name=name)["ScheduleExpression"]
    except clients.scheduler.exceptions.ResourceNotFoundException:
        return math.inf  # it has fired meanwhile
    return datetime.strptime(at, "at(%Y-%m-%dT%H:%M:%S)").replace(tzinfo=UTC).timestamp()


def bodies(clients: Clients, url: str) -> list[str]:
    """What is visible in a queue, as it lies there."""
    found: list[str] = []
    while part := clients.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in part]
    return found


def sent(clients: Clients, url: str) -> list[Message]:
    return [messages.decode(body)[1] for body in bodies(clients, url)]
