"""`wdk iam print`."""

import os
from typing import Annotated, Literal

import typer

from wdk_aws import policies
from wdk_aws.settings import AwsSettings
from wdk_cloud.cli.console import command
from wdk_cloud.cli.jsonout import print_json

Role = Literal["client", "doctor", "operator", "receiver", "starter", "worker"]


def add_to(program: typer.Typer) -> None:
    program.command("print", epilog="Example: wdk iam print client")(print_policy)


@command
async def print_policy(
    role: Annotated[
        Role,
        typer.Argument(
            metavar="ROLE",
            help="client (starts runs and resumes hooks), starter (starts runs), operator (looks at runs, cancels and "
            "deletes them), receiver (answers webhooks), worker or doctor (looks at functions of WDK_FUNCTION).",
        ),
    ],
    region: Annotated[str, typer.Option("--region", help="Of the resources; that of the flow queue's URL.")] = "",
    account: Annotated[str, typer.Option("--account", help="Of the resources; that of the flow queue's URL.")] = "",
    partition: Annotated[str, typer.Option("--partition", help="Of the resources: aws, aws-cn, aws-us-gov.")] = "aws",
    encrypted: Annotated[
        bool, typer.Option("--encrypted", help="With a key of KMS; so it is when WDK_AWS_KMS_KEY_ID is set.")
    ] = False,
) -> None:
    """Print the IAM policy that a process needs, and nothing beyond.

    It names what the WDK_AWS_* variables name; for what they do not, a word in capitals is yours to replace.
    """
    settings = AwsSettings.from_environment()
    functions = os.environ.get("WDK_FUNCTION", "").split()
    place = policies.Place(settings, region, account, partition, functions)
    print_json(policies.document(role, place, encrypted=encrypted or bool(settings.kms_key_id)))
