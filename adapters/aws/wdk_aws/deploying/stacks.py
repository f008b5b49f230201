"""The stack as it stands: whether CloudFormation would take an update, and what to type where it would not."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from wdk_aws.failures import code
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

TAKEN = frozenset(
    ("CREATE_COMPLETE", "IMPORT_COMPLETE", "IMPORT_ROLLBACK_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE")
)
"""The states in which CloudFormation takes an update: its guide, "Stack status codes"."""

_DELETE = "aws cloudformation delete-stack --stack-name {name}"
_GONE = "aws cloudformation wait stack-delete-complete --stack-name {name}"
_UNDONE = "aws cloudformation wait stack-rollback-complete --stack-name {name}"
# It ends, and fails, when the stack has been taken back; the one for rollbacks waits for those of updates alone.
_MADE = "aws cloudformation wait stack-create-complete --stack-name {name}"
_CHANGED = "aws cloudformation wait stack-update-complete --stack-name {name}"
_EVENTS = "aws cloudformation describe-stack-events --stack-name {name}"

_ONLY_DELETED = "CloudFormation takes nothing but its deletion"

STATES = {
    "REVIEW_IN_PROGRESS": (
        "is half a deployment: a change set was made for it and never carried out, and nothing of it is there",
        f"{_DELETE} && {_GONE}",
    ),
    "CREATE_FAILED": (
        "could not be created, and what was made was left there",
        f"{_DELETE} && {_GONE}",
    ),
    "ROLLBACK_COMPLETE": (
        f"could not be created, and was taken back; {_ONLY_DELETED}",
        f"{_DELETE} && {_GONE}",
    ),
    "ROLLBACK_FAILED": (
        f"could not be created, and could not be taken back; {_ONLY_DELETED}",
        f"{_DELETE} && {_GONE}",
    ),
    "DELETE_FAILED": (
        "could not be deleted; {failed} could not be removed",
        f"{_DELETE} --retain-resources {{failed}} && {_GONE}",
    ),
    "UPDATE_FAILED": (
        "could not be updated, and the update was not taken back",
        f"aws cloudformation rollback-stack --stack-name {{name}} && {_UNDONE}",
    ),
    "UPDATE_ROLLBACK_FAILED": (
        "could not be updated, and the update could not be taken back: {failed}",
        f"aws cloudformation continue-update-rollback --stack-name {{name}} && {_UNDONE}",
    ),
    "CREATE_IN_PROGRESS": ("is being created by another deployment", _MADE),
    "DELETE_IN_PROGRESS": ("is being deleted", _GONE),
    "ROLLBACK_IN_PROGRESS": ("could not be created, and is being taken back", f"{_MADE}; {_DELETE} && {_GONE}"),
    "UPDATE_ROLLBACK_IN_PROGRESS": ("could not be updated, and is being taken back", _UNDONE),
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": ("could not be updated, and is being taken back", _UNDONE),
    "UPDATE_IN_PROGRESS": ("is being updated by another deployment", _CHANGED),
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": ("is being updated by another deployment", _CHANGED),
}
"""What is said of each other state, and what to type. A state that is not here is said to be one, with its events."""


def look(client: CloudFormationClient, name: str) -> StackTypeDef | None:
    """None: there is no such stack."""
    try:
        (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if code(error) == "ValidationError" and "does not exist" in str(error):
            return None
        raise
    return None if stack["StackStatus"] == "DELETE_COMPLETE" else stack


def examine(client: CloudFormationClient, stack: StackTypeDef) -> list[Finding]:
    status, name = stack["StackStatus"], stack["StackName"]
    if status in TAKEN:
        return []
    said, mend = STATES.get(status, ("is in a state in which it cannot be updated", _EVENTS))
    failed = " ".join(_failed(client, name)) if "{failed}" in said + mend else ""
    reason = stack.get("StackStatusReason")
    why = f" ({reason})" if reason else ""
    seen = f"the stack {name} {said.format(failed=failed or 'what its events name')}: {status}{why}"
    if not failed:
        mend = mend.replace(" --retain-resources {failed}", "")
    return [Finding("stack-state", seen, mend.format(name=shlex.quote(name), failed=failed))]


def _failed(client: CloudFormationClient, name: str) -> list[str]:
    pages = client.get_paginator("list_stack_resources").paginate(StackName=name)
    found = [part for page in pages for part in page["StackResourceSummaries"]]
    return sorted(part["LogicalResourceId"] for part in found if part["ResourceStatus"].endswith("_FAILED"))
