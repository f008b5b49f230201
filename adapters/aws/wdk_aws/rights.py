"""The IAM actions that each kind of process needs, and on what: policies are to allow these and nothing else.

A test records what the processes really ask for, and compares both ways; whatever else they ask for is refused there.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Resource = Literal[
    "table", "indexes", "flow queue", "step queue", "objects", "bucket", "schedules", "scheduler role", "key",
    "dead letters", "schedule group", "functions", "function roles", "mappings", "stacks",
]  # fmt: skip
"""`objects` are those of the bucket, `schedules` those of the group; the role is the one with which Scheduler sends.
For those of the second line check-ups ask, and nobody else."""

Kind = Literal["starter", "resumer", "receiver", "operator", "sweeper", "worker"]


class Use(NamedTuple):
    """An action on a resource. Those on `objects` are for values beside the log (over 4 KB) and for streams, those on
    the `key` for encryption, those on `schedules` for delays beyond 900 s: without them they need not be allowed."""

    action: str
    on: Resource


def _on(resource: Resource, *actions: str) -> frozenset[Use]:
    return frozenset(Use(action, resource) for action in actions)


_SENDS = _on("flow queue", "sqs:SendMessage")
_SEALS = _on("key", "kms:GenerateDataKey")
_LARGE = _on("objects", "s3:PutObject")

_STARTER = _on("table", "dynamodb:PutItem") | _SENDS | _LARGE | _SEALS
_RESUMER = _STARTER | _on("table", "dynamodb:GetItem")

_SWEEPER = (
    _on(
        "table",
        "dynamodb:BatchGetItem",
        "dynamodb:BatchWriteItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    )
    | _on("indexes", "dynamodb:Query")
    | _on("objects", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
    | _on("bucket", "s3:ListBucket")
    | _SENDS
)

_MAPPING = ("sqs:ReceiveMessage", "sqs:DeleteMessage")
"""What the event source mapping does, with the rights of the function."""

RIGHTS: dict[Kind, frozenset[Use]] = {
    # A program that starts runs.
    "starter": _STARTER,
    # A program that resumes hooks.
    "resumer": _RESUMER,
    # A function that answers webhooks for the public. It opens nothing that is encrypted. With `UpdateItem` it gives up
    # waiting for the answer of a manual webhook.
    "receiver": _RESUMER | _on("table", "dynamodb:UpdateItem"),
    # Who looks at runs, reads their streams, cancels and deletes them: `Run`, `list_runs`, the command line.
    "operator": (_SWEEPER - _LARGE) | _on("key", "kms:Decrypt"),
    # The event `{"sweep": {}}` alone. It copies objects of live runs onto themselves, so that they do not expire.
    "sweeper": _SWEEPER,
    # The function that works on both queues. One that also answers sweeps and the routes of the API has the rights of a
    # sweeper and of an operator beside these.
    "worker": (
        _on(
            "table",
            "dynamodb:BatchGetItem",
            "dynamodb:BatchWriteItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        )
        | _on("flow queue", *_MAPPING, "sqs:ChangeMessageVisibility", "sqs:SendMessage")
        | _on("step queue", *_MAPPING, "sqs:ChangeMessageVisibility", "sqs:SendMessage")
        | _on("objects", "s3:DeleteObject", "s3:GetObject", "s3:PutObject")
        | _on("key", "kms:Decrypt", "kms:GenerateDataKey")
        | _on("schedules", "scheduler:CreateSchedule")
        | _on("scheduler role", "iam:PassRole")
    ),
}

DOCTOR: frozenset[Use] = (
    _on("table", "dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive")
    | _on("flow queue", "sqs:GetQueueAttributes")
    | _on("step queue", "sqs:GetQueueAttributes")
    | _on("dead letters", "sqs:GetQueueAttributes")
    | _on("bucket", "s3:GetLifecycleConfiguration", "s3:ListBucket")
    | _on("schedule group", "scheduler:GetScheduleGroup")
    | _on("scheduler role", "iam:GetRole", "iam:SimulatePrincipalPolicy")
    | _on(
        "functions",
        "lambda:GetFunctionConcurrency",
        "lambda:GetFunctionConfiguration",
        "lambda:GetFunctionRecursionConfig",
        "lambda:GetPolicy",
        "lambda:InvokeFunction",
        "lambda:ListTags",
    )
    | _on("stacks", "cloudformation:GetTemplate")
    | _on("function roles", "iam:SimulatePrincipalPolicy")
    | _on("mappings", "lambda:ListEventSourceMappings")
)
"""What `wdk doctor` asks for, and nobody else: no process of a deployment needs to look at how it is set up."""

IMPLIED: dict[Kind, frozenset[Use]] = {
    "starter": frozenset(),
    "resumer": frozenset(),
    "receiver": frozenset(),
    "operator": frozenset(),
    "sweeper": frozenset(),
    # Nobody in our code asks for these. Lambda checks the first when it makes a mapping. Without the other, S3 answers
    # a GET of an object that is not there yet with 403 instead of 404, and a reader of a stream asks for those.
    "worker": (
        _on("flow queue", "sqs:GetQueueAttributes")
        | _on("step queue", "sqs:GetQueueAttributes")
        | _on("bucket", "s3:ListBucket")
    ),
}
"""To be allowed as well."""

DONE_WITHOUT: dict[Kind, frozenset[Use]] = {
    # A run that was just started is under no tombstone; who may not look takes it for granted.
    "starter": _on("table", "dynamodb:GetItem"),
    "resumer": frozenset(),
    "receiver": frozenset(),
    "operator": frozenset(),
    "sweeper": frozenset(),
    "worker": frozenset(),
}
"""Asked for, and gone on without when it is refused."""
