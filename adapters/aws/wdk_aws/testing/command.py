"""`wdk rehearse aws`."""

import asyncio
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from wdk_aws.deploying import described
from wdk_aws.packaging import archive, making, options
from wdk_aws.packaging.making import ZIP
from wdk_aws.testing import deployment, rehearsal
from wdk_aws.testing.deployment import Deployed
from wdk_cloud.cli import rehearsing
from wdk_cloud.cli.console import CommandError, UsageError, command, err
from wdk_cloud.cli.options import AppSpec
from wdk_cloud.cli.progress import progress
from wdk_cloud.cli.rehearsing import say
from wdk_cloud.packaging.project import Project


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
        with progress("preparing the stand-in"):
            home = rehearsal.ministack.environment()
        made = rehearsal.build(project, Path(built), progress, extra or (), template)
        target = deployment.here()
        say("built", f"{ZIP}, {archive.megabytes(made.archive.zipped)}, for {target.runtime} on {target.architecture}")
        with rehearsal.ministack.running(home, Path(built)) as account:
            begin = time.monotonic()
            with closing(deployment.deploy(account, Path(built), parameters=given)) as deployed:
                say("deployed", f"the stack {deployed.name}, in {time.monotonic() - begin:.1f} s")
                await asyncio.to_thread(_look, deployed)
                if found is not None:
                    await rehearsing.run_on(deployed.world(), found, positional, timeout, lambda: _show_log(deployed))
                check(deployed)
                if keep:
                    await rehearsing.stay(deployed.variables)


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


def _show_log(deployed: Deployed) -> None:
    for line in deployed.lines():
        err.print(f"  {line.text}", soft_wrap=True)


def check(deployed: Deployed) -> None:
    """Raises CommandError for what a deployment without a fault never says."""
    refused = [line.text for output in ("WorkerLogs", "ReceiverLogs") for line in deployed.refusals(output)]
    if refused:
        said = "\n".join(refused)
        raise CommandError(f"the roles of the template lack rights that the functions asked for:\n{said}")
    counted = {name: deployed.counted(name) for name in ("ForeignMessages", "DeadLetters", "MissingCode")}
    if any(counted.values()):
        _show_log(deployed)
        said = ", ".join(f"{name} {count}" for name, count in counted.items() if count)
        raise CommandError(f"the worker's log counts what should not be: {said}")
    say("rights", "those of the template's roles were enough")
