"""What `wdk doctor` looks at in the tests: a deployment as the template makes it, in ministack."""

import io
import json
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace

import pytest
from boto3.session import Session

from wdk_aws import policies
from wdk_aws.checkup import stacks
from wdk_aws.clients import Clients
from wdk_aws.packaging import marking
from wdk_aws.settings import TEMPLATE, VARIABLES, AwsSettings
from wdk_aws.testing.resources import create

REGION = "eu-west-1"

STUB = """
import json, os

def handler(event, context):
    if os.environ.get("WDK_TEST_ERROR"):
        raise ValueError(os.environ["WDK_TEST_ERROR"])
    return json.loads(os.environ["WDK_TEST_ANSWER"])
"""
"""In the place of the zip: what a function says of itself is tested apart, with the code of the function."""

BUILT = marking.marked("""
Resources:
  Nothing:
    Type: AWS::SQS::Queue
    Properties: { MessageRetentionPeriod: 1209600 }
""")
"""The template of the stack that has made the function, as it says of itself."""

WELL = {"code_version": "1.abc", "findings": [{"slug": "app", "well": True, "seen": "1 workflow", "mend": None}]}


@dataclass
class Deployed:
    settings: AwsSettings
    clients: SimpleNamespace
    worker: str = "doctor-worker"
    stack: str = "doctor"

    @property
    def variables(self):
        named = {VARIABLES[name]: value for name, value in vars_of(self.settings).items() if value}
        return {
            **named,
            "PYTHONHASHSEED": "0",
            "WDK_ROLE": "worker",
            TEMPLATE: version("wdk-cloud"),
            "WDK_TEST_ANSWER": json.dumps(WELL),
        }

    def change(self, function, **variables):
        """The function with these variables; "" takes one away."""
        found = {name: value for name, value in {**self.variables, **variables}.items() if value}
        self.clients.functions.update_function_configuration(FunctionName=function, Environment={"Variables": found})

    def arn(self, url):
        return self.clients.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]


def vars_of(settings):
    return {name: getattr(settings, name) for name in VARIABLES}


def zipped(source):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("handler.py", source)
    return data.getvalue()


def deployment(ministack):
    """At the address of this server."""
    session = Session("testing", "testing", region_name=REGION)
    names = {
        "functions": "lambda",
        "iam": "iam",
        "sqs": "sqs",
        "s3": "s3",
        "dynamodb": "dynamodb",
        "scheduler": "scheduler",
        "cloudformation": "cloudformation",
    }
    made = SimpleNamespace(**{name: session.client(service, endpoint_url=ministack) for name, service in names.items()})
    settings = AwsSettings(
        table="doctor",
        flow_queue_url=f"{ministack}/000000000000/doctor-flow",
        step_queue_url=f"{ministack}/000000000000/doctor-step",
        bucket="doctor",
        scheduler_group="doctor",
        scheduler_role_arn="arn:aws:iam::000000000000:role/doctor-timers",
    )
    found = Deployed(settings, made)
    here = pytest.MonkeyPatch()
    here.setenv("AWS_ENDPOINT_URL", ministack)
    clients = Clients(session)
    create(settings, clients)
    clients.close()
    here.undo()
    place = policies.Place(settings, REGION)
    role(made.iam, "doctor-worker", "lambda.amazonaws.com", allowed(place))
    queues = [arn for queue in ("flow queue", "step queue") for arn in place.arns(queue)]
    sends = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": queues}],
    }
    group = made.scheduler.get_schedule_group(Name="doctor")["Arn"]
    role(made.iam, "doctor-timers", "scheduler.amazonaws.com", sends, {"StringEquals": {"aws:SourceArn": group}})
    made.functions.create_function(
        FunctionName=found.worker,
        Runtime="python3.11",
        Handler="handler.handler",
        Role="arn:aws:iam::000000000000:role/doctor-worker",
        Timeout=900,
        Code={"ZipFile": zipped(STUB)},
        Environment={"Variables": found.variables},
        Tags={stacks.TAG: found.stack},
    )
    made.cloudformation.create_stack(StackName=found.stack, TemplateBody=BUILT)
    made.cloudformation.get_waiter("stack_create_complete").wait(StackName=found.stack, WaiterConfig={"Delay": 0.1})
    made.functions.put_function_recursion_config(FunctionName=found.worker, RecursiveLoop="Allow")
    for url in (settings.flow_queue_url, settings.step_queue_url):
        for each in (url, url + "-dead"):
            mapped(found, each)
    return found


def allowed(place, *without):
    """What a worker may do. ministack's simulation knows of no context, so a role is passed to whomever."""
    document = policies.document("worker", place, encrypted=False)
    for statement in document["Statement"]:
        statement.pop("Condition", None)
        statement["Action"] = [action for action in statement["Action"] if action not in without] or ["sts:None"]
    return document


def role(iam, name, service, policy, condition=None):
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    if condition is not None:
        trust["Condition"] = condition
    document = {"Version": "2012-10-17", "Statement": [trust]}
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(document))
    iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(policy))


def mapped(found, url):
    found.clients.functions.create_event_source_mapping(
        EventSourceArn=found.arn(url),
        FunctionName=found.worker,
        BatchSize=1,
        FunctionResponseTypes=["ReportBatchItemFailures"],
        ScalingConfig={"MaximumConcurrency": 2},
    )
