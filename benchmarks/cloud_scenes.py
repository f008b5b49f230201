"""What is played on a stage of a cloud, whichever it is, and measured: each scene gives what it took."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from benchmarks import cloud_workflows as flows
from wdk_cloud import resume_hook, start
from wdk_cloud.engine.settings import Settings

if TYPE_CHECKING:
    from wdk_cloud import Workflow

SETTINGS = Settings(code_version="benchmark")

COLD_STEPS = 333
"""A step is three events: about 1,000."""

Part = TypeVar("Part")
P = TypeVar("P", covariant=True)


class Stage(Protocol[P]):
    """One deployment, fresh."""

    async def rest(self) -> None:
        """Until every message is dealt with that is due."""
        ...

    async def to_the_end(self) -> None:
        """Also beyond sleeps, on a clock that is moved."""
        ...

    def measured(self) -> AbstractContextManager[P]: ...


class Theatre(Protocol[P]):
    def performance(
        self, *, real: bool = False, encrypted: bool = False, settings: Settings = SETTINGS
    ) -> AbstractAsyncContextManager[Stage[P]]:
        """`real`: on the clock of the machine, else on one that jumps from one thing that is due to the next."""
        ...


async def to_the_end(
    theatre: Theatre[Part], workflow: Workflow[..., Any], *args: object, encrypted: bool = False
) -> Part:
    """A run from its start until nothing is left to do."""
    async with theatre.performance(encrypted=encrypted) as stage:
        with stage.measured() as part:
            run = await start(workflow, *args)
            await stage.to_the_end()
        await ended(run)
    return part


async def ended(run: Any, status: str = "completed") -> None:
    found = await run.status()
    if found != status:
        raise AssertionError(f"run {run.run_id} is {found} instead of {status}")


async def with_a_payload(theatre: Theatre[Part]) -> Part:
    async with theatre.performance() as stage:
        with stage.measured() as part:
            run = await start(flows.hooked, "the token")
            await stage.rest()
            await resume_hook("the token", flows.DETAILS)
            await stage.rest()
        await ended(run)
    return part


async def cancelled(theatre: Theatre[Part]) -> tuple[Part, Part]:
    """The run up to where it sleeps, and what its cancellation costs."""
    async with theatre.performance() as stage:
        with stage.measured() as parked:
            run = await start(flows.sleeping, "10 minutes")
            await stage.rest()
        with stage.measured() as part:
            await run.cancel()
            await stage.rest()
        await ended(run, "cancelled")
    return parked, part


async def cold_turn(theatre: Theatre[Part], steps: int) -> Part:
    """The turn that wakes a run of so many recorded steps, in a process that has never seen it."""
    async with theatre.performance(settings=replace(SETTINGS, cached_runs=0)) as stage:
        run = await start(flows.long_then_woken, steps)
        await stage.rest()
        with stage.measured() as part:
            await stage.to_the_end()
        await ended(run)
    return part


async def fan_out(theatre: Theatre[Part], steps: int, over: float) -> Part:
    """On the clock of the machine: what ends within a tenth of a second is admitted together."""
    async with theatre.performance(real=True) as stage:
        with stage.measured() as part:
            run = await start(flows.fan_out, steps, over)
            await stage.rest()
        await ended(run)
    return part


async def streamed(theatre: Theatre[Part], chunks: int, over: float) -> Part:
    """A run that writes so many chunks, and a reader that follows them live."""
    async with theatre.performance(real=True) as stage:
        with stage.measured() as part:
            run = await start(flows.streaming, chunks, over)
            found = [chunk async for chunk in run.readable()]
            await stage.rest()
        if len(found) != chunks:
            raise AssertionError(f"the reader got {len(found)} chunks of {chunks}")
        await ended(run)
    return part
