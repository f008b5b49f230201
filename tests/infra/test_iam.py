"""`wdk iam print`: the policies of those who use a world."""

import json
import os
from typing import get_args

import pytest

from tests.unit.test_cli import wdk
from wdk_aws import policies
from wdk_aws.iam import Role
from wdk_aws.rights import DOCTOR, RIGHTS

NAMED = {
    "WDK_AWS_TABLE": "runs",
    "WDK_AWS_FLOW_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/app-flow",
    "WDK_AWS_STEP_QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/app-step",
    "WDK_AWS_BUCKET": "things",
    "WDK_AWS_SCHEDULER_GROUP": "timers",
    "WDK_AWS_SCHEDULER_ROLE_ARN": "arn:aws:iam::123456789012:role/timers",
}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in [name for name in os.environ if name.startswith("WDK_")]:
        monkeypatch.delenv(name)


def printed(*words):
    return json.loads(wdk("iam", "print", *words).stdout)


def test_a_client_starts_runs_and_resumes_hooks(monkeypatch):
    for name, value in NAMED.items():
        monkeypatch.setenv(name, value)
    assert printed("client") == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Table",
                "Effect": "Allow",
                "Action": ["dynamodb:GetItem", "dynamodb:PutItem"],
                "Resource": ["arn:aws:dynamodb:eu-west-1:123456789012:table/runs"],
            },
            {
                "Sid": "FlowQueue",
                "Effect": "Allow",
                "Action": ["sqs:SendMessage"],
                "Resource": ["arn:aws:sqs:eu-west-1:123456789012:app-flow"],
            },
            {"Sid": "Objects", "Effect": "Allow", "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::things/*"]},
        ],
    }


def test_a_key_is_named_where_there_is_one(monkeypatch):
    arn = "arn:aws:kms:eu-west-1:123456789012:key/1"
    for given, shown in ((arn, arn), ("1", "arn:aws:kms:REGION:ACCOUNT:key/1")):
        monkeypatch.setenv("WDK_AWS_KMS_KEY_ID", given)
        last = printed("starter")["Statement"][-1]
        assert last == {"Sid": "Key", "Effect": "Allow", "Action": ["kms:GenerateDataKey"], "Resource": [shown]}
    monkeypatch.delenv("WDK_AWS_KMS_KEY_ID")
    assert printed("receiver", "--encrypted")["Statement"][-1]["Resource"] == ["arn:aws:kms:REGION:ACCOUNT:key/KEY"]
    assert "Key" not in {one["Sid"] for one in printed("receiver")["Statement"]}


def test_what_no_variable_names_is_a_word_in_capitals():
    (passing,) = [one for one in printed("worker")["Statement"] if "iam:PassRole" in one["Action"]]
    assert passing["Resource"] == ["arn:aws:iam::ACCOUNT:role/ROLE"]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}
    (table, *_) = printed("worker", "--region", "cn-north-1", "--account", "1", "--partition", "aws-cn")["Statement"]
    assert table["Resource"] == ["arn:aws-cn:dynamodb:cn-north-1:1:table/TABLE"]


@pytest.mark.parametrize("role", get_args(Role))
def test_a_policy_has_each_right_of_its_kinds_and_no_other(role):
    said = {(action, one["Sid"]) for one in printed(role, "--encrypted")["Statement"] for action in one["Action"]}
    kinds = policies.ROLES[role]
    uses = DOCTOR if role == "doctor" else {use for kind in kinds for use in RIGHTS[kind]}
    wanted = {(use.action, use.on.title().replace(" ", "")) for use in uses}
    extra = {"sqs:GetQueueAttributes", "s3:ListBucket"} if role == "worker" else set()
    assert wanted <= said and {action for action, _ in said - wanted} <= extra


def test_roles_are_those_that_the_command_takes():
    assert sorted(policies.ROLES) == sorted(get_args(Role))
