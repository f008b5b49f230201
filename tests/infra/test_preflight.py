"""What a deployment says before it does anything, and that it has done nothing: against ministack."""

import os
import sys

import boto3
import pytest

from tests.infra.commands import checked
from tests.infra.conftest import TEMPLATE
from tests.unit.test_cli import wdk
from wdk_aws.deploying import names, preflight, stacks
from wdk_aws.deploying.preflight import Plan
from wdk_aws.packaging import sealing
from wdk_cloud.errors import WorldConfigurationError

REGION = "eu-west-1"

LOOKS = ("Describe", "Get", "Head", "List")
"""The beginnings of the names of operations that change nothing."""

QUEUE = """
Parameters:
  Stage: { Type: String, Default: prod, AllowedPattern: "[a-z]+" }
  Memory: { Type: Number, Default: 512, MinValue: 256, MaxValue: 1024 }
  Size: { Type: String, AllowedValues: [small, large], Default: small }
Resources:
  Queue:
    Type: AWS::SQS::Queue
    Properties: { QueueName: !Sub "${AWS::StackName}-${Stage}" }
"""

BROKEN = """
  Late:
    Type: AWS::S3::Bucket
    DependsOn: Queue
    Properties:
      NotificationConfiguration:
        QueueConfigurations: [{ Event: "s3:ObjectCreated:*", Queue: "arn:aws:sqs:eu-west-1:000000000000:none" }]
"""


@pytest.fixture(autouse=True)
def account(ministack, monkeypatch, tmp_path):
    """A session of an account, and what it was asked for since; everything in it that is made here is removed."""
    for name in ("AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", ministack)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    tool = tmp_path / "bin" / "sam"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)


class Asked:
    def __init__(self, change=None):
        self.session = boto3.Session()
        self.operations = []
        self.session.events.register("before-call", lambda model, **_: self.operations.append(model.name))
        if change is not None:
            self.session.events.register("after-call.cloudformation.DescribeStacks", change)


def found(plan, change=None):
    """The findings of a deployment that is not done: each as slug, text and command."""
    asked = Asked(change)
    findings = preflight.examine(plan, asked.session)
    assert [name for name in asked.operations if not name.startswith(LOOKS)] == []
    for finding in findings:
        checked(finding.mend)
    return [(finding.slug, finding.seen, finding.mend) for finding in findings]


@pytest.fixture
def template(tmp_path):
    def write(text):
        path = tmp_path / "template.yaml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def stack():
    """Makes a stack in ministack that is removed at the end of the test."""
    client = boto3.client("cloudformation")
    made = []

    def make(name, text, expected="CREATE_COMPLETE"):
        made.append(name)
        client.create_stack(StackName=name, TemplateBody=text)
        while (status := client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]).endswith("IN_PROGRESS"):
            pass
        assert status == expected

    yield make
    for name in made:
        client.delete_stack(StackName=name)


# --- on this machine --------------------------------------------------------------------------------------------------


def test_a_new_stack_of_our_template_is_fine():
    assert found(Plan("wdk-app", TEMPLATE)) == []
    assert found(Plan("wdk-app", TEMPLATE, {"Stage": "staging", "WorkerMemory": "2048"})) == []


@pytest.mark.parametrize(
    ("stack", "seen", "shorter"),
    [
        ("1-app", "the stack's name '1-app' is not made of what a stack takes: letters, digits and hyphens, a letter first", "app"),
        ("wdk_app", "the stack's name 'wdk_app' is not made of what a stack takes: letters, digits and hyphens, a letter first", "wdk-app"),
        ("a" * 129, f"the stack's name '{'a' * 129}' has 129 characters, and a stack takes at most 128", "a" * 128),
    ],
)  # fmt: skip
def test_a_name_that_no_stack_can_have(stack, seen, shorter):
    assert found(Plan(stack, TEMPLATE)) == [("stack-name", seen, f"wdk deploy aws --stack {shorter}")]


def test_names_that_the_template_makes_of_that_of_the_stack():
    assert found(Plan("a" * 57, TEMPLATE)) == []
    (only,) = found(Plan("a" * 58, TEMPLATE))
    assert only == (
        "name",
        f"Name of TimerGroup will be '{'a' * 58}-timers', which has 65 characters, and a schedule group takes at most 64",
        f"wdk deploy aws --stack {'a' * 57}",
    )
    assert [slug for slug, _, _ in found(Plan("a" * 71, TEMPLATE))] == ["name"] * 5


