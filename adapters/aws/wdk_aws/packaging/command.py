"""`wdk build aws`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from wdk_aws.packaging import archive, building
from wdk_aws.packaging.building import Built
from wdk_aws.packaging.project import Project
from wdk_aws.packaging.target import Target
from wdk_cloud.cli.console import command, err, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json
from wdk_cloud.cli.progress import progress

ZIP = "function.zip"

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

SHOWN = 5
"""Packages that are shown with their sizes."""

Python = Literal["3.11", "3.12", "3.13", "3.14"]
Architecture = Literal["arm64", "x86_64"]


def add_to(program: typer.Typer) -> None:
    program.command("aws", epilog="Example: wdk build aws --architecture x86_64")(build_aws)


@command
async def build_aws(
    app: AppSpec = None,
    folder: Annotated[
        Path, typer.Option("--project", metavar="FOLDER", help="Where the app's code lies; this folder unless named.")
    ] = Path(),
    python: Annotated[
        Python | None, typer.Option("--python", help="The function's Python; this one's unless named.")
    ] = None,
    architecture: Annotated[Architecture, typer.Option("--architecture", help="The function's machine.")] = "arm64",
    requirements: Annotated[
        Path | None,
        typer.Option("--requirements", metavar="FILE", help="In place of requirements.txt or pyproject.toml."),
    ] = None,
    extra: Annotated[
        list[str] | None, typer.Option("--extra", metavar="NAME", help="Of wdk-cloud: crypto, pydantic, otel.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option("--include", metavar="PATH", help="A file or folder that no import leads to.")
    ] = None,
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where to write what is deployed.")] = Path(
        "build/aws"
    ),
    as_json: Json = False,
) -> None:
    """Build the zip that Lambda runs: the app, wdk-cloud and what both need, for the function's machine.

    Wheels are fetched with uv, or else pip, at the versions of this environment. The same input gives the same zip.
    """
    project = Project(folder.absolute(), app or "", tuple(include or ()), requirements)
    chosen = python or HERE
    target = Target.of(chosen, architecture)
    built = building.build(project, target, output / ZIP, progress, extra or ())
    heavy = archive.heaviness(built.archive)
    if as_json:
        print_json(_document(built, target, heavy))
        return
    _print(built, target)
    if heavy is not None:
        err.print(f"warning: {heavy}", style="yellow", soft_wrap=True)


def _print(built: Built, target: Target) -> None:
    made = built.archive
    largest = ", ".join(f"{name} {archive.megabytes(size)}" for name, size in made.largest[:SHOWN])
    zipped, unzipped = archive.megabytes(made.zipped), archive.megabytes(made.unzipped)
    lines = {
        "function": str(made.path),
        "for": f"{target.runtime}, {target.architecture}",
        "size": f"{zipped}, {unzipped} unzipped, {built.files:,} files",
        "largest": largest,
        "sha256": made.sha256,
        "version": built.code_version,
    }
    for what, text in lines.items():
        out.print(f"{what:<9} {text}", soft_wrap=True)


def _document(built: Built, target: Target, heavy: str | None) -> dict[str, object]:
    made = built.archive
    return {
        "function": str(made.path),
        "runtime": target.runtime,
        "architecture": target.architecture,
        "zipped": made.zipped,
        "unzipped": made.unzipped,
        "files": built.files,
        "largest": dict(made.largest[:SHOWN]),
        "sha256": made.sha256,
        "code_version": built.code_version,
        "warnings": [] if heavy is None else [heavy],
    }
