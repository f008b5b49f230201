"""The bucket: its lifecycle rule, that what is erased is gone, and that nobody else reads it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import NotFound

from wdk_cloud.engine.settings import Settings
from wdk_cloud.findings import Finding
from wdk_gcp import rights, schema
from wdk_gcp.clients import WITHIN

if TYPE_CHECKING:
    from wdk_gcp.checkup import Place

CREATE = "wdk gcp create"


def examine(place: Place) -> list[Finding]:
    name, client = place.settings.bucket, place.clients.storage
    try:
        bucket = client.get_bucket(name, timeout=WITHIN)
    except NotFound:
        return [Finding("bucket", f"{name} is not there", CREATE)]
    found = [_lifecycle(name, bucket), _protected(name, bucket)]
    wanted = sorted({use.permission for use in rights.uses("operator") if use.on == "bucket"})
    may = bucket.test_iam_permissions(wanted, timeout=WITHIN)
    if missing := [one for one in wanted if one not in may]:
        seen = f"this process may not: {', '.join(missing)}, on {name}"
        mend = f"gcloud storage buckets get-iam-policy {shlex.quote(f'gs://{name}')}"
        found.append(Finding("bucket-rights", seen, mend))
    return found


def _lifecycle(name: str, bucket: Any) -> Finding:
    days = schema.object_days(Settings.from_environment().retention)
    rules = [dict(rule) for rule in bucket.lifecycle_rules]
    ages = [rule["condition"].get("age") for rule in rules if rule["action"].get("type") == "Delete"]
    early = [age for age in ages if age is not None and age < days]
    if early:
        seen = f"{name} deletes objects after {min(early)} days, and those of live runs are kept for {days} at least"
        return Finding("lifecycle", seen, CREATE)
    if days not in ages:
        seen = f"{name} has no lifecycle rule that deletes after {days} days: what ended runs leave is kept for ever"
        return Finding("lifecycle", seen, CREATE)
    return Finding("lifecycle", f"{name}: objects go after {days} days")


def _protected(name: str, bucket: Any) -> Finding:
    wrong: list[str] = []
    if bucket.soft_delete_policy.retention_duration_seconds:
        wrong.append("keeps what was erased (soft deletion)")
    if bucket.iam_configuration.public_access_prevention != "enforced":
        wrong.append("may be made public")
    if not bucket.iam_configuration.uniform_bucket_level_access_enabled:
        wrong.append("has access lists of single objects")
    if wrong:
        return Finding("bucket", f"{name} {', '.join(wrong)}", CREATE)
    return Finding("bucket", f"{name}: nobody in public reads it, and what is erased is gone")
