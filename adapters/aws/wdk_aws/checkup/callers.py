"""Who may invoke a function: an event is believed, as it comes from Lambda or from somebody whom IAM lets send one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from wdk_aws.checkup.account import quoted
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_aws.checkup.account import Account
    from wdk_aws.checkup.functions import Function

WHO = frozenset((
    "aws:principalaccount", "aws:principalarn", "aws:principalorgid", "aws:principalorgpaths",
    "aws:sourceaccount", "aws:sourcearn", "aws:sourceorgid", "aws:sourceorgpaths", "lambda:eventsourcetoken",
))  # fmt: skip
"""Keys of conditions that say who comes or from where: such a statement is for somebody."""

THROUGH_THE_URL = "lambda:invokedviafunctionurl"
"""What comes through a URL is a request, and says whether IAM knows who has sent it."""

URL_AUTH = "lambda:functionurlauthtype"


def examine(function: Function, account: Account) -> list[Finding]:
    functions = account.functions
    try:
        policy: dict[str, Any] = json.loads(functions.get_policy(FunctionName=function.name)["Policy"])
    except functions.exceptions.ResourceNotFoundException:  # nobody but who has the right by a policy of their own
        return []
    found: list[Finding] = []
    for statement in _listed(policy.get("Statement", [])):
        if _is_for_anybody(statement):
            actions = ", ".join(_listed(statement["Action"]))
            seen = (
                f"{function.name} lets anybody in: {actions} in its policy is for every account; who may invoke it can "
                "start runs, and order steps"
            )
            remove = ("aws", "lambda", "remove-permission", "--function-name", function.name, "--statement-id")
            found.append(Finding("callers", seen, quoted(*remove, statement["Sid"])))
    return found


def _is_for_anybody(statement: Mapping[str, Any]) -> bool:
    principal = statement.get("Principal")
    named = cast("Mapping[str, Any]", principal).get("AWS") if isinstance(principal, dict) else principal
    if statement.get("Effect") != "Allow" or "*" not in _listed(named):
        return False
    conditions = {
        key.lower(): _listed(value)
        for keys in cast("Mapping[str, Mapping[str, Any]]", statement.get("Condition", {})).values()
        for key, value in keys.items()
    }
    # A request through a URL of this kind is one of nobody, to whom the API says 401.
    of_nobody = conditions.get(URL_AUTH) == ["NONE"] or THROUGH_THE_URL in conditions
    return not of_nobody and WHO.isdisjoint(conditions)


def _listed(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]
