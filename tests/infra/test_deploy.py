"""`wdk deploy aws`, with the `sam` of this checkout, into ministack: what it shows, refuses, does and leaves behind."""

import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
import pytest
import yaml

from tests.components import COMPONENTS
from tests.infra.conftest import REGION
from tests.unit.test_cli import complaint, wdk
from wdk_aws.deploying import changesets, losses, samconfig
from wdk_aws.deploying.changes import Change
from wdk_aws.deploying.samconfig import Stage
from wdk_aws.packaging import marking
from wdk_cloud.cli.console import CommandError, UsageError

KEY = "arn:aws:kms:eu-west-1:000000000000:key/11111111-2222-3333-4444-555555555555"

SMALL = {
    "Parameters": {"KmsKeyArn": {"Type": "String", "Default": ""}},
    "Resources": {
        "Table": {
            "Type": "AWS::DynamoDB::Table",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
            },
        },
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "FlowQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Fn::Sub": "${AWS::StackName}-flow"}}},
        "StepQueue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": {"Fn::Sub": "${AWS::StackName}-step"}}},
        "Logs": {
            "Type": "AWS::Logs::LogGroup",
            "Properties": {"Tags": [{"Key": "key", "Value": {"Ref": "KmsKeyArn"}}]},
        },
    },
    "Outputs": {
        "TableName": {"Value": {"Ref": "Table"}},
        "FlowQueueUrl": {"Value": {"Ref": "FlowQueue"}},
        "StepQueueUrl": {"Value": {"Ref": "StepQueue"}},
        "BucketName": {"Value": {"Ref": "Bucket"}},
    },
}
"""A template of somebody's own, and all that holds data; `sam` is quicker with it than with the packaged one."""

ROOT = Path(__file__).parents[2]

DEPLOY = ("deploy", "aws", "--no-build")

pytestmark = pytest.mark.timeout(180)  # sam alone takes two seconds a time, and ten where others work, too


