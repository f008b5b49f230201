"""`wdk inspect runs|run|steps|events|hooks|streams|stream`: look at runs, as tables for people or JSON for programs."""

from typing import Annotated

import typer

from wdk_cloud import client
from wdk_cloud.cli import hooks, jsonout, streams, tables
from wdk_cloud.cli.console import UsageError, command, open_world
from wdk_cloud.cli.options import (
    AppSpec,
    Cursor,
    Decrypt,
    Json,
    Limit,
    Namespace,
    OfVersion,
    OfWorkflow,
    RunId,
    RunStatus,
    Since,
    Until,
    WorldName,
    checked_version,
    moment,
)
from wdk_cloud.cli.reading import find_head, page_of, read_log, read_run
from wdk_cloud.cli.report import print_run
from wdk_cloud.cli.selection import workflow_id
from wdk_cloud.cli.sources import namespace_of
from wdk_cloud.cli.timeline import StepState, Timeline
from wdk_cloud.documents import event_document, info_document

PAGE = 50


def add_to(program: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="Look at runs.", epilog="Example: wdk inspect runs"
    )
    group.command("runs", epilog="Example: wdk inspect runs --status failed --since 1d")(runs)
    group.command("run", epilog="Example: wdk inspect run wrun_0123")(run)
    group.command("steps", epilog="Example: wdk inspect steps wrun_0123 --json")(steps)
    group.command("events", epilog="Example: wdk inspect events wrun_0123 --json > history.json")(events)
    hooks.add_to_inspect(group)
    streams.add_to_inspect(group)
    program.add_typer(group, name="inspect")


@command
async def runs(
    status: RunStatus = None,
    workflow: OfWorkflow = None,
    version: OfVersion = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = PAGE,
    cursor: Cursor = None,
    as_json: Json = False,
    _decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """List runs, newest first."""
    async with open_world(world, must_exist=True):
        try:
            page = await client.list_runs(
                workflow=workflow_id(workflow, app),
                status=status,
                version=checked_version(version),
                since=moment(since, "--since"),
                until=moment(until, "--until"),
                limit=limit,
                cursor=cursor,
                namespace=namespace_of(app, namespace),
            )
        except ValueError as error:
            raise UsageError(str(error)) from None
    if as_json:
        jsonout.print_json({"runs": [info_document(info) for info in page], "cursor": page.cursor})
        return
    tables.print_runs(page)
    tables.print_more(page.cursor)


@command
async def run(
    run: RunId,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: Json = False,
    decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """Show one run: its fields, its timeline, what it waits for."""
    async with open_world(world, must_exist=True) as opened:
        view = await read_run(opened.scoped(namespace_of(app, namespace)), run, decrypt=decrypt)
    lines = list(view.timeline.steps.values())
    part, more = page_of([line.position for line in lines], limit, cursor)
    if as_json:
        jsonout.print_json(jsonout.run_document(view, lines[part], more))
        return
    print_run(view, lines[part])
    tables.print_more(more)


@command
async def steps(
    run: RunId,
    status: Annotated[StepState | None, typer.Option("--status", help="Only steps in this state.")] = None,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: Json = False,
    decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """List the steps of a run, in the order in which it asked for them."""
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        head = await find_head(scoped, run)
        log = await read_log(scoped, head, decrypt=decrypt)
    timeline = Timeline.of((logged.position, logged.event) for logged in log)
    lines = [line for line in timeline.steps.values() if status in (None, line.state)]
    part, more = page_of([line.position for line in lines], limit, cursor)
    if as_json:
        documents = [jsonout.step_document(head.run_id, line) for line in lines[part]]
        jsonout.print_json({"run_id": head.run_id, "steps": documents, "cursor": more})
        return
    tables.print_steps(lines[part])
    tables.print_more(more)


@command
async def events(
    run: RunId,
    since: Since = None,
    until: Until = None,
    limit: Limit = None,
    cursor: Cursor = None,
    as_json: Json = False,
    decrypt: Decrypt = False,
    app: AppSpec = None,
    namespace: Namespace = None,
    world: WorldName = None,
) -> None:
    """List the events of a run's log. As JSON it is a whole history, and as confidential as the run."""
    first, last = moment(since, "--since"), moment(until, "--until")
    async with open_world(world, must_exist=True) as opened:
        scoped = opened.scoped(namespace_of(app, namespace))
        head = await find_head(scoped, run)
        log = await read_log(scoped, head, decrypt=decrypt)
    if first is not None:
        log = [logged for logged in log if logged.event.time >= first.timestamp()]
    if last is not None:
        log = [logged for logged in log if logged.event.time < last.timestamp()]
    part, more = page_of([logged.position for logged in log], limit, cursor)
    if as_json:
        documents = [event_document(head.run_id, logged.position, logged.event) for logged in log[part]]
        document = {"run_id": head.run_id, "workflow_name": head.workflow, "events": documents, "cursor": more}
        jsonout.print_json(document)
        return
    tables.print_events(log[part])
    tables.print_more(more)
