"""`wdk doctor` on AWS: an account in ministack that is as the template makes it, one thing wrong in it at a time."""

import asyncio
import io
import json
import os
import platform
import shlex
import zipfile
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import SimpleNamespace

import boto3
import pytest
from boto3.session import Session
from typer.testing import CliRunner

from tests.infra.commands import checked, typed
from wdk_aws import clients, inside, policies, schema, trying
from wdk_aws.checkup import functions, rounds
from wdk_aws.checkup.account import Account
from wdk_aws.clients import Clients
from wdk_aws.mapping import Context
from wdk_aws.rights import DOCTOR, Use
from wdk_aws.serving import Instance, Parts
from wdk_aws.settings import TEMPLATE, VARIABLES, AwsSettings
from wdk_aws.testing.actions import Actions
from wdk_aws.testing.resources import create
from wdk_aws.world import AwsWorld
from wdk_cloud import Workflows
from wdk_cloud.cli.program import program
from wdk_cloud.telemetry import Silent

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
        (
            "scheduler-role",
            (
                "doctor-timers trusts Scheduler for that group, and its policies let it send to the queues; policies of the "
                "resources themselves are not looked at"
            ),
        ),
        ("queue-consumer", "doctor-flow: doctor-worker"),
        ("queue-consumer", "doctor-step-dead: doctor-worker"),
        ("queue-visibility", "doctor-step: 960 s, above the 900 s of doctor-worker"),
        ("queue-retention", "doctor-flow keeps a message for 14 days"),
        ("dead-letters", "doctor-step: to doctor-step-dead after 1,000 receives"),
        ("recursion", "doctor-worker: RecursiveLoop is Allow"),
        (
            "rights",
            (
                "the policies of doctor-worker, the role of doctor-worker, allow what a worker needs; policies of the "
                "resources themselves are not looked at"
            ),
        ),
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
    no_sending: (
        "scheduler-role",
        (
            "the policies of the role doctor-timers do not let it send to the flow queue and the step queue (policies of the "
            "resources themselves are not looked at)"
        ),
    ),
    no_index: ("table-indexes", "the table doctor has no index active, and runs are found through it"),
    no_right: (
        "rights",
        (
            "the policies of doctor-worker, the role of doctor-worker, do not allow what a worker needs (policies of the "
            "resources themselves are not looked at): s3:PutObject on the objects, scheduler:CreateSchedule on the schedules"
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


@pytest.mark.parametrize(
    ("role_name", "slug", "who", "action", "on", "arns"),
    [
        (
            "doctor-worker",
            "rights",
            "the policies of doctor-worker, the role of doctor-worker,",
            "s3:PutObject",
            ("objects",),
            ["arn:aws:s3:::doctor/*"],
        ),
        (
            "doctor-timers",
            "scheduler-role",
            "the policies of the role doctor-timers",
            "sqs:SendMessage",
            ("flow queue", "step queue"),
            ["arn:aws:sqs:eu-west-1:000000000000:doctor-flow", "arn:aws:sqs:eu-west-1:000000000000:doctor-step"],
        ),
    ],
)
def test_what_a_policy_denies_no_grant_mends(here, account, role_name, slug, who, action, on, arns):
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]}
    here.clients.iam.put_role_policy(RoleName=role_name, PolicyName="deny", PolicyDocument=json.dumps(deny))
    try:
        ((said, seen, mend),) = wrong(account)
    finally:
        here.clients.iam.delete_role_policy(RoleName=role_name, PolicyName="deny")
    denied = ", ".join(f"{action} on the {each}" for each in on)
    assert (said, seen) == (slug, f"{who} deny what is needed, whatever else allows it: {denied}")
    source = f"arn:aws:iam::000000000000:role/{role_name}"
    assert mend == (
        f"aws iam simulate-principal-policy --policy-source-arn {source} --action-names {action} --resource-arns "
        f"{shlex.join(arns)} --query 'EvaluationResults[].MatchedStatements'"
    )
    checked(mend)


# -- what is not there, and what cannot be looked at -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "slug", "seen"),
    [
        ("WDK_AWS_TABLE", "table", "there is no table nothing, which WDK_AWS_TABLE names"),
        ("WDK_AWS_BUCKET", "bucket", "there is no bucket nothing, which WDK_AWS_BUCKET names"),
        ("WDK_AWS_STEP_QUEUE_URL", "queue", "there is no queue {url}/nothing, which WDK_AWS_STEP_QUEUE_URL names"),
        ("WDK_AWS_SCHEDULER_ROLE_ARN", "scheduler-role", "there is no role nothing, with which Scheduler is to send: "),
    ],
)
def test_what_a_setting_names_is_not_there(here, account, monkeypatch, ministack, variable, slug, seen):
    url = f"{ministack}/000000000000"
    place = {
        "WDK_AWS_STEP_QUEUE_URL": f"{url}/nothing",
        "WDK_AWS_SCHEDULER_ROLE_ARN": "arn:aws:iam::000000000000:role/nothing",
    }
    monkeypatch.setenv(variable, place.get(variable, "nothing"))
    found = [one for one in wrong(account) if one[0] == slug]
    ((_, said, mend),) = found
    assert said.startswith(seen.format(url=url))
    assert mend.startswith("aws iam create-role " if slug == "scheduler-role" else "wdk aws create")


