"""The workflows of hosted CI: ours, and the one that `wdk init` writes. What a release's may do is in test_release.py."""

import re
from pathlib import Path

import pytest
import yaml

from tests.infra.hcl import module, references

ROOT = Path(__file__).parents[2]

STARTER = ROOT / "wdk_cloud/cli/project/files/.github/workflows/ci.yaml.template"
"""Of a new project."""

WORKFLOWS = {path.name: path for path in (*sorted((ROOT / ".github/workflows").iterdir()), STARTER)}

TERRAFORM = {
    "terraform-aws.yml": (ROOT / "infra/aws/terraform", "module.tftest.hcl"),
    "terraform-gcp.yml": (ROOT / "infra/gcp/terraform", "modes.tftest.hcl"),
}

EACH = pytest.mark.parametrize("name", WORKFLOWS)


def jobs(name):
    return yaml.safe_load(WORKFLOWS[name].read_text())["jobs"]


def steps(name):
    return [step for job in jobs(name).values() for step in job["steps"]]


def uses(text):
    """What is named there: the action, its commit, and the version that stands beside it."""
    return re.findall(r"^ +(?:- )?uses: (.+)$", text, re.MULTILINE)


def test_there_is_no_workflow_that_these_tests_do_not_know():
    assert list(WORKFLOWS) == ["release.yml", "terraform-aws.yml", "terraform-gcp.yml", "ci.yaml.template"]


@EACH
def test_every_action_is_pinned_to_a_commit_with_its_version_beside(name):
    used = uses(WORKFLOWS[name].read_text())
    assert used and len(used) == sum("uses" in step for step in steps(name))
    assert [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []


def test_an_action_has_one_pin_everywhere():
    used = {one for path in WORKFLOWS.values() for one in uses(path.read_text())}
    assert len(used) == len({one.partition("@")[0] for one in used})


@EACH
def test_a_workflow_may_read_and_no_more_unless_a_job_says_so(name):
    workflow = yaml.safe_load(WORKFLOWS[name].read_text())
    assert workflow["permissions"] in ({}, {"contents": "read"})
    assert [job for job, body in workflow["jobs"].items() if "timeout-minutes" not in body] == []
    kept = [step for step in steps(name) if "checkout" in step.get("uses", "")]
    assert kept and all(step["with"]["persist-credentials"] is False for step in kept)


@EACH
def test_nothing_of_an_event_is_pasted_into_a_script(name):
    assert [step["run"] for step in steps(name) if "${{" in step.get("run", "")] == []
    assert "secrets." not in WORKFLOWS[name].read_text()


@pytest.mark.parametrize("name", TERRAFORM)
def test_a_machine_with_providers_runs_what_this_one_cannot(name):
    folder, tests = TERRAFORM[name]
    made, text = module(folder), (folder / "tests" / tests).read_text()
    commands = [step["run"] for step in steps(name) if "run" in step]
    for command in ("fmt -check -recursive", "init -backend=false -input=false", "validate", "test"):
        assert f"terraform {command}" in commands
    assert any(command.startswith("tflint --config ") for command in commands)
    linted = folder.parent / ".tflint.hcl"
    assert f'--config "$GITHUB_WORKSPACE/{linted.relative_to(ROOT)}"' in "\n".join(commands) and linted.exists()
    with_examples = [folder, *(folder / "examples").iterdir()]
    covered = jobs(name)["module"]["strategy"]["matrix"]["folder"]
    assert sorted(covered) == sorted(str(one.relative_to(ROOT)) for one in with_examples)
    # What its tests assert is of things that there are.
    named = set(re.findall(r"\b((?:aws|google)_\w+)\.(\w+)", text))
    assert named and all(label in made.of_type(kind) for kind, label in named)
    given = set(re.findall(r"^ {4}(\w+) += ", text, re.M)) - {"condition", "error_message", "defaults"}
    assert given | references(text, "var") <= set(made.variables)


def test_what_a_workflow_runs_of_ours_is_there():
    commands = "\n".join(step["run"] for name in TERRAFORM for step in steps(name) if "run" in step)
    files = set(re.findall(r"\btests/[\w/]+\.py", commands))
    assert files and [file for file in files if not (ROOT / file).exists()] == []
    rules = re.findall(r"^make (.+)$", commands, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text().replace("$(VENV)", ".venv").replace("$(COMPONENTS)", ".components")
    assert rules and all(
        re.search(rf"^{re.escape(target)}:", makefile, re.M) for one in rules for target in one.split()
    )


def test_the_oldest_provider_that_the_module_allows_is_the_one_that_is_tried():
    (change,) = [step["run"] for step in jobs("terraform-aws.yml")["oldest"]["steps"] if "sed" in step.get("run", "")]
    pattern, replacement = re.fullmatch(r"sed -i 's/(.+)/(.+)/' versions\.tf", change).groups()
    python = pattern.replace(r"\(", "(").replace(r"\)", ")")
    text = (TERRAFORM["terraform-aws.yml"][0] / "versions.tf").read_text()
    lowest = re.search(r'version = ">= (5\.\d+), < 7\.0"', text)
    assert f'version = "~> {lowest[1]}.0"' in re.sub(python, replacement, text)
