"""The fifth way to play a test: through the handler of the Cloud Run service, on servers that stand for Google Cloud."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from tests.e2e.deploying import deployed_for_workers
from wdk_cloud import Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing.environment import WorkflowEnv
from wdk_gcp.testing.environment import on_stage
from wdk_gcp.testing.services import Service
from wdk_gcp.testing.stage import Stage


class OnCloudRun:
    """Where scenes are played."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def environment(
        self, apps: Sequence[Workflows], settings: Settings, *, start_worker: bool
    ) -> AbstractAsyncContextManager[WorkflowEnv]:
        return on_stage(self.stage, apps, settings, start_worker=start_worker)

    def instead_of_workers(self) -> AbstractContextManager[None]:
        """While this lasts, whoever asks for workers gets a service for all of their apps."""

        def deploy(world: Any, apps: Sequence[Workflows], settings: Settings | None) -> Service:
            return Service(world, self.stage, apps, settings)

        return deployed_for_workers(deploy, "settings", "clients", "message_of", "pass_on")
