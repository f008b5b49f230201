"""`wdk rehearse gcp`."""

import asyncio
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from wdk_cloud.cli import rehearsing
from wdk_cloud.cli.console import CommandError, UsageError, command
from wdk_cloud.cli.options import AppSpec
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.rehearsing import say
from wdk_cloud.packaging.project import Project
from wdk_cloud.telemetry import Count
from wdk_gcp.deploying import command as deploying
from wdk_gcp.packaging import command as building
from wdk_gcp.packaging.command import Extra, Folder, Include, Requirements
from wdk_gcp.packaging.context import APP
from wdk_gcp.settings import Services
from wdk_gcp.testing.containers import LOUD, shown
from wdk_gcp.testing.rehearsal import Cloud, Deployed


def add_to(program: typer.Typer) -> None:
    program.command("gcp", epilog="Example: wdk rehearse gcp signup you@example.com")(rehearse_gcp)


@command
async def rehearse_gcp(
    workflow: rehearsing.WorkflowName = None,
    args: rehearsing.WorkflowArgs = None,
    app: AppSpec = None,
    folder: Folder = Path(),
    mode: Annotated[
        Services | None,
        typer.Option("--mode", help=f"Three services, or one; that of {deploying.FILE} unless named, else split."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="A variable of the services; before that of the file."),
    ] = None,
    requirements: Requirements = None,
    extra: Extra = None,
    include: Include = None,
    timeout: rehearsing.Timeout = 120,
    keep: rehearsing.Keep = False,
) -> None:
    """Deploy the app to a stand-in for Google Cloud on this machine, and see it work: what `wdk build gcp` makes, as
    the services of the Terraform module, each a process with the image's own command.

    Firestore, Cloud Tasks and Cloud Storage are servers of ours, which keep all in memory and end with the command.
    """
    file = deploying.read(folder, None)
    chosen: Services = mode or _mode(file)
    variables = {**_environment(file), **dict(_variable(word) for word in env or [])}
    project = Project(folder.absolute(), app or "", tuple(include or ()), requirements)
    found, positional = rehearsing.wanted(building.load_apps(project), workflow, args)
    with tempfile.TemporaryDirectory(prefix="wdk-rehearsal-") as made:
        built, _ = building.build(project, building.HERE, Path(made), extra or ())
        size = f"{built.size / building.MEGABYTE:.1f} MB"
        say("built", f"the folder of the image, {size}, for Python {building.HERE}")
        begin = time.monotonic()
        with ExitStack() as stack:
            with progress("starting the services"):
                deployed = stack.enter_context(
                    Deployed(stack.enter_context(Cloud()), built.folder / APP, chosen, variables, _tell)
                )
            named = ", ".join(deployed.kinds)
            many = "service" if len(deployed.kinds) == 1 else "services"
            say("deployed", f"{len(deployed.kinds)} {many} ({named}), in {time.monotonic() - begin:.1f} s")
            swept = await asyncio.to_thread(deployed.sweep)
            say("worker", f"answers; the sweep woke {swept['woken']} runs")
            if keep:
                say("webhooks", f"below {deployed.url('public')}")
                say("api", f"{deployed.api.base_url} (Authorization: Bearer $WDK_API_TOKEN)")
            async with rehearsing.staying(keep, deployed.variables):
                if found is not None:
                    log = partial(_show_rest, deployed)
                    await rehearsing.run_on(deployed.world(), found, positional, timeout, log, keep=keep)
                check(deployed)


def _mode(file: dict[str, Any]) -> Services:
    said = file.get("mode", "split")
    if said not in get_args(Services):
        raise UsageError(f'the mode of {deploying.FILE} is {said!r}, and there are "split" and "single"')
    return cast("Services", said)


def _environment(file: dict[str, Any]) -> dict[str, str]:
    """The variable `environment` of the module."""
    said: object = file.get("environment", {})
    if not isinstance(said, dict):
        raise UsageError(f'the environment of {deploying.FILE} is not an object of JSON, {{"NAME": "value"}}')
    return {str(name): str(value) for name, value in cast("dict[object, object]", said).items()}


def _variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise UsageError(f"--env takes NAME=VALUE, not {word!r}")
    return name, value


def _tell(name: str, line: str) -> None:
    """What the app prints, and what the log warns of, as it comes."""
    if text := shown(line):
        say(name, text)


def _show_rest(deployed: Deployed) -> None:
    """What the log says beyond that."""
    for name in deployed.containers:
        for said in deployed.documents(name):
            if said["severity"] not in LOUD:
                say(name, f"{said['severity'].lower()}: {said['message']}")


def check(deployed: Deployed) -> None:
    """Raises CommandError for what a deployment without a fault never says."""
    counted = {name: deployed.counted(name) for name in get_args(Count)}
    if any(counted.values()):
        _show_rest(deployed)
        said = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
        raise CommandError(f"the log of the services counts what should not be: {said}")
    if slowing := deployed.cloud.tasks.slowing:
        _show_rest(deployed)
        raise CommandError(f"{slowing} deliveries were answered with 429 or 5xx, which slows a whole queue")
    say("queues", f"{len(deployed.cloud.tasks.attempts)} deliveries, and nothing that slows a queue")
