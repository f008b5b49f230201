"""`wdk build aws`."""

from pathlib import Path

import typer

from wdk_aws.deploying import described
from wdk_aws.packaging import archive, making, options
from wdk_aws.packaging.making import ARCHITECTURE, HERE, Made, Order
from wdk_aws.packaging.target import Target
from wdk_cloud.cli.console import command, err, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json
from wdk_cloud.packaging.project import Project

SHOWN = 5
"""Packages that are shown with their sizes."""


def add_to(program: typer.Typer) -> None:
    program.command("aws", epilog="Example: wdk build aws --architecture x86_64")(build_aws)


@command
async def build_aws(
    app: AppSpec = None,
    folder: options.Folder = Path(),
    python: options.ForPython = None,
    architecture: options.Machine = None,
    requirements: options.Requirements = None,
    extra: options.Extra = None,
    include: options.Include = None,
    template: options.Template = None,
    output: options.Output = options.OUTPUT,
    as_json: Json = False,
) -> None:
    """Build the zip that Lambda runs: the app, wdk-cloud and what both need, for the function's machine.

    Beside it goes the template, with an entry for each schedule of the app. Wheels are fetched with uv, or else pip, at
    the versions of this environment. The same input gives the same zip.
    """
    project = Project(folder.absolute(), app or "", tuple(include or ()), requirements)
    target = Target.of(python or HERE, architecture or ARCHITECTURE)
    made = making.make(Order(project, target, template, output, extra or ()))
    if as_json:
        print_json(_document(made))
        return
    print_made(made, with_terraform=described.own(folder) is not None)


def print_made(made: Made, *, with_terraform: bool = False) -> None:
    written = made.built.archive
    largest = ", ".join(f"{name} {archive.megabytes(size)}" for name, size in written.largest[:SHOWN])
    zipped, unzipped = archive.megabytes(written.zipped), archive.megabytes(written.unzipped)
    lines = {
        "function": str(written.path),
        "for": f"{made.target.runtime}, {made.target.architecture}",
        "size": f"{zipped}, {unzipped} unzipped, {made.built.files:,} files",
        "largest": largest,
        "sha256": written.sha256,
        "version": made.built.code_version,
        "template": f"{made.template}, with {len(made.entries)} entries for schedules",
    }
    if with_terraform:  # which takes no template
        del lines["template"]
        lines["values"] = f"{made.variables}, with {len(made.entries)} schedules; for terraform -var-file"
    for what, text in lines.items():
        out.print(f"{what:<8}  {text}", soft_wrap=True)
    if (heavy := archive.heaviness(written)) is not None:
        err.print(f"warning: {heavy}", style="yellow", soft_wrap=True)


def _document(made: Made) -> dict[str, object]:
    written = made.built.archive
    heavy = archive.heaviness(written)
    return {
        "function": str(written.path),
        "runtime": made.target.runtime,
        "architecture": made.target.architecture,
        "zipped": written.zipped,
        "unzipped": written.unzipped,
        "files": made.built.files,
        "largest": dict(written.largest[:SHOWN]),
        "sha256": written.sha256,
        "code_version": made.built.code_version,
        "template": str(made.template),
        "schedules": [
            {"workflow": entry.workflow, "expression": entry.expression, "timezone": entry.timezone}
            for entry in made.entries
        ],
        "warnings": [] if heavy is None else [heavy],
    }
