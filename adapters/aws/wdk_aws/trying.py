"""Whether this process may do what it needs: each action is tried in a way that changes nothing.

What is written and deleted is never there, so that a condition refuses it or nothing is left to be done; who may not do
it is told so before that. Actions that cannot be tried so (sending a message, making a schedule) are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from wdk_aws import policies, schema
from wdk_aws.failures import denied
from wdk_aws.rights import Use

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wdk_aws.clients import Clients
    from wdk_aws.rights import Resource
    from wdk_aws.settings import AwsSettings

NOWHERE = "wdk-doctor/nothing"
"""A key of the table and of the bucket under which nothing ever lies: ours begin in another way."""

_HANDLE = "wdk-doctor"
"""No receipt of any queue."""

OF_ANOTHER = "sy1z5W7Jm8Xsj4OHHN5wig=="
"""The MD5 of something else than what is sent: S3 takes none. A condition would ask for the right to read as well."""

_THERE = f"attribute_exists({schema.PK})"

Try = tuple[Use, "Callable[[], object]"]


def refused(role: str, settings: AwsSettings, clients: Clients) -> tuple[list[Use], list[Use]]:
    """What of a role's rights this process lacks, and what of them was tried."""
    needed = policies.uses(role)
    tries = [(use, call) for use, call in _tries(settings, clients) if use in needed]
    return [use for use, call in tries if _is_denied(call)], [use for use, _ in tries]


def _is_denied(call: Callable[[], object]) -> bool:
    try:
        call()
    except ClientError as error:
        return denied(error)
    return False


def _tries(settings: AwsSettings, clients: Clients) -> Iterator[Try]:
    if settings.table:
        yield from _of_table(settings.table, clients.dynamodb)
    queues: dict[Resource, str] = {"flow queue": settings.flow_queue_url, "step queue": settings.step_queue_url}
    for queue, url in queues.items():
        if url:
            yield from _of_queue(queue, url, clients.sqs)
    if settings.bucket:
        yield from _of_bucket(settings.bucket, clients.s3)
    if settings.kms_key_id:
        yield from _of_key(settings.kms_key_id, clients.kms)


def _of_table(name: str, dynamodb: Any) -> Iterator[Try]:
    key = {schema.PK: {"S": NOWHERE}, schema.SK: {"S": NOWHERE}}
    one = {"TableName": name, "Key": key}
    value = {":value": {"S": NOWHERE}}
    query = {"TableName": name, "ExpressionAttributeValues": value, "Limit": 1}

    def asked(attribute: str, **more: str) -> object:
        return dynamodb.query(**query, **more, KeyConditionExpression=f"{attribute} = :value")

    def updated() -> object:
        change = {"UpdateExpression": f"SET {schema.EXPIRES} = :value", "ExpressionAttributeValues": value}
        return dynamodb.update_item(**one, **change, ConditionExpression=_THERE)

    def indexes() -> None:
        asked(schema.RUNS_SHARD, IndexName=schema.RUNS)
        dynamodb.query(
            **query,
            IndexName=schema.ACTIVE,
            KeyConditionExpression="#shard = :value",
            ExpressionAttributeNames={"#shard": schema.ACTIVE_SHARD},  # `as` is a word of the language
        )

    calls: dict[str, Callable[[], object]] = {
        "BatchGetItem": lambda: dynamodb.batch_get_item(RequestItems={name: {"Keys": [key]}}),
        "BatchWriteItem": lambda: dynamodb.batch_write_item(RequestItems={name: [{"DeleteRequest": {"Key": key}}]}),
        "DeleteItem": lambda: dynamodb.delete_item(**one, ConditionExpression=_THERE),
        "GetItem": lambda: dynamodb.get_item(**one),
        "PutItem": lambda: dynamodb.put_item(TableName=name, Item=key, ConditionExpression=_THERE),
        "Query": lambda: asked(schema.PK),
        "UpdateItem": updated,
    }
    for action, call in calls.items():
        yield Use(f"dynamodb:{action}", "table"), call
    yield Use("dynamodb:Query", "indexes"), indexes


def _of_queue(queue: Resource, url: str, sqs: Any) -> Iterator[Try]:
    of_message = {"QueueUrl": url, "ReceiptHandle": _HANDLE}
    yield (
        Use("sqs:GetQueueAttributes", queue),
        lambda: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"]),
    )
    yield Use("sqs:DeleteMessage", queue), lambda: sqs.delete_message(**of_message)
    yield (
        Use("sqs:ChangeMessageVisibility", queue),
        lambda: sqs.change_message_visibility(**of_message, VisibilityTimeout=0),
    )


def _of_bucket(name: str, s3: Any) -> Iterator[Try]:
    one = {"Bucket": name, "Key": NOWHERE}
    yield Use("s3:ListBucket", "bucket"), lambda: s3.list_objects_v2(Bucket=name, Prefix=NOWHERE, MaxKeys=1)
    # Of what is not there S3 says 403 to whoever may not list; then that is what is said to be missing, too.
    yield Use("s3:GetObject", "objects"), lambda: s3.get_object(**one)
    yield Use("s3:DeleteObject", "objects"), lambda: s3.delete_object(**one)
    yield Use("s3:PutObject", "objects"), lambda: s3.put_object(**one, Body=b"", ContentMD5=OF_ANOTHER)


def _of_key(name: str, kms: Any) -> Iterator[Try]:
    made: list[bytes] = []

    def make() -> None:
        made.append(kms.generate_data_key(KeyId=name, KeySpec="AES_256")["CiphertextBlob"])

    yield Use("kms:GenerateDataKey", "key"), make
    # Of what no key has sealed KMS says that it is none, to whoever may open.
    yield Use("kms:Decrypt", "key"), lambda: kms.decrypt(KeyId=name, CiphertextBlob=made[0] if made else b"none")
