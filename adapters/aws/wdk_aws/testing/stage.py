"""What stands under boto3's clients while an environment is open: queues, schedules and objects of its own each time.

Making clients takes a few tenths of a second, so they are made once for a process, and what answers them is exchanged.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from wdk_aws.clients import Clients
from wdk_aws.settings import AwsSettings
from wdk_aws.testing.inprocess import Answered, Asked, put_under
from wdk_aws.testing.objects import Objects
from wdk_aws.testing.timetable import ACCOUNT, REGION, Timetable

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_aws.testing.inprocess import Service
    from wdk_cloud.world.ports import Clock

P = ParamSpec("P")
T = TypeVar("T")

VISIBILITY = 5400.0
"""Seconds: six times a function's time-out of 15 minutes, as AWS advises for queues that a mapping polls."""


class InlineClients(Clients):
    """Requests are made in the thread of the loop that asks. So a test that lets the loop run until nothing is ready
    has also waited for every answer, and comes out the same each time."""

    async def ask(self, setting: str, method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.ask_now(setting, method, *args, **kwargs)


class Stage:
    """The clients of a process, and the services that answer them now. `endpoint` is that of DynamoDB."""

    def __init__(self, endpoint: str | None = None) -> None:
        from boto3.session import Session

        # A meter or faults are attached to it before the first request, which makes a client.
        self.session = Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)  # noqa: S106 -- none
        for service in ("sqs", "scheduler", "s3"):
            put_under(self.session, service, _Switch(partial(self._service, service)))
        self.clients: Clients = InlineClients(self.session)
        self.endpoint = endpoint
        self._services: dict[str, Service] = {}
        self.timetable: Timetable
        self.objects: Objects

    def begin(self, clock: Clock) -> AwsSettings:
        """Empty queues and buckets, on this clock; the settings that name them."""
        self.timetable, self.objects = Timetable(clock), Objects()
        self._services = {**self.timetable.services, "s3": self.objects}
        urls = [
            self.timetable.make_queue(f"wdk-{name}", visibility=VISIBILITY, dead=f"wdk-{name}-dead")
            for name in ("flow", "step")
        ]
        return AwsSettings(
            table="wdk",
            flow_queue_url=urls[0],
            step_queue_url=urls[1],
            bucket="wdk",
            scheduler_group="wdk",
            scheduler_role_arn=f"arn:aws:iam::{ACCOUNT}:role/wdk-scheduler",
        )

    def _service(self, name: str) -> Service:
        return self._services[name]


class _Switch:
    def __init__(self, now: Callable[[], Service]) -> None:
        self._now = now

    def answer(self, asked: Asked) -> Answered:
        return self._now().answer(asked)
