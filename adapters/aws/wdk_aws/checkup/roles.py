"""The roles: whether their policies allow what is needed, and whether Scheduler may take on the one that is its own."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from wdk_aws import inside, policies
from wdk_aws.checkup.account import quoted
from wdk_aws.rights import Use
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wdk_aws.checkup.account import Account
    from wdk_aws.checkup.functions import Function
    from wdk_aws.policies import Place
    from wdk_aws.rights import Resource

SCHEDULER = "scheduler.amazonaws.com"

PASSED = {"ContextKeyName": "iam:PassedToService", "ContextKeyValues": [SCHEDULER], "ContextKeyType": "string"}
"""Under which condition a role is passed: without it no policy that names it would allow that."""


UNSEEN = "policies of the resources themselves are not looked at"
"""A simulation reads those of a role alone, and IAM simulates no others for roles (SimulatePrincipalPolicy,
`ResourcePolicy`). One of a queue, a bucket or a table of this account may give a role what its own do not, and may deny
what they allow."""


class Simulated(NamedTuple):
    """What IAM does not say yes to."""

    unmentioned: set[Use]
    """No policy of the role has it, and one of the resource may."""
    denied: set[Use]
    """A policy says no, whatever another one says."""


def simulated(function: Function, place: Place, account: Account) -> list[Finding]:
    """What IAM says that the role of a function may do: all of it, and not only what the function can try by itself.

    Rights on keys are left to the function: mostly it is a key's own policy that gives them.
    """
    role = "worker" if function.works else "receiver"
    needed = {use for use in policies.uses(role) if use.on != "key"}
    unmentioned, denied = _simulated(function.role_arn, needed, place, account)
    name = function.role_arn.rpartition("/")[2]
    of_role = f"the policies of {name}, the role of {function.name},"
    found = [_denying("rights", f"{of_role} deny", function.role_arn, denied, place)] if denied else []
    if unmentioned:
        seen = f"{of_role} do not allow what a {role} needs ({UNSEEN}): {_named(unmentioned)}"
        found.append(Finding("rights", seen, inside.grant(sorted(unmentioned), place, name)))
    return found or [Finding("rights", f"{of_role} allow what a {role} needs; {UNSEEN}")]


def _denying(slug: str, who: str, role_arn: str, denied: set[Use], place: Place) -> Finding:
    """No grant helps against it: the statement has to go, and the command shows which one it is."""
    actions = sorted({use.action for use in denied})
    arns = sorted({arn for use in denied for arn in place.arns(use.on)})
    show = ("aws", "iam", "simulate-principal-policy", "--policy-source-arn", role_arn, "--action-names", *actions)
    statements = ("--resource-arns", *arns, "--query", "EvaluationResults[].MatchedStatements")
    return Finding(slug, f"{who} what is needed, whatever else allows it: {_named(denied)}", quoted(*show, *statements))


def _named(uses: Iterable[Use]) -> str:
    return ", ".join(f"{use.action} on the {use.on}" for use in sorted(uses))


def _simulated(role_arn: str, uses: Iterable[Use], place: Place, account: Account) -> Simulated:
    """One question for each resource: of several at once the answers say less."""
    by_resource: dict[Resource, list[str]] = {}
    for use in sorted(uses):
        by_resource.setdefault(use.on, []).append(use.action)
    found = Simulated(set(), set())
    for on, actions in by_resource.items():
        context: Any = [PASSED] if "iam:PassRole" in actions else []
        for arn in place.arns(on):
            said: Any = account.iam.simulate_principal_policy(
                PolicySourceArn=role_arn, ActionNames=actions, ResourceArns=[arn], ContextEntries=context
            )
            for one in said["EvaluationResults"]:
                if one["EvalDecision"] != "allowed":
                    among = found.denied if one["EvalDecision"] == "explicitDeny" else found.unmentioned
                    among.add(Use(one["EvalActionName"], on))
    return found


def of_scheduler(role_arn: str, group_arn: str, queues: Iterable[Resource], place: Place, account: Account) -> Finding:
    """The role with which Scheduler puts delayed messages into the queues."""
    iam, name = account.iam, role_arn.rpartition("/")[2]
    try:
        said: Any = iam.get_role(RoleName=name)
    except iam.exceptions.NoSuchEntityException:
        seen = (
            f"there is no role {name}, with which Scheduler is to send: runs that sleep for more than 15 minutes fail"
        )
        trust = ("--assume-role-policy-document", json.dumps(_trust(group_arn)))
        return Finding("scheduler-role", seen, quoted("aws", "iam", "create-role", "--role-name", name, *trust))
    if not _trusts(said["Role"]["AssumeRolePolicyDocument"], group_arn):
        seen = f"the role {name} does not trust Scheduler for schedules of {group_arn}: it cannot send with it"
        trust = ("--policy-document", json.dumps(_trust(group_arn)))
        return Finding(
            "scheduler-role", seen, quoted("aws", "iam", "update-assume-role-policy", "--role-name", name, *trust)
        )
    sending = {Use("sqs:SendMessage", queue) for queue in queues}
    unmentioned, denied = _simulated(role_arn, sending, place, account)
    if denied:
        return _denying("scheduler-role", f"the policies of the role {name} deny", role_arn, denied, place)
    if unmentioned:
        lacking: list[Resource] = sorted(use.on for use in unmentioned)
        arns = [arn for queue in lacking for arn in place.arns(queue)]
        allow = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arns}
        put = ("aws", "iam", "put-role-policy", "--role-name", name, "--policy-name", "timers", "--policy-document")
        return Finding(
            "scheduler-role",
            f"the policies of the role {name} do not let it send to the {' and the '.join(lacking)} ({UNSEEN})",
            quoted(*put, json.dumps({"Version": "2012-10-17", "Statement": [allow]})),
        )
    seen = f"{name} trusts Scheduler for that group, and its policies let it send to the queues; {UNSEEN}"
    return Finding("scheduler-role", seen)


def _trust(group_arn: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": SCHEDULER},
                "Action": "sts:AssumeRole",
                "Condition": {"StringEquals": {"aws:SourceArn": group_arn}},
            }
        ],
    }


def _trusts(document: Any, group_arn: str) -> bool:
    for statement in _listed(document.get("Statement", [])):
        services = _listed(statement.get("Principal", {}).get("Service", []))
        if statement.get("Effect") != "Allow" or SCHEDULER not in services:
            continue
        sources = [
            source
            for keys in statement.get("Condition", {}).values()
            for key, value in keys.items()
            if key.lower() == "aws:sourcearn"
            for source in _listed(value)
        ]
        if not sources or any(fnmatchcase(group_arn, source) for source in sources):
            return True
    return False


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]
