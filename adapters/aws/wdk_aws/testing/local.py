"""What the fixture `local_aws` gives: moto for the account, and a function that polls its queues when it is told to."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from wdk_aws.handler import lambda_handler
from wdk_aws.settings import VARIABLES, AwsSettings
from wdk_aws.testing.mapping import EventSourceMapping
from wdk_aws.testing.resources import create_resources
from wdk_cloud.world import asking

if TYPE_CHECKING:
    from collections.abc import Generator

    import pytest
    from boto3.session import Session

    from wdk_cloud.app import Workflows

ACCOUNT = "123456789012"
"""moto's."""

REGION = "us-east-1"

SETTINGS = AwsSettings(
    table="wdk",
    flow_queue_url=f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/wdk-flow",
    step_queue_url=f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/wdk-step",
    bucket="wdk",
    scheduler_group="wdk",
    scheduler_role_arn=f"arn:aws:iam::{ACCOUNT}:role/wdk-scheduler",
)

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
}
"""No real ones, whatever the environment has: a request that moto does not take must not reach an account."""

ROUNDS = 1000
"""Polls after which a program counts as one that never rests."""


class LocalAws:
    """An account in this process. `session` is boto3's, for what a test looks at by itself."""

    def __init__(self, session: Session) -> None:
        self.settings = SETTINGS
        self.session = session

    def work(self, *apps: Workflows) -> int:
        """Deliver what is visible in the queues, and what comes of it, to a function that serves these apps, until the
        queues are empty; how many batches there were. Sleeps and retries that are still to come stay in the queues.

        Raises `AssertionError` when there is no end to it.
        """
        session: Any = self.session  # its types know each service by a literal of its own
        urls = (self.settings.flow_queue_url, self.settings.step_queue_url)
        mappings = [EventSourceMapping(session.client("sqs"), url) for url in urls]
        batches = 0
        with closing(lambda_handler(*apps)) as handler:
            for _ in range(ROUNDS):
                found = sum(mapping.poll(handler) for mapping in mappings)
                batches += found
                if not found:
                    return batches
        raise AssertionError(f"the queues are not empty after {ROUNDS} polls and {batches} batches")


@contextmanager
def local(monkeypatch: pytest.MonkeyPatch) -> Generator[LocalAws]:
    from boto3.session import Session
    from moto import mock_aws

    for name, value in {**CREDENTIALS, "WDK_WORLD": "aws"}.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "WDK_AWS_KMS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for field, variable in VARIABLES.items():
        if value := getattr(SETTINGS, field):
            monkeypatch.setenv(variable, value)
    # moto is not made for several threads: one request at a time.
    monkeypatch.setattr(asking, "THREADS", 1)
    with mock_aws():
        create_resources()
        yield LocalAws(Session())
