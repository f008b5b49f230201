"""`wdk build aws`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from wdk_aws.packaging import archive, building, ticking
from wdk_aws.packaging.building import Built
from wdk_aws.packaging.target import Target
from wdk_cloud.app import Workflows
from wdk_cloud.cli import sources
from wdk_cloud.cli.console import UsageError, command, err, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json
from wdk_cloud.cli.progress import progress
from wdk_cloud.packaging.project import Project
from wdk_cloud.packaging.ticking import Entry

ZIP, DEPLOYED = "function.zip", "template.yaml"

TEMPLATE = Path(__file__).with_name("template.yaml")
"""The one of infra/aws/sam; a distribution has a copy of it here."""

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
    template: Annotated[
        Path | None,
        typer.Option("--template", metavar="FILE", help="Yours, in place of wdk-cloud's; schedules are added."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where to write what is deployed.")] = Path(
        "build/aws"
    ),
    as_json: Json = False,
) -> None:
    """Build the zip that Lambda runs: the app, wdk-cloud and what both need, for the function's machine.

    Beside it goes the template, with an entry for each schedule of the app. Wheels are fetched with uv, or else pip, at
    the versions of this environment. The same input gives the same zip.
    """
    project = Project(folder.absolute(), app or "", tuple(include or ()), requirements)
    chosen = python or HERE
    target = Target.of(chosen, architecture)
    apps = load_apps(project)
    entries = ticking.entries_of(apps)
    text = ticking.written_into(_read(template or TEMPLATE), entries)
    namespaces = sorted({each.namespace for each in apps if each.namespace})
    built = building.build(project, target, output / ZIP, progress, extra or (), namespaces)
    (output / DEPLOYED).write_text(text, "utf-8")
    heavy = archive.heaviness(built.archive)
    if as_json:
        print_json(_document(built, target, entries, heavy))
        return
    _print(built, target, entries)
    if heavy is not None:
        err.print(f"warning: {heavy}", style="yellow", soft_wrap=True)


def load_apps(project: Project) -> list[Workflows]:
    """Raises UsageError for code that cannot be imported: then the function could not either."""
    project.modules  # noqa: B018 -- it says what is wrong with the spec
    sys.path.insert(0, str(project.folder))
    return sources.load_apps(project.spec)


def _read(template: Path) -> str:
    try:
        return template.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"the template {template} cannot be read: {error.strerror}") from None


def _print(built: Built, target: Target, entries: list[Entry]) -> None:
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
        "template": f"{made.path.with_name(DEPLOYED)}, with {len(entries)} entries for schedules",
    }
    for what, text in lines.items():
        out.print(f"{what:<8}  {text}", soft_wrap=True)


def _document(built: Built, target: Target, entries: list[Entry], heavy: str | None) -> dict[str, object]:
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
        "template": str(made.path.with_name(DEPLOYED)),
        "schedules": [
            {"workflow": entry.workflow, "expression": entry.expression, "timezone": entry.timezone}
            for entry in entries
        ],
        "warnings": [] if heavy is None else [heavy],
    }
