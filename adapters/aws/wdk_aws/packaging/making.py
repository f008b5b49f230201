"""What is deployed, whole: the zip, and beside it the template with the schedules of the app."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdk_aws.packaging import building, marking, sealing, ticking
from wdk_aws.packaging.starting import TEMPLATE
from wdk_cloud.cli import sources
from wdk_cloud.cli.console import UsageError
from wdk_cloud.cli.progress import progress
from wdk_cloud.packaging import seals

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from wdk_aws.packaging.building import Built, Progress
    from wdk_aws.packaging.target import Target
    from wdk_cloud.app import Workflows
    from wdk_cloud.packaging.project import Project
    from wdk_cloud.packaging.ticking import Entry

ZIP, DEPLOYED = "function.zip", "template.yaml"

VARIABLES = "built.tfvars.json"
"""What the Terraform module takes of a build."""

SEAL = "built.sha256"
"""Of that: JSON has no place for one."""

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

ARCHITECTURE = "arm64"
"""Unless somebody says another one: it is the cheaper one."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made, and where."""

    project: Project
    target: Target
    template: Path | None
    output: Path
    extras: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Made:
    built: Built
    target: Target
    entries: list[Entry]

    @property
    def template(self) -> Path:
        return self.built.archive.path.with_name(DEPLOYED)

    @property
    def variables(self) -> Path:
        return self.built.archive.path.with_name(VARIABLES)


def make(order: Order, progress: Progress = progress) -> Made:
    """Raises UsageError or WorldConfigurationError that says what is wrong; then the zip is the one of before."""
    apps = load_apps(order.project)
    entries = ticking.entries_of(apps)
    text = ticking.written_into(sealing.read(order.template or template_of(order.project.folder)), entries)
    _keep_edits(order.output / DEPLOYED)
    _keep_values(order.output)
    namespaces = sorted({each.namespace for each in apps if each.namespace})
    output = order.output / ZIP
    built = building.build(order.project, order.target, output, progress, order.extras, namespaces)
    (order.output / DEPLOYED).write_text(sealing.sealed(marking.marked(text)), "utf-8")
    seals.unseal(order.output / SEAL)
    (order.output / VARIABLES).write_text(_variables(order.target, entries), "utf-8")
    seals.write(order.output / SEAL, [order.output / VARIABLES])
    return Made(built, order.target, entries)


def _variables(target: Target, entries: list[Entry]) -> str:
    schedules = ticking.variable(entries)
    values = {"architecture": target.architecture, "python_version": target.python, "schedules": schedules}
    return json.dumps(values, indent=1) + "\n"


def _keep_edits(path: Path) -> None:
    """Raises UsageError where a build would write over what somebody has changed by hand."""
    if path.is_file() and sealing.is_edited(sealing.read(path)):
        raise UsageError(
            f"{path} was edited since it was built, and a build would write over that; nothing was changed. Keep the "
            f"changes as the project's own template (mv {path} {DEPLOYED}), or drop them (rm {path})"
        )


def _keep_values(output: Path) -> None:
    """The same of the values that Terraform takes of a build."""
    written = output / VARIABLES
    if written.is_file() and seals.edited(output / SEAL, [written]):
        raise UsageError(
            f"{written} was edited since it was built, and a build would write over that; nothing was changed. Say it "
            f"to the build (--architecture, --python, the schedules of the app), or drop the edits (rm {written})"
        )


def template_of(folder: Path) -> Path:
    """The project's own, where it has one: it is the one that somebody has changed."""
    own = folder / DEPLOYED
    return own if own.is_file() else TEMPLATE


def load_apps(project: Project) -> list[Workflows]:
    """Raises UsageError for code that cannot be imported: then the function could not either."""
    project.modules  # noqa: B018 -- it says what is wrong with the spec
    sys.path.insert(0, str(project.folder))
    return sources.load_apps(project.spec)
