"""The template, as CloudFormation gets it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.components import COMPONENTS

TEMPLATE = Path(__file__).parents[2] / "infra/aws/sam/template.yaml"
REGION = "eu-west-1"


def run(program, *words, code=0):
    """What a tool of `.components` says; it is told to ask nobody."""
    path = COMPONENTS / program
    if not path.exists():
        pytest.fail(f"{path.name} is not installed; do so with: make .components/.installed", pytrace=False)
    quiet = {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true"}
    command = [str(path), *map(str, words)]
    done = subprocess.run(
        command, env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **quiet}, capture_output=True, text=True
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def transform(template):
    return json.loads(run("sam/bin/python", Path(__file__).with_name("transforming.py"), template, REGION))


@pytest.fixture(scope="session")
def template():
    return transform(TEMPLATE)


@pytest.fixture
def transformed(template, tmp_path):
    path = tmp_path / "template.json"
    path.write_text(json.dumps(template, indent=1))
    return path
