"""The bucket: whether it is there, and whether what lies in it expires, not too early."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from wdk_aws.attributes import object_days
from wdk_aws.checkup.account import quoted
from wdk_aws.failures import code
from wdk_aws.settings import VARIABLES
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from wdk_aws.checkup.account import Account

RULE = "wdk-cloud"


def examine(name: str, retention: float, account: Account) -> list[Finding]:
    """`retention`: seconds for which runs are kept after their ends."""
    s3 = account.s3
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if code(error) != "404":
            raise
        return [Finding("bucket", f"there is no bucket {name}, which {VARIABLES['bucket']} names", "wdk aws create")]
    try:
        rules: list[Any] = list(s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"])
    except ClientError as error:
        if code(error) != "NoSuchLifecycleConfiguration":
            raise
        rules = []
    return [Finding("bucket", f"{name} is there"), _lifecycle(name, rules, object_days(retention))]


def _lifecycle(name: str, rules: list[Any], days: int) -> Finding:
    expiring = [
        rule["Expiration"]["Days"] for rule in rules if _is_for_all(rule) and "Days" in rule.get("Expiration", ())
    ]
    others = [rule for rule in rules if rule.get("ID") != RULE and not _is_for_all(rule)]
    ours = {"ID": RULE, "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": days}}
    put = ("aws", "s3api", "put-bucket-lifecycle-configuration", "--bucket", name, "--lifecycle-configuration")
    mend = quoted(*put, json.dumps({"Rules": [*others, ours]}, default=str))
    if not expiring:
        seen = f"objects of {name} do not expire: what belongs to ended runs is kept, and paid for, for ever"
        return Finding("bucket-lifecycle", seen, mend)
    if min(expiring) < days:
        seen = (
            f"objects of {name} expire after {min(expiring)} days, and with this retention that has to be {days} or "
            "more: else they go while their runs are still there"
        )
        return Finding("bucket-lifecycle", seen, mend)
    return Finding("bucket-lifecycle", f"objects of {name} expire after {min(expiring)} days")


def _is_for_all(rule: Any) -> bool:
    chosen = rule.get("Filter", {})
    prefix = chosen.get("Prefix", rule.get("Prefix", ""))
    return rule["Status"] == "Enabled" and not prefix and not set(chosen) - {"Prefix"}
