"""The fourth way to play a test: through the handler of the Lambda function, its event source mappings, and boto3."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

from tests.aws.wire import Wire
from tests.e2e.deploying import deployed_for_workers
from wdk_aws import messages
from wdk_aws.testing.environment import on_stage
from wdk_aws.testing.functions import Function
from wdk_aws.testing.inprocess import put_under
from wdk_aws.testing.queues import Letter, Queue
from wdk_aws.testing.stage import Stage
from wdk_aws.testing.timetable import Timetable
from wdk_cloud import Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_cloud.world.ports import Clock

if TYPE_CHECKING:
    from boto3.session import Session


class Exact(Timetable):
    """SQS counts whole seconds. So that a log may be compared with those of worlds that do not, timer messages are shown
    at their due time here; whatever else is delayed by a part of a second is not the same."""

    def send(self, queue: Queue, body: str, delay: float) -> Letter:
        due = messages.decode(body)[1].due
        left = delay if due is None else due - self.clock.now()
        return super().send(queue, body, left if delay - 1 < left < delay else delay)


class ExactStage(Stage):
    """Everything above the network is boto3's; a request to DynamoDB goes by a shorter way than urllib3's."""

    def __init__(self, dynamodb: str) -> None:
        self._wire = Wire(dynamodb)
        super().__init__(dynamodb)

    def _session(self) -> Session:
        session = super()._session()
        put_under(session, "dynamodb", self._wire)
        return session

    def timetable_on(self, clock: Clock) -> Timetable:
        return Exact(clock)


@functools.cache
def stage_at(dynamodb: str) -> Stage:
    """Of this process; `dynamodb` is the URL of the component that stands in for it. What our meter says of each request
    must be what DynamoDB reports."""
    stage = ExactStage(dynamodb)
    scales_of(dynamodb).attach(stage.session, dynamodb)
    return stage


@functools.cache
def scales_of(dynamodb: str) -> Any:
    from tests.aws.metering import Scales  # which needs boto3: other Pythons are tested without it

    return Scales(alone=True)


class OnLambda:
    """Where scenes are played."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def environment(
        self, apps: Sequence[Workflows], settings: Settings, *, start_worker: bool
    ) -> AbstractAsyncContextManager[WorkflowEnv]:
        return on_stage(self.stage, apps, settings, start_worker=start_worker)

    def instead_of_workers(self) -> AbstractContextManager[None]:
        """While this lasts, whoever asks for workers gets a function for all of their apps."""

        def deploy(world: Any, apps: Sequence[Workflows], settings: Settings | None) -> Function:
            return Function(world, self.stage.timetable, apps, settings)

        return deployed_for_workers(deploy, "settings", "clients")