@pytest.fixture
def account(ministack, tmp_path, monkeypatch):
    """A project's folder with what a build has left there, and the client of an account in which it can be deployed."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sam").symlink_to(COMPONENTS / "sam/bin/sam")
    for name in [name for name in os.environ if name.startswith(("AWS_", "WDK_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": ministack,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.1",
    }.items():
        monkeypatch.setenv(name, value)
    project = tmp_path / "project"
    (project / "build/aws").mkdir(parents=True)
    monkeypatch.chdir(project)
    with zipfile.ZipFile("build/aws/function.zip", "w") as built:
        built.writestr("wdk_build.json", json.dumps({"architecture": "arm64", "python": "3.13"}))
    return boto3.client("cloudformation")


def written(template):
    Path("build/aws/template.yaml").write_text(json.dumps(template))


def changed(without=(), **properties):
    """The small template without some resources, or with other properties of some."""
    template = json.loads(json.dumps(SMALL))
    for name in without:
        del template["Resources"][name]
        template["Outputs"] = {
            key: value for key, value in template["Outputs"].items() if value["Value"]["Ref"] != name
        }
    for name, changes in properties.items():
        template["Resources"][name].setdefault("Properties", {}).update(changes)
    return template


def state(client, stack):
    """All that a deployment could have changed, or left behind."""
    try:
        (said,) = client.describe_stacks(StackName=stack)["Stacks"]
    except client.exceptions.ClientError:
        return None
    sets = client.list_change_sets(StackName=stack)["Summaries"]
    resources = client.list_stack_resources(StackName=stack)["StackResourceSummaries"]
    return (
        said["StackId"],
        said["StackStatus"],
        said.get("LastUpdatedTime"),
        sorted((each["LogicalResourceId"], each["PhysicalResourceId"]) for each in resources),
        [each["ChangeSetName"] for each in sets if each.get("ExecutionStatus") != "EXECUTE_COMPLETE"],
    )


@pytest.fixture
def deployed(account):
    """A stack that stands, with a key; `sam`, which takes its seconds, has no part in that."""
    parameters = [{"ParameterKey": "KmsKeyArn", "ParameterValue": KEY}]
    account.create_stack(StackName="stands", TemplateBody=json.dumps(SMALL), Parameters=parameters)
    account.get_waiter("stack_create_complete").wait(StackName="stands", WaiterConfig={"Delay": 0.1})
    yield account
    account.delete_stack(StackName="stands")


def refused(client, stack, *words, code=2):
    before = state(client, stack)
    said = complaint(*DEPLOY, "--stack", stack, *words, code=code)
    assert state(client, stack) == before
    return said


def test_a_first_deployment_shows_what_comes_and_tells_what_a_client_needs(account):
    Path("build/aws/template.yaml").write_text(marking.marked(yaml.safe_dump(SMALL)))
    asked = wdk(*DEPLOY, "--stack", "first", "--dry-run").stdout
    assert "stack first, which is new: 5 to add" in asked and "nothing was changed" in asked
    assert state(account, "first") is None
    assert "nobody can be asked here; add --yes" in refused(account, "first")
    said = wdk(*DEPLOY, "--stack", "first", "--yes")
    assert [line.split()[1] for line in said.stdout.splitlines() if line.startswith("add ")] == sorted(
        SMALL["Resources"]
    )
    (stack,) = account.describe_stacks(StackName="first")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    told = dict(line.removeprefix("export ").split("=", 1) for line in said.stdout.splitlines() if "export " in line)
    assert told == {
        "WDK_WORLD": "aws",
        "AWS_DEFAULT_REGION": REGION,
        "WDK_AWS_TABLE": outputs["TableName"],
        "WDK_AWS_FLOW_QUEUE_URL": outputs["FlowQueueUrl"],
        "WDK_AWS_STEP_QUEUE_URL": outputs["StepQueueUrl"],
        "WDK_AWS_BUCKET": outputs["BucketName"],
    }
    uploaded = account.get_template(StackName="first", TemplateStage="Original")["TemplateBody"]
    assert marking.is_edited(uploaded) is False  # `sam` has written it anew, and `wdk doctor` reads it
    assert sorted(said.stderr.splitlines()) == sorted(f"created  {name}" for name in SMALL["Resources"])
    before = state(account, "first")
    assert wdk(*DEPLOY, "--stack", "first", "--yes").stdout.startswith("the stack first is up to date\n")
    assert state(account, "first") == before  # not even the empty change set


def test_a_profile_that_is_not_there_is_said_with_who_names_it(account, monkeypatch):
    written(SMALL)
    config = Path("samconfig.toml")
    config.write_text('[default.deploy.parameters]\nstack_name = "shop"\nprofile = "work"\n')
    assert "profile (work) could not be found; " + f"{config.absolute()} names it" in complaint(
        *DEPLOY, "--yes", code=2
    )
    config.unlink()
    monkeypatch.setenv("AWS_PROFILE", "gone")
    said = complaint(*DEPLOY, "--stack", "shop", "--yes", code=2)
    assert (
        "nothing was deployed or changed: " in said
        and "profile (gone) could not be found; AWS_PROFILE names it" in said
    )


def test_what_takes_data_away_is_refused_by_name_until_it_is_meant(deployed):
    queue = boto3.client("sqs").get_queue_url(QueueName="stands-flow")["QueueUrl"]
    boto3.client("sqs").send_message(QueueUrl=queue, MessageBody="wake", DelaySeconds=900)
    renamed = {
        "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
    }
    written(changed(["Bucket", "StepQueue", "Logs"], Table=renamed, FlowQueue={"QueueName": "another-flow"}))
    said = refused(deployed, "stands", "--yes")
    table = boto3.client("dynamodb").list_tables()["TableNames"]
    (name,) = [name for name in table if name.startswith("stands-Table")]
    assert f"Table (AWS::DynamoDB::Table, {name}) may be replaced (KeySchema): the runs " in said
    assert "Bucket (AWS::S3::Bucket, stands-bucket" in said and "is removed: large values and streams" in said
    assert "/stands-flow) is replaced by an empty one (QueueName): 1 messages that wait" in said
    assert "StepQueue" not in said.partition("data would go")[2] and "Logs" not in said.partition("data would go")[2]
    wdk(*DEPLOY, "--stack", "stands", "--yes", "--delete-data")
    left = {
        each["LogicalResourceId"]
        for each in deployed.list_stack_resources(StackName="stands")["StackResourceSummaries"]
    }
    assert left == {"Table", "FlowQueue"}


def test_an_empty_queue_goes_and_what_is_not_named_keeps_its_value_but_another_key_is_refused(deployed):
    written(changed(["StepQueue"], FlowQueue={"VisibilityTimeout": 60}))
    said = refused(deployed, "stands", "--dry-run", "--parameter", "KmsKeyArn=")
    assert f"KmsKeyArn was {KEY} and is left out: payloads of the runs that are there cannot be opened any more" in said
    told = wdk(*DEPLOY, "--stack", "stands", "--yes").stdout
    (row,) = [line.split() for line in told.splitlines() if " FlowQueue " in line]
    assert row[:3] == ["modify", "FlowQueue", "AWS::SQS::Queue"] and "VisibilityTimeout" in row
    assert [line.split()[1] for line in told.splitlines() if line.startswith("remove ")] == ["StepQueue"]
    assert "what a client needs is not told: the template has no output StepQueueUrl" in told
    (stack,) = deployed.describe_stacks(StackName="stands")["Stacks"]
    assert stack["Parameters"] == [{"ParameterKey": "KmsKeyArn", "ParameterValue": KEY}]


def test_what_stays_in_the_account_is_said_to_be_lost_to_the_app_all_the_same():
    key = Change("Key", "AWS::KMS::Key", "1234", "remove", (), (), stays=True)
    other = Change("Role", "AWS::IAM::Role", "role", "remove", (), (), stays=False)
    (line,) = losses.found([key, other], None, [], boto3.Session())
    assert line == (
        "Key (AWS::KMS::Key, 1234) is removed: the key without which no payload can be read; it stays in the account, "
        "and the app does not find it any more"
    )


@pytest.mark.parametrize(
    ("was", "becomes", "days"),
    [("365", "30", 60), ("90", "60", 120), ("30", "7", None), ("30", "90", None), ("x", "7", None)],
)
def test_a_retention_for_which_objects_of_live_runs_are_too_old_is_refused(was, becomes, days):
    before, after = ([{"ParameterKey": "RetentionDays", "ParameterValue": value}] for value in (was, becomes))
    lines = losses.found([], {"Parameters": before}, after, boto3.Session())
    said = f"RetentionDays was {was} and becomes {becomes}: large values and streams that are older than {days} days go"
    assert lines == ([f"{said}, those of runs that live among them"] if days else [])


def say_no(terminal, _asked):
    os.write(terminal, b"n\n")


def press_ctrl_c(_terminal, asked):
    asked.send_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("answer", "code", "said"), [(say_no, 1, "error: nothing was changed"), (press_ctrl_c, 130, "Aborted")]
)
def test_who_says_no_leaves_nothing_behind(account, answer, code, said):
    """In a terminal, with a stack that is new."""
    written(SMALL)
    command = [str(Path(sys.executable).with_name("wdk")), *DEPLOY, "--stack", "declined"]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as asked:
        os.close(theirs)
        question = ""
        while not question.endswith("[y/N]:") and (letter := asked.stderr.read(1)):
            question += letter
        answer(ours, asked)
        out, err = asked.communicate(timeout=50)
    os.close(ours)
    assert asked.returncode == code, err
    assert "5 to add" in out
    assert question.endswith("Deploy this as the stack declined in eu-west-1? [y/N]:") and said in err
    assert state(account, "declined") is None


def test_what_fails_is_said_with_the_reason_of_each_resource(account):
    template = changed()
    template["Resources"]["Handle"] = {"Type": "AWS::CloudFormation::WaitConditionHandle"}
    waits = {"Handle": {"Ref": "Handle"}, "Timeout": "1"}  # and nobody signals
    template["Resources"]["Signal"] = {"Type": "AWS::CloudFormation::WaitCondition", "Properties": waits}
    written(template)
    said = complaint(*DEPLOY, "--stack", "fails", "--yes", code=1)
    assert "error: the stack fails was not deployed, and what was done is taken back" in said
    assert "ROLLBACK_COMPLETE Signal (AWS::CloudFormation::WaitCondition): " in said
    again = refused(account, "fails", "--yes")
    assert "ROLLBACK_COMPLETE" in again and "aws cloudformation delete-stack --stack-name fails" in again


def test_a_template_that_cloudformation_refuses_leaves_nothing_behind(account):
    template = changed()
    template["Parameters"]["Needed"] = {"Type": "String"}
    written(template)
    said = refused(account, "bad", "--yes", code=1)
    assert "sam has made no change set for the stack bad" in said and "Needed" in said


def test_a_change_set_that_another_deployment_has_overtaken_is_not_carried_out(account):
    made = {"StackName": "raced", "ChangeSetType": "CREATE", "TemplateBody": json.dumps(SMALL)}
    first, second = (account.create_change_set(ChangeSetName=name, **made)["Id"] for name in ("one", "two"))
    account.execute_change_set(ChangeSetName=first)
    account.get_waiter("stack_create_complete").wait(StackName="raced", WaiterConfig={"Delay": 1})
    account.delete_change_set(ChangeSetName=second)  # as CloudFormation does, when it carries one out
    with pytest.raises(CommandError, match=r"another deployment was quicker\. Nothing was done; deploy again"):
        changesets.begin(account, second, "raced")


def test_the_command_of_the_page_builds_and_deploys_the_whole_template(account):
    """docs/aws.md, in a project with the signup example."""
    shutil.copy(ROOT / "examples/signup/workflows.py", "workflows.py")
    (command,) = re.findall(r"^\$ (wdk deploy aws .*)$", (ROOT / "docs/aws.md").read_text(), re.MULTILINE)
    name, *words = shlex.split(command)
    assert name == "wdk"
    program = Path(sys.executable).with_name(name)
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^stack wdk-app, which is new: \d+ to add$", done.stdout, re.MULTILINE)
    (stack,) = account.describe_stacks(StackName="wdk-app")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    assert f"webhooks  {outputs['WebhookUrl']}\napi       {outputs['ApiUrl']}\n" in done.stdout
    assert f"export WDK_AWS_TABLE={outputs['TableName']}\n" in done.stdout
    chosen = {each["ParameterKey"]: each["ParameterValue"] for each in stack["Parameters"]}
    assert (chosen["Architecture"], chosen["PythonVersion"]) == ("arm64", "{}.{}".format(*sys.version_info))
    assert chosen["Alarms"] == "no"
    account.delete_stack(StackName="wdk-app")


# --- samconfig.toml ---------------------------------------------------------------------------------------------------

CONFIG = """
version = 0.1

