"""What stands under boto3's clients while an environment is open: queues, schedules and objects of its own each time.

Making clients takes a few tenths of a second, so they are made once for a process, and what answers them is exchanged.
"""

from __future__ import annotations

import os
from functools import cached_property, partial
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from wdk_aws import schema
from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.inprocess import Answered, Asked, put_under
from wdk_aws.testing.keys import Keys
from wdk_aws.testing.objects import Objects
from wdk_aws.testing.timetable import ACCOUNT, REGION, Timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from boto3.session import Session
    from mypy_boto3_dynamodb import DynamoDBClient

    from wdk_aws.testing.inprocess import Service
    from wdk_cloud.world.ports import Clock

P = ParamSpec("P")
T = TypeVar("T")

VISIBILITY = 5400.0
"""Seconds: six times a function's time-out of 15 minutes, as AWS advises for queues that a mapping polls."""


class InlineClients(Clients):
    """Requests are made in the thread of the loop that asks. So a test that lets the loop run until nothing is ready
    has also waited for every answer, and comes out the same each time."""

    def __init__(self, session: Session, endpoint: str | None) -> None:
        """`endpoint` is that of DynamoDB."""
        super().__init__(session)
        self._dynamodb_at = endpoint

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        made: Any = self._made("dynamodb", endpoint_url=self._dynamodb_at)
        return made

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask_now(setting, method, *args, **kwargs)


class Stage:
    """The clients of a process, and the services that answer them now. `endpoint` is that of DynamoDB."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.session = self._session()
        """That of `clients`. A meter or faults are attached to it before the first request, which makes a client."""
        self.clients: Clients = InlineClients(self.session, endpoint)
        self._endpoint = endpoint
        self._numbers = count(1)
        self._table = ""
        self._services: dict[str, Service] = {}
        self.timetable: Timetable
        self.objects: Objects

    def begin(self, clock: Clock) -> AwsSettings:
        """A table, queues and a bucket, all empty, on this clock; the settings that name them."""
        self._table = f"wdk-{os.getpid()}-{next(self._numbers)}"
        self.clients.dynamodb.create_table(**schema.table(self._table))
        self.timetable, self.objects = self.timetable_on(clock), Objects(clock)
        self._services = {**self.timetable.services, "s3": self.objects, "kms": Keys()}
        urls = [
            self.timetable.make_queue(f"wdk-{name}", visibility=VISIBILITY, dead=f"wdk-{name}-dead")
            for name in ("flow", "step")
        ]
        return AwsSettings(
            table=self._table,
            flow_queue_url=urls[0],
            step_queue_url=urls[1],
            bucket="wdk",
            scheduler_group="wdk",
            scheduler_role_arn=f"arn:aws:iam::{ACCOUNT}:role/wdk-scheduler",
        )

    def end(self) -> None:
        self.clients.dynamodb.delete_table(TableName=self._table)

    def timetable_on(self, clock: Clock) -> Timetable:
        return Timetable(clock)

    def another(self) -> tuple[Session, Clients]:
        """Of another process, which sees the same services."""
        session = self._session()
        return session, InlineClients(session, self._endpoint)

    def _session(self) -> Session:
        from boto3.session import Session

        session = Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)  # noqa: S106 -- none
        for service in ("sqs", "scheduler", "s3", "kms"):
            put_under(session, service, _Switch(partial(self._service, service)))
        return session

    def _service(self, name: str) -> Service:
        return self._services[name]


class _Switch:
    def __init__(self, now: Callable[[], Service]) -> None:
        self._now = now

    def answer(self, asked: Asked) -> Answered:
        return self._now().answer(asked)
