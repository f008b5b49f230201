"""`wdk doctor` on AWS: an account in ministack that is as the template makes it, one thing wrong in it at a time."""

import io
import json
import os
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace

import boto3
import pytest
from boto3.session import Session
from typer.testing import CliRunner

from tests.infra.commands import checked, typed
from wdk_aws import policies
from wdk_aws.checkup import rounds
from wdk_aws.checkup.account import Account
from wdk_aws.clients import Clients
from wdk_aws.settings import TEMPLATE, VARIABLES, AwsSettings
from wdk_aws.testing.resources import create
from wdk_cloud.cli.program import program

REGION = "eu-west-1"

STUB = """
import json, os

def handler(event, context):
    if os.environ.get("WDK_TEST_ERROR"):
        raise ValueError(os.environ["WDK_TEST_ERROR"])
    return json.loads(os.environ["WDK_TEST_ANSWER"])
"""
"""In the place of the zip: what a function says of itself is tested apart, with the code of the function."""

WELL = {"code_version": "1.abc", "findings": [{"slug": "app", "well": True, "seen": "1 workflow", "mend": None}]}


@pytest.fixture(autouse=True)
def environment(ministack, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("WDK_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": ministack,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "WDK_WORLD": "aws",
    }.items():
        monkeypatch.setenv(name, value)


@dataclass
class Deployed:
    settings: AwsSettings
    clients: SimpleNamespace
    worker: str = "doctor-worker"

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


@pytest.fixture(scope="module")
def deployed(ministack):
    """Made once; each test puts right what it has made wrong."""
    session = Session("testing", "testing", region_name=REGION)
    names = {
        "functions": "lambda",
        "iam": "iam",
        "sqs": "sqs",
        "s3": "s3",
        "dynamodb": "dynamodb",
        "scheduler": "scheduler",
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
    )
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


@pytest.fixture
def here(deployed, monkeypatch, tmp_path):
    """The settings of whoever types `wdk doctor`, in a folder of his own."""
    monkeypatch.chdir(tmp_path)
    for name, value in vars_of(deployed.settings).items():
        if value:
            monkeypatch.setenv(VARIABLES[name], value)
    return deployed


@pytest.fixture(scope="module")
def account():
    """Clients are what takes the time of a check-up: one of each for all tests."""
    found = Account()
    yield found
    found.close()


def wrong(account, *named):
    """What is found wrong; each has a command that exists."""
    found = [one for one in rounds.Round(account, named).all() if not one.well]
    for one in found:
        checked(one.mend)
    return [(one.slug, one.seen, one.mend) for one in found]


def client(service):
    return boto3.client({"s3api": "s3"}.get(service, service))


def test_a_deployment_as_the_template_makes_it_is_well(here):
    done = CliRunner().invoke(program, ["doctor", "--json"], prog_name="wdk", catch_exceptions=False)
    document = json.loads(done.stdout)
    assert (done.exit_code, document["healthy"], document["world"]) == (0, True, "aws")
    found = {(one["slug"], one["seen"]) for one in document["findings"]}
    assert {
        ("account", "000000000000 in eu-west-1, as arn:aws:iam::000000000000:root"),
        ("table", "doctor, active, has the keys pk and sk"),
        ("table-indexes", "doctor has the indexes active and runs"),
        ("table-expiry", "items of doctor expire by their attribute expires"),
        ("bucket", "doctor is there"),
        ("bucket-lifecycle", "objects of doctor expire after 60 days"),
        ("scheduler-group", "doctor is there"),
        ("scheduler-role", "doctor-timers trusts Scheduler for that group, and may send to the queues"),
        ("queue-consumer", "doctor-flow: doctor-worker"),
        ("queue-consumer", "doctor-step-dead: doctor-worker"),
        ("queue-visibility", "doctor-step: 960 s, above the 900 s of doctor-worker"),
        ("queue-retention", "doctor-flow keeps a message for 14 days"),
        ("dead-letters", "doctor-step: to doctor-step-dead after 1,000 receives"),
        ("recursion", "doctor-worker: RecursiveLoop is Allow"),
        ("concurrency", "doctor-worker: nothing is reserved"),
        ("rights", "the policies of doctor-worker, the role of doctor-worker, allow what a worker needs"),
        ("app", "1 workflow"),
    } <= found


# -- one thing wrong, and what its command does about it ---------------------------------------------------------------


def short_visibility(found):
    set_flow(found, VisibilityTimeout="300")


def short_retention(found):
    set_flow(found, MessageRetentionPeriod="345600")


def few_receives(found):
    dead = found.arn(found.settings.flow_queue_url + "-dead")
    set_flow(found, RedrivePolicy=json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": 5}))


def no_redrive(found):
    set_flow(found, RedrivePolicy="")


def set_flow(found, **attributes):
    found.clients.sqs.set_queue_attributes(QueueUrl=found.settings.flow_queue_url, Attributes=attributes)


def no_recursion(found):
    found.clients.functions.put_function_recursion_config(FunctionName=found.worker, RecursiveLoop="Terminate")


def no_expiry(found):
    of = {"Enabled": False, "AttributeName": "expires"}
    found.clients.dynamodb.update_time_to_live(TableName="doctor", TimeToLiveSpecification=of)


def no_lifecycle(found):
    found.clients.s3.delete_bucket_lifecycle(Bucket="doctor")


def short_lifecycle(found):
    rules = [
        {"ID": "all", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 7}},
        {"ID": "mine", "Status": "Enabled", "Filter": {"Prefix": "mine/"}, "Expiration": {"Days": 1}},
    ]
    found.clients.s3.put_bucket_lifecycle_configuration(Bucket="doctor", LifecycleConfiguration={"Rules": rules})


def no_group(found):
    found.clients.scheduler.delete_schedule_group(Name="doctor")


def no_trust(found):
    trust = {"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust["Condition"] = {"ArnLike": {"aws:SourceArn": "arn:aws:scheduler:eu-west-1:000000000000:schedule-group/other"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    found.clients.iam.update_assume_role_policy(RoleName="doctor-timers", PolicyDocument=document)


def no_sending(found):
    found.clients.iam.delete_role_policy(RoleName="doctor-timers", PolicyName="all")


def no_index(found):
    found.clients.dynamodb.update_table(
        TableName="doctor", GlobalSecondaryIndexUpdates=[{"Delete": {"IndexName": "active"}}]
    )


def no_right(found):
    document = allowed(policies.Place(found.settings, REGION), "s3:PutObject", "scheduler:CreateSchedule")
    found.clients.iam.put_role_policy(RoleName="doctor-worker", PolicyName="all", PolicyDocument=json.dumps(document))


def too_little_reserved(found):
    found.clients.functions.put_function_concurrency(FunctionName=found.worker, ReservedConcurrentExecutions=5)


def disabled(found):
    change(found, Enabled=False)


def many_at_a_time(found):
    change(found, BatchSize=10)


def whole_batches(found):
    change(found, FunctionResponseTypes=[])


def change(found, **attributes):
    functions = found.clients.functions
    (one,) = functions.list_event_source_mappings(EventSourceArn=found.arn(found.settings.step_queue_url))[
        "EventSourceMappings"
    ]
    functions.update_event_source_mapping(UUID=one["UUID"], **attributes)


CASES = {
    short_visibility: (
        "queue-visibility",
        (
            "doctor-flow shows a message again after 300 s, and doctor-worker may work on it for 900 s: it would be worked on "
            "twice"
        ),
    ),
    short_retention: ("queue-retention", "doctor-flow keeps a message for 96 h, and the longest is 336 h"),
    few_receives: (
        "dead-letters",
        "doctor-flow gives a message up after 5 receives, and a throttled function alone can take so many: it has to be 1000",
    ),
    no_redrive: ("dead-letters", "dead letters of doctor-flow go nowhere, and not to doctor-flow-dead"),
    no_recursion: (
        "recursion",
        (
            "doctor-worker: RecursiveLoop is Terminate, and a turn sends messages to its own queue: Lambda stops that after 16 "
            "rounds"
        ),
    ),
    no_expiry: ("table-expiry", "items of doctor do not expire: ended runs are kept, and paid for, for ever"),
    no_lifecycle: (
        "bucket-lifecycle",
        "objects of doctor do not expire: what belongs to ended runs is kept, and paid for, for ever",
    ),
    short_lifecycle: (
        "bucket-lifecycle",
        (
            "objects of doctor expire after 7 days, and with this retention that has to be 60 or more: else they go while "
            "their runs are still there"
        ),
    ),
    no_group: ("scheduler-group", "there is no schedule group doctor: runs that sleep for more than 15 minutes fail"),
    no_trust: (
        "scheduler-role",
        (
            "the role doctor-timers does not trust Scheduler for schedules of "
            "arn:aws:scheduler:eu-west-1:000000000000:schedule-group/doctor: it cannot send with it"
        ),
    ),
    no_sending: ("scheduler-role", "the role doctor-timers may not send to the flow queue and the step queue"),
    no_index: ("table-indexes", "the table doctor has no index active, and runs are found through it"),
    no_right: (
        "rights",
        (
            "the policies of doctor-worker, the role of doctor-worker, do not allow what a worker needs: s3:PutObject on the "
            "objects, scheduler:CreateSchedule on the schedules"
        ),
    ),
    too_little_reserved: (
        "concurrency",
        (
            "doctor-worker has 5 executions reserved, and its mappings bring 8 at once: what is throttled comes near to being "
            "a dead letter"
        ),
    ),
    disabled: ("queue-consumer", None),
    many_at_a_time: (
        "queue-consumer",
        "doctor-worker takes messages of doctor-step 10 at a time: one that runs out of memory takes the others with it",
    ),
    whole_batches: (
        "queue-consumer",
        "what doctor-worker says of single messages of doctor-step is not heeded: one that fails comes not back alone",
    ),
}


@pytest.mark.parametrize("broken", CASES, ids=lambda broken: broken.__name__)
def test_one_thing_that_is_wrong_is_said_and_its_command_mends_it(here, account, broken):
    slug, seen = CASES[broken]
    broken(here)
    ((said, text, mend),) = wrong(account)
    assert said == slug
    if seen is None:
        assert text.startswith("nobody consumes doctor-step: its event source mapping ") and text.endswith(
            " is disabled"
        )
    else:
        assert text == seen
    typed(mend, client)
    assert wrong(account) == []
