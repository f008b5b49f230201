"""`wdk aws create` and `wdk aws serve`: a first run on AWS, before there is a function."""

from typing import Annotated

import typer

from wdk_aws.settings import VARIABLES, AwsSettings
from wdk_cloud.cli.console import command, err, out
from wdk_cloud.cli.dev import check_workflows, set_up_output, stop_signals
from wdk_cloud.cli.listening import PORT, answering, listen
from wdk_cloud.cli.options import AppSpec
from wdk_cloud.cli.sources import load_apps


def add_create(program: typer.Typer) -> None:
    program.command("create", epilog="Example: wdk aws create")(create)


def add_serve(program: typer.Typer) -> None:
    program.command("serve", epilog="Example: WDK_APP=signup:app wdk aws serve")(serve)


@command
async def create() -> None:
    """Create what the WDK_AWS_* variables name and is not there yet: table, queues, bucket and schedule group.

    A deployment makes them from a template instead. Calling it again is harmless.
    """
    from wdk_aws.testing import create_resources

    create_resources()
    settings = AwsSettings.from_environment()
    for name, variable in VARIABLES.items():
        if value := getattr(settings, name):
            out.print(f"{variable:<27} {value}", soft_wrap=True)


@command
async def serve(
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            envvar="WDK_PORT",
            help=f"Where HTTP is served: {PORT} unless given, 0 takes any.",
        ),
    ] = None,
    app: AppSpec = None,
) -> None:
    """Serve the app's runs on AWS from this machine, in the place of the function: its queues, schedules, sweep and
    routes. Ctrl-C stops it; runs go on when it, or a function, serves again."""
    from wdk_aws.polling import Poller
    from wdk_aws.serving import Instance, Parts
    from wdk_aws.world import AwsWorld
    from wdk_cloud.telemetry import Silent

    apps = load_apps(app)
    check_workflows(apps)
    settings = AwsSettings.from_environment()
    table, _ = settings.needed("table"), settings.needed("flow_queue_url")  # or it is told before anything is served
    listener = listen(port)
    set_up_output()
    stop = stop_signals()  # before anything says that it serves: whoever reads that may stop it at once
    instance = Instance(apps, Parts(AwsWorld, Silent))
    try:
        await instance.prepare()
        async with answering(listener, apps, ()):
            for what, text in (listener.lines(listener.url) if listener is not None else {}).items():
                err.print(f"{what:<10} {text}", soft_wrap=True)
            err.print(f"{'serving':<10} aws, table {table}", soft_wrap=True)
            await Poller(instance).run(stop)
            err.print("stopping; runs go on when this, or a function, serves again")
    finally:
        instance.close()
