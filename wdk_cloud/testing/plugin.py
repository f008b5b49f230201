"""The pytest plugin: a fixture that runs a workflow to its end in one line of an ordinary test.

pytest loads it in every project that has wdk-cloud installed, so it imports nothing until a test asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

import pytest

if TYPE_CHECKING:
    from wdk_cloud.app import Workflow
    from wdk_cloud.testing import RunWorkflow

P = ParamSpec("P")
T = TypeVar("T")


@pytest.fixture
def run_workflow() -> RunWorkflow:
    """Run a workflow to its end in a fresh memory world, on a clock that jumps over every sleep: `run_workflow(wf, …)`.

    Gives its result, or raises what `run.return_value()` raises. For tests that are coroutines themselves there is
    `async with workflow_env() as env`, and `await env.run_to_end(run)` in it.
    """
    import asyncio

    from wdk_cloud.testing.environment import workflow_env

    def run(workflow: Workflow[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        async def main() -> T:
            async with workflow_env("memory", workflow.app) as env:
                return await env.run_to_end(await env.start(workflow, *args, **kwargs))

        return asyncio.run(main())

    return run
