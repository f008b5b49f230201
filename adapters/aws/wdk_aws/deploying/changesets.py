"""A change set from its making to its end: carried out and followed, or removed without a trace."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from wdk_aws.deploying import stacks
from wdk_aws.deploying.sam import PREFIX
from wdk_cloud.cli.console import CommandError, err
from wdk_cloud.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackEventTypeDef, StackTypeDef

FIRST_LOOK, LONGEST_WAIT = 0.5, 3.0
"""Seconds between two looks at a deployment, growing: it takes minutes, and CloudFormation answers a few a second."""

DONE = frozenset(("CREATE_COMPLETE", "UPDATE_COMPLETE"))

GOES_ON = frozenset(("REVIEW_IN_PROGRESS",))
"""What a stack is in until CloudFormation has begun."""

STACK = "AWS::CloudFormation::Stack"


def discard(
    client: CloudFormationClient, name: str, ours: str | None, known: frozenset[str], *, was_there: bool
) -> None:
    """Remove the change set, and a stack that was made for it alone. `known` are those that were there before.

    `sam` leaves one that CloudFormation has refused or found empty: it goes, too. Those of others stay.
    """
    here = _change_sets(client, name)
    for id, (called, status) in here.items():
        if id == ours or (id not in known and called.startswith(PREFIX) and status == "FAILED"):
            client.delete_change_set(ChangeSetName=id)
            known |= {id}
    if was_there:
        return
    # Who else wants to deploy this stack has a change set here, which takes seconds from its making to its carrying
    # out: none of them is begun between these looks and the deletion.
    stack = stacks.look(client, name)
    if stack is not None and stack["StackStatus"] in GOES_ON and not set(_change_sets(client, name)) - known:
        client.delete_stack(StackName=stack.get("StackId", name))


def known(client: CloudFormationClient, name: str) -> frozenset[str]:
    """The ids of the change sets of a stack."""
    return frozenset(_change_sets(client, name))


def _change_sets(client: CloudFormationClient, name: str) -> dict[str, tuple[str, str]]:
    """By id, the name and the status of each."""
    found: dict[str, tuple[str, str]] = {}
    with contextlib.suppress(ClientError):  # there is no such stack
        for page in client.get_paginator("list_change_sets").paginate(StackName=name):
            for one in page["Summaries"]:
                found[one.get("ChangeSetId", "")] = (one.get("ChangeSetName", ""), one.get("Status", ""))
    return found


def begin(client: CloudFormationClient, change_set: str, stack: str) -> str | None:
    """Have it carried out; gives the last event of the stack before that. Raises CommandError when it is too late."""
    last = next(_events(client, stack), None)
    try:
        client.execute_change_set(ChangeSetName=change_set)
    except ClientError as error:
        raise CommandError(
            f"the stack {stack} has changed since it was compared: another deployment was quicker. Nothing was done; "
            f"deploy again. CloudFormation says: {error.response.get('Error', {}).get('Message', '')}"
        ) from None
    return last["EventId"] if last is not None else None


async def follow(client: CloudFormationClient, stack: str, last: str | None, total: int) -> StackTypeDef:
    """The stack as it is then. Raises CommandError with what CloudFormation says of each resource that failed."""
    failed: list[str] = []
    try:
        now = await _follow(client, stack, last, total, failed)
    except asyncio.CancelledError:
        name = shlex.quote(stack)
        err.print(f"CloudFormation goes on alone: aws cloudformation describe-stacks --stack-name {name}")
        raise
    status = now["StackStatus"] if now is not None else "DELETE_COMPLETE"
    if now is None or status not in DONE:
        reasons = "\n".join(failed) or f"aws cloudformation describe-stack-events --stack-name {shlex.quote(stack)}"
        raise CommandError(
            f"the stack {stack} was not deployed, and what was done is taken back, but for what the template retains: "
            f"{status}\n{reasons}"
        )
    return now


async def _follow(
    client: CloudFormationClient, stack: str, last: str | None, total: int, failed: list[str]
) -> StackTypeDef | None:
    """The stack when nothing moves in it any more; what failed is added to the list."""
    wait, seen = FIRST_LOOK, set[str]()
    with progress(f"deploying {stack}", total) as advance:
        while True:
            now = stacks.look(client, stack)
            for event in _since(client, stack, last, seen):
                if _tell(event, failed):
                    advance()
            if now is None or _is_over(now["StackStatus"]):
                return now
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, LONGEST_WAIT)


def _is_over(status: str) -> bool:
    return status not in GOES_ON and not status.endswith("_IN_PROGRESS")


def _since(client: CloudFormationClient, stack: str, last: str | None, seen: set[str]) -> list[StackEventTypeDef]:
    """Events that are new, oldest first; CloudFormation has the newest first."""
    found: list[StackEventTypeDef] = []
    for event in _events(client, stack):
        if event["EventId"] == last or event["EventId"] in seen:
            break
        found.append(event)
    seen.update(event["EventId"] for event in found)
    return found[::-1]


def _events(client: CloudFormationClient, stack: str) -> Iterator[StackEventTypeDef]:
    with contextlib.suppress(ClientError):  # a stack in review may have none
        for page in client.get_paginator("describe_stack_events").paginate(StackName=stack):
            yield from page["StackEvents"]


def _tell(event: StackEventTypeDef, failed: list[str]) -> bool:
    """Whether one more resource is done. What failed is said at once: taking all back takes minutes."""
    status, resource = event.get("ResourceStatus", ""), event.get("LogicalResourceId", "")
    of_stack = event.get("ResourceType") == STACK
    if status.endswith("_FAILED"):
        line = f"{resource} ({event.get('ResourceType', '')}): {event.get('ResourceStatusReason') or status}"
        if "cancelled" not in line:  # because another one failed
            failed.append(line)
            err.print(f"failed: {line}", style="red", soft_wrap=True)
    done = status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE") and not of_stack
    if done and not err.is_terminal:
        err.print(f"{status.removesuffix('_COMPLETE').lower()}d  {resource}", soft_wrap=True)
    return done