def test_a_setting_here_that_is_another_one_in_the_function(here, account, monkeypatch):
    monkeypatch.setenv("WDK_AWS_BUCKET", "nothing")
    assert (
        "settings",
        "WDK_AWS_BUCKET is nothing here and doctor in doctor-worker",
        "export WDK_AWS_BUCKET=doctor",
    ) in wrong(account)


def test_a_table_of_another_version(here, account, monkeypatch):
    here.clients.dynamodb.create_table(
        TableName="older",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("id",)],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    monkeypatch.setenv("WDK_AWS_TABLE", "older")
    found = {slug: (seen, mend) for slug, seen, mend in wrong(account)}
    assert found["table"] == (
        (
            "the table older has the keys id, and this version needs pk and sk: it is of another one; keys cannot be changed, so "
            "a new table is needed"
        ),
        "export WDK_AWS_TABLE=older-2 && wdk aws create",
    )


def test_an_index_of_another_version(here, account, monkeypatch):
    wanted = schema.table("narrow")
    wanted["GlobalSecondaryIndexes"][0]["Projection"]["NonKeyAttributes"] = ["st"]
    here.clients.dynamodb.create_table(**wanted)
    monkeypatch.setenv("WDK_AWS_TABLE", "narrow")
    ((seen, mend),) = [(seen, mend) for slug, seen, mend in wrong(account) if slug == "table-indexes"]
    assert seen == (
        "the index runs of the table narrow is one of another version: it has the keys rs and ra with st, and this one needs "
        "the keys rs and ra with ct, e, st, v, w; delete it, then create it (wdk doctor says how)"
    )
    typed(mend, client)
    ((seen, mend),) = [(seen, mend) for slug, seen, mend in wrong(account) if slug == "table-indexes"]
    assert seen == "the table narrow has no index runs, and runs are found through it"
    typed(mend, client)
    assert [seen for slug, seen, _ in wrong(account) if slug == "table-indexes"] == []


def test_a_queue_that_nobody_consumes(here, account):
    functions, arn = here.clients.functions, here.arn(here.settings.flow_queue_url)
    (one,) = functions.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    functions.delete_event_source_mapping(UUID=one["UUID"])
    assert wrong(account, "doctor-worker") == [
        (
            "queue-consumer",
            "nobody consumes doctor-flow: no event source mapping leads from it to a function (wdk aws serve is none)",
            (
                f"aws lambda create-event-source-mapping --function-name doctor-worker --event-source-arn {arn} --batch-size 1 "
                "--function-response-types ReportBatchItemFailures --scaling-config MaximumConcurrency=25"
            ),
        )
    ]
    typed(wrong(account, "doctor-worker")[0][2], client)
    (one,) = functions.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=one["UUID"], ScalingConfig={"MaximumConcurrency": 2})
    assert wrong(account) == []


def test_a_queue_without_one_for_its_dead_letters(here, account, monkeypatch):
    sqs = here.clients.sqs
    url = sqs.create_queue(QueueName="alone", Attributes={"VisibilityTimeout": "960"})["QueueUrl"]
    monkeypatch.setenv("WDK_AWS_STEP_QUEUE_URL", url.replace("localhost", "127.0.0.1"))
    found = {slug: (seen, mend) for slug, seen, mend in wrong(account)}
    assert (
        found["dead-letters"][0] == "alone has no dead-letter queue alone-dead: what cannot be delivered would be lost"
    )
    typed(found["dead-letters"][1], client)
    found = {slug: (seen, mend) for slug, seen, mend in wrong(account)}
    assert found["dead-letters"][0] == "dead letters of alone go nowhere, and not to alone-dead"


def test_a_function_that_is_not_there(account, here):
    assert wrong(account, "nobody")[0] == (
        "function",
        "there is no function nobody in this account and region",
        'aws lambda list-functions --query "Functions[].FunctionName"',
    )


