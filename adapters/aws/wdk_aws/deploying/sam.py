"""`sam deploy`, as far as the change set: it uploads the zip and has CloudFormation compare."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from wdk_cloud.cli.console import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from wdk_aws.deploying.samconfig import Stage

LAST_LINES = 12
"""Of what it said before it gave up."""

PREFIX = "samcli-deploy"
"""Of the names of its change sets."""

_CHANGE_SET = re.compile(r"arn:[^\s]+:changeSet/[^\s]+")


def prepare(stage: Stage, template: Path, config: Path, parameters: Mapping[str, str], region: str) -> str | None:
    """The ARN of the change set; None when there is nothing to change. Raises CommandError with its words."""
    program = shutil.which("sam")
    if program is None:
        raise UsageError("the AWS SAM CLI, `sam`, is not in the PATH, and it deploys: pipx install aws-sam-cli")
    command = [program, "deploy", *_options(stage, template, config, parameters, region)]
    # It is asked nothing here, and must not ask anybody: what is to be shown and asked comes after it.
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = "\n".join(f"{done.stdout}\n{done.stderr}".strip().splitlines()[-LAST_LINES:])
        raise CommandError(f"sam has made no change set for the stack {stage.stack}:\n{said}")
    found = _CHANGE_SET.findall(done.stdout)
    return found[-1] if found else None


def _options(
    stage: Stage, template: Path, config: Path, parameters: Mapping[str, str], region: str
) -> Sequence[str | Path]:
    options: list[str | Path] = ["--template-file", template, "--stack-name", stage.stack, "--region", region]
    options += ["--no-execute-changeset", "--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"]
    if config.exists():
        options += ["--config-file", config.absolute(), "--config-env", stage.name]
    if not stage.bucket:
        options.append("--resolve-s3")
    if not stage.capabilities:
        options += ["--capabilities", "CAPABILITY_IAM"]
    if parameters:
        options += ["--parameter-overrides", *(_worded(name, value) for name, value in parameters.items())]
    return options


def _worded(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'ParameterKey={name},ParameterValue="{quoted}"'
