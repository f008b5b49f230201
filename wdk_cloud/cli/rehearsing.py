"""What `wdk rehearse` has of every cloud: the workflow that it runs, what it says, and how it stays."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wdk_cloud import admission, client
from wdk_cloud.cli.console import CommandError, UsageError, err, out
from wdk_cloud.cli.dev import stop_signals
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.sources import find_workflow
from wdk_cloud.cli.start import arguments, shown_result
from wdk_cloud.world.opening import use_world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
Keep = Annotated[bool, typer.Option("--keep", help="Stay until Ctrl-C, for your own requests.")]


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
    world: World, workflow: Workflow[..., Any], args: Sequence[object], timeout: float, show_log: Callable[[], None]
) -> None:
    """Start it there, and print its result. `show_log` is called when it has none; the world is closed in the end."""
    try:
        with use_world(world):
            run = await client.start(workflow, *args)
            say("started", run.run_id)
            try:
                print_json(shown_result(workflow, await run.return_value(timeout=timeout)))
            except TimeoutError:
                show_log()
                raise CommandError(
                    f"run {run.run_id} has not ended after {timeout:g} s; a longer time is --timeout"
                ) from None
            except Exception:
                show_log()
                raise
    finally:
        await world.close()


async def stay(variables: Mapping[str, str]) -> None:
    """Until Ctrl-C."""
    for name, value in sorted(variables.items()):
        out.print(f"export {name}={shlex.quote(value)}", soft_wrap=True)
    say("staying", "until Ctrl-C; with these variables wdk works on it from another terminal")
    await stop_signals().wait()
