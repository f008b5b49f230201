"""The table: its keys, its two indexes and its expiry, as data for whoever creates it or checks a template against it.

    pk                    sk                            what
    R#<namespace>#<run>   HEAD                          the head
                          H#<birth>#<position>          a batch of the log
                          I#<birth>#<key>               an inbox item
                          S#<birth>#<step>              a step item
                          A#<birth>                     the labels
                          K#<birth>#<digest>            where a token of the run lies, for its removal
    T#<namespace>#<sha>   TOKEN                         who owns a hook's token

Both indexes are sparse: only heads have their keys, and `active` only those of runs that may still need something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.type_defs import (
        AttributeDefinitionTypeDef,
        CreateTableInputTypeDef,
        GlobalSecondaryIndexUnionTypeDef,
        TimeToLiveSpecificationTypeDef,
    )

PK, SK = "pk", "sk"

EXPIRES = "expires"
"""Seconds since the epoch after which DynamoDB takes the item away by itself."""

RUNS, RUNS_SHARD, RUNS_AGE = "runs", "rs", "ra"
"""All runs by shard, then by creation time and id."""

ACTIVE, ACTIVE_SHARD = "active", "as"
"""Runs that have not ended, failed ones, and tombstones whose run is not erased yet."""

SHARDS = 8
"""Partitions of an index in each namespace. A partition takes 1,000 write units a second, and a run writes four to an
index: so 2,000 runs a second can begin and end. A listing asks each shard once a page."""

# What an index projects is written there each time it changes: so the fields of the lease are in neither, and `active`
# does not have the status, which changes when a run begins.
RUNS_PROJECTED = ("st", "w", "v", "e", "ct")
"""Status, workflow, version, end and successor: what listings, the removal and the refresh ask for."""

ACTIVE_PROJECTED = ("wb", "e", "g")
"""`wake_by`, the end, and the mark of a tombstone."""


def table(name: str) -> CreateTableInputTypeDef:
    """The arguments of `create_table`."""
    attributes: list[AttributeDefinitionTypeDef] = [
        {"AttributeName": attribute, "AttributeType": "S"} for attribute in (PK, SK, RUNS_SHARD, RUNS_AGE, ACTIVE_SHARD)
    ]
    return {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": attributes,
        "KeySchema": [{"AttributeName": PK, "KeyType": "HASH"}, {"AttributeName": SK, "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [
            _index(RUNS, RUNS_SHARD, RUNS_AGE, RUNS_PROJECTED),
            _index(ACTIVE, ACTIVE_SHARD, None, ACTIVE_PROJECTED),
        ],
    }


def expiry() -> TimeToLiveSpecificationTypeDef:
    """The `TimeToLiveSpecification` of `update_time_to_live`."""
    return {"Enabled": True, "AttributeName": EXPIRES}


def _index(name: str, shard: str, order: str | None, projected: tuple[str, ...]) -> GlobalSecondaryIndexUnionTypeDef:
    keys = [(shard, "HASH")] if order is None else [(shard, "HASH"), (order, "RANGE")]
    return {
        "IndexName": name,
        "KeySchema": [{"AttributeName": key, "KeyType": "HASH" if kind == "HASH" else "RANGE"} for key, kind in keys],
        "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(projected)},
    }
