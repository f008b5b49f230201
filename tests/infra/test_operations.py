"""docs/operations.md: what it types exists."""

import re
import shlex

import boto3
import pytest
from botocore import xform_name

from tests.e2e.pages import ROOT, blocks, commands
from tests.unit.test_cli import wdk

PAGE = ROOT / "docs/operations.md"
TYPED = [command for block in blocks(PAGE) for command, _ in commands(block)]

GLOBAL = {"query", "output", "region", "cli-binary-format"}
"""Options of every command of the AWS CLI."""


@pytest.mark.parametrize("command", TYPED)
def test_a_command_of_the_aws_cli_is_an_operation_with_those_parameters(command):
    program, service, operation, *rest = shlex.split(command)
    assert program == "aws"
    model = boto3.client(service, region_name="eu-west-1").meta.service_model
    (found,) = [name for name in model.operation_names if xform_name(name, "-") == operation]
    shape = model.operation_model(found).input_shape
    known = {xform_name(name, "-") for name in shape.members} if shape is not None else set()
    options = {word[2:].removeprefix("no-") for word in rest if word.startswith("--")}
    assert options - known - GLOBAL == set()
    assert {xform_name(name, "-") for name in (shape.required_members if shape is not None else ())} <= options


def test_its_own_commands_exist():
    named = set(re.findall(r"`wdk ((?:inspect|iam|build)? ?[a-z]+)", PAGE.read_text()))
    assert {"inspect run", "inspect runs", "health", "retry"} <= named
    for words in sorted(named):
        wdk(*words.split(), "--help")


def test_all_names_of_the_stack_are_those_of_the_template():
    template = (ROOT / "infra/aws/sam/template.yaml").read_text()
    for name in set(re.findall(r"wdk-app(-[a-z-]+)", PAGE.read_text())):
        assert f"${{AWS::StackName}}{name}\n" in template, name
