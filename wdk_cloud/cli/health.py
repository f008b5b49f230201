"""`wdk health`: can the world be opened, and does what lies in it move?"""

from dataclasses import dataclass
from typing import Annotated

import typer

from wdk_cloud import durations
from wdk_cloud.cli.console import CommandError, UsageError, command, open_world, out, place_of
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json, Namespace, WorldName
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.sources import namespace_of
from wdk_cloud.cli.tables import plain, relative, short
from wdk_cloud.documents import Document, iso
from wdk_cloud.errors import WorkflowError
from wdk_cloud.world.opening import make_world
from wdk_cloud.world.ports import Head, RunQuery, Status, World

PAGE = 1000

MOST_OVERDUE = 1000
"""Runs without progress that are counted one by one: whether it is a thousand or more makes no difference."""


@dataclass(frozen=True, slots=True)
class Health:
    """What was seen. Of pending and running runs all are counted, of failed ones those created lately."""

    place: str
    now: float
    pending: int
    running: int
    failed: int
    waiting: Head | None
    """The oldest run that might have begun and that no worker has had yet."""
    overdue: list[Head]
    """Runs that show no progress and that nobody holds, longest overdue first."""
    handed_on: list[Head]
    """Runs that no worker could go on with, oldest trouble first."""

    @property
    def problems(self) -> list[str]:
        found: list[str] = []
        if self.overdue:
            first = self.overdue[0]
            found.append(
                f"{_runs(len(self.overdue))} without progress, the first of them {first.run_id} since "
                f"{relative(first.wake_by, self.now)}; does a worker run (wdk dev)? If so: wdk sweep"
            )
        if self.handed_on:
            first = self.handed_on[0]
            assert first.trouble is not None  # that is how they were chosen
            found.append(
                f"{_runs(len(self.handed_on))} that no worker can go on with, the first of them {first.run_id} since "
                f"{relative(first.trouble.since, self.now)}: {plain(first.trouble.reason)}"
            )
        return found


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk health --json")(health)


@command
async def health(
    lately: Annotated[
        str, typer.Option("--lately", metavar="DURATION", help="How far back failed runs are counted.")
    ] = "1h",
    as_json: Json = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Check that the world can be opened and that its runs move.

    It fails when something is wrong: there are runs that show no progress, or that no worker can go on with. Failed
    runs are only counted.
    """
    try:
        seconds = durations.seconds(lately)
    except ValueError:
        raise UsageError(f'--lately {lately!r} is not understood; write "2h" for two hours') from None
    make_world(world or "local")  # a name that is unknown is wrong usage, and says nothing about health
    seen = namespace_of(app, namespace)
    try:
        async with open_world(world, must_exist=True) as opened:
            found = await look(opened.scoped(seen), seconds)
    except UsageError:
        raise
    except (CommandError, WorkflowError) as error:
        if as_json:
            print_json({"healthy": False, "problems": [str(error)]})
        raise CommandError(str(error)) from None
    if as_json:
        print_json(document_of(found))
    else:
        print_health(found, lately)
    if found.problems:
        raise CommandError("; ".join(found.problems))


async def look(world: World, seconds: float) -> Health:
    now = world.clock.now()
    with progress("looking at live runs") as advance:

        async def all_of(status: Status, since: float | None = None) -> list[Head]:
            heads: list[Head] = []
            cursor = None
            while True:
                query = RunQuery(status=status, since=since, limit=PAGE, cursor=cursor)
                page = await world.runs.list_heads(query)
                heads += page.heads
                advance()
                if (cursor := page.cursor) is None:
                    return heads

        pending, running = await all_of("pending"), await all_of("running")
        failed = await all_of("failed", now - seconds)
    live = [*pending, *running]
    waiting = [head for head in pending if head.not_before <= now and head.fence == 0]
    return Health(
        place=place_of(world),
        now=now,
        pending=len(pending),
        running=len(running),
        failed=len(failed),
        waiting=min(waiting, key=lambda head: max(head.created_at, head.not_before), default=None),
        overdue=[head for head in await world.runs.overdue(now, MOST_OVERDUE) if head.free_at(now)],
        handed_on=sorted(
            (head for head in live if head.trouble is not None),
            key=lambda head: head.trouble.since if head.trouble is not None else 0.0,
        ),
    )


def print_health(found: Health, lately: str) -> None:
    lines = {
        "world": found.place,
        "pending": f"{found.pending:,}",
        "running": f"{found.running:,}",
        "failed": f"{found.failed:,} of those created in the last {plain(lately)}",
        "oldest": "no run waits for a worker" if found.waiting is None else _waiting(found.waiting, found.now),
        "stuck": f"{len(found.overdue):,} without progress, {len(found.handed_on):,} that no worker can go on with",
    }
    for what, text in lines.items():
        out.print(f"{what:<8} {text}", soft_wrap=True)


def _waiting(head: Head, now: float) -> str:
    since = relative(max(head.created_at, head.not_before), now)
    return f"{head.run_id} ({short(head.workflow)}) waits for a worker since {since}"


def document_of(found: Health) -> Document:
    waiting = found.waiting
    return {
        "healthy": not found.problems,
        "problems": found.problems,
        "world": found.place,
        "pending": found.pending,
        "running": found.running,
        "failed": found.failed,
        "oldest_waiting": None if waiting is None else _of_run(waiting, max(waiting.created_at, waiting.not_before)),
        "without_progress": [_of_run(head, head.wake_by) for head in found.overdue],
        "handed_on": [
            {**_of_run(head, head.trouble.since), "reason": head.trouble.reason}
            for head in found.handed_on
            if head.trouble is not None
        ],
    }


def _of_run(head: Head, since: float) -> Document:
    return {"run_id": head.run_id, "workflow_name": head.workflow, "since": iso(since)}


def _runs(number: int) -> str:
    return f"{number:,} run{'s' * (number != 1)}"
