"""docs/operations.md and docs/gcp-operations.md: what they type exists.

Neither cloud is asked: commands of the AWS CLI are compared with botocore's models, what names something with the template,
the module and the code. The lines that name everything else are run in a shell, beside programs that print outputs.
"""

import json
import os
import re
import shlex
import subprocess
import sys

import boto3
import pytest
from botocore import xform_name

from tests.e2e.pages import ROOT, blocks, commands
from tests.unit.test_cli import wdk

PAGE = ROOT / "docs/operations.md"
ON_GCP = ROOT / "docs/gcp-operations.md"


def typed(page):
    return [command for block in blocks(page) for command, _ in commands(block)]


def inner(command):
    """What a shell runs to set a variable."""
    found = re.fullmatch(r"export \w+=\$\((aws .*)\)", command)
    return found[1] if found else command


TYPED = [
    inner(command) for command in typed(PAGE) if not command.startswith(("output() ", "export WDK_", "export SINCE"))
]
SOURCES = "\n".join(
    path.read_text()
    for package in ("wdk_cloud", "adapters/aws/wdk_aws", "adapters/gcp/wdk_gcp")
    for path in (ROOT / package).rglob("*.py")
)

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


@pytest.mark.parametrize("page", [PAGE, ON_GCP], ids=lambda page: page.stem)
def test_its_own_commands_exist(page):
    named = set(re.findall(r"[`$] ?wdk ((?:inspect|iam|build|deploy)? ?[a-z]+)", page.read_text()))
    assert {"inspect run", "inspect runs", "health", "retry", "doctor"} <= named
    for words in sorted(named):
        wdk(*words.split(), "--help")


@pytest.mark.parametrize("page", [PAGE, ON_GCP], ids=lambda page: page.stem)
def test_what_it_looks_for_in_a_log_is_what_the_code_writes(page):
    looked_for = set(re.findall(r"""'"([^"]+)"'""", page.read_text())) | set(
        re.findall(r"wdk_(?:failed|count)", page.read_text())
    )
    looked_for |= set(re.findall(r'wdk_count="(\w+)"', page.read_text())) | {"is handed on"}
    assert len(looked_for) >= 5
    assert [text for text in sorted(looked_for) if text not in SOURCES] == []


@pytest.fixture
def shell(tmp_path):
    """Runs lines in one shell, in whose path a program prints what it is given; gives the variables that they set."""

    def run(lines, program, prints):
        path = tmp_path / program
        path.write_text(f"#!{sys.executable}\n{prints}")
        path.chmod(0o755)
        environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", "-c", "\n".join([*lines, "env"])], env=environ, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    return run


def test_its_first_lines_name_what_the_others_need(shell):
    template = (ROOT / "infra/aws/sam/template.yaml").read_text()
    outputs = re.findall(
        r"^  (\w+):\n(?:    Description: .*\n)?    Value:", template.partition("\nOutputs:")[2], re.MULTILINE
    )
    stacks = {"Stacks": [{"Outputs": [{"OutputKey": name, "OutputValue": f"the-{name}"} for name in outputs]}]}
    query = "import jmespath, sys; words = sys.argv; query = words[words.index('--query') + 1]"
    (lines,) = [commands(block) for block in blocks(PAGE) if block.text.startswith("$ output()")]
    found = shell([line for line, _ in lines], "aws", f"{query}\nprint(*jmespath.search(query, {stacks!r}))")
    assert {name: value for name, value in found.items() if name.startswith("WDK_")} == {
        "WDK_WORLD": "aws",
        "WDK_FUNCTION": "the-WorkerName",
        "WDK_AWS_TABLE": "the-TableName",
        "WDK_AWS_FLOW_QUEUE_URL": "the-FlowQueueUrl",
        "WDK_AWS_BUCKET": "the-BucketName",
    }
    assert re.fullmatch(r"\d{10}", found["SINCE"])
    used = set(re.findall(r"\$\{?([A-Z_]+)", PAGE.read_text()))
    assert used <= {*found, "TICK_DEAD", "QUERY"}


def test_on_google_cloud_the_first_lines_take_the_variables_of_the_module(shell):
    told = json.dumps({"WDK_WORLD": "gcp", "WDK_GCP_PROJECT": "p", "WDK_GCP_KMS_KEY": "", "WDK_GCP_BUCKET": "p-wdk"})
    first, second = [command for command in typed(ON_GCP) if not command.startswith("gcloud logging")][:2]
    found = shell([first], "terraform", f"print({told!r})")
    assert {name: value for name, value in found.items() if name.startswith("WDK_")} == {
        "WDK_WORLD": "gcp",
        "WDK_GCP_PROJECT": "p",
        "WDK_GCP_BUCKET": "p-wdk",
    }
    assert second == "gcloud config set project $WDK_GCP_PROJECT"


def test_what_it_names_on_google_cloud_is_what_the_module_makes():
    module = "\n".join(path.read_text() for path in (ROOT / "infra/gcp/terraform").glob("*.tf"))
    page = ON_GCP.read_text()
    queues = set(re.findall(r"queues \S+ wdk-(\w+)", page))
    services = set(re.findall(r"(?:--function|services describe) wdk-(\w+)", page))
    assert queues == {"flow", "step"} and "${var.name}-${each.key}" in module
    assert services == {"turns", "steps"} and all(
        re.search(rf"^ +{name} += \{{", module, re.MULTILINE) for name in services
    )
    for variable in ("max_instances", "memory"):
        assert variable in page and f'variable "{variable}"' in module


def test_all_names_of_the_stack_are_those_of_the_template():
    template = (ROOT / "infra/aws/sam/template.yaml").read_text()
    for name in set(re.findall(r"wdk-app(-[a-z-]+)", PAGE.read_text())):
        assert f"${{AWS::StackName}}{name}\n" in template, name
