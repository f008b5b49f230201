"""What a change set would do, resource by resource."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.text import Text

from wdk_cloud.cli.tables import print_table, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import ResourceChangeTypeDef

REPLACEMENTS = {"True": "replace", "Conditional": "may replace"}
"""What CloudFormation says of a modification: it is made anew, or only carrying it out will tell."""

RECREATES = ("Always", "Conditionally")

COLOURS = {"add": "green", "modify": "yellow", "replace": "red", "may replace": "red", "remove": "red"}

TAKES_AWAY = frozenset(("remove", "replace", "may replace"))


@dataclass(frozen=True, slots=True)
class Change:
    resource: str
    """Its name in the template."""
    type: str
    id: str
    """What the cloud calls what is there; "" of one that is to be made."""
    action: str
    """As CloudFormation calls it, in small letters, or what REPLACEMENTS makes of it."""
    properties: tuple[str, ...]
    """Those that change, of one that is there."""
    causes: tuple[str, ...]
    """Of these, those for which it is made anew."""
    stays: bool
    """What is taken out of the stack stays in the account."""

    @property
    def takes_away(self) -> bool:
        return self.action in TAKES_AWAY


def of(client: CloudFormationClient, change_set: str) -> list[Change]:
    pages = client.get_paginator("describe_change_set").paginate(ChangeSetName=change_set)
    found = [change["ResourceChange"] for page in pages for change in page["Changes"] if "ResourceChange" in change]
    return [_change(one) for one in found]


def _change(said: ResourceChangeTypeDef) -> Change:
    action = said.get("Action", "Modify").lower()
    replaced = REPLACEMENTS.get(said.get("Replacement", ""))
    targets = [detail.get("Target", {}) for detail in said.get("Details", [])]
    names = {target.get("Name") or target.get("Attribute", "") for target in targets} or set(said.get("Scope", []))
    return Change(
        said.get("LogicalResourceId", ""),
        said.get("ResourceType", ""),
        said.get("PhysicalResourceId", ""),
        replaced if action == "modify" and replaced else action,
        tuple(sorted(filter(None, names))),
        tuple(sorted({target.get("Name", "") for target in targets if target.get("RequiresRecreation") in RECREATES})),
        "Retain" in said.get("PolicyAction", ""),
    )


def show(changes: Sequence[Change]) -> None:
    """What takes something away comes last, nearest to the question."""
    table = table_of("change", "resource", "type", "what")
    for change in sorted(changes, key=lambda one: (one.takes_away, one.action, one.resource)):
        colour = COLOURS.get(change.action, "")
        table.add_row(Text(change.action, style=colour), change.resource, change.type, _what(change))
    print_table(table)


def _what(change: Change) -> str:
    words = ", ".join(change.properties) if change.action != "add" else ""
    if change.takes_away and change.stays:
        return f"{words}; what is there stays in the account".lstrip("; ")
    return words


def counted(changes: Sequence[Change]) -> str:
    """ "3 to add, 1 to modify"."""
    order = ("add", "modify", "replace", "may replace", "remove")
    actions = [*order, *sorted({change.action for change in changes} - set(order))]
    numbers = {action: sum(change.action == action for change in changes) for action in actions}
    return ", ".join(f"{number} to {action}" for action, number in numbers.items() if number)
