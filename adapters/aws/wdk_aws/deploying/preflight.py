"""What is wrong with a deployment, said before anything of it is done. Everything here only looks."""

from __future__ import annotations

import difflib
import shlex
import shutil
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from wdk_aws.deploying import names, stacks, templates
from wdk_aws.deploying.presence import Presence
from wdk_aws.failures import translated
from wdk_aws.packaging import sealing
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from boto3.session import Session
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

    from wdk_aws.deploying.templates import Data

COMMAND = "wdk deploy aws"

SCHEDULER = "scheduler"
"""The one service of those that a world stands on which came to regions late."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be done."""

    stack: str
    template: Path
    """The one that is deployed."""
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those that are given; the others keep their values or have their defaults."""
    bucket: str = ""
    """Where the zip is uploaded to; "": sam has one of its own."""


def examine(plan: Plan, session: Session | None = None) -> list[Finding]:
    """What is wrong, and nothing else; the session is boto3's, by default a new one.

    What can be told on this machine is told without asking AWS: then nothing else is looked at.
    """
    from boto3.session import Session

    session = Session() if session is None else session
    try:
        text = sealing.read(plan.template)
        template = templates.parse(text, f"the template {plan.template}")
    except WorldConfigurationError as error:
        return [Finding("template", str(error), f"wdk build aws --output {shlex.quote(str(plan.template.parent))}")]
    if sealing.is_edited(text):
        seen = f"the template {plan.template} was edited since it was built: the next build would undo what you deploy"
        own = f"mv {shlex.quote(str(plan.template))} template.yaml && wdk build aws"
        return [Finding("template", seen, own)]
    known = {**templates.parameters(template, plan.parameters), "AWS::StackName": plan.stack}
    found = [*_tools(), *_region(session), *_parameters(plan, template)]
    found += names.examine(template, plan.template, known)
    if found:
        return found
    try:
        return _asked(plan, template, known, Presence(session))
    except (BotoCoreError, ClientError) as error:
        said = translated(error, "the stack") or error
        return [Finding("account", f"AWS cannot be asked what is there: {said}", "aws sts get-caller-identity")]


def refuse(plan: Plan, session: Session | None = None) -> None:
    """Raises WorldConfigurationError with all that is wrong, and what to type for each."""
    _refuse(examine(plan, session))


def refuse_unequipped(session: Session) -> None:
    """Raises it for what no build can change, so that nobody waits for one first."""
    _refuse([*_tools(), *_region(session), *_credentials(session)])


def _refuse(found: list[Finding]) -> None:
    if found:
        lines = "\n".join(f"{finding.seen}\n  $ {finding.mend}" for finding in found)
        raise WorldConfigurationError(f"nothing was deployed or changed:\n{lines}")


def _tools() -> list[Finding]:
    if shutil.which("sam") is not None:
        return []
    return [Finding("sam", "the AWS SAM CLI, `sam`, is not in the PATH, and it deploys", "pipx install aws-sam-cli")]


def _credentials(session: Session) -> list[Finding]:
    there: Any = session.get_credentials()
    if there is not None:
        return []
    seen = "there are no credentials for AWS: no AWS_PROFILE or AWS_ACCESS_KEY_ID, and no other place where boto3 looks"
    return [Finding("credentials", seen, "aws configure")]


def _region(session: Session) -> list[Finding]:
    region: Any = session.region_name
    if not region:
        seen = "no region is chosen: neither AWS_DEFAULT_REGION nor the profile says one"
        return [Finding("region", seen, "export AWS_DEFAULT_REGION=eu-west-1")]
    partitions = session.get_available_partitions()
    having = [each for partition in partitions for each in session.get_available_regions(SCHEDULER, partition)]
    if region in having:
        return []
    near = difflib.get_close_matches(str(region), having, 1, 0.0)
    seen = (
        f"the region {region} has no EventBridge Scheduler, as far as boto3 {version('boto3')} knows: long sleeps and "
        "the sweep stand on that"
    )
    return [Finding("region", seen, f"export AWS_DEFAULT_REGION={near[0]}")]


def _parameters(plan: Plan, template: Data) -> list[Finding]:
    declared: dict[str, Data] = template.get("Parameters") or {}
    found: list[Finding] = []
    for name, value in plan.parameters.items():
        if name not in declared:
            seen = f"the template has no parameter {name}; it has {', '.join(declared) or 'none'}"
            near = difflib.get_close_matches(name, declared, 1, 0.0)
            found.append(Finding("parameter", seen, _with(plan, near[0] if near else None, value)))
        elif (why := templates.refused(declared[name], value)) is not None:
            found.append(Finding("parameter", f"{name}={value!r} {why[0]}", _with(plan, name, why[1])))
    return found


def _with(plan: Plan, name: str | None, value: str) -> str:
    given = "" if name is None else f" --parameter {shlex.quote(f'{name}={value}')}"
    return f"{COMMAND} --stack {shlex.quote(plan.stack)}{given}"


def _asked(plan: Plan, template: Data, known: Mapping[str, str], presence: Presence) -> list[Finding]:
    stack = stacks.look(presence.client("cloudformation"), plan.stack)
    found = _buckets(plan, template, known, presence)
    if stack is None:
        return found + _taken(template, known, presence)
    wrong = stacks.examine(presence.client("cloudformation"), stack)
    return found + (wrong or _missing(stack, presence))


def _buckets(plan: Plan, template: Data, known: Mapping[str, str], presence: Presence) -> list[Finding]:
    found: list[Finding] = []
    for resource, kind, name in names.named(template, known):
        if kind == "AWS::S3::Bucket" and presence.foreign(name):
            seen = f"the bucket {name}, which the template names for {resource}, belongs to another account"
            found.append(Finding("bucket", seen, f"${{EDITOR:-vi}} {shlex.quote(str(plan.template))}"))
    if plan.bucket and (why := names.BUCKET.broken_by(plan.bucket)) is not None:
        seen = f"the bucket for the zip, {plan.bucket!r}, {why}"
        found.append(Finding("bucket", seen, f"{COMMAND} --stack {shlex.quote(plan.stack)}"))
    elif plan.bucket and presence.foreign(plan.bucket):
        seen = f"the bucket for the zip, {plan.bucket}, belongs to another account"
        found.append(Finding("bucket", seen, f"{COMMAND} --stack {shlex.quote(plan.stack)}"))
    elif plan.bucket and presence.there("AWS::S3::Bucket", plan.bucket) is False:
        seen = f"the bucket for the zip, {plan.bucket}, is not there"
        found.append(Finding("bucket", seen, f"aws s3api create-bucket --bucket {plan.bucket}"))
    return found


def _taken(template: Data, known: Mapping[str, str], presence: Presence) -> list[Finding]:
    """What a new stack would make and somebody has made before: CloudFormation would stop there, and take all back."""
    stack = known["AWS::StackName"]
    return [
        Finding(
            "name-taken",
            f"there is no stack {stack}, but the name of its {resource}, {name}, is taken: something of that type and "
            "name is there already",
            f"{COMMAND} --stack {shlex.quote(f'{stack}-2')}",
        )
        for resource, kind, name in names.named(template, known)
        if presence.there(kind, name)
    ]


_REMADE = {
    # A table that was deleted lies in a backup of its own for 35 days.
    "AWS::DynamoDB::Table": "aws dynamodb list-backups --table-name {id} --backup-type SYSTEM",
    "AWS::Lambda::Function": (
        "aws lambda create-function --function-name {id} --handler wdk_aws.handler.handler --runtime python3.13 "
        "--zip-file fileb://build/aws/function.zip --role ROLE_ARN"
    ),
    "AWS::S3::Bucket": "aws s3api create-bucket --bucket {id}",
    "AWS::SQS::Queue": "aws sqs create-queue --queue-name {id}",
    "AWS::Scheduler::ScheduleGroup": "aws scheduler create-schedule-group --name {id}",
}
"""What brings back a thing that a stack takes for there; the next deployment that changes it gives it the rest."""


def _missing(stack: StackTypeDef, presence: Presence) -> list[Finding]:
    """Half of a deployment: what the stack has made, and somebody has taken away."""
    name = stack["StackName"]
    pages = presence.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    found: list[Finding] = []
    for part in [part for page in pages for part in page["StackResourceSummaries"]]:
        kind, id = part["ResourceType"], part.get("PhysicalResourceId", "")
        if part["ResourceStatus"].startswith("DELETE") or not id or presence.there(kind, id) is not False:
            continue
        seen = f"the stack {name} has made {part['LogicalResourceId']} ({kind}), {id}, and it is not there any more"
        found.append(Finding("missing", seen, _REMADE[kind].format(id=shlex.quote(id.rpartition("/")[2]))))
    return found
