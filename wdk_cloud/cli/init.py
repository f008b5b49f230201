"""`wdk init`: a new project, with all that it takes from the first run to a deployment."""

from pathlib import Path
from typing import Annotated

import typer

from wdk_cloud.cli.console import command, err, out
from wdk_cloud.cli.project import origin, parts, writing
from wdk_cloud.cli.project.naming import name_of


def add_to(program: typer.Typer) -> None:
    program.command(epilog="Example: wdk init shop --cloud aws")(init)


@command
async def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="To be made; its name is the project's, and its package's.")
    ],
    cloud: Annotated[
        str | None,
        typer.Option("--cloud", metavar="CLOUD", help="aws, gcp or none; unless named, the one that is installed."),
    ] = None,
    iac: Annotated[
        str | None, typer.Option("--iac", metavar="TOOL", help="What describes the deployment: sam, terraform.")
    ] = None,
) -> None:
    """Make a new project, with a test, CI and what a cloud is given.

    A workflow, its test, a stored history of it, a Makefile and a CI workflow; for a cloud a description of all that it
    has there. The folder is made whole or not at all.
    """
    from wdk_cloud.cli.program import current_version

    place = writing.place_for(folder)
    name = name_of(place.name)
    part = parts.chosen(cloud, iac)
    part.check(name)
    contents = writing.texts(name, part, current_version())
    writing.write(place, contents)
    lines = {
        "made": f"{folder}, with {len(contents)} files",
        "workflow": f"{folder / name.package / 'workflows.py'}",
        "next": f"cd {folder} && make install && make check && make dev",
        "read": f"{folder / 'README.md'}",
    }
    for what, text in lines.items():
        out.print(f"{what:<8}  {text}", soft_wrap=True)
    if (installing := origin.to_install(part.extra, origin.read())) is not None:
        err.print(f"in an environment of its own, before make install: {installing}", soft_wrap=True)
