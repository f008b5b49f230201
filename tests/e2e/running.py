"""Runs workflows to their end in a fresh memory world with a clock that stands still until it is moved."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

from tests.e2e.ledger import Ledger
from tests.e2e.registries import fresh_registries
from tests.histories import fixed_draws
from wdk_cloud import EventRecord, Run, RunInfo, Workflow, WorkflowRunCancelledError, WorkflowRunFailedError, Workflows
from wdk_cloud.engine.settings import Settings
from wdk_cloud.testing import workflow_env
from wdk_cloud.testing.environment import WorkflowEnv

T = TypeVar("T")

ENDED = ("completed", "failed", "cancelled")

MANY = 1000
"""Moves of the clock after which a run counts as one that does not end."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that has ended, and all that can be asked of it."""

    run: Run[Any]
    info: RunInfo
    events: list[EventRecord]
    attributes: dict[str, str]
    result: object
    failure: WorkflowRunFailedError | WorkflowRunCancelledError | None

    @property
    def value(self) -> Any:
        """Its result; a run that failed fails the test with its error."""
        if self.failure is not None:
            raise AssertionError(f"the run is {self.info.status}: {self.failure}") from self.failure
        return self.result

    @property
    def error(self) -> Any:
        """The exception of its body."""
        assert isinstance(self.failure, WorkflowRunFailedError), f"the run is {self.info.status}: {self.result!r}"
        return self.failure.__cause__

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def count(self, type: str) -> int:
        return self.types.count(type)

    def times(self, type: str) -> list[float]:
        """When events of this type came, in seconds after the run was created."""
        first = self.events[0].time
        return [round((event.time - first).total_seconds(), 6) for event in self.events if event.type == type]


class Cloud(Protocol):
    """What plays scenes on a cloud's world, with what is deployed there in the place of workers."""

    def environment(
        self, apps: Sequence[Workflows], settings: Settings, *, start_worker: bool
    ) -> contextlib.AbstractAsyncContextManager[WorkflowEnv]: ...

    def instead_of_workers(self) -> contextlib.AbstractContextManager[None]: ...


DRAWS = 1_000_000
"""More than one scene makes."""


class Play:
    """One way to run workflows: `warm`, or `cold`, where every delivery has a registry of its own and replays the body
    from its log. What callers draw at random is the same each time; what the runs leave behind goes into the ledger."""

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger | None = None,
        scenes: Iterator[int] | None = None,
        cloud: Cloud | None = None,
    ) -> None:
        self.settings = settings
        self.ledger = ledger
        self.cloud = cloud
        self._scenes = itertools.count() if scenes is None else scenes

    @property
    def cold(self) -> bool:
        return self.settings.cached_runs == 0

    def tuned(self, **changes: Any) -> "Play":
        return Play(dataclasses.replace(self.settings, **changes), self.ledger, self._scenes, self.cloud)

    def __call__(self, workflow: Workflow[..., Any], *args: Any, **kwargs: Any) -> Finished:
        """Start the workflow and let it run to its end, however long that takes on its clock."""

        async def scenario(env: WorkflowEnv) -> Finished:
            return await finish(env, await env.start(workflow, *args, **kwargs))

        return self.scene(scenario, workflow.app)

    def scene(self, scenario: Callable[[WorkflowEnv], Awaitable[T]], *apps: Workflows, start_worker: bool = True) -> T:
        """Run an async function that is given a fresh environment."""

        async def main() -> T:
            async with self.environment(apps, start_worker=start_worker) as env:
                try:
                    return await scenario(env)
                finally:
                    if self.ledger is not None:
                        await env.settle()  # or it would tell how far the last message had come
                        await self.ledger.note(env.world, {"", *(app.namespace for app in Workflows.all())})

        with self.staged():
            return asyncio.run(main())

    def environment(
        self, apps: Sequence[Workflows] = (), *, start_worker: bool = True
    ) -> contextlib.AbstractAsyncContextManager[WorkflowEnv]:
        if self.cloud is not None:
            return self.cloud.environment(apps, self.settings, start_worker=start_worker)
        return workflow_env("memory", *apps, settings=self.settings, start_worker=start_worker)

    @contextlib.contextmanager
    def staged(self) -> Iterator[None]:
        """Where a scene is played: what it draws at random is the same each time, and other things than an earlier scene
        of the test has drawn; if cold, code is found anew."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(fixed_draws(next(self._scenes) * DRAWS))
            if self.cold:
                stack.enter_context(fresh_registries())
            if self.cloud is not None:
                stack.enter_context(self.cloud.instead_of_workers())
            yield


async def finish(env: WorkflowEnv, run: Run[Any]) -> Finished:
    """Move the clock from one due time to the next until the run has ended."""
    for _ in range(MANY):
        await env.run_until_blocked()
        if await run.status() in ENDED:
            return await describe(run)
        due = env.clock.next_due()
        assert due is not None, f"run {run.run_id} waits for something that never comes"
        env.clock.advance_to(due)
    raise AssertionError(f"run {run.run_id} does not end: {[event.type async for event in run.events()]}")


async def describe(run: Run[Any]) -> Finished:
    result: object = None
    failure: WorkflowRunFailedError | WorkflowRunCancelledError | None = None
    try:
        result = await run.return_value(timeout=10)
    except (WorkflowRunFailedError, WorkflowRunCancelledError) as error:
        failure = error
    events = [event async for event in run.events()]
    return Finished(run, await run.info(), events, await run.attributes(), result, failure)


async def types(run: Run[Any]) -> list[str]:
    return [event.type async for event in run.events()]


async def until(condition: Callable[[], bool]) -> None:
    """Let the host's loop go round until a step, which may be in a thread, has done something."""
    for _ in range(20_000):
        if condition():
            return
        await asyncio.sleep(0.0005)
    raise AssertionError("what was waited for never came")
