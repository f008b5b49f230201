"""Names that a service would refuse, long after the deployment has begun."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_aws.deploying import templates
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from wdk_aws.deploying.templates import Data


@dataclass(frozen=True, slots=True)
class Rule:
    """What a service takes as a name; the API reference of each service has it beside the parameter."""

    what: str
    property: str
    longest: int
    pattern: str
    letters: str
    least: int = 1

    def broken_by(self, name: str) -> str | None:
        if len(name) > self.longest:
            return f"has {len(name)} characters, and {self.what} takes at most {self.longest}"
        if len(name) < self.least:
            return f"has {len(name)} characters, and {self.what} takes at least {self.least}"
        if not re.fullmatch(self.pattern, name, re.ASCII):
            return f"is not made of what {self.what} takes: {self.letters}"
        return None


_WORD = ("[A-Za-z0-9_-]+", "letters, digits, hyphens and underscores")

STACK = Rule("a stack", "", 128, "[A-Za-z][A-Za-z0-9-]*", "letters, digits and hyphens, a letter first")

BUCKETS_KEPT = ("xn--", "sthree-", "amzn-s3-demo-")
"""Beginnings that S3 keeps for itself ("Bucket naming rules" of its guide)."""

BUCKET = Rule(
    "a bucket",
    "BucketName",
    63,
    # No IP address, and none of the beginnings and ends that S3 keeps.
    rf"(?!{'|'.join(BUCKETS_KEPT)})"
    r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$)"
    r"[a-z0-9](?:[a-z0-9-]|\.(?!\.))*[a-z0-9]",
    "small letters, digits, hyphens and single dots, a letter or digit first and last",
    least=3,
)

_FUNCTION = Rule("a function", "FunctionName", 64, *_WORD)

RULES: Mapping[str, Rule] = {
    "AWS::DynamoDB::Table": Rule(
        "a table", "TableName", 255, "[A-Za-z0-9_.-]+", "letters, digits, hyphens, underscores and dots", least=3
    ),
    "AWS::IAM::Role": Rule("a role", "RoleName", 64, r"[\w+=,.@-]+", "letters, digits and any of _+=,.@-"),
    "AWS::Lambda::Function": _FUNCTION,
    "AWS::Logs::LogGroup": Rule("a log group", "LogGroupName", 512, r"[\w./#-]+", "letters, digits and any of _./#-"),
    "AWS::S3::Bucket": BUCKET,
    "AWS::SQS::Queue": Rule(
        "a queue", "QueueName", 80, r"[A-Za-z0-9_-]+(\.fifo)?", "letters, digits, hyphens and underscores"
    ),
    "AWS::Scheduler::Schedule": Rule("a schedule", "Name", 64, r"[\w.-]+", "letters, digits and any of _.-"),
    "AWS::Scheduler::ScheduleGroup": Rule("a schedule group", "Name", 64, r"[\w.-]+", "letters, digits and any of _.-"),
    "AWS::Serverless::Function": _FUNCTION,
}


def named(template: Data, known: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Resources that have a name: each with its own in the template, its type and its name. Those without one get one
    from CloudFormation that fits."""
    resources: dict[str, Data] = template["Resources"]
    for resource, part in resources.items():
        rule = RULES.get(part.get("Type", ""))
        if rule is None:
            continue
        properties: Data = part.get("Properties") or {}
        name = templates.text_of(properties.get(rule.property), known)
        if name is not None:
            yield resource, part["Type"], name


def examine(template: Data, place: Path, known: Mapping[str, str]) -> list[Finding]:
    """`known`: the parameters and `AWS::StackName`; `place`: where the template lies."""
    stack = known["AWS::StackName"]
    if (why := STACK.broken_by(stack)) is not None:
        shorter = re.sub("[^A-Za-z0-9-]", "-", stack)[: STACK.longest].lstrip("-0123456789") or "wdk-app"
        return [Finding("stack-name", f"the stack's name {stack!r} {why}", f"wdk deploy aws --stack {shorter}")]
    found = list(_unnamed_buckets(template, stack))
    for resource, kind, name in named(template, known):
        rule = RULES[kind]
        if (why := rule.broken_by(name)) is None:
            continue
        seen = f"{rule.property} of {resource} will be {name!r}, which {why}"
        excess = len(name) - rule.longest
        if excess > 0 and stack in name and excess < len(stack):
            shorter = stack[: len(stack) - excess].rstrip("-")
            found.append(Finding("name", seen, f"wdk deploy aws --stack {shorter}"))
        else:
            found.append(Finding("name", seen, f"${{EDITOR:-vi}} {shlex.quote(str(place))}"))
    return found


def _unnamed_buckets(template: Data, stack: str) -> Iterator[Finding]:
    """CloudFormation begins the name of a bucket that has none with the stack's, in small letters."""
    kept = next((beginning for beginning in BUCKETS_KEPT if stack.lower().startswith(beginning)), None)
    if kept is None:
        return
    resources: dict[str, Data] = template["Resources"]
    for resource, part in resources.items():
        properties: Data = part.get("Properties") or {}
        if part.get("Type") == "AWS::S3::Bucket" and not properties.get("BucketName"):
            seen = (
                f"the name of {resource} will begin with that of the stack, {stack!r}, and S3 keeps those that begin "
                f"with {kept} for itself (InvalidBucketName: The specified bucket is not valid)"
            )
            yield Finding("stack-name", seen, f"wdk deploy aws --stack my-{stack}")
