"""A stack of the template in a stand-in for an account: made, changed, asked what it does."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from platform import machine
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import ClientError

from wdk_aws.clients import Clients
from wdk_aws.packaging.making import DEPLOYED, ZIP
from wdk_aws.packaging.target import Target
from wdk_aws.settings import VARIABLES, AwsSettings
from wdk_aws.testing import functionurls, ministack
from wdk_aws.world import AwsWorld
from wdk_cloud.errors import WorldConfigurationError
from wdk_cloud.testing.rehearsed import Rehearsed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import httpx

    from wdk_aws.testing.ministack import Account

CODE = "wdk-rehearsal-code"
"""The bucket that zips are deployed from."""

STACK = "wdk-app"

WITHIN = 60.0
"""Seconds for a stack; it takes one or two."""

LOOK_EVERY = 0.05
"""Seconds between two looks at what the stand-in can only be asked for."""

ROUTES = ".well-known/workflow/v1/"

ARCHITECTURES = {"aarch64": "arm64", "arm64": "arm64", "x86_64": "x86_64", "AMD64": "x86_64"}
"""Lambda's names, by those that systems have for their machines."""

OUTPUTS = {
    "table": "TableName",
    "flow_queue_url": "FlowQueueUrl",
    "step_queue_url": "StepQueueUrl",
    "bucket": "BucketName",
    "scheduler_group": "SchedulerGroup",
    "scheduler_role_arn": "SchedulerRoleArn",
}
"""Of the template, by the settings that they are."""


def rehearsable(template: str, code: str, variables: Mapping[str, str] | None = None) -> str:
    """The template as the stand-in takes it, with the zip at `code` and more variables for the functions.

    What is changed is not rehearsed: the rules on parameters, which it cannot read, and the right to send messages: it
    asks for one by the name of the request where AWS has one for both, `SendMessage` and `SendMessageBatch`.
    """
    place = f"CodeUri: {code}"
    if variables:
        place += f"\n    Environment: {json.dumps({'Variables': dict(variables)})}"
    text = re.sub(r"^Rules:\n(?:[ \t]+.*\n|#.*\n|\n)*", "", template, flags=re.MULTILINE)
    text = re.sub(r"(?<=^    )CodeUri: .*$", lambda _: place, text, count=1, flags=re.MULTILINE)
    return re.sub(r"\"?\bsqs:SendMessage\b\"?(?!\*)", '"sqs:SendMessage*"', text)


def here() -> Target:
    """This machine and its Python, which the stand-in's functions run on. Raises WorldConfigurationError for others
    than Lambda has."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Target.of(python, ARCHITECTURES.get(machine(), machine()))


@dataclass(frozen=True)
class Line:
    """Of a function's log."""

    time: float
    text: str

    @cached_property
    def document(self) -> dict[str, Any]:
        """What Powertools wrote; empty for other text."""
        try:
            read: Any = json.loads(self.text)
        except ValueError:
            return {}
        return cast("dict[str, Any]", read) if isinstance(read, dict) else {}

    @property
    def of_lambda(self) -> bool:
        """What Lambda itself writes about each invocation."""
        return self.text.startswith(("START RequestId", "END RequestId", "REPORT RequestId"))


