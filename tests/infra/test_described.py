"""A project whose deployment is described by the Terraform module: no command of ours makes a second system beside it."""

import os
import shutil

import pytest

from tests.infra.rehearsing import typed
from tests.unit.test_cli import complaint, wdk
from wdk_aws.deploying import described
from wdk_aws.deploying.described import MODULE

COMMANDS = "wdk build aws && terraform -chdir=terraform init && terraform -chdir=terraform apply"


@pytest.fixture
def project(tmp_path, monkeypatch):
    """As `wdk init` makes it. No session of AWS can be had here, and `sam` notes down that it was called."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "WDK_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    sam = tmp_path / "bin/sam"
    sam.write_text(f"#!/bin/sh\ntouch {tmp_path / 'called'}\nexit 1\n")
    sam.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sam.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    wdk("init", "shop", "--cloud", "aws", "--iac", "terraform")
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(project, *words, code=2):
    """What is said; nothing was written, and nobody was called."""
    before = contents(project.parent)
    said = complaint("deploy", "aws", "--app", "shop.workflows:app", *words, code=code)
    assert contents(project.parent) == before
    return said


@pytest.mark.parametrize("words", [("--yes",), ("--dry-run",), ("--yes", "--stack", "shop", "--no-build"), ()])
def test_a_stack_beside_what_terraform_describes_is_refused_with_what_to_type_instead(project, words):
    said = refused(project, *words)
    assert "nothing was built, deployed or changed: terraform describes this app on AWS" in said
    assert "a second system beside it" in said and "described: make deploy To have" in said


def test_what_to_type_is_what_there_is_from_where_one_is(project, monkeypatch):
    monkeypatch.chdir(project.parent)
    assert "described: make -C shop deploy To have" in refused(project, "--project", "shop", "--yes")
    (project / "Makefile").write_text("deploy:\n\twdk deploy aws\n\nplan:\n\tterraform -chdir=terraform apply\n")
    assert f"described: cd shop && {COMMANDS} -var-file=../build/aws/" in refused(project, "--project", "shop", "--yes")
    monkeypatch.chdir(project)
    (project / "Makefile").unlink()
    assert f"described: {COMMANDS} -var-file=../build/aws/built.tfvars.json To have" in refused(project, "--yes")


@pytest.mark.parametrize("makes", ["a template named", "a template of its own", "terraform for other things"])
def test_a_project_that_has_a_template_to_deploy_is_not_refused_for_its_terraform(project, makes):
    words = ("--template", str(project / "mine.yaml")) if makes == "a template named" else ()
    if makes == "a template of its own":
        (project / "template.yaml").write_text("Resources: {}\n")
    if makes == "terraform for other things":
        for file in (project / "terraform").glob("*.tf"):
            file.unlink()
        (project / "terraform/main.tf").write_text('resource "aws_sqs_queue" "mine" {}\n')
    said = refused(project, "--yes", *words)  # for something else: there is no samconfig.toml
    assert "second system" not in said and "which stack?" in said


def test_what_was_changed_in_the_copy_is_told_by_its_files(project):
    copy = described.own(project)
    assert copy == project / "terraform" and described.changed(copy) == []
    (copy / "iam.tf").write_text((copy / "iam.tf").read_text() + "\n")
    (copy / "mine.tf").write_text("")
    (copy / "alarms.tf").unlink()
    assert described.changed(copy) == ["alarms.tf", "iam.tf", "mine.tf"]


def test_each_copy_of_the_module_is_known_as_one(tmp_path):
    shutil.copytree(MODULE, tmp_path / "terraform")
    assert described.own(tmp_path) == tmp_path / "terraform"
    (tmp_path / "terraform/main.tf").unlink()
    assert described.own(tmp_path) is None


@pytest.mark.timeout(120)  # two commands, each a process that imports an app and boto3
def test_a_rehearsal_says_through_which_template_it_goes_and_what_of_ones_own_it_does_not_rehearse(
    project, monkeypatch
):
    monkeypatch.setattr("tests.infra.rehearsing.ENVIRONMENT", project)  # in which there is no stand-in: it ends there
    said = typed("rehearse", "aws", "--app", "shop.workflows:app", folder=project, code=2).stderr
    line = "template  that of SAM, which describes the same system as the module in terraform"
    assert said.splitlines()[0] == line and "no bin/ministack" in said
    (project / "terraform/queues.tf").write_text("# mine\n")
    said = typed("rehearse", "aws", "--app", "shop.workflows:app", folder=project, code=2).stderr
    assert said.splitlines()[0] == f"{line}; what you have changed there is not rehearsed: queues.tf"
