"""Time that passes for what lies on AWS: what would have expired by then is taken away, as AWS itself would do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wdk_aws.schema import EXPIRES, PK, SK

if TYPE_CHECKING:
    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings


def expire(settings: AwsSettings, clients: Clients, now: float, days: float) -> int:
    """Take away the items of the table whose expiry has passed, and the objects of the bucket that are older than so
    many days; returns how many there were. AWS does it within some days; whoever relies on them errs."""
    return _expire_items(settings.table, clients, now) + _expire_objects(settings.bucket, clients, now - days * 86_400)


def _expire_items(table: str, clients: Clients, now: float) -> int:
    dynamodb: Any = clients.dynamodb
    gone = 0
    asked: dict[str, Any] = {
        "TableName": table,
        "FilterExpression": "#e < :now",
        "ExpressionAttributeNames": {"#e": EXPIRES},
        "ExpressionAttributeValues": {":now": {"N": repr(now)}},
    }
    while True:
        page = dynamodb.scan(**asked)
        for item in page["Items"]:
            dynamodb.delete_item(TableName=table, Key={PK: item[PK], SK: item[SK]})
            gone += 1
        if "LastEvaluatedKey" not in page:
            return gone
        asked["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _expire_objects(bucket: str, clients: Clients, before: float) -> int:
    s3: Any = clients.s3
    old = [
        found["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        for found in page.get("Contents", [])
        if found["LastModified"].timestamp() < before
    ]
    for key in old:
        s3.delete_object(Bucket=bucket, Key=key)
    return len(old)
