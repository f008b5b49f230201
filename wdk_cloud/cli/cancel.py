"""`wdk cancel`: ask for the end of one run, or of many by filter."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from wdk_cloud.cli.console import UsageError, command, confirm, open_world, out
from wdk_cloud.cli.options import AppSpec, Namespace, OfVersion, OfWorkflow, RunStatus, Since, Until, WorldName
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.reading import run_of
from wdk_cloud.cli.selection import Filter
from wdk_cloud.cli.sources import namespace_of
from wdk_cloud.cli.tables import print_runs
from wdk_cloud.client import RunInfo
from wdk_cloud.errors import RunExpiredError, WorkflowRunNotFoundError
from wdk_cloud.world.ports import Status

LIVE: tuple[Status, ...] = ("pending", "running")

AT_ONCE = 50
"""Requests on their way at a time: enough to hide how long a store takes, and no storm for it."""


def add_to(program: typer.Typer) -> None:
    program.command(epilog='Example: wdk cancel wrun_0123 --reason "ordered twice"')(cancel)


@command
async def cancel(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="The run's id; without it, name filters.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the run.")
    ] = None,
    status: RunStatus = None,
    workflow: OfWorkflow = None,
    version: OfVersion = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show which runs are meant, and ask for no end.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether many runs are meant to end.")] = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Ask for the end of a run, or of all that filters name.

    It comes at their next suspension. A run that has ended stays as it is.
    """
    chosen = Filter(status, workflow, version, since, until)
    _check(run, chosen)
    async with open_world(world, must_exist=True):
        seen = namespace_of(app, namespace)
        if run is not None:
            await _cancel_one(run, reason, seen, dry_run=dry_run)
            return
        statuses = LIVE if status is None else (status,)
        found = await _list(chosen, statuses, app, seen)
        if dry_run or not found:
            print_runs(found)
            if found:
                out.print(f"\n{_runs(len(found))} would be asked to end")
            return
        if not yes:
            confirm(f"Ask {_runs(len(found))} to end?", f"{_are(len(found))} not asked to end")
        await _cancel_many(found, reason, seen)


def _check(run: str | None, chosen: Filter) -> None:
    if run is not None and not chosen.is_open:
        raise UsageError("give a run, or filters for many; not both")
    if run is None and chosen.is_open:
        raise UsageError("which runs? Give a run's id, or --status, --workflow, --version, --since or --until")
    if chosen.status not in (None, *LIVE):
        raise UsageError(f"--status {chosen.status}: only runs that are pending or running can be asked to end")


async def _list(chosen: Filter, statuses: Sequence[Status], app: str | None, namespace: str) -> list[RunInfo]:
    found: list[RunInfo] = []
    with progress("looking for runs") as advance:
        for status in statuses:
            async for info in chosen.runs(status, app, namespace):
                found.append(info)
                advance()
    return found


async def _cancel_one(run_id: str, reason: str | None, namespace: str, *, dry_run: bool) -> None:
    handle = run_of(run_id, namespace)
    status = await handle.status()
    if status not in LIVE:
        out.print(f"{run_id} has ended already: {status}", soft_wrap=True)
    elif dry_run:
        out.print(f"{run_id} would be asked to end", soft_wrap=True)
    else:
        await handle.cancel(reason)
        out.print(f"{run_id} is asked to end", soft_wrap=True)


async def _cancel_many(found: Sequence[RunInfo], reason: str | None, namespace: str) -> None:
    room, asked = asyncio.Semaphore(AT_ONCE), list[str]()
    with progress("cancelling", len(found)) as advance:

        async def ask(info: RunInfo) -> None:
            async with room:
                try:
                    await run_of(info.run_id, namespace).cancel(reason)
                    asked.append(info.run_id)
                except (WorkflowRunNotFoundError, RunExpiredError):
                    pass  # it was deleted since it was listed
                advance()

        async with asyncio.TaskGroup() as group:
            for info in found:
                group.create_task(ask(info))
    out.print(f"{_are(len(asked))} asked to end")


def _runs(number: int) -> str:
    return f"{number:,} run{'s' * (number != 1)}"


def _are(number: int) -> str:
    return f"{_runs(number)} {'is' if number == 1 else 'are'}"
