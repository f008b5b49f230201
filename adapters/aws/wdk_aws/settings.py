"""The WDK_AWS_* variables: where the tables, queues and buckets of this world are."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from wdk_cloud.errors import WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = {
    "table": "WDK_AWS_TABLE",
    "flow_queue_url": "WDK_AWS_FLOW_QUEUE_URL",
    "step_queue_url": "WDK_AWS_STEP_QUEUE_URL",
    "bucket": "WDK_AWS_BUCKET",
    "scheduler_group": "WDK_AWS_SCHEDULER_GROUP",
    "scheduler_role_arn": "WDK_AWS_SCHEDULER_ROLE_ARN",
    "kms_key_id": "WDK_AWS_KMS_KEY_ID",
}

TEMPLATE = "WDK_AWS_TEMPLATE"
"""The version of wdk-cloud whose template made a function: a template says it, the code compares it with its own."""


@dataclass(frozen=True, slots=True)
class AwsSettings:
    """What the variables say; "" for those that are not set. Each process needs those of what it does: a client that
    starts runs with small inputs needs a table and a flow queue and nothing else."""

    table: str = ""
    flow_queue_url: str = ""
    step_queue_url: str = ""
    bucket: str = ""
    scheduler_group: str = ""
    scheduler_role_arn: str = ""
    kms_key_id: str = ""

    @staticmethod
    def from_environment(environ: Mapping[str, str] | None = None) -> AwsSettings:
        env = os.environ if environ is None else environ
        return AwsSettings(**{field.name: env.get(VARIABLES[field.name], "").strip() for field in fields(AwsSettings)})

    def needed(self, name: str) -> str:
        """The value of a field that is needed now. Raises WorldConfigurationError that names its variable."""
        value: str = getattr(self, name)
        if not value:
            raise WorldConfigurationError(
                f"{VARIABLES[name]} is not set, and this process needs it; set it to the {_WHAT[name]} of this world: "
                "`wdk deploy aws` and `wdk rehearse aws --keep` say what to export"
            )
        return value


_WHAT = {
    "table": "name of the DynamoDB table",
    "flow_queue_url": "URL of the SQS queue for flow messages",
    "step_queue_url": "URL of the SQS queue for step messages",
    "bucket": "name of the S3 bucket",
    "scheduler_group": "name of the EventBridge Scheduler group",
    "scheduler_role_arn": "ARN of the role with which EventBridge Scheduler sends to the queues",
    "kms_key_id": "id or ARN of the KMS key",
}
