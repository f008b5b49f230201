"""A new project, as `wdk init` makes it from the wheels: it passes all that its own CI asks for."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tests.aws.installed import ROOT, UV

PATIENCE = 200.0

CLOUDS = [("aws", "sam"), ("aws", "terraform"), ("gcp", "terraform")]

OPTIONS = [*(["--cloud", cloud, "--iac", iac] for cloud, iac in CLOUDS), ["--cloud", "none"]]
"""Each project that there is."""


def run(command, folder, environ, code=0):
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def fresh(distributions, tmp_path_factory):
    """The environment of an environment in which there is wdk-cloud, from its wheels, and a project's tools."""
    folder = tmp_path_factory.mktemp("fresh")
    plain = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "NO_COLOR": "1"}
    run([sys.executable, "-m", "venv", folder / "venv"], folder, plain)
    options = ["--quiet", "--python", folder / "venv/bin/python", "--constraint", ROOT / "requirements/dev.txt"]
    wanted = ["--find-links", distributions, "wdk-cloud[aws,gcp]", "mypy", "pytest", "ruff"]
    run([UV, "pip", "install", *options, *wanted], folder, {**os.environ, **plain})
    path = f"{folder / 'venv/bin'}{os.pathsep}{os.environ['PATH']}"
    # What the project requires is there: pip looks nowhere else, and says if something is missing.
    alone = {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    return {**plain, **alone, "PATH": path, "MYPY_CACHE_DIR": str(folder / "mypy")}


def steps_of_ci(project):
    """What its workflow types, in order."""
    workflow = yaml.safe_load((project / ".github/workflows/ci.yaml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    return [shlex.split(step["run"]) for step in job["steps"] if "run" in step]


@pytest.mark.timeout(240)  # the first project also pays for the environment, in which mypy has read nothing yet
@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_a_new_project_passes_what_its_ci_asks_for(fresh, options, tmp_path):
    run(["wdk", "init", "night-shop", *options], tmp_path, fresh)
    project = tmp_path / "night-shop"
    for folder in (".wdk/ministack/lib", "build/aws"):  # what a rehearsal and a build leave there is not the project's
        (project / folder).mkdir(parents=True)
        (project / folder / "foreign.py").write_text("import os, sys")
    steps = steps_of_ci(project)
    assert [command[1] for command in steps] == ["install", "lint", "types", "test", "replay"]
    said = {command[1]: run(command, project, fresh) for command in steps}
    assert "2 passed" in said["test"]
    assert "Success: no issues found in 4 source files" in said["types"]
    assert "today's code agrees with 1 history" in said["replay"]
    # What CI asks for one by one is what `make check` asks for.
    (rule,) = re.findall(r"^check: ([a-z ]+?) ##", (project / "Makefile").read_text(), re.MULTILINE)
    assert rule.split() == [command[1] for command in steps[1:]]


def test_the_stored_history_finds_a_change_that_runs_would_not_survive(fresh, tmp_path):
    run(["wdk", "init", "shop", "--cloud", "none"], tmp_path, fresh)
    code = tmp_path / "shop/shop/workflows.py"
    code.write_text(code.read_text().replace('await send(email, "Welcome!")', 'await send(user, "Welcome!")'))
    said = run(["make", "replay"], tmp_path / "shop", fresh, code=2)
    assert "differs" in said and "user-ada@example.com" in said


def test_a_deployment_to_google_cloud_begins_with_what_is_missing(fresh, tmp_path):
    run(["wdk", "init", "shop", "--cloud", "gcp"], tmp_path, fresh)
    said = subprocess.run(
        ["make", "deploy"], cwd=tmp_path / "shop", env=fresh, capture_output=True, text=True, timeout=50
    )
    assert said.returncode == 2
    # The region and the name are those of gcp.tfvars.json.
    (line,) = [line for line in said.stderr.splitlines() if " is " in line]
    assert line.startswith("the project is not known: pass --gcp-project, set WDK_GCP_PROJECT")
    assert not (tmp_path / "shop/build").exists()


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_make_alone_lists_every_rule(fresh, options, tmp_path):
    run(["wdk", "init", "shop", *options], tmp_path, fresh)
    text = (tmp_path / "shop/Makefile").read_text()
    rules = re.findall(r"^([a-z]+):", text, re.MULTILINE)
    listed = re.findall(r"^  make (\w+) ", run(["make"], tmp_path / "shop", fresh), re.MULTILINE)
    declared = " ".join(re.findall(r"^\.PHONY: (.*)", text, re.MULTILINE)).split()
    assert listed == rules == declared
    if "sam" not in options:
        return
    # The README types them in the order in which a newcomer does.
    section = (ROOT / "README.md").read_text().partition("## A project of your own")[2].partition("\n## ")[0]
    typed = re.findall(r"^\$ make (\w+)$", section, re.MULTILINE)
    assert typed == ["install", "check", "dev", "rehearse", "deploy"] and set(typed) <= set(rules)
