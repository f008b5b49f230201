"""What a plan of Terraform would take away that no later one brings back: the runs, and what opens their payloads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BUCKET = "google_storage_bucket"

HOLDS = {
    "google_cloud_tasks_queue": "the messages that wait in it",
    "google_firestore_database": "the runs",
    BUCKET: "large values and streams",
}

RIGHT_TO_OPEN = ("google_kms_crypto_key_iam_member", "worker")
"""A wrapped key names the key of Cloud KMS that has wrapped it: with another `payload_key`, or none, it goes."""


def found(plan: Mapping[str, Any]) -> list[str]:
    """A line for each; the plan is what `terraform show -json` says of it."""
    return list(_lines(_changes(plan)))


def _lines(changes: list[Mapping[str, Any]]) -> Iterator[str]:
    for change in changes:
        actions: list[str] = change["change"]["actions"]
        if "delete" not in actions:
            yield from _aged(change)
            continue
        verb = "is replaced by another one" if "create" in actions else "is removed"
        named = change["address"]
        if change["type"] in HOLDS:
            before: Mapping[str, Any] = change["change"].get("before") or {}
            yield f"{named} ({before.get('name', 'whose name is not known')}) {verb}: {HOLDS[change['type']]}"
        elif (change["type"], change.get("name")) == RIGHT_TO_OPEN:
            yield f"{named} {verb}: payloads of the runs that are there cannot be opened any more"


def _aged(change: Mapping[str, Any]) -> Iterator[str]:
    """Of a bucket whose objects go sooner than before."""
    was, left = _days(change["change"].get("before")), _days(change["change"].get("after"))
    if change["type"] == BUCKET and change["change"]["actions"] == ["update"] and left < was:
        before = f"for {was:g}" if math.isfinite(was) else "for ever"
        yield (
            f"{change['address']} keeps objects for {left:g} days, and no longer {before}: large values and streams "
            "that are older go, those of runs that live among them"
        )


def _days(bucket: Mapping[str, Any] | None) -> float:
    """After which its objects go by themselves."""
    rules: list[dict[str, list[dict[str, Any]] | None]] = (bucket or {}).get("lifecycle_rule") or []
    ages = [condition.get("age") for rule in rules for condition in rule.get("condition") or ()]
    return min((float(age) for age in ages if age), default=math.inf)


def _changes(plan: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return plan.get("resource_changes") or []


def counted(plan: Mapping[str, Any]) -> dict[str, int]:
    """How many resources are created, changed, replaced and removed."""
    counts = {"create": 0, "change": 0, "replace": 0, "remove": 0}
    for change in _changes(plan):
        actions: list[str] = change["change"]["actions"]
        if actions in (["no-op"], ["read"]):
            continue
        both = "create" in actions and "delete" in actions
        counts["replace" if both else {"create": "create", "update": "change"}.get(actions[0], "remove")] += 1
    return counts
