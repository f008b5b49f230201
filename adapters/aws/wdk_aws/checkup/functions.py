"""The functions: how each is set up, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from wdk_aws import inside
from wdk_aws.checkup.account import quoted
from wdk_aws.settings import TEMPLATE, VARIABLES
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wdk_aws.checkup.account import Account
    from wdk_aws.settings import AwsSettings

REDEPLOY = inside.REDEPLOY

LIST = 'aws lambda list-functions --query "Functions[].FunctionName"'


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    arn: str
    timeout: int
    role_arn: str
    environment: Mapping[str, str]

    @property
    def role(self) -> str:
        """Of the deployment: worker, receiver or all."""
        return self.environment.get("WDK_ROLE") or "all"

    @property
    def works(self) -> bool:
        return self.role != "receiver"


def find(name: str, account: Account) -> Function | None:
    functions = account.functions
    try:
        said: Any = functions.get_function_configuration(FunctionName=name)
    except functions.exceptions.ResourceNotFoundException:
        return None
    environment = said.get("Environment", {}).get("Variables", {})
    return Function(said["FunctionName"], said["FunctionArn"], said["Timeout"], said["Role"], environment)


def absent(name: str) -> Finding:
    return Finding("function", f"there is no function {name} in this account and region", LIST)


def settings(function: Function, here: AwsSettings) -> list[Finding]:
    """Where both say something, they say the same: else runs are started in one place and worked on in another."""
    found: list[Finding] = []
    for field, variable in VARIABLES.items():
        ours, theirs = getattr(here, field), function.environment.get(variable)
        if ours and theirs and ours != theirs:
            seen = f"{variable} is {ours} here and {theirs} in {function.name}"
            found.append(Finding("settings", seen, f"export {variable}={quoted(theirs)}"))
    return found


def recursion(function: Function, account: Account) -> Finding:
    said: Any = account.functions.get_function_recursion_config(FunctionName=function.name)
    loop = said.get("RecursiveLoop")
    if loop == "Allow":
        return Finding("recursion", f"{function.name}: RecursiveLoop is Allow")
    seen = (
        f"{function.name}: RecursiveLoop is {loop}, and a turn sends messages to its own queue: Lambda stops that "
        "after 16 rounds"
    )
    mend = ("aws", "lambda", "put-function-recursion-config", "--function-name", function.name)
    return Finding("recursion", seen, quoted(*mend, "--recursive-loop", "Allow"))


def concurrency(function: Function, mapped: Sequence[Any], account: Account) -> Finding:
    """What its mappings bring at once has to have room in what is reserved for it."""
    said: Any = account.functions.get_function_concurrency(FunctionName=function.name)
    reserved = said.get("ReservedConcurrentExecutions")
    most = [one.get("ScalingConfig", {}).get("MaximumConcurrency") for one in mapped]
    total = sum(number or 0 for number in most)
    if reserved is None or (all(most) and total < reserved):
        room = "nothing is reserved" if reserved is None else f"{reserved} are reserved, and its mappings bring {total}"
        return Finding("concurrency", f"{function.name}: {room}")
    brought = f"{total}" if all(most) else "any number"
    seen = (
        f"{function.name} has {reserved} executions reserved, and its mappings bring {brought} at once: what is "
        "throttled comes near to being a dead letter"
    )
    mend = ("aws", "lambda", "put-function-concurrency", "--function-name", function.name)
    return Finding("concurrency", seen, quoted(*mend, "--reserved-concurrent-executions", str(total + reserved)))


def asked(function: Function, account: Account) -> tuple[list[Finding], Mapping[str, Any]]:
    """What it says of itself when it is invoked, and the document; without one, what its configuration says."""
    functions = account.functions
    event = json.dumps({"doctor": True})
    answer: Any = functions.invoke(FunctionName=function.name, Payload=event.encode())
    parsed: object = json.loads(answer["Payload"].read() or b"null")
    said = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    if "FunctionError" not in answer and "findings" in said:
        return [_with_role(Finding.from_document(one), function) for one in said["findings"]], said
    text = str(said.get("errorMessage", parsed))
    if "is not understood" in text:
        seen = f"{function.name} does not know this event: its code is older than this wdk, or none of ours"
        return [Finding("versions", seen, REDEPLOY), *unasked(function)], {}
    seen = f"{function.name} fails when it is invoked: {said.get('errorType', 'error')}: {text}"
    logs = quoted("aws", "logs", "filter-log-events", "--log-group-name", f"/aws/lambda/{function.name}")
    return [Finding("function", seen, logs), *unasked(function)], {}


def _with_role(finding: Finding, function: Function) -> Finding:
    """It does not know the name of its role."""
    role = function.role_arn.rpartition("/")[2]
    return replace(finding, mend=finding.mend.replace(f"--role-name {inside.ROLE} ", f"--role-name {role} "))


def unasked(function: Function) -> list[Finding]:
    """Of a function that cannot be invoked: what its variables say."""
    seed = function.environment.get("PYTHONHASHSEED", "")
    found: list[Finding] = []
    if function.works and not seed.isdecimal():
        said = f"is {seed}" if seed else "is not set"
        seen = f"{function.name}: PYTHONHASHSEED {said}, and a workflow body that iterates a set of strings may diverge"
        found.append(Finding("hash-seed", seen, inside.setting(function.name, "PYTHONHASHSEED", "0")))
    if TEMPLATE not in function.environment:
        seen = f"{function.name} does not say which template made it: {TEMPLATE} is not set there"
        found.append(Finding("versions", seen, REDEPLOY))
    return found


def one_code(documents: Mapping[str, Mapping[str, Any]]) -> list[Finding]:
    """All functions of a deployment have one code."""
    versions = {name: str(said.get("code_version")) for name, said in documents.items()}
    if len(set(versions.values())) < 2:
        return []
    told = ", ".join(f"{name} has {version}" for name, version in versions.items())
    return [Finding("versions", f"the functions have different code: {told}", REDEPLOY)]
