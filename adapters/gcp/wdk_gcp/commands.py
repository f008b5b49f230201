"""`wdk gcp create`: what a first run on Google Cloud stands on."""

import typer

from wdk_cloud.cli.console import command, out
from wdk_gcp.settings import VARIABLES, GcpSettings


def add_create(program: typer.Typer) -> None:
    program.command("create", epilog="Example: wdk gcp create")(create)


@command
async def create() -> None:
    """Create what the WDK_GCP_* variables name and is not there yet: database, queues and bucket.

    A deployment makes them from a template instead. Calling it again is harmless.
    """
    from wdk_gcp.testing import create_resources

    create_resources()
    settings = GcpSettings.from_environment()
    for name in ("project", "location", "database", "flow_queue", "step_queue", "bucket"):
        if value := getattr(settings, name):
            out.print(f"{VARIABLES[name]:<19} {value}", soft_wrap=True)
