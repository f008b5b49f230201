"""The pytest plugin: a fixture for tests of programs that use the AWS world, and boto3 of their own, on moto.

pytest loads it in every project that has wdk-cloud-aws installed, so it imports nothing until a test asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from wdk_aws.testing.local import LocalAws


@pytest.fixture
def local_aws(monkeypatch: pytest.MonkeyPatch) -> Generator[LocalAws]:
    """AWS in this process, by moto (the extra `testing`): fresh resources, the variables that name them, and a function
    that works when it is told to.

    `start` and all else of `wdk_cloud` then see the world `aws`, and boto3 sees the same account. `local_aws.work(app)`
    delivers what is in the queues. Time is real here: to let a workflow sleep, test it with `lambda_env`, or with
    `workflow_env` on any other world.
    """
    from wdk_aws.testing.local import local

    with local(monkeypatch) as aws:
        yield aws
