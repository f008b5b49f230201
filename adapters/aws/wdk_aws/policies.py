"""Policies of IAM for those who use a world: what `rights` says, on what the `WDK_AWS_*` variables name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import urlsplit

from wdk_aws.rights import DOCTOR, IMPLIED, RIGHTS, Resource
from wdk_aws.schedules import DEAD
from wdk_aws.schema import ACTIVE, RUNS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from wdk_aws.rights import Kind, Use
    from wdk_aws.settings import AwsSettings

ROLES: Mapping[str, tuple[Kind, ...]] = {
    "client": ("starter", "resumer"),
    "doctor": (),
    "operator": ("operator",),
    "receiver": ("receiver",),
    "starter": ("starter",),
    "worker": ("worker", "operator", "sweeper"),
}
"""Whom there are policies for. The worker is the function of the template, which also sweeps and answers the API."""

_QUEUE = re.compile(r"sqs(?:-fips)?\.([a-z0-9-]+)\.")


def uses(role: str) -> frozenset[Use]:
    """All that it needs, with what is done in its name."""
    if role == "doctor":
        return DOCTOR
    return frozenset(use for kind in ROLES[role] for use in RIGHTS[kind] | IMPLIED[kind])


class Place:
    """Where the resources are. What no variable names is a word in capitals, to be replaced."""

    def __init__(
        self,
        settings: AwsSettings,
        region: str = "",
        account: str = "",
        partition: str = "aws",
        functions: Iterable[str] = (),
    ) -> None:
        url = urlsplit(settings.flow_queue_url)
        named = _QUEUE.match(url.hostname or "")
        self._settings = settings
        self._partition = partition
        self._region = region or (named[1] if named else "REGION")
        self._functions = tuple(functions) or ("FUNCTION",)
        self._account = account or url.path.strip("/").partition("/")[0] or "ACCOUNT"

    def arns(self, resource: Resource) -> list[str]:
        settings = self._settings
        table = self._arn("dynamodb", f"table/{settings.table or 'TABLE'}")
        bucket = f"arn:{self._partition}:s3:::{settings.bucket or 'BUCKET'}"
        key = settings.kms_key_id or "KEY"
        found: dict[Resource, list[str]] = {
            "table": [table],
            "indexes": [f"{table}/index/{name}" for name in (RUNS, ACTIVE)],
            "flow queue": [self._arn("sqs", _name(settings.flow_queue_url) or "FLOW_QUEUE")],
            "step queue": [self._arn("sqs", _name(settings.step_queue_url) or "STEP_QUEUE")],
            "objects": [f"{bucket}/*"],
            "bucket": [bucket],
            "schedules": [self._arn("scheduler", f"schedule/{settings.scheduler_group or 'GROUP'}/*")],
            "scheduler role": [settings.scheduler_role_arn or f"arn:{self._partition}:iam::{self._account}:role/ROLE"],
            "dead letters": [
                self._arn("sqs", f"{_name(url) or name}{DEAD}")
                for url, name in ((settings.flow_queue_url, "FLOW_QUEUE"), (settings.step_queue_url, "STEP_QUEUE"))
            ],
            "schedule group": [self._arn("scheduler", f"schedule-group/{settings.scheduler_group or 'GROUP'}")],
            "functions": [self._arn("lambda", f"function:{name}") for name in self._functions],
            "function roles": [f"arn:{self._partition}:iam::{self._account}:role/ROLE"],
            "stacks": [self._arn("cloudformation", "stack/STACK/*")],
            "mappings": ["*"],  # Lambda lists them all or none
            "key": [key if key.startswith("arn:") else self._arn("kms", f"key/{key}")],
        }
        return found[resource]

    def _arn(self, service: str, what: str) -> str:
        return f"arn:{self._partition}:{service}:{self._region}:{self._account}:{what}"


def _name(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]


def document(role: str, place: Place, *, encrypted: bool) -> dict[str, Any]:
    """The policy of a role. Without `encrypted` nothing is said of a key."""
    return allowing({use for use in uses(role) if encrypted or use.on != "key"}, place)


def allowing(needed: Collection[Use], place: Place) -> dict[str, Any]:
    """A policy that allows this, a statement for each resource."""
    statements: list[dict[str, Any]] = []
    for resource in get_args(Resource):
        actions = sorted(use.action for use in needed if use.on == resource)
        if not actions:
            continue
        statement = {
            "Sid": resource.title().replace(" ", ""),
            "Effect": "Allow",
            "Action": actions,
            "Resource": place.arns(resource),
        }
        if "iam:PassRole" in actions:
            statement["Condition"] = {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}
        statements.append(statement)
    return {"Version": "2012-10-17", "Statement": statements}
