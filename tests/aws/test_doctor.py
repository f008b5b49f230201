"""`wdk doctor` on AWS: an account in ministack that is as the template makes it, one thing wrong in it at a time."""

import asyncio
import json
import os
import platform
import shlex
from dataclasses import replace
from importlib.metadata import version

import boto3
import pytest
from boto3.session import Session
from typer.testing import CliRunner

from tests.aws.broken import CASES
from tests.aws.examined import BUILT, REGION, deployment, vars_of
from tests.infra.commands import checked, typed
from wdk_aws import clients, inside, policies, schema, trying
from wdk_aws.checkup import functions, rounds
from wdk_aws.checkup.account import Account
from wdk_aws.clients import Clients
from wdk_aws.mapping import Context
from wdk_aws.rights import DOCTOR, Use
from wdk_aws.serving import Instance, Parts
from wdk_aws.settings import TEMPLATE, VARIABLES
from wdk_aws.testing.actions import Actions
from wdk_aws.world import AwsWorld
from wdk_cloud import Workflows
from wdk_cloud.cli.program import program
from wdk_cloud.telemetry import Silent


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


@pytest.fixture(scope="module")
def deployed(ministack):
    """Made once; each test puts right what it has made wrong."""
    return deployment(ministack)


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
        ("template", "the template of the stack doctor is as wdk build has made it"),
        ("app", "1 workflow"),
    } <= found


# -- one thing wrong, and what its command does about it ---------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ({"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "AWS_IAM"}, True),
        ({"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}, False),
        ({"Action": "lambda:InvokeFunction", "Principal": "*", "PrincipalOrgID": "o-0123456789"}, False),
        ({"Action": "lambda:InvokeFunction", "Principal": "*", "SourceAccount": "000000000000"}, False),
        ({"Action": "lambda:InvokeFunction", "Principal": "scheduler.amazonaws.com"}, False),
        ({"Action": "lambda:InvokeFunction", "Principal": "000000000000"}, False),
    ],
)
def test_who_may_invoke_a_worker(here, account, statement, found):
    """Only what is for every account, and lets in more than requests of nobody."""
    functions = here.clients.functions
    functions.add_permission(FunctionName=here.worker, StatementId="one", **statement)
    try:
        mend = "aws lambda remove-permission --function-name doctor-worker --statement-id one"
        assert [mend for _, _, mend in wrong(account)] == [mend] * found
    finally:
        functions.remove_permission(FunctionName=here.worker, StatementId="one")


def test_a_template_that_was_edited_in_the_console(here, account):
    cloudformation = here.clients.cloudformation

    def deployed_as(template):
        cloudformation.update_stack(StackName="doctor", TemplateBody=template)
        cloudformation.get_waiter("stack_update_complete").wait(StackName="doctor", WaiterConfig={"Delay": 0.1})

    deployed_as(BUILT.replace("1209600", "60"))
    try:
        assert wrong(account) == [
            (
                "template",
                (
                    "the template of the stack doctor was edited since wdk build made it, in the console perhaps: the next "
                    "deployment undoes that; make the change in the project's own template.yaml"
                ),
                "wdk deploy aws --stack doctor --dry-run",
            )
        ]
        deployed_as("Resources: { Nothing: { Type: AWS::SQS::Queue } }")  # somebody's own, which no build has marked
        assert "template" not in {one.slug for one in rounds.Round(account, ()).all()}
    finally:
        deployed_as(BUILT)
    assert wrong(account) == []


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
