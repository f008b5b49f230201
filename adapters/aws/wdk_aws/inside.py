"""The event `{"doctor": true}`: what a function sees of itself, its settings, its versions and its rights."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shlex
from importlib import metadata
from typing import TYPE_CHECKING, Any

from wdk_aws import policies, trying
from wdk_aws.settings import TEMPLATE, VARIABLES
from wdk_cloud import bundle
from wdk_cloud.engine.version import code_version
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.findings import Finding
from wdk_cloud.worker import hash_seed_is_fixed

if TYPE_CHECKING:
    from collections.abc import Collection

    from wdk_aws.rights import Use
    from wdk_aws.serving import Instance

NEEDED = {
    "all": ("table", "flow_queue_url", "step_queue_url", "bucket", "scheduler_group", "scheduler_role_arn"),
    "receiver": ("table", "flow_queue_url", "bucket"),
}
"""The settings that a role cannot do without; those of a worker are those of `all`."""

REDEPLOY = "wdk deploy aws"

ROLE = "ROLE"
"""In the place of the name of its role, which a function does not know."""


async def examine(instance: Instance) -> dict[str, Any]:
    """A document as `wdk doctor --json` has one."""
    name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME") or "this function"
    found = [_versions(name), _settings(instance, name), await _rights(instance, name)]
    if instance.role != "receiver":
        found += [_hash_seed(name), _code(instance)]
    return {
        "healthy": all(finding.well for finding in found),
        "function": name,
        "role": instance.role,
        "wdk_cloud": metadata.version("wdk-cloud"),
        "template": os.environ.get(TEMPLATE),
        "code_version": os.environ.get("WDK_CODE_VERSION"),
        "findings": [finding.document() for finding in found],
    }


def setting(name: str, variable: str, value: str) -> str:
    """The command that sets one variable of a function: AWS takes all of them at once."""
    return (
        f"aws lambda get-function-configuration --function-name {name} --query Environment | "
        f"jq '.Variables.{variable}=\"{value}\"' > environment.json && "
        f"aws lambda update-function-configuration --function-name {name} --environment file://environment.json"
    )


def _versions(name: str) -> Finding:
    ours, template, built = metadata.version("wdk-cloud"), os.environ.get(TEMPLATE), bundle.read()
    here = platform.python_version()
    seen = f"{name}: wdk-cloud {ours}, template of {template or 'no version'}, Python {here}"
    for_python = built.get("python")
    if for_python is not None and not here.startswith(f"{for_python}."):
        return Finding("versions", f"{seen}: the zip was built for Python {for_python}", REDEPLOY)
    if template != ours:
        return Finding("versions", f"{seen}: the code and the template are of different versions", REDEPLOY)
    return Finding("versions", seen)


def _settings(instance: Instance, name: str) -> Finding:
    needed = NEEDED.get(instance.role, NEEDED["all"])
    missing = [VARIABLES[field] for field in needed if not getattr(instance.world.settings, field)]
    if missing:
        seen = f"{name} has no {', '.join(missing)}, and a {instance.role} needs {'them' if missing[1:] else 'it'}"
        return Finding("function-settings", seen, REDEPLOY)
    return Finding("function-settings", f"{name} has all {len(needed)} settings that a {instance.role} needs")


async def _rights(instance: Instance, name: str) -> Finding:
    role = "worker" if instance.role == "all" else instance.role
    world = instance.world
    refused, tried = await asyncio.to_thread(trying.refused, role, world.settings, world.clients)
    if not refused:
        return Finding("rights", f"{name} may do what a {role} needs: {len(tried)} rights were tried")
    lacking = ", ".join(f"{use.action} on the {use.on}" for use in refused)
    place = policies.Place(world.settings, world.clients.sqs.meta.region_name)
    return Finding("rights", f"{name} may not do what a {role} needs: {lacking}", grant(refused, place, ROLE))


def grant(lacking: Collection[Use], place: policies.Place, role: str) -> str:
    """The command that gives a role what it lacks."""
    document = json.dumps(policies.allowing(lacking, place))
    return (
        f"aws iam put-role-policy --role-name {role} --policy-name wdk-doctor --policy-document {shlex.quote(document)}"
    )


def _hash_seed(name: str) -> Finding:
    seed = os.environ.get("PYTHONHASHSEED", "")
    if hash_seed_is_fixed():
        return Finding("hash-seed", f"{name}: PYTHONHASHSEED={seed}, sets iterate alike in each of its instances")
    said = f"is {seed}" if seed else "is not set"
    seen = f"{name}: PYTHONHASHSEED {said}, and a workflow body that iterates a set of strings may diverge at replay"
    return Finding("hash-seed", seen, setting(name, "PYTHONHASHSEED", "0"))


def _code(instance: Instance) -> Finding:
    try:
        apps = instance.engines.apps()
    except WorldConfigurationError as error:
        return Finding("app", str(error), "wdk build aws")
    number = sum(len(app.workflows) for app in apps)
    version = os.environ.get("WDK_CODE_VERSION") or code_version(apps)
    return Finding("app", f"{number} workflow{'s' * (number != 1)}, code version {version}")
