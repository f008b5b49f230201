"""Which IAM actions a program uses, on what: from the requests that its clients make.

Most operations are actions of their own name; the others are those of the Service Authorization Reference.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from wdk_aws.rights import Resource, Use

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from boto3.session import Session

    from wdk_aws.settings import AwsSettings

_ACTIONS = {
    "sqs.SendMessageBatch": "sqs:SendMessage",
    "sqs.DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs.ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "s3.HeadObject": "s3:GetObject",
    "s3.HeadBucket": "s3:ListBucket",
    "s3.ListObjectsV2": "s3:ListBucket",
    "s3.DeleteObjects": "s3:DeleteObject",
}

_OF_BUCKETS = frozenset(("s3:ListBucket",))


class Actions:
    """Attach it to boto3 sessions before their clients are made. With `allowed`, every other one is refused as IAM
    refuses it."""

    def __init__(self, settings: AwsSettings, allowed: frozenset[Use] | None = None) -> None:
        self._settings = settings
        self._allowed = allowed
        self._adding = threading.Lock()
        self._found: set[Use] = set()

    def attach(self, session: Session) -> None:
        session.events.register("before-parameter-build", self._add, unique_id=f"wdk-actions-{id(self)}")

    @property
    def found(self) -> frozenset[Use]:
        with self._adding:
            return frozenset(self._found)

    def _add(self, params: Mapping[str, Any], event_name: str, **_: Any) -> None:
        service, operation = event_name.split(".")[1:]
        found = list(self._uses(service, operation, params))
        with self._adding:
            self._found.update(found)
        if self._allowed is not None and not self._allowed.issuperset(found):
            said = f"not authorized to perform: {', '.join(use.action for use in found)}"
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": said}}, event_name)

    def _uses(self, service: str, operation: str, params: Mapping[str, Any]) -> Iterator[Use]:
        if operation == "CopyObject":
            yield from (Use("s3:GetObject", "objects"), Use("s3:PutObject", "objects"))
            return
        action = _ACTIONS.get(f"{service}.{operation}", f"{service}:{operation}")
        yield Use(action, self._resource(service, action, params))
        if "RoleArn" in params.get("Target", ()):
            yield Use("iam:PassRole", "scheduler role")

    def _resource(self, service: str, action: str, params: Mapping[str, Any]) -> Resource:
        match service:
            case "dynamodb":
                return "indexes" if "IndexName" in params else "table"
            case "sqs":
                return "step queue" if params["QueueUrl"] == self._settings.step_queue_url else "flow queue"
            case "s3":
                return "bucket" if action in _OF_BUCKETS else "objects"
            case "scheduler":
                return "schedules"
            case "kms":
                return "key"
            case _:
                raise ValueError(f"no world of wdk-cloud asks {service} ({action})")