def test_nothing_is_set(account):
    ((slug, seen, mend),) = wrong(account)
    assert (
        slug == "settings" and seen.startswith("none of WDK_AWS_TABLE, ") and seen.endswith(" and no function is named")
    )
    assert mend.startswith("export WDK_FUNCTION=$(aws cloudformation describe-stacks --stack-name wdk-app ")


def test_a_function_alone_says_where_all_the_rest_is(deployed, account):
    assert wrong(account, "doctor-worker") == []
    slugs = [one.slug for one in rounds.Round(account, ["doctor-worker"]).all()]
    assert {"table", "bucket", "queue-consumer", "scheduler-role", "recursion", "rights"} <= set(slugs)


# -- what a function says ----------------------------------------------------------------------------------------------


def test_what_a_function_says_of_itself_is_said_with_the_name_of_its_role(here, account):
    one = {
        "slug": "rights",
        "well": False,
        "seen": "lacks",
        "mend": "aws iam put-role-policy --role-name ROLE --policy-name a --policy-document b",
    }
    here.change("doctor-worker", WDK_TEST_ANSWER=json.dumps({"findings": [one]}))
    try:
        mend = "aws iam put-role-policy --role-name doctor-worker --policy-name a --policy-document b"
        assert wrong(account) == [("rights", "lacks", mend)]
    finally:
        here.change("doctor-worker")


def test_code_that_does_not_know_the_event_is_of_another_version(here, account):
    here.change("doctor-worker", WDK_TEST_ERROR="this event is not understood", PYTHONHASHSEED="", WDK_AWS_TEMPLATE="")
    try:
        found = wrong(account)
    finally:
        here.change("doctor-worker")
    assert [(slug, seen) for slug, seen, _ in found] == [
        ("versions", "doctor-worker does not know this event: its code is older than this wdk, or none of ours"),
        (
            "hash-seed",
            "doctor-worker: PYTHONHASHSEED is not set, and a workflow body that iterates a set of strings may diverge",
        ),
        ("versions", "doctor-worker does not say which template made it: WDK_AWS_TEMPLATE is not set there"),
    ]
    assert "jq '.Variables.PYTHONHASHSEED=\"0\"'" in found[1][2]


def test_a_function_that_fails_is_said_with_its_error(here, account):
    here.change("doctor-worker", WDK_TEST_ERROR="WDK_RETENTION is bad")
    try:
        ((slug, seen, mend),) = wrong(account)
        assert (slug, mend) == ("function", "aws logs filter-log-events --log-group-name /aws/lambda/doctor-worker")
        assert seen.startswith("doctor-worker fails when it is invoked: ") and seen.endswith(": WDK_RETENTION is bad")
    finally:
        here.change("doctor-worker")


def test_functions_of_one_deployment_have_one_code():
    documents = {"worker": {"code_version": "2.b"}, "receiver": {"code_version": "1.a"}}
    (found,) = functions.one_code(documents)
    assert (found.slug, found.seen) == (
        "versions",
        "the functions have different code: worker has 2.b, receiver has 1.a",
    )
    assert functions.one_code({"worker": {"code_version": "1.a"}, "receiver": {"code_version": "1.a"}}) == []


