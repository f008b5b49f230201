"""The queues: their attributes, their dead letters, and who consumes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from wdk_aws.attributes import KEPT, RECEIVES
from wdk_aws.checkup.account import quoted
from wdk_aws.failures import code
from wdk_aws.schedules import DEAD
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wdk_aws.checkup.account import Account
    from wdk_aws.checkup.functions import Function

LONGER = 60
"""Seconds by which a message is invisible for longer than its function may take."""

SCALED = "MaximumConcurrency=25"
"""As the template has it by default."""

PARTIAL = "ReportBatchItemFailures"

ABSENT = frozenset(("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"))


@dataclass(frozen=True, slots=True)
class Queue:
    setting: str
    url: str
    attributes: Mapping[str, str]

    @property
    def arn(self) -> str:
        return self.attributes["QueueArn"]

    @property
    def name(self) -> str:
        return self.arn.rpartition(":")[2]


def find(setting: str, url: str, account: Account) -> Queue | None:
    try:
        said: Any = account.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    except ClientError as error:
        if code(error) in ABSENT:
            return None
        raise
    return Queue(setting, url, said["Attributes"])


def absent(setting: str, url: str) -> Finding:
    return Finding("queue", f"there is no queue {url}, which {setting} names", "wdk aws create")


def attributes(queue: Queue, function: Function | None) -> list[Finding]:
    """Invisibility against the time-out of the function that consumes it, and how long messages are kept."""
    found = [_visibility(queue, function)] if function is not None else []
    kept = int(queue.attributes["MessageRetentionPeriod"])
    if kept < KEPT:
        seen = f"{queue.name} keeps a message for {kept // 3600} h, and the longest is {KEPT // 3600} h"
        return [*found, Finding("queue-retention", seen, _set(queue, {"MessageRetentionPeriod": str(KEPT)}))]
    return [*found, Finding("queue-retention", f"{queue.name} keeps a message for {kept // 86_400} days")]


def _visibility(queue: Queue, function: Function) -> Finding:
    visibility = int(queue.attributes["VisibilityTimeout"])
    if visibility > function.timeout:
        seen = f"{queue.name}: {visibility} s, above the {function.timeout} s of {function.name}"
        return Finding("queue-visibility", seen)
    seen = (
        f"{queue.name} shows a message again after {visibility} s, and {function.name} may work on it for "
        f"{function.timeout} s: it would be worked on twice"
    )
    return Finding("queue-visibility", seen, _set(queue, {"VisibilityTimeout": str(function.timeout + LONGER)}))


def dead_letters(queue: Queue, account: Account) -> list[Finding]:
    """The queue beside it, which Scheduler's dead letters go to as well."""
    dead = find(queue.setting, queue.url + DEAD, account)
    if dead is None:
        seen = f"{queue.name} has no dead-letter queue {queue.name}{DEAD}: what cannot be delivered would be lost"
        made = quoted("aws", "sqs", "create-queue", "--queue-name", queue.name + DEAD)
        keeps = ("--attributes", f"MessageRetentionPeriod={KEPT}")
        return [Finding("dead-letters", seen, f"{made} {quoted(*keeps)}")]
    said = json.loads(queue.attributes.get("RedrivePolicy", "{}"))
    target, receives = said.get("deadLetterTargetArn"), int(said.get("maxReceiveCount", 0))
    wanted = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": str(RECEIVES)})
    mend = _set(queue, {"RedrivePolicy": wanted})
    if target != dead.arn:
        goes = f"go to {target}" if target else "go nowhere"
        return [Finding("dead-letters", f"dead letters of {queue.name} {goes}, and not to {dead.name}", mend)]
    if receives < RECEIVES:
        seen = (
            f"{queue.name} gives a message up after {receives} receives, and a throttled function alone can take so "
            f"many: it has to be {RECEIVES}"
        )
        return [Finding("dead-letters", seen, mend)]
    return [Finding("dead-letters", f"{queue.name}: to {dead.name} after {receives:,} receives")]


def _set(queue: Queue, attributes: Mapping[str, str]) -> str:
    return quoted(
        "aws", "sqs", "set-queue-attributes", "--queue-url", queue.url, "--attributes", json.dumps(attributes)
    )


# -- who consumes them -------------------------------------------------------------------------------------------------


def mappings(arn: str, account: Account) -> list[Any]:
    pages = account.functions.get_paginator("list_event_source_mappings").paginate(EventSourceArn=arn)
    return [mapping for page in pages for mapping in page["EventSourceMappings"]]


def consumers(name: str, arn: str, found: Sequence[Any], function: str) -> list[Finding]:
    """`function`: who is to consume it, where nobody does."""
    enabled = [one for one in found if one.get("State") in ("Enabled", "Enabling", "Creating", "Updating")]
    if not found:
        seen = f"nobody consumes {name}: no event source mapping leads from it to a function (wdk aws serve is none)"
        made = ("aws", "lambda", "create-event-source-mapping", "--function-name", function, "--event-source-arn", arn)
        more = ("--batch-size", "1", "--function-response-types", PARTIAL, "--scaling-config", SCALED)
        return [Finding("queue-consumer", seen, quoted(*made, *more))]
    if not enabled:
        (first, *_) = found
        seen = f"nobody consumes {name}: its event source mapping {first['UUID']} is {first.get('State', '').lower()}"
        return [Finding("queue-consumer", seen, _update(first, "--enabled"))]
    wrong: list[Finding] = []
    for one in enabled:
        who = one["FunctionArn"].split(":")[6]
        if one.get("BatchSize") != 1:
            seen = (
                f"{who} takes messages of {name} {one.get('BatchSize')} at a time: one that runs out of memory takes "
                "the others with it"
            )
            wrong.append(Finding("queue-consumer", seen, _update(one, "--batch-size", "1")))
        if PARTIAL not in one.get("FunctionResponseTypes", ()):
            seen = f"what {who} says of single messages of {name} is not heeded: one that fails comes not back alone"
            wrong.append(Finding("queue-consumer", seen, _update(one, "--function-response-types", PARTIAL)))
    names = " and ".join(sorted({one["FunctionArn"].split(":")[6] for one in enabled}))
    return wrong or [Finding("queue-consumer", f"{name}: {names}")]


def _update(mapping: Any, *change: str) -> str:
    return quoted("aws", "lambda", "update-event-source-mapping", "--uuid", mapping["UUID"], *change)
