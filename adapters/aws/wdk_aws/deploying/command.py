"""`wdk deploy aws`."""

from pathlib import Path
from typing import Annotated

import typer

from wdk_aws.deploying import described, preflight, samconfig
from wdk_aws.deploying.deployment import Consent, Deployment, built_for, session_of
from wdk_aws.packaging import making, options
from wdk_aws.packaging.command import print_made
from wdk_aws.packaging.making import ARCHITECTURE, DEPLOYED, HERE, Order
from wdk_aws.packaging.target import Target
from wdk_cloud.cli.console import command
from wdk_cloud.cli.options import AppSpec
from wdk_cloud.packaging.project import Project


def add_to(program: typer.Typer) -> None:
    program.command("aws", epilog="Example: wdk deploy aws --stage staging")(deploy_aws)


@command
async def deploy_aws(
    app: AppSpec = None,
    folder: options.Folder = Path(),
    stage_name: Annotated[
        str, typer.Option("--stage", metavar="NAME", help="Which one of samconfig.toml; each is a stack.")
    ] = samconfig.STAGE,
    stack: Annotated[
        str | None, typer.Option("--stack", metavar="NAME", help="The stack, in place of samconfig.toml's.")
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="Of the template; before those of samconfig.toml."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether to do what is shown.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also what takes runs away, or what opens their payloads.")
    ] = False,
    build: Annotated[
        bool, typer.Option("--build/--no-build", help="Build first, or deploy what lies in --output.")
    ] = True,
    python: options.ForPython = None,
    architecture: options.Machine = None,
    requirements: options.Requirements = None,
    extra: options.Extra = None,
    include: options.Include = None,
    template: options.Template = None,
    output: options.Output = options.OUTPUT,
) -> None:
    """Deploy the app: build, look whether all is well, show what will change, ask, and do it.

    What would take away runs (the table, the bucket, a queue with messages, a key) is refused without --delete-data.
    A deployment that is refused or declined leaves nothing behind.
    """
    consent = Consent(yes=yes, dry_run=dry_run, delete_data=delete_data)
    if template is None:
        described.refuse_a_second_system(folder)
    consent.check()  # before minutes of work
    config = folder.absolute() / samconfig.NAME
    stage = samconfig.read(config, stage_name, stack)
    given = {**stage.parameters, **samconfig.parameters(parameter or [], "--parameter")}
    if build:
        preflight.refuse_unequipped(session_of(stage, config))
        target = Target.of(
            python or given.get("PythonVersion", HERE), architecture or given.get("Architecture", ARCHITECTURE)
        )
        project = Project(folder.absolute(), app or "", tuple(include or ()), requirements)
        print_made(making.make(Order(project, target, template, output, extra or ())))
    deployment = Deployment(stage, output / DEPLOYED, config, {**given, **built_for(output)})
    await deployment.run(consent)
