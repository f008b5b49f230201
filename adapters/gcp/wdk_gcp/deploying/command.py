"""`wdk deploy gcp`."""

import json
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from wdk_cloud.cli.console import UsageError, command
from wdk_cloud.cli.options import AppSpec
from wdk_cloud.packaging.project import Project
from wdk_gcp.deploying import described, naming, tools
from wdk_gcp.deploying.deployment import STATE, Consent, Deployment, State
from wdk_gcp.deploying.image import Builder, Image
from wdk_gcp.packaging import command as building
from wdk_gcp.packaging.command import Extra, Folder, ImagePython, Include, Output, Requirements

FILE = "gcp.tfvars.json"
"""Values of the module's variables, beside the app, so that each deployment is like the last."""


def add_to(program: typer.Typer) -> None:
    program.command("gcp", epilog="Example: wdk deploy gcp --gcp-project my-project --location europe-west1")(
        deploy_gcp
    )


GoogleProject = Annotated[
    str | None, typer.Option("--gcp-project", metavar="ID", envvar="WDK_GCP_PROJECT", help="Google's project.")
]
Location = Annotated[
    str | None, typer.Option("--location", metavar="REGION", envvar="WDK_GCP_LOCATION", help="Of the services.")
]
VariableFile = Annotated[
    Path | None,
    typer.Option("--var-file", metavar="FILE", help=f"Variables of the module, in JSON; {FILE} unless named."),
]
Variables = Annotated[
    list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable; before that of the file.")
]
Terraform = Annotated[
    Path | None, typer.Option("--terraform", metavar="FOLDER", help="A copy of the module; terraform/ unless named.")
]
MadeBy = Annotated[Builder, typer.Option("--builder", help="Who makes the image: Docker here, or Cloud Build.")]
StateBucket = Annotated[
    str, typer.Option("--state-bucket", metavar="NAME", help="Where Terraform's state lies; a file here, if none.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether to do what is shown.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")]
DeleteData = Annotated[
    bool, typer.Option("--delete-data", help="Also what takes runs away, or what opens their payloads.")
]
Build = Annotated[bool, typer.Option("--build/--no-build", help="Build first, or deploy what lies in --output.")]


@command
async def deploy_gcp(
    app: AppSpec = None,
    folder: Folder = Path(),
    project: GoogleProject = None,
    location: Location = None,
    file: VariableFile = None,
    var: Variables = None,
    terraform: Terraform = None,
    builder: MadeBy = "docker",
    state_bucket: StateBucket = "",
    yes: Yes = False,
    dry_run: DryRun = False,
    delete_data: DeleteData = False,
    build: Build = True,
    python: ImagePython = None,
    requirements: Requirements = None,
    extra: Extra = None,
    include: Include = None,
    output: Output = Path("build/gcp"),
) -> None:
    """Deploy the app to Cloud Run: build, show what will change, ask, push the image, and do it.

    What would take away runs (the database, the bucket, a queue) is refused without --delete-data. A deployment that is
    refused or declined leaves nothing behind in the project.
    """
    given: dict[str, Any] = {"project": project, "location": location}
    variables = {**read(folder, file), **{name: value for name, value in given.items() if value}, **_parsed(var or [])}
    naming.check(variables)
    root = output / "terraform"
    module = described.folder_of(folder, terraform, root)
    described.refuse_edits(root)
    tools.refuse_missing(("terraform", "gcloud", *(("docker",) if builder == "docker" else ())))
    here, name = folder.absolute(), str(variables.get("name", naming.NAME))
    state = State(here / STATE / f"{name}.tfstate", state_bucket, name)
    state.backend()  # it says what is wrong with it
    state.refuse_another(module)
    known = ["gcloud", "projects", "describe", variables["project"], "--format", "value(projectId)"]
    tools.asked(known, f"nothing was deployed or changed: the project {variables['project']} cannot be seen")
    of_app = Project(here, app or "", tuple(include or ()), requirements)
    if build:
        built, schedules = building.build(of_app, python or building.HERE, output, extra or ())
    else:
        built, schedules = building.built_before(output)
    image = Image(variables["project"], variables["location"], name, built.sha256)
    deployment = Deployment(module, root, built.folder, image, {**variables, "schedules": schedules}, state, builder)
    deployment.run(Consent(yes=yes, dry_run=dry_run, delete_data=delete_data))


def read(folder: Path, file: Path | None) -> dict[str, Any]:
    path = file or folder / FILE
    if file is None and not path.exists():
        return {}
    try:
        found: Any = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"the file of variables {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"the file of variables {path} is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f'the file of variables {path} is not an object of JSON, {{"project": …}}')
    return cast("dict[str, Any]", found)


def _parsed(words: list[str]) -> dict[str, Any]:
    """A value is JSON where it parses as JSON, and text otherwise."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--var {word!r} is not NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
