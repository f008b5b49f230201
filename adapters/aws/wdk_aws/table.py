"""The requests to the table: conditional writes of single items, strong reads, batches."""

from __future__ import annotations

import re
from asyncio import sleep
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from wdk_aws.failures import refused
from wdk_aws.items import Item, Value, number
from wdk_aws.schema import EXPIRES, PK, SK
from wdk_aws.settings import VARIABLES
from wdk_cloud.errors import ThrottleError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from wdk_aws.clients import Clients
    from wdk_aws.settings import AwsSettings
    from wdk_cloud.world.ports import Clock

READ_AT_ONCE = 100
"""Keys of a BatchGetItem at most: Amazon DynamoDB API reference."""

WRITE_AT_ONCE = 25
"""Requests of a BatchWriteItem at most: ibid."""

PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds before what a batch left unprocessed is asked for again; then the table is throttled. boto3 itself repeats
only requests that failed as a whole."""

_NAME = re.compile(r"#(\w+)")

_TABLE = VARIABLES["table"]


class Table:
    """Expressions write each attribute as `#name`, since DynamoDB reserves hundreds of words. `keep`: seconds after
    which an item expires."""

    def __init__(self, settings: AwsSettings, clients: Clients, clock: Clock, keep: float) -> None:
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self.keep = keep

    def now(self) -> float:
        return self._clock.now()

    def expiry(self) -> Value:
        return number(int(self.now() + self.keep))

    # -- one item ---------------------------------------------------------------------------------------------------

    async def get(self, key: Item) -> Item | None:
        """Strongly consistent."""
        found = await self._ask(self._client.get_item, Key=key, ConsistentRead=True)
        return found.get("Item")

    async def put(self, item: Item, condition: str, values: Item | None = None) -> Item | None:
        """None: written, with its expiry. Else the item that refused it; {} if none lies there."""
        asked = _expressions(values, ConditionExpression=condition)
        return await self._try(self._client.put_item, Item={**item, EXPIRES: self.expiry()}, **asked)

    async def put_blindly(self, item: Item) -> None:
        """What is the same each time it is written."""
        await self._ask(self._client.put_item, Item={**item, EXPIRES: self.expiry()})

    async def update(self, key: Item, change: str, condition: str, values: Item) -> tuple[bool, Item]:
        """(True, the item as it is now); or (False, the item that refused it, {} if none lies there)."""
        return await self._clients.ask(_TABLE, self._update, key, change, condition, values)

    def update_now(self, key: Item, change: str, condition: str, values: Item) -> tuple[bool, Item]:
        """As `update`, in the calling thread."""
        return self._clients.ask_now(_TABLE, self._update, key, change, condition, values)

    async def touch(self, key: Item, expires: float, condition: str, values: Item, further: str = "") -> None:
        """Change when the item expires, if the condition holds. Its content does not come back: it may be large."""
        asked = _expressions(
            {**values, EXPIRES: number(expires)},
            UpdateExpression=f"SET #{EXPIRES} = :{EXPIRES}{further}",
            ConditionExpression=condition,
        )
        try:
            await self._ask(self._client.update_item, Key=key, **asked)
        except ClientError as error:
            if refused(error) is None:
                raise

    async def delete(self, key: Item, condition: str, values: Item) -> None:
        """If the condition holds."""
        asked = _expressions(values, ConditionExpression=condition)
        await self._try(self._client.delete_item, Key=key, **asked)

    # -- many items -------------------------------------------------------------------------------------------------

    async def query(
        self, keys: str, values: Item, *, page: int | None = None, most: int | None = None, **asked: Any
    ) -> AsyncIterator[Item]:
        """Strongly consistent, unless an `IndexName` is given. Each page, of at most `page` items, is asked for when it
        is needed; no more than `most` items are looked at."""
        request: dict[str, Any] = {**asked, **_expressions(values, KeyConditionExpression=keys, **_texts(asked))}
        if "IndexName" not in asked:
            request["ConsistentRead"] = True
        if page is not None:
            request["Limit"] = page
        looked = 0
        while True:
            if most is not None:
                request["Limit"] = most - looked
            answer = await self._ask(self._client.query, **request)
            for item in answer["Items"]:
                yield item
            looked += answer["ScannedCount"]
            onward = answer.get("LastEvaluatedKey")
            if onward is None or (most is not None and looked >= most):
                return
            request["ExclusiveStartKey"] = onward

    async def get_all(self, keys: Sequence[Item]) -> list[Item]:
        """Those of these items that are there, in any order, strongly consistent."""
        found: list[Item] = []
        for start in range(0, len(keys), READ_AT_ONCE):
            found += await self._get_some(keys[start : start + READ_AT_ONCE])
        return found

    async def _get_some(self, keys: Sequence[Item]) -> list[Item]:
        asked: dict[str, Any] = {"Keys": keys, "ConsistentRead": True}
        name, found, pauses = self._settings.needed("table"), list[Item](), iter(PAUSES)
        while True:
            answer = await self._clients.ask(_TABLE, self._client.batch_get_item, RequestItems={name: asked})
            found += answer.get("Responses", {}).get(name, [])
            asked = answer.get("UnprocessedKeys", {}).get(name, {})
            if not asked:
                return found
            await _wait(next(pauses, None), "BatchGetItem")

    async def delete_all(self, keys: Sequence[Item]) -> None:
        for start in range(0, len(keys), WRITE_AT_ONCE):
            await self._delete_some([{"DeleteRequest": {"Key": key}} for key in keys[start : start + WRITE_AT_ONCE]])

    async def _delete_some(self, requests: Sequence[Any]) -> None:
        name, pauses = self._settings.needed("table"), iter(PAUSES)
        while True:
            answer = await self._clients.ask(_TABLE, self._client.batch_write_item, RequestItems={name: requests})
            requests = answer.get("UnprocessedItems", {}).get(name, [])
            if not requests:
                return
            await _wait(next(pauses, None), "BatchWriteItem")

    # -- requests ---------------------------------------------------------------------------------------------------

    @property
    def _client(self) -> Any:
        """boto3's types know each operation's arguments one by one; here they are put together."""
        return self._clients.dynamodb

    async def _ask(self, method: Callable[..., Any], **asked: Any) -> Mapping[str, Any]:
        return await self._clients.ask(_TABLE, method, TableName=self._settings.needed("table"), **asked)

    async def _try(self, method: Callable[..., Any], **asked: Any) -> Item | None:
        """None: written; else what refused it."""
        try:
            await self._ask(method, ReturnValuesOnConditionCheckFailure="ALL_OLD", **asked)
        except ClientError as error:
            there = refused(error)
            if there is None:
                raise
            return there
        return None

    def _update(self, key: Item, change: str, condition: str, values: Item) -> tuple[bool, Item]:
        try:
            answer = self._client.update_item(
                TableName=self._settings.needed("table"),
                Key=key,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **_expressions(values, UpdateExpression=change, ConditionExpression=condition),
            )
        except ClientError as error:
            there = refused(error)
            if there is None:
                raise
            return False, there
        return True, answer["Attributes"]


ABSENT = f"attribute_not_exists(#{PK})"
THERE = f"attribute_exists(#{PK})"


def key_of(pk: str, sk: str) -> Item:
    return {PK: {"S": pk}, SK: {"S": sk}}


def _expressions(values: Item | None, **expressions: str) -> dict[str, Any]:
    """The expressions with the names and values that they mention."""
    asked: dict[str, Any] = {name: expression for name, expression in expressions.items() if expression}
    names = {name for expression in expressions.values() for name in _NAME.findall(expression)}
    asked["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
    if values:
        asked["ExpressionAttributeValues"] = {f":{name}": value for name, value in values.items()}
    return asked


def _texts(asked: Mapping[str, Any]) -> dict[str, str]:
    return {name: asked[name] for name in ("FilterExpression", "ProjectionExpression") if name in asked}


async def _wait(pause: float | None, operation: str) -> None:
    if pause is None:
        raise ThrottleError(f"AWS asks for fewer requests ({operation} for {_TABLE} leaves some undone); tried again")
    await sleep(pause)