def test_the_name_that_a_bucket_gets_of_the_stack(template):
    seen = (
        "the name of Bucket will begin with that of the stack, 'Sthree-app', and S3 keeps those that begin with sthree- for "
        "itself (InvalidBucketName: The specified bucket is not valid)"
    )
    assert found(Plan("Sthree-app", TEMPLATE)) == [("stack-name", seen, "wdk deploy aws --stack my-Sthree-app")]
    path = template("Resources: { Store: { Type: AWS::S3::Bucket, Properties: { BucketName: my-own } } }")
    assert found(Plan("sthree-app", path)) == []


def test_a_name_that_stands_in_the_template(template):
    path = template(
        """
Resources:
  Worker: { Type: AWS::Serverless::Function, Properties: { FunctionName: !Sub "${AWS::StackName}-${Stage}-%s" } }
  Store: { Type: AWS::S3::Bucket, Properties: { BucketName: Wdk_App } }
Parameters: { Stage: { Type: String, Default: prod } }
"""
        % ("w" * 60)
    )
    assert found(Plan("app", path)) == [
        (
            "name",
            f"FunctionName of Worker will be 'app-prod-{'w' * 60}', which has 69 characters, and a function takes at most 64",
            f"${{EDITOR:-vi}} {path}",
        ),
        (
            "name",
            f"BucketName of Store will be 'Wdk_App', which is not made of what a bucket takes: {names.BUCKET.letters}",
            f"${{EDITOR:-vi}} {path}",
        ),
    ]


@pytest.mark.parametrize(
    "name", ["ab", "a" * 64, "-ab", "ab-", "a..b", "192.168.5.4", "xn--abc", "abc-s3alias", "aBc", "a_b"]
)
def test_buckets_have_other_names(name):
    assert names.BUCKET.broken_by(name) is not None


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c", "1ab", "192.168.5.4.5"])
def test_buckets_have_such_names(name):
    assert names.BUCKET.broken_by(name) is None


@pytest.mark.parametrize(
    ("given", "seen", "mend"),
    [
        ({"Stage": "Prod"}, "Stage='Prod' does not match [a-z]+", "--parameter Stage=prod"),
        ({"Memory": "128"}, "Memory='128' is not between 256 and 1024", "--parameter Memory=512"),
        ({"Memory": "much"}, "Memory='much' is no number", "--parameter Memory=512"),
        ({"Size": "huge"}, "Size='huge' is none of small, large", "--parameter Size=small"),
        (
            {"Stages": "dev"},
            "the template has no parameter Stages; it has Stage, Memory, Size",
            "--parameter Stage=dev",
        ),
    ],
)
def test_a_parameter_that_cloudformation_would_refuse(template, given, seen, mend):
    assert found(Plan("app", template(QUEUE), given)) == [("parameter", seen, f"wdk deploy aws --stack app {mend}")]


def test_a_template_that_is_none(template, tmp_path):
    (absent,) = found(Plan("app", tmp_path / "none.yaml"))
    build = f"wdk build aws --output {tmp_path}"
    assert absent == ("template", f"the template {tmp_path}/none.yaml cannot be read: No such file or directory", build)
    (tmp_path / "latin.yaml").write_bytes(f"{QUEUE}# caf\u00e9".encode("latin-1"))
    (latin,) = found(Plan("app", tmp_path / "latin.yaml"))
    assert latin == ("template", f"the template {tmp_path}/latin.yaml is not written in UTF-8; save it so", build)
    (broken,) = found(Plan("app", template("Resources: [")))
    assert broken[1].startswith(f"the template {tmp_path}/template.yaml is no YAML: while parsing")
    (other,) = found(Plan("app", template("a: 1")))
    assert (
        other[1]
        == f"the template {tmp_path}/template.yaml is no template of CloudFormation: it has no Resources; name another one"
    )


def test_a_template_that_was_edited_since_it_was_built(template, tmp_path):
    built = sealing.sealed(QUEUE)
    assert found(Plan("app", template(built))) == []
    edited = template(built.replace("512", "640"))
    assert found(Plan("app", edited)) == [
        (
            "template",
            f"the template {edited} was edited since it was built: the next build would undo what you deploy",
            f"mv {edited} template.yaml && wdk build aws",
        )
    ]
    assert sealing.is_edited(f"{built}# more\n")
    assert not sealing.is_edited(sealing.sealed(edited.read_text()))
    assert sealing.sealed(built) == built


def test_a_build_writes_over_no_edits(template, tmp_path):
    (tmp_path / "shop.py").write_text("from wdk_cloud import Workflows\n\napp = Workflows()\n")
    (tmp_path / "template.yaml").write_text(sealing.sealed(QUEUE).replace("512", "640"))
    before = (tmp_path / "template.yaml").read_bytes()
    said = wdk(
        "build",
        "aws",
        "--app",
        "shop:app",
        "--project",
        str(tmp_path),
        "--output",
        str(tmp_path),
        "--template",
        str(TEMPLATE),
        code=2,
    )
    assert (
        f"{tmp_path / 'template.yaml'} was edited since it was built, and a build would write over that" in said.stderr
    )
    assert (tmp_path / "template.yaml").read_bytes() == before
    assert not (tmp_path / "function.zip").exists()


