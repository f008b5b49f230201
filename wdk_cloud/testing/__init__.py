"""Testing workflows: a world, a worker and a virtual clock in one block, and stored histories against today's code."""

from wdk_cloud.testing.environment import RunWorkflow, WorkflowEnv, workflow_env
from wdk_cloud.testing.histories import replay

__all__ = ["RunWorkflow", "WorkflowEnv", "replay", "workflow_env"]
