"""`wdk build gcp`."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from wdk_cloud.app import Workflows
from wdk_cloud.cli import sources
from wdk_cloud.cli.console import UsageError, command, out
from wdk_cloud.cli.jsonout import print_json
from wdk_cloud.cli.options import AppSpec, Json
from wdk_cloud.cli.progress import progress
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.packaging import seals
from wdk_cloud.packaging.project import Project
from wdk_gcp.packaging import context, ticking
from wdk_gcp.packaging.context import Context

IMAGE, VARIABLES, SEAL = "image", "schedules.auto.tfvars.json", "built.sha256"

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

MEGABYTE = 1024 * 1024

Python = Literal["3.11", "3.12", "3.13", "3.14"]

Folder = Annotated[
    Path, typer.Option("--project", metavar="FOLDER", help="Where the app's code lies; this folder unless named.")
]
ImagePython = Annotated[Python | None, typer.Option("--python", help="The image's Python; this one's unless named.")]
Requirements = Annotated[
    Path | None,
    typer.Option("--requirements", metavar="FILE", help="In place of requirements.txt or pyproject.toml."),
]
Extra = Annotated[
    list[str] | None, typer.Option("--extra", metavar="NAME", help="Of wdk-cloud: crypto, pydantic, otel.")
]
Include = Annotated[
    list[str] | None, typer.Option("--include", metavar="PATH", help="A file or folder that no import leads to.")
]
Output = Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where to write what is deployed.")]


def add_to(program: typer.Typer) -> None:
    program.command("gcp", epilog="Example: wdk build gcp --app signup:app")(build_gcp)


@command
async def build_gcp(
    app: AppSpec = None,
    folder: Folder = Path(),
    python: ImagePython = None,
    requirements: Requirements = None,
    extra: Extra = None,
    include: Include = None,
    output: Output = Path("build/gcp"),
    as_json: Json = False,
) -> None:
    """Build the folder that an image for Cloud Run is made from: a Dockerfile, the app, wdk-cloud, what both need.

    Packages are pinned with uv, or else pip, at the versions of this environment, with hashes. The same input gives the
    same folder. Docker is not needed; `wdk deploy gcp` makes the image of it and deploys that.
    """
    project = Project(folder.absolute(), app or "", tuple(include or ()), requirements)
    built, schedules = build(project, python or HERE, output, extra or ())
    if as_json:
        print_json(_document(built, python or HERE, schedules))
    else:
        _print(built, python or HERE, schedules)


def build(
    project: Project, python: str, output: Path, extras: list[str] | tuple[str, ...]
) -> tuple[Context, list[dict[str, str]]]:
    """The context, and beside it the entries of schedules, as the module takes them."""
    _refuse_edits(output, "a build would write over that")
    apps = load_apps(project)
    entries = ticking.entries_of(apps)
    namespaces = sorted({each.namespace for each in apps if each.namespace})
    built = context.build(project, python, output / IMAGE, progress, extras, namespaces, output / SEAL)
    (output / VARIABLES).write_text(json.dumps({"schedules": entries}, indent=1) + "\n", "utf-8")
    seals.write(output / SEAL, _made(output))
    return built, entries


def built_before(output: Path) -> tuple[Context, list[dict[str, str]]]:
    """What lies there. Raises WorldConfigurationError, and UsageError for what somebody has edited."""
    found, file = context.read(output / IMAGE), output / VARIABLES
    try:
        entries = json.loads(file.read_text("utf-8"))["schedules"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WorldConfigurationError(
            f"{file} is nothing that `wdk build gcp` has made: {error}; deploy without --no-build"
        ) from None
    _refuse_edits(output, "the next build would undo what you deploy")
    return found, entries


def _made(output: Path) -> list[Path]:
    """What a build has made there, without what Python leaves where it imports something."""
    within = [path for path in (output / IMAGE).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return [*within, *(path for path in [output / VARIABLES] if path.is_file())]


def _refuse_edits(output: Path, why: str) -> None:
    edits = seals.edited(output / SEAL, _made(output))
    if edits:
        raise UsageError(
            f"nothing was built, deployed or changed: {', '.join(map(str, edits))} was edited since it was built, and "
            f"{why}. Change what it is built from (the app, its requirements, the options of the build), or drop the "
            f"edits: rm {shlex.quote(str(output / SEAL))}"
        )


def load_apps(project: Project) -> list[Workflows]:
    """Raises UsageError for code that cannot be imported: then the service could not either."""
    project.modules  # noqa: B018 -- it says what is wrong with the spec
    sys.path.insert(0, str(project.folder))
    return sources.load_apps(project.spec)


def _print(built: Context, python: str, schedules: list[dict[str, str]]) -> None:
    lines = {
        "image": f"{built.folder}, for Python {python} on x86_64",
        "size": f"{built.size / MEGABYTE:.1f} MB, {built.files:,} files; {built.packages} packages are fetched",
        "sha256": built.sha256,
        "version": built.code_version,
        "schedules": f"{built.folder.with_name(VARIABLES)}, {len(schedules)} entries",
    }
    for what, text in lines.items():
        out.print(f"{what:<9}  {text}", soft_wrap=True)


def _document(built: Context, python: str, schedules: list[dict[str, str]]) -> dict[str, object]:
    return {
        "image": str(built.folder),
        "python": python,
        "sha256": built.sha256,
        "size": built.size,
        "files": built.files,
        "packages": built.packages,
        "code_version": built.code_version,
        "schedules": schedules,
    }
