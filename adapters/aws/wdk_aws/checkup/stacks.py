"""The stacks of the functions: whether their templates are still as they were built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wdk_aws.checkup.account import quoted
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from wdk_aws.checkup.account import Account
    from wdk_aws.checkup.functions import Function

TAG = "aws:cloudformation:stack-name"
"""CloudFormation gives it to what it makes: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-properties-resource-tags.html"""


def stack_of(function: Function, account: Account) -> str | None:
    """None: something else has made it."""
    tags: dict[str, str] = account.functions.list_tags(Resource=function.arn).get("Tags", {})
    return tags.get(TAG)


def examine(stack: str, account: Account) -> list[Finding]:
    """Nothing is said of a template that no build of ours has marked."""
    from wdk_aws.packaging import marking

    said: Any = account.cloudformation.get_template(StackName=stack, TemplateStage="Original")
    edited = marking.is_edited(said["TemplateBody"])
    if edited is None:
        return []
    if not edited:
        return [Finding("template", f"the template of the stack {stack} is as wdk build has made it")]
    seen = (
        f"the template of the stack {stack} was edited since wdk build made it, in the console perhaps: the next "
        "deployment undoes that; make the change in the project's own template.yaml"
    )
    return [Finding("template", seen, quoted("wdk", "deploy", "aws", "--stack", stack, "--dry-run"))]
