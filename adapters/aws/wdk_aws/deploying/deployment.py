"""One deployment, from what was built to a stack that stands: compared, shown, asked for, carried out, told."""

from __future__ import annotations

import json
import shlex
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from wdk_aws.deploying import changes, changesets, losses, preflight, sam, stacks, templates
from wdk_aws.deploying.preflight import Plan
from wdk_aws.failures import translated
from wdk_aws.packaging import sealing
from wdk_aws.packaging.making import ZIP
from wdk_cloud import bundle
from wdk_cloud.cli.console import CommandError, UsageError, agreed, out
from wdk_cloud.cli.progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from boto3.session import Session
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

    from wdk_aws.deploying.changes import Change
    from wdk_aws.deploying.samconfig import Stage

CLIENT = {
    "TableName": "WDK_AWS_TABLE",
    "FlowQueueUrl": "WDK_AWS_FLOW_QUEUE_URL",
    "StepQueueUrl": "WDK_AWS_STEP_QUEUE_URL",
    "BucketName": "WDK_AWS_BUCKET",
}
"""Outputs of the template, and the variables of a client that they are for."""

URLS = {"WebhookUrl": "webhooks", "ApiUrl": "api"}


@dataclass(frozen=True, slots=True)
class Consent:
    """What was said beforehand."""

    yes: bool = False
    dry_run: bool = False
    delete_data: bool = False

    @property
    def told(self) -> bool:
        """Whether nobody has to be asked."""
        return self.yes or self.dry_run

    def check(self) -> None:
        if not self.told and not sys.stdin.isatty():
            raise UsageError("nothing was changed: nobody can be asked here; add --yes, or --dry-run to look")


def session_of(stage: Stage, config: Path) -> Session:
    """With the profile and the region of the stage, where it names them."""
    from boto3.session import Session

    try:
        return Session(profile_name=stage.profile, region_name=stage.region)
    except ProfileNotFound as error:
        names = f"{config} names it" if stage.profile else "AWS_PROFILE names it"
        raise UsageError(
            f"nothing was deployed or changed: {error}; {names}, and these are there: aws configure list-profiles"
        ) from None


@dataclass(frozen=True, slots=True)
class Deployment:
    stage: Stage
    template: Path
    """The one beside the zip."""
    config: Path
    """Where samconfig.toml is, or would be."""
    parameters: Mapping[str, str]

    async def run(self, consent: Consent) -> None:
        """Raises CommandError or WorldConfigurationError that says what is not as it has to be, and UsageError when
        data would go; then the account is as it was."""
        session = session_of(self.stage, self.config)
        parameters = self._declared()
        with progress("looking whether all is well"):
            preflight.refuse(Plan(self.stage.stack, self.template, parameters, self.stage.bucket), session)
        try:
            await self._run(consent, session, parameters)
        except (BotoCoreError, ClientError) as error:
            raise translated(error, f"the stack {self.stage.stack}") or CommandError(
                f"the stack {self.stage.stack} was not deployed: {error}"
            ) from None

    def _declared(self) -> dict[str, str]:
        """The parameters without those of the build that a template of somebody's own does not have."""
        text = sealing.read(self.template) if self.template.exists() else "{Resources: {}}"
        declared: dict[str, Any] = templates.parse(text, f"the template {self.template}").get("Parameters") or {}
        of_build = built_for(self.template.parent)
        return {name: value for name, value in self.parameters.items() if name in declared or name not in of_build}

    async def _run(self, consent: Consent, session: Session, parameters: Mapping[str, str]) -> None:
        name, client = self.stage.stack, _cloudformation(session)
        before, known = stacks.look(client, name), changesets.known(client, name)
        change_set, carried_out = None, False
        try:
            with progress("uploading and comparing"):
                change_set = sam.prepare(self.stage, self.template, self.config, parameters, session.region_name)
            if change_set is None:
                out.print(f"the stack {name} is up to date")
                stack = before
            else:
                found = changes.of(client, change_set)
                _show(name, before, found)
                self._refuse_losses(consent, found, before, change_set, session)
                if consent.dry_run:
                    out.print("nothing was changed")
                    return
                if not consent.told and not agreed(f"Deploy this as the stack {name} in {session.region_name}?"):
                    raise CommandError("nothing was changed")
                last = changesets.begin(client, change_set, name)
                carried_out = True
                stack = await changesets.follow(client, name, last, len(found))
        finally:
            if not carried_out:
                changesets.discard(client, name, change_set, known, was_there=before is not None)
        if stack is not None:
            _tell(stack, session.region_name)

    def _refuse_losses(
        self,
        consent: Consent,
        found: Sequence[Change],
        before: StackTypeDef | None,
        change_set: str,
        session: Session,
    ) -> None:
        if consent.delete_data or before is None:
            return
        parameters = _cloudformation(session).describe_change_set(ChangeSetName=change_set)["Parameters"]
        if lines := losses.found(found, before, parameters, session):
            raise UsageError(
                "data would go, so nothing was changed:\n" + "\n".join(lines) + "\nLook for what in the template or "
                "its parameters makes that of it; if that is what you want, say --delete-data"
            )


def _cloudformation(session: Session) -> CloudFormationClient:
    return cast("Any", session).client("cloudformation")


def built_for(folder: Path) -> dict[str, str]:
    """The template's parameters that the zip in the folder asks for. Raises UsageError where there is none."""
    file = folder / ZIP
    try:
        with zipfile.ZipFile(file) as opened:
            said = json.loads(opened.read(bundle.FILE))
        return {"Architecture": said["architecture"], "PythonVersion": said["python"]}
    except (OSError, zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"{file} is nothing that `wdk build aws` has made: {error}; deploy without --no-build"
        ) from None


def _show(name: str, before: StackTypeDef | None, found: Sequence[Change]) -> None:
    what = "which is new" if before is None else before["StackStatus"]
    out.print(f"\nstack {name}, {what}: {changes.counted(found)}\n", soft_wrap=True)
    changes.show(found)
    out.print()


def _tell(stack: StackTypeDef, region: str) -> None:
    """Where it answers, and what a client types to reach it."""
    outputs = {each.get("OutputKey", ""): each.get("OutputValue", "") for each in stack.get("Outputs", [])}
    out.print(f"\nstack     {stack['StackName']}, {stack['StackStatus']}", soft_wrap=True)
    for key, what in URLS.items():
        if key in outputs:
            out.print(f"{what:<9} {outputs[key]}", soft_wrap=True)
    if missing := [key for key in CLIENT if key not in outputs]:
        text = f"what a client needs is not told: the template has no output {', '.join(missing)}"
        out.print(text, soft_wrap=True)
        return
    out.print("\nTo start runs and look at them from here:\n")
    variables = {"WDK_WORLD": "aws", "AWS_DEFAULT_REGION": region}
    for name, value in {**variables, **{variable: outputs[key] for key, variable in CLIENT.items()}}.items():
        out.print(f"export {name}={shlex.quote(value)}", soft_wrap=True)
    out.print("\nwdk inspect runs")
