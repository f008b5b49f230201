"""`wdk iam gcp`: what a process needs to be granted, by what it is granted on."""

from typing import Annotated, Literal, get_args

import typer

from wdk_cloud.cli.console import command
from wdk_cloud.cli.jsonout import print_json
from wdk_gcp import rights
from wdk_gcp.rights import Resource
from wdk_gcp.settings import GcpSettings

Role = Literal["client", "operator", "receiver", "starter", "worker"]


def add_to(program: typer.Typer) -> None:
    program.command("gcp", epilog="Example: wdk iam gcp client")(print_grants)


@command
async def print_grants(
    role: Annotated[
        Role,
        typer.Argument(
            metavar="ROLE",
            help="client (starts runs and resumes hooks), starter (starts runs), operator (looks at runs, cancels and "
            "deletes them), receiver (answers webhooks) or worker.",
        ),
    ],
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="With a key of KMS; so it is when WDK_GCP_KMS_KEY is set.")
    ] = False,
) -> None:
    """Print the permissions on Google Cloud that a process needs, and nothing beyond: make roles of them.

    Each is granted on what the WDK_GCP_* variables name; for what they do not, a word in capitals is yours to replace.
    """
    settings = GcpSettings.from_environment()
    needed = rights.uses(role)
    grants: list[dict[str, object]] = []
    for resource in get_args(Resource):
        permissions = sorted(use.permission for use in needed if use.on == resource)
        if permissions and (resource != "key" or encrypted or settings.kms_key):
            grants.append({"on": resource, "resource": _named(resource, settings), "permissions": permissions})
    print_json({"role": role, "grants": grants})


def _named(resource: Resource, settings: GcpSettings) -> str:
    """As the commands and conditions of IAM name it. A database has no policy of its own: its grant is one on the
    project, with a condition on `resource.name`."""
    project, location = settings.project or "PROJECT", settings.location or "LOCATION"
    queues = f"projects/{project}/locations/{location}/queues"
    flow, step = settings.flow_queue or "FLOW_QUEUE", settings.step_queue or "STEP_QUEUE"
    found: dict[Resource, str] = {
        "database": f"projects/{project}/databases/{settings.database}",
        "flow queue": flow if "/" in flow else f"{queues}/{flow}",
        "step queue": step if "/" in step else f"{queues}/{step}",
        "invoker": f"projects/{project}/serviceAccounts/{settings.invoker or 'INVOKER'}",
        "bucket": f"projects/_/buckets/{settings.bucket or 'BUCKET'}",
        "key": settings.kms_key or f"projects/{project}/locations/{location}/keyRings/RING/cryptoKeys/KEY",
    }
    return found[resource]
