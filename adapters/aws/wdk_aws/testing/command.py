"""`wdk rehearse aws`."""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from wdk_aws.deploying import described
from wdk_aws.packaging import archive, making, options
from wdk_aws.packaging.making import ZIP
from wdk_aws.testing import deployment, rehearsal
from wdk_aws.testing.deployment import Deployed, Line
from wdk_cloud.cli import rehearsing
from wdk_cloud.cli.console import CommandError, UsageError, command, err
from wdk_cloud.cli.options import AppSpec
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.rehearsing import say
from wdk_cloud.packaging.project import Project

FUNCTIONS = {"worker": "WorkerLogs", "receiver": "ReceiverLogs"}
"""What each is called here, and the output of the template that names its log."""

LOUD = {"WARNING", "ERROR", "CRITICAL"}

LOOK_EVERY = 0.5
"""Seconds between two looks at the logs; a look is a request for each."""


def add_to(program: typer.Typer) -> None:
    program.command("aws", epilog="Example: wdk rehearse aws signup you@example.com")(rehearse_aws)


@command
async def rehearse_aws(
    workflow: rehearsing.WorkflowName = None,
    args: rehearsing.WorkflowArgs = None,
    app: AppSpec = None,
    folder: options.Folder = Path(),
    extra: options.Extra = None,
    template: options.Template = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", metavar="NAME=VALUE", help="Of the template; may be repeated.")
    ] = None,
    timeout: rehearsing.Timeout = 120,
    keep: rehearsing.Keep = False,
) -> None:
    """Deploy the app into a stand-in for AWS on this machine, and see it work: the zip and the template as they would
    be deployed, the functions in processes of their own, with no rights but those of the template's roles.

    The first time it installs ministack into .wdk/ministack; WDK_MINISTACK names an environment that has it.
    """
    project = Project(folder.absolute(), app or "")
    found, positional = rehearsing.wanted(making.load_apps(project), workflow, args)
    given = dict(_parameter(word) for word in parameter or [])
    if template is None and (copy := described.own(folder)) is not None:
        say("template", _in_place_of(copy))
    with tempfile.TemporaryDirectory(prefix="wdk-rehearsal-") as built:
        home = _stand_in()
        made = rehearsal.build(project, Path(built), progress, extra or (), template)
        target = deployment.here()
        say("built", f"{ZIP}, {archive.megabytes(made.archive.zipped)}, for {target.runtime} on {target.architecture}")
        with rehearsal.ministack.running(home, Path(built)) as account:
            begin = time.monotonic()
            with closing(deployment.deploy(account, Path(built), parameters=given)) as deployed:
                say("deployed", f"the stack {deployed.name}, in {time.monotonic() - begin:.1f} s")
                await asyncio.to_thread(_look, deployed)
                async with _telling(keep, deployed), rehearsing.staying(keep, deployed.variables):
                    if found is not None:
                        log = partial(_show_log, deployed, known=keep)
                        await rehearsing.run_on(deployed.world(), found, positional, timeout, log, keep=keep)
                    check(deployed)


def _parameter(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise UsageError(f"--parameter takes NAME=VALUE, not {word!r}")
    return name, value


def _in_place_of(copy: Path) -> str:
    """What a project whose deployment is Terraform's is told: the stand-in takes templates."""
    text = f"that of SAM, which describes the same system as the module in {copy}"
    if changed := described.changed(copy):
        return f"{text}; what you have changed there is not rehearsed: {', '.join(changed)}"
    return text


def _look(deployed: Deployed) -> None:
    """The two functions answer. Raises CommandError, or WorldConfigurationError with what the worker failed with."""
    health = deployed.public.get("health")
    if health.status_code != 200:
        raise CommandError(f"the receiver answers {health.status_code} to GET /health: {health.text[:500]}")
    swept = deployed.invoke({"sweep": {}})
    say("receiver", "answers")
    say("worker", f"answers; the sweep woke {swept['woken']} runs")


def _stand_in() -> Path:
    """The folder of its environment. Where it has to be installed that takes a minute, which is said before."""
    if not rehearsal.ministack.there():
        say("installs", f"the stand-in, {rehearsal.ministack.REQUIREMENTS[0]}, this once")
    with progress("installing the stand-in"):
        return rehearsal.ministack.environment()


def _show_log(deployed: Deployed, *, known: bool = False) -> None:
    """All that the worker has logged; when `known`, only what has not been told as it came."""
    for line in deployed.lines():
        if not line.of_lambda and not (known and _told(line)):
            err.print(f"  {line.text}", soft_wrap=True)


def _told(line: Line) -> str:
    """What somebody who looks on wants to see of it: what the app prints, and what the log warns of."""
    if not line.document:
        return "" if line.of_lambda else line.text
    level = str(line.document.get("level", ""))
    return f"{level.lower()}: {line.document.get('message')}" if level in LOUD else ""


@asynccontextmanager
async def _telling(keep: bool, deployed: Deployed) -> AsyncGenerator[None]:
    """Tells it for as long as the block lasts, where somebody is going to wait."""
    telling = asyncio.create_task(_tell(deployed)) if keep else None
    try:
        yield
    finally:
        if telling is not None:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)


async def _tell(deployed: Deployed) -> None:
    told = Counter[tuple[str, Line]]()
    while True:
        for name, output in FUNCTIONS.items():
            there = Counter((name, line) for line in await asyncio.to_thread(deployed.lines, output))
            for _, line in (there - told).elements():
                if text := _told(line):
                    say(name, text)
            told |= there
        await asyncio.sleep(LOOK_EVERY)


def check(deployed: Deployed) -> None:
    """Raises CommandError for what a deployment without a fault never says."""
    refused = [line.text for output in FUNCTIONS.values() for line in deployed.refusals(output)]
    if refused:
        said = "\n".join(refused)
        raise CommandError(f"the roles of the template lack rights that the functions asked for:\n{said}")
    counted = {name: deployed.counted(name) for name in ("ForeignMessages", "DeadLetters", "MissingCode")}
    if any(counted.values()):
        _show_log(deployed)
        said = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
        raise CommandError(f"the worker's log counts what should not be: {said}")
    say("rights", "those of the template's roles were enough")