def test_the_cli_of_sam_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert found(Plan("wdk-app", TEMPLATE)) == [
        ("sam", "the AWS SAM CLI, `sam`, is not in the PATH, and it deploys", "pipx install aws-sam-cli")
    ]


def test_a_region_without_scheduler(monkeypatch):
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-11")
    ((slug, seen, mend),) = found(Plan("wdk-app", TEMPLATE))
    assert (slug, mend) == ("region", "export AWS_DEFAULT_REGION=eu-west-1")
    assert seen == (
        f"the region eu-west-11 has no EventBridge Scheduler, as far as boto3 {boto3.__version__} knows: long sleeps and "
        "the sweep stand on that"
    )
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    assert (
        found(Plan("wdk-app", TEMPLATE))[0][1]
        == "no region is chosen: neither AWS_DEFAULT_REGION nor the profile says one"
    )


def test_what_is_wrong_on_this_machine_is_said_without_asking_aws(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    asked = Asked()
    assert [finding.slug for finding in preflight.examine(Plan("1", TEMPLATE, {"Stage": "A"}), asked.session)] == [
        "sam",
        "parameter",
        "stack-name",
    ]
    assert asked.operations == []


def test_all_that_is_wrong_is_one_error(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WorldConfigurationError) as raised:
        preflight.refuse(Plan("1", TEMPLATE))
    assert str(raised.value).splitlines() == [
        "nothing was deployed or changed:",
        "the AWS SAM CLI, `sam`, is not in the PATH, and it deploys",
        "  $ pipx install aws-sam-cli",
        "the stack's name '1' is not made of what a stack takes: letters, digits and hyphens, a letter first",
        "  $ wdk deploy aws --stack wdk-app",
    ]


def test_what_no_build_can_change_is_said_before_the_build(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workflows.py").write_text("import absent\n")  # the build would stumble over that
    said = wdk("deploy", "aws", "--app", "workflows:app", "--stack", "wdk-app", "--dry-run", code=2).stderr
    assert said.splitlines() == [
        "error: nothing was deployed or changed:",
        "the AWS SAM CLI, `sam`, is not in the PATH, and it deploys",
        "  $ pipx install aws-sam-cli",
        "no region is chosen: neither AWS_DEFAULT_REGION nor the profile says one",
        "  $ export AWS_DEFAULT_REGION=eu-west-1",
        "there are no credentials for AWS: no AWS_PROFILE or AWS_ACCESS_KEY_ID, and no other place where boto3 looks",
        "  $ aws configure",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "workflows.py"]


# --- in the account ---------------------------------------------------------------------------------------------------


def test_an_account_that_cannot_be_asked(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    ((slug, seen, mend),) = found(Plan("wdk-app", TEMPLATE))
    assert (slug, mend) == ("account", "aws sts get-caller-identity")
    assert seen.startswith(
        "AWS cannot be asked what is there: AWS did not answer, tried for the stack: Could not connect"
    )


def test_a_stack_that_stands_is_fine(stack, template):
    stack("standing", QUEUE)
    assert found(Plan("standing", template(QUEUE))) == []


def test_a_stack_that_could_not_be_created(stack, template):
    stack("fallen", QUEUE + BROKEN, "ROLLBACK_COMPLETE")
    ((slug, seen, mend),) = found(Plan("fallen", template(QUEUE)))
    assert slug == "stack-state"
    assert seen.startswith(
        "the stack fallen could not be created, and was taken back; CloudFormation takes nothing but its deletion: "
        "ROLLBACK_COMPLETE"
    )
    assert mend == (
        "aws cloudformation delete-stack --stack-name fallen && aws cloudformation wait stack-delete-complete "
        "--stack-name fallen"
    )


def test_a_stack_of_which_only_a_change_set_is_there(template):
    client = boto3.client("cloudformation")
    client.create_change_set(StackName="half", ChangeSetName="first", ChangeSetType="CREATE", TemplateBody=QUEUE)
    try:
        ((slug, seen, mend),) = found(Plan("half", template(QUEUE)))
    finally:
        client.delete_stack(StackName="half")
    assert slug == "stack-state"
    assert seen.startswith(
        "the stack half is half a deployment: a change set was made for it and never carried out, and nothing of it is "
        "there: REVIEW_IN_PROGRESS"
    )
    assert mend.startswith("aws cloudformation delete-stack --stack-name half && ")


@pytest.mark.parametrize("status", sorted(stacks.STATES))
def test_each_state_in_which_no_update_is_taken(stack, template, status):
    """One stack of ministack, in states that it does not come to by itself: the answer says another one."""
    stack("another", QUEUE)

    def change(parsed, **_):
        parsed["Stacks"][0]["StackStatus"] = status

    ((slug, seen, mend),) = found(Plan("another", template(QUEUE)), change)
    assert slug == "stack-state" and seen.startswith("the stack another ") and status in seen
    assert "{" not in seen + mend and "--stack-name another" in mend


def test_two_deployments_at_once(stack, template):
    stack("busy", QUEUE)

    def change(parsed, **_):
        parsed["Stacks"][0]["StackStatus"] = "UPDATE_IN_PROGRESS"
        parsed["Stacks"][0]["StackStatusReason"] = "User Initiated"

    assert found(Plan("busy", template(QUEUE)), change) == [
        (
            "stack-state",
            "the stack busy is being updated by another deployment: UPDATE_IN_PROGRESS (User Initiated)",
            "aws cloudformation wait stack-update-complete --stack-name busy",
        )
    ]


def test_a_state_that_nobody_has_heard_of(stack, template):
    stack("strange", QUEUE)

    def change(parsed, **_):
        parsed["Stacks"][0]["StackStatus"] = "TIDYING"

    ((_, seen, mend),) = found(Plan("strange", template(QUEUE)), change)
    assert seen.startswith("the stack strange is in a state in which it cannot be updated: TIDYING")
    assert mend == "aws cloudformation describe-stack-events --stack-name strange"


def test_a_part_of_a_stack_that_somebody_has_taken_away(stack, template):
    stack("holed", QUEUE)
    sqs = boto3.client("sqs")
    url = sqs.get_queue_url(QueueName="holed-prod")["QueueUrl"]
    sqs.delete_queue(QueueUrl=url)
    ((slug, seen, mend),) = found(Plan("holed", template(QUEUE)))
    assert (slug, mend) == ("missing", "aws sqs create-queue --queue-name holed-prod")
    assert seen.startswith("the stack holed has made Queue (AWS::SQS::Queue), http")
    assert seen.endswith("/000000000000/holed-prod, and it is not there any more")


def test_a_name_that_is_taken_before_there_is_a_stack(template):
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="fresh-prod")["QueueUrl"]
    already = "something of that type and name is there already"
    try:
        assert found(Plan("fresh", template(QUEUE))) == [
            (
                "name-taken",
                f"there is no stack fresh, but the name of its Queue, fresh-prod, is taken: {already}",
                "wdk deploy aws --stack fresh-2",
            )
        ]
    finally:
        sqs.delete_queue(QueueUrl=url)


def test_a_bucket_of_somebody_else(template):
    """ministack keeps the buckets of each account apart, so the answer that S3 gives to all others is put in its place."""
    path = template("Resources: { Store: { Type: AWS::S3::Bucket, Properties: { BucketName: letters } } }")
    assert found(Plan("app", path)) == []

    class Foreign(Asked):
        def __init__(self):
            super().__init__()
            self.session.events.register("after-call.s3.HeadBucket", self.refuse)

        def refuse(self, http_response, parsed, **_):
            http_response.status_code = 403
            parsed["Error"] = {"Code": "403", "Message": "Forbidden"}

    asked = Foreign()
    (finding,) = preflight.examine(Plan("app", path), asked.session)
    assert finding.seen == "the bucket letters, which the template names for Store, belongs to another account"
    (finding,) = preflight.examine(Plan("app", TEMPLATE, bucket="zips"), asked.session)
    assert (finding.seen, finding.mend) == (
        "the bucket for the zip, zips, belongs to another account",
        "wdk deploy aws --stack app",
    )
    assert {name for name in asked.operations if not name.startswith(LOOKS)} == set()


def test_the_bucket_for_the_zip_is_not_there():
    assert found(Plan("app", TEMPLATE, bucket="no-such-zips")) == [
        (
            "bucket",
            "the bucket for the zip, no-such-zips, is not there",
            "aws s3api create-bucket --bucket no-such-zips",
        )
    ]
    assert found(Plan("app", TEMPLATE, bucket="Zips"))[0][1].startswith(
        "the bucket for the zip, 'Zips', is not made of"
    )


def test_a_worker_of_this_machine_that_lacks_settings_says_so_before_it_serves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)
    (tmp_path / "idle_app.py").write_text(
        "from wdk_cloud import Workflows\napp = Workflows()\n\n@app.workflow\nasync def idle() -> None: ...\n"
    )
    said = wdk("aws", "serve", "--app", "idle_app:app", "--port", "0", code=2).stderr
    assert said == (
        "error: WDK_AWS_TABLE is not set, and this process needs it; set it to the name of the DynamoDB table of this "
        "world: `wdk deploy aws` and `wdk rehearse aws --keep` say what to export\n"
    )