[default.global.parameters]
stack_name = "shop"
region = "eu-west-1"

[default.deploy.parameters]
capabilities = "CAPABILITY_IAM"
s3_bucket = "builds"
parameter_overrides = "Stage=prod Note='two words' ParameterKey=SubnetIds,ParameterValue=a,b"

[staging.deploy.parameters]
stack_name = "shop-staging"
profile = "work"
parameter_overrides = ["Stage=staging", "Alarms=no"]
"""


def test_the_stage_of_samconfig_is_what_sam_takes_it_for(tmp_path):
    file = tmp_path / "samconfig.toml"
    file.write_text(CONFIG)
    parameters = {"Stage": "prod", "Note": "two words", "SubnetIds": "a,b"}
    assert samconfig.read(file, "default", None) == Stage(
        "default", "shop", parameters, "eu-west-1", None, "builds", True
    )
    parameters = {"Stage": "staging", "Alarms": "no"}
    assert samconfig.read(file, "staging", None) == Stage("staging", "shop-staging", parameters, None, "work")
    assert samconfig.read(file, "staging", "another").stack == "another"
    assert samconfig.read(tmp_path / "none", "default", "alone") == Stage("default", "alone")


@pytest.mark.parametrize(
    ("text", "stage", "reason"),
    [
        (CONFIG, "test", r"there is no stage 'test' in .*; there are: default, staging"),
        ("[default.deploy.parameters]", "default", "names no stack_name for the stage 'default'"),
        ("[default", "default", "cannot be read"),
        (CONFIG.replace("Stage=prod", "Stage prod"), "default", "'Stage' is no parameter; write NAME=VALUE"),
        (CONFIG.replace("words'", "words"), "default", "are no parameters: No closing quotation; write NAME=VALUE"),
        (
            CONFIG.replace('["Stage=staging", "Alarms=no"]', "5"),
            "staging",
            ": 5 are no parameters; write text or a list",
        ),
        ("default = 3", "default", r"there is no stage 'default' in .*; there are: none"),
        ("version = 0.1", "version", r"there is no stage 'version' in .*; there are: none"),
        ("[default]\ndeploy = 1", "default", r"samconfig\.toml: default\.deploy is 1, and has to be a table"),
        (None, "default", r"which stack\? There is no .*samconfig\.toml: name the stack with --stack"),
        (None, "staging", "--stage staging is one of .*, and there is no such file"),
    ],
)
def test_a_samconfig_that_does_not_say_enough_is_refused(tmp_path, text, stage, reason):
    file = tmp_path / "samconfig.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UsageError, match=reason):
        samconfig.read(file, stage, None)


def test_a_folder_without_a_build_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = complaint(*DEPLOY, "--stack", "shop", "--yes", code=2)
    assert "build/aws/function.zip is nothing that `wdk build aws` has made" in said
    assert "deploy without --no-build" in said
    for content in ({}, {"python": "3.13"}, []):  # as of a build for another cloud
        Path("build/aws").mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile("build/aws/function.zip", "w") as built:
            built.writestr("wdk_build.json", json.dumps(content))
        assert "function.zip is nothing that `wdk build aws` has made" in complaint(
            *DEPLOY, "--stack", "shop", "--yes", code=2
        )
