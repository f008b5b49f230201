"""The table against `schema`: its keys, its indexes, its expiry."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from wdk_aws import schema
from wdk_aws.checkup.account import quoted
from wdk_aws.settings import VARIABLES
from wdk_cloud.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wdk_aws.checkup.account import Account

Shape = tuple[tuple[tuple[str, str], ...], tuple[str, ...]]
"""The keys of an index with their roles, and what it projects."""

EXPIRING = frozenset(("ENABLED", "ENABLING"))


def examine(name: str, account: Account) -> list[Finding]:
    dynamodb = account.dynamodb
    try:
        there: Any = dynamodb.describe_table(TableName=name)["Table"]
    except dynamodb.exceptions.ResourceNotFoundException:
        return [Finding("table", f"there is no table {name}, which {VARIABLES['table']} names", "wdk aws create")]
    wanted: Any = schema.table(name)
    keys, ours = _keys(there["KeySchema"]), _keys(wanted["KeySchema"])
    if keys != ours:
        seen = (
            f"the table {name} has the keys {_named(keys)}, and this version needs {_named(ours)}: it is of another one"
        )
        return [Finding("table", f"{seen}; keys cannot be changed, so a new table is needed", _another(name))]
    found = [Finding("table", f"{name}, {there['TableStatus'].lower()}, has the keys {_named(keys)}")]
    return [*found, *_indexes(name, there, wanted), _expiry(name, account)]


def _another(name: str) -> str:
    return f"export {VARIABLES['table']}={quoted(name + '-2')} && wdk aws create"


def _keys(found: Iterable[dict[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((key["AttributeName"], key["KeyType"]) for key in found)


def _named(keys: Sequence[tuple[str, str]]) -> str:
    return " and ".join(name for name, _ in keys)


def _indexes(name: str, there: dict[str, Any], wanted: dict[str, Any]) -> list[Finding]:
    have = {index["IndexName"]: _shape(index) for index in there.get("GlobalSecondaryIndexes", ())}
    wrong: list[Finding] = []
    for index in wanted["GlobalSecondaryIndexes"]:
        label, ours = index["IndexName"], _shape(index)
        if label not in have:
            seen = f"the table {name} has no index {label}, and runs are found through it"
            wrong.append(Finding("table-indexes", seen, _update(name, {"Create": index}, wanted)))
        elif have[label] != ours:
            seen = (
                f"the index {label} of the table {name} is one of another version: it has {_told(have[label])}, and "
                f"this one needs {_told(ours)}; delete it, then create it (wdk doctor says how)"
            )
            wrong.append(Finding("table-indexes", seen, _update(name, {"Delete": {"IndexName": label}})))
    return wrong or [Finding("table-indexes", f"{name} has the indexes {' and '.join(sorted(have))}")]


def _shape(index: dict[str, Any]) -> Shape:
    projection = index["Projection"]
    projected = projection.get("NonKeyAttributes", ()) if projection["ProjectionType"] == "INCLUDE" else ("everything",)
    return _keys(index["KeySchema"]), tuple(sorted(projected))


def _told(shape: Shape) -> str:
    keys, projected = shape
    return f"the keys {_named(keys)} with {', '.join(projected)}"


def _update(name: str, change: dict[str, Any], wanted: dict[str, Any] | None = None) -> str:
    words = ["aws", "dynamodb", "update-table", "--table-name", name]
    if wanted is not None:
        keys = {key["AttributeName"] for key in change["Create"]["KeySchema"]}
        needed = [one for one in wanted["AttributeDefinitions"] if one["AttributeName"] in keys]
        words += ["--attribute-definitions", json.dumps(needed)]
    return quoted(*words, "--global-secondary-index-updates", json.dumps([change]))


def _expiry(name: str, account: Account) -> Finding:
    said: Any = account.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    status, attribute = said.get("TimeToLiveStatus"), said.get("AttributeName")
    if status in EXPIRING and attribute == schema.EXPIRES:
        return Finding("table-expiry", f"items of {name} expire by their attribute {attribute}")
    change = f"Enabled=true,AttributeName={schema.EXPIRES}"
    mend = quoted(
        "aws", "dynamodb", "update-time-to-live", "--table-name", name, "--time-to-live-specification", change
    )
    if status in EXPIRING:
        other = f"Enabled=false,AttributeName={attribute}"
        mend = f"{mend.replace(change, other)}"
        seen = f"items of {name} expire by {attribute} and not by {schema.EXPIRES}; switch that off, then the other on"
        return Finding("table-expiry", seen, mend)
    return Finding("table-expiry", f"items of {name} do not expire: ended runs are kept, and paid for, for ever", mend)
