"""Asking an account: clients for what only a check-up asks, and answers that become findings."""

from __future__ import annotations

import shlex
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from wdk_aws.clients import Clients
from wdk_aws.failures import code, denied, translated
from wdk_cloud.errors import WorkflowError
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sts import STSClient

RIGHTS = "wdk iam print doctor > doctor.json"
"""What to type where looking is forbidden: the policy, to be given to whoever looks."""


class Account(Clients):
    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        return cast("CloudFormationClient", self._made("cloudformation"))

    @cached_property
    def functions(self) -> LambdaClient:
        return cast("LambdaClient", self._made("lambda"))

    @cached_property
    def iam(self) -> IAMClient:
        return cast("IAMClient", self._made("iam"))

    @cached_property
    def sts(self) -> STSClient:
        return cast("STSClient", self._made("sts"))

    def examine(self) -> Finding:
        """Who asks, where; wrong when nothing can be asked at all."""
        try:
            region: Any = self.sts.meta.region_name
            asked = self.sts.get_caller_identity()
        except (BotoCoreError, ClientError, WorkflowError) as error:
            said = error if isinstance(error, WorkflowError) else translated(error, "the account") or error
            return Finding("account", str(said), "aws sts get-caller-identity")
        return Finding("account", f"{asked['Account']} in {region}, as {asked['Arn']}")


def looked(slug: str, setting: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    """What was found; or why it could not be looked at, which is nothing to be sure about. `setting` is the variable
    that names what is asked for."""
    try:
        return look()
    except ClientError as error:
        if denied(error):
            seen = f"it is forbidden to look ({error.operation_name} for {setting}: {code(error)})"
            return [Finding(slug, seen, RIGHTS)]
        return [Finding(slug, str(translated(error, setting) or error), f"echo ${setting}")]
    except BotoCoreError as error:
        return [Finding(slug, str(translated(error, setting) or error), f"echo ${setting}")]


def quoted(*words: str) -> str:
    return shlex.join(words)