def test_an_account_that_cannot_be_asked(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(clients, "ATTEMPTS", 1)
    (found,) = rounds.make(())
    assert (found.slug, found.mend) == ("account", "aws sts get-caller-identity")
    assert found.seen.startswith("AWS did not answer, tried for the account: Could not connect")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    (found,) = rounds.make(())
    assert found.seen.startswith("AWS cannot be asked: You must specify a region")


# -- rights ------------------------------------------------------------------------------------------------------------

OTHER_NAMES = {
    "lambda:Invoke": "lambda:InvokeFunction",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
}
"""Requests whose actions have other names: Service Authorization Reference."""

FREE = {"sts:GetCallerIdentity"}
"""Nobody needs a right for it."""


def test_a_checkup_asks_for_its_rights_and_nothing_else_and_only_looks(here):
    session, asked = Session(), set()

    def add(model, **_):
        name = f"{model.service_model.signing_name}:{model.name}"
        asked.add(OTHER_NAMES.get(name, name))

    session.events.register("before-call", add)
    account = Account(session)
    try:
        account.examine()
        assert wrong(account) == []
    finally:
        account.close()
    assert asked - FREE == {use.action for use in DOCTOR}
    names = {action.partition(":")[2] for action in asked} - {"InvokeFunction"}
    assert all(name.startswith(("Describe", "Get", "List", "Simulate")) for name in names)


def test_what_is_forbidden_to_look_at_is_said_with_the_policy_that_allows_it(here):
    session = Session()

    def refuse(http_response, parsed, **_):
        http_response.status_code = 403
        parsed["Error"] = {"Code": "AccessDeniedException", "Message": "no"}

    session.events.register("after-call.dynamodb.DescribeTable", refuse)
    account = Account(session)
    try:
        assert wrong(account) == [
            (
                "table",
                "it is forbidden to look (DescribeTable for WDK_AWS_TABLE: AccessDeniedException)",
                "wdk iam print doctor > doctor.json",
            )
        ]
    finally:
        account.close()


# -- inside a function -------------------------------------------------------------------------------------------------


def invoked(settings, role, allowed_uses, monkeypatch, apps=None):
    """What an instance of the function answers that may do no more than that."""
    monkeypatch.setenv("WDK_ROLE", role)
    session = Session()
    actions = Actions(settings, allowed_uses)
    actions.attach(session)
    found = Clients(session)

    async def main():
        world = AwsWorld(settings, clients=found)
        instance = Instance(apps, Parts(lambda: world, Silent))
        try:
            return await instance.handle({"doctor": True}, Context(900.0))
        finally:
            instance.close()
            await world.close()

    return asyncio.run(main())


def everything_in(found):
    """What lies in the account's table, bucket and queues."""
    made = found.clients
    urls = (found.settings.flow_queue_url, found.settings.step_queue_url)
    counts = [made.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"] for url in urls]
    return (
        made.dynamodb.scan(TableName="doctor")["Items"],
        made.s3.list_objects_v2(Bucket="doctor").get("Contents", []),
        [{name: value for name, value in one.items() if name.startswith("Approximate")} for one in counts],
        made.scheduler.list_schedules(GroupName="doctor")["Schedules"],
    )


@pytest.mark.parametrize("role", ["all", "worker", "receiver"])
def test_a_function_with_its_rights_finds_itself_well_and_leaves_nothing_behind(here, monkeypatch, role):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "doctor-worker")
    monkeypatch.setenv(TEMPLATE, version("wdk-cloud"))
    before = everything_in(here)
    found = invoked(here.settings, role, policies.uses("worker" if role == "all" else role), monkeypatch, [Workflows()])
    assert [one for one in found["findings"] if not one["well"]] == []
    assert (found["healthy"], found["function"], found["role"]) == (True, "doctor-worker", role)
    slugs = [one["slug"] for one in found["findings"]]
    assert slugs == ["versions", "function-settings", "rights", *(["hash-seed", "app"] if role != "receiver" else [])]
    assert everything_in(here) == before == ([], [], before[2], [])


@pytest.mark.parametrize("role", ["worker", "receiver"])
def test_each_right_that_is_tried_is_missed_when_it_is_not_there(here, monkeypatch, role):
    needed = policies.uses(role)
    session = Session()
    Actions(here.settings, frozenset()).attach(session)
    found = Clients(session)
    try:
        refused, tried = trying.refused(role, here.settings, found)
    finally:
        found.close()
    assert set(refused) == set(tried)
    untried = {use for use in needed if use.on != "key"} - set(tried)
    assert {use.action for use in untried} <= {
        "sqs:SendMessage",
        "sqs:ReceiveMessage",
        "scheduler:CreateSchedule",
        "iam:PassRole",
    }


def test_a_function_says_what_is_wrong_with_it(here, monkeypatch):
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "doctor-worker")
    monkeypatch.setenv(TEMPLATE, "0.0.1")
    monkeypatch.setenv("WDK_APP", "nowhere:app")
    monkeypatch.setattr(inside, "hash_seed_is_fixed", lambda: False)
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    lacking = Use("dynamodb:PutItem", "table")
    settings = replace(here.settings, scheduler_group="")
    found = invoked(settings, "worker", policies.uses("worker") - {lacking}, monkeypatch)
    said = {one["slug"]: one for one in found["findings"]}
    assert found["healthy"] is False and [one["well"] for one in found["findings"]] == [False] * 5
    assert said["versions"]["seen"].endswith(
        "template of 0.0.1, Python "
        + platform.python_version()
        + ": the code and the template are of different versions"
    )
    assert said["function-settings"]["seen"] == "doctor-worker has no WDK_AWS_SCHEDULER_GROUP, and a worker needs it"
    assert said["rights"]["seen"] == "doctor-worker may not do what a worker needs: dynamodb:PutItem on the table"
    assert "dynamodb:PutItem" in said["rights"]["mend"] and "--role-name ROLE " in said["rights"]["mend"]
    assert said["hash-seed"]["seen"].startswith("doctor-worker: PYTHONHASHSEED is not set, and a workflow body")
    assert said["app"]["seen"].startswith("nowhere:app: there is no module 'nowhere'")
    for one in found["findings"]:
        checked(one["mend"])
