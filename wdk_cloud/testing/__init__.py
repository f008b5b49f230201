"""Testing workflows: a world, a worker and a virtual clock in one block."""

from wdk_cloud.testing.environment import WorkflowEnv, workflow_env

__all__ = ["WorkflowEnv", "workflow_env"]
