"""What `wdk rehearse` has of every cloud: the workflow that it runs, what it says, and how it stays."""

from __future__ import annotations

import shlex
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wdk_cloud import admission, client
from wdk_cloud.cli.console import CommandError, UsageError, complain, err, exit_code, out
from wdk_cloud.cli.dev import stop_signals
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.reading import read_run
from wdk_cloud.cli.report import print_run
from wdk_cloud.cli.sources import find_workflow
from wdk_cloud.cli.start import arguments, shown_result
from wdk_cloud.errors import WorkflowError
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from wdk_cloud.app import Workflow, Workflows
    from wdk_cloud.world.ports import World

WorkflowName = Annotated[
    str | None, typer.Argument(metavar="[WORKFLOW]", help="A workflow to run: its id, or its function's name.")
]
WorkflowArgs = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ARGS]...", help="Its arguments: JSON where they parse as JSON, else text."),
]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Seconds for the run; its sleeps are real.")]
Keep = Annotated[bool, typer.Option("--keep", help="Stay until Ctrl-C; prints what wdk needs to work on it.")]


def say(what: str, text: str) -> None:
    err.print(f"{what:<9} {text}", soft_wrap=True)


def wanted(
    apps: list[Workflows], name: str | None, args: Sequence[str] | None
) -> tuple[Workflow[..., Any] | None, list[object]]:
    """The workflow of that name, and its arguments. Raises UsageError, before anything has taken its time."""
    if name is None:
        return None, []
    found = find_workflow(apps, name)
    positional, _ = arguments(found, list(args or ()), [])
    try:
        admission.check_start(found, tuple(positional), {})
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None
    return found, positional


async def run_on(
    world: World,
    workflow: Workflow[..., Any],
    args: Sequence[object],
    timeout: float,
    show_log: Callable[[], None],
    *,
    keep: bool = False,
) -> None:
    """Start it there, and print its result. When it has none, `show_log` is called, and the run is shown unless
    somebody can `keep` looking at it; the world is closed in the end."""
    try:
        with use_world(world):
            run = await client.start(workflow, *args)
            say("started", run.run_id)
            try:
                print_json(shown_result(workflow, await run.return_value(timeout=timeout)))
            except Exception as error:
                show_log()
                if not keep:
                    await _show(world, run.run_id)
                if not isinstance(error, TimeoutError):
                    raise
                raise CommandError(
                    f"run {run.run_id} has not ended after {timeout:g} s; a longer time is --timeout, and with --keep "
                    "somebody can answer what it waits for"
                ) from None
    finally:
        await world.close()


async def _show(world: World, run_id: str) -> None:
    """As `wdk inspect run` does: when the command has ended, nobody can type that any more."""
    view = await read_run(world, run_id, decrypt=False)
    print_run(view, list(view.timeline.steps.values()))


@asynccontextmanager
async def staying(keep: bool, variables: Mapping[str, str]) -> AsyncGenerator[None]:
    """With `--keep`: prints the variables, and stays until Ctrl-C when the block has ended, however it has.

    Somebody who wants to look at a run that has failed, or has to answer it, does so from another terminal.
    """
    if not keep:
        yield
        return
    for name, value in sorted(variables.items()):
        out.print(f"export {name}={shlex.quote(value)}", soft_wrap=True)
    say("staying", "until Ctrl-C; with these variables wdk works on it from another terminal")
    failure: CommandError | WorkflowError | None = None
    try:
        yield
    except (CommandError, WorkflowError) as error:
        complain(str(error))
        failure = error
    await stop_signals().wait()
    if failure is not None:
        raise typer.Exit(exit_code(failure))