class Deployed(Rehearsed):
    """A stack of the template."""

    def __init__(self, account: Account, name: str) -> None:
        self.account = account
        self.name = name
        found = account.client("cloudformation").describe_stacks(StackName=name)["Stacks"][0]
        self.outputs: dict[str, str] = {one["OutputKey"]: one["OutputValue"] for one in found["Outputs"]}
        self.settings = AwsSettings(**{field: self.outputs[output] for field, output in OUTPUTS.items()})

    @property
    def variables(self) -> dict[str, str]:
        """With which `wdk`, and any client, works on this stack."""
        settings = {variable: getattr(self.settings, field) for field, variable in VARIABLES.items()}
        named = {name: value for name, value in settings.items() if value}
        return {"WDK_WORLD": "aws", **named, "AWS_ENDPOINT_URL": self.account.url, **ministack.CREDENTIALS}

    @cached_property
    def public(self) -> httpx.Client:
        """Somebody from outside. URLs of webhooks reach the receiver."""
        return functionurls.client(self.account.url, self.outputs["WebhookUrl"] + ROUTES)

    @cached_property
    def api(self) -> httpx.Client:
        """Who may invoke the worker's URL; relative URLs are those of the API (docs/http.md)."""
        base = f"{self.outputs['ApiUrl']}{ROUTES}api/"
        return functionurls.client(self.account.url, base, self.account.session)

    def close(self) -> None:
        """Close the clients `public` and `api`. The stack stays."""
        for name in ("public", "api"):
            if name in vars(self):
                vars(self).pop(name).close()

    def world(self) -> AwsWorld:
        """That of a client outside, with all rights; close it after use."""
        return AwsWorld(self.settings, clients=Clients(self.account.session))

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """The worker's answer to a direct invocation. Raises WorldConfigurationError with what it failed with."""
        asked = {"FunctionName": self.outputs["WorkerName"], "Payload": json.dumps(event)}
        answer = self.account.client("lambda").invoke(**asked)
        body = answer["Payload"].read()
        if answer.get("FunctionError"):
            raise WorldConfigurationError(f"the worker of {self.name} failed: {body.decode(errors='replace')}")
        return json.loads(body)

    def lines(self, output: str = "WorkerLogs") -> list[Line]:
        """Of the log, oldest first; those of an invocation come when it has ended. `output` names it: the worker's, or
        with `ReceiverLogs` the receiver's."""
        logs, found, more = self.account.client("logs"), list[Line](), dict[str, str]()
        while True:
            page = logs.filter_log_events(logGroupName=self.outputs[output], **more)
            found += [Line(event["timestamp"] / 1000, event["message"].rstrip("\n")) for event in page["events"]]
            if not page.get("nextToken"):
                return found
            more = {"nextToken": page["nextToken"]}

    def counted(self, metric: str) -> int:
        """The sum of a `metric` in the worker's log, where CloudWatch takes them from."""
        documents = [line.document for line in self.lines()]
        return sum(sum(_numbers(one.get(metric, 0))) for one in documents if "_aws" in one)

    def refusals(self, output: str = "WorkerLogs") -> list[Line]:
        """Lines that tell of a right that a role lacks, in the log that `output` names."""
        return [line for line in self.lines(output) if "AccessDenied" in line.text]

    def messages(self) -> dict[str, int]:
        """How many are in each queue, dead letters included; those that are worked on, and delayed ones, too."""
        sqs, found = self.account.client("sqs"), dict[str, int]()
        for url in sqs.list_queues(QueueNamePrefix=f"{self.name}-").get("QueueUrls", []):
            kinds = ["", "NotVisible", "Delayed"]
            names = [f"ApproximateNumberOfMessages{kind}" for kind in kinds]
            counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            found[url.rpartition("/")[2].removeprefix(f"{self.name}-")] = sum(int(counts[name]) for name in names)
        return found


def _numbers(value: Any) -> list[int]:
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [int(one) for one in values]


def deploy(
    account: Account,
    built: Path,
    name: str = STACK,
    parameters: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Deployed:
    """Make a stack in the stand-in `account`, or change the one of that `name`, of what `wdk build aws` wrote into the
    folder `built`.

    `parameters` are the template's; `variables` more ones for the functions. Raises WorldConfigurationError that says
    which resource was refused, and why.
    """
    zipped = (built / ZIP).read_bytes()
    key = f"{sha256(zipped).hexdigest()}.zip"
    _code_bucket(account)
    account.client("s3").put_object(Bucket=CODE, Key=key, Body=zipped)
    target = here()
    # It takes no expressions in alarms.
    values = {"Alarms": "no", "Architecture": target.architecture, "PythonVersion": target.python, **(parameters or {})}
    template = rehearsable((built / DEPLOYED).read_text("utf-8"), f"s3://{CODE}/{key}", variables)
    wanted = {
        "StackName": name,
        "TemplateBody": template,
        "Capabilities": ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        "Parameters": [{"ParameterKey": one, "ParameterValue": value} for one, value in values.items()],
    }
    cloudformation = account.client("cloudformation")
    there = _status(cloudformation, name) is not None
    try:
        (cloudformation.update_stack if there else cloudformation.create_stack)(**wanted)
    except ClientError as error:
        raise WorldConfigurationError(f"the stack {name} is refused: {error}") from error
    _wait(cloudformation, name, "UPDATE_COMPLETE" if there else "CREATE_COMPLETE")
    return Deployed(account, name)


def _code_bucket(account: Account) -> None:
    place = {"LocationConstraint": ministack.REGION}
    try:
        account.client("s3").create_bucket(Bucket=CODE, CreateBucketConfiguration=place)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") != "BucketAlreadyOwnedByYou":
            raise


def _status(cloudformation: Any, name: str) -> str | None:
    try:
        return cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError:  # it says "does not exist" as a validation error
        return None


def _wait(cloudformation: Any, name: str, wanted: str) -> None:
    end = time.monotonic() + WITHIN
    while (status := _status(cloudformation, name)) is not None and status.endswith("_IN_PROGRESS"):
        if time.monotonic() > end:
            break
        time.sleep(LOOK_EVERY)
    if status == wanted:
        return
    events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    reasons = [
        f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
        for event in reversed(events)
        if event["ResourceStatus"].endswith("_FAILED")
    ]
    raise WorldConfigurationError(f"the stack {name} is {status}: {'; '.join(reasons) or 'nothing says why'}")
