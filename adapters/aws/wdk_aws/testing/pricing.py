"""What one request to DynamoDB cost: its items read aside, through a client that nobody counts, before and after it.

Exact, as long as all writers of an item are in this process and metered by the same meter: a lock per item keeps them
apart for the time of a request. Writers elsewhere can come between the two looks at an item.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wdk_aws.testing.capacity import Index, index_units, read_units, write_units

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_dynamodb import DynamoDBClient

    from wdk_aws.testing.capacity import Item

    Params = Mapping[str, Any]

WRITES = frozenset(("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem"))
READS = frozenset(("GetItem", "BatchGetItem", "Query", "Scan"))
UNPRICED = frozenset(
    ("TransactWriteItems", "TransactGetItems", "ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction")
)
"""No world uses them; a price that is left out in silence would be worse than an error."""

REFUSED = "ConditionalCheckFailedException"

HELD_AT_MOST = 60.0
"""Seconds to wait for another request on the same item: longer than any takes with its repeats. Somebody who kills
a thread in the middle of one must not block the others for ever."""


@dataclass(frozen=True)
class Units:
    read: float = 0.0
    write: int = 0
    """Those of the indexes included."""
    indexes: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(frozen=True)
class Table:
    keys: tuple[str, ...]
    indexes: tuple[Index, ...]


class Locks:
    """One for each item that is being written."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._of: dict[str, threading.Lock] = {}

    def of(self, name: str) -> threading.Lock:
        with self._making:
            return self._of.setdefault(name, threading.Lock())


class Request:
    """One request under way: `end` it whatever comes of it."""

    def __init__(self, tables: Tables, locks: Locks, operation: str, params: Params) -> None:
        self._tables = tables
        self._operation = operation
        self._params = params
        keys = sorted(tables.written(operation, params), key=name_of)
        self._held = [lock for name in dict.fromkeys(map(name_of, keys)) if _taken(lock := locks.of(name))]
        self._olds = {name_of(key): tables.taken(key) for key in keys}
        self._keys = keys
        if operation == "GetItem":
            keys = [(params["TableName"], params["Key"])]
        self.name = ", ".join(name_of(key).partition("/")[2] for key in keys) or params.get("IndexName", "")

    def end(self, answer: Params | None, code: str) -> Units:
        """`answer` is None if none came, `code` that of an error."""
        try:
            return self._units(answer, code)
        finally:
            for lock in self._held:
                lock.release()

    def _units(self, answer: Params | None, code: str) -> Units:
        if self._operation in READS:
            read = 0.0 if answer is None or code else self._tables.read(self._operation, self._params, answer)
            return Units(read=read)
        if code == REFUSED:
            self._tables.put_back(self._olds)
            return Units(write=sum(write_units(old, None) for old in self._olds.values()))
        if code:
            return Units()
        left = _names(self._tables, answer) if answer and answer.get("UnprocessedItems") else frozenset[str]()
        written, indexes = 0, Counter[str]()
        for key in self._keys:
            if name_of(key) in left:
                continue
            old, new = self._olds[name_of(key)], self._new(key, answer)
            if answer is None and old == new:
                continue  # it did not come to anything, as far as one can see
            written += write_units(old, new)
            indexes.update(self._tables.in_indexes(key[0], old, new))
            if answer is not None:
                self._tables.put_back({name_of(key): new})
        return Units(write=written + indexes.total(), indexes=dict(indexes))

    def _new(self, key: Key, answer: Params | None) -> Item | None:
        if self._operation == "PutItem" and answer is not None:
            return self._params["Item"]
        if self._operation == "UpdateItem" and answer is not None and self._params.get("ReturnValues") == "ALL_NEW":
            return answer["Attributes"]
        if self._operation == "DeleteItem" and answer is not None:
            return None
        return self._tables.item(*key)


Key = tuple[str, "Item"]
"""A table and the key of an item."""


class Tables:
    """What one client sees, aside: definitions of tables, and items."""

    def __init__(self, aside: DynamoDBClient, *, alone: bool = False) -> None:
        """`alone`: nobody writes an item who is not metered by this meter. So an item is read aside before its first
        write, and not before each: it is kept as the last write has left it."""
        self._aside: Any = aside  # requests are handed on as they came
        self._known: dict[str, Table] = {}
        self._alone = alone
        self._kept: dict[str, Item | None] = {}

    def of(self, name: str) -> Table:
        if name not in self._known:
            self._known[name] = _table(self._aside.describe_table(TableName=name)["Table"])
        return self._known[name]

    def item(self, table: str, key: Item) -> Item | None:
        return self._aside.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")

    def in_indexes(self, table: str, old: Item | None, new: Item | None) -> dict[str, int]:
        """The write units of each index that this concerns."""
        found = {index.name: index_units(old, new, index) for index in self.of(table).indexes}
        return {name: units for name, units in found.items() if units}

    def taken(self, key: Key) -> Item | None:
        """The item that a request is about to write. It is not kept meanwhile: of a request that never ends nobody
        knows what it has done."""
        name = name_of(key)
        return self._kept.pop(name) if name in self._kept else self.item(*key)

    def put_back(self, items: Mapping[str, Item | None]) -> None:
        """By their names, as a request has left them that was answered."""
        if self._alone:
            self._kept.update(items)

    def forget(self) -> None:
        self._kept.clear()

    def written(self, operation: str, params: Params) -> list[Key]:
        """The items that a request writes."""
        if operation == "BatchWriteItem":
            return self.batched(params["RequestItems"])
        if operation == "PutItem":
            return [(params["TableName"], self._key(params["TableName"], params["Item"]))]
        return [(params["TableName"], params["Key"])] if operation in WRITES else []

    def batched(self, requests: Mapping[str, list[dict[str, Any]]]) -> list[Key]:
        return [
            (table, request["DeleteRequest"]["Key"] if "DeleteRequest" in request else self._key(table, _put(request)))
            for table, of_table in requests.items()
            for request in of_table
        ]

    def read(self, operation: str, params: Params, answer: Params) -> float:
        consistent = bool(params.get("ConsistentRead"))
        if operation == "GetItem":
            item = answer.get("Item")
            if item is not None and "ProjectionExpression" in params:
                item = self.item(params["TableName"], params["Key"])
            return read_units([item] if item else [], consistent=consistent)
        if operation == "BatchGetItem":
            return self._batch(params, answer)
        return read_units(self._looked_at(operation, params, answer), consistent=consistent)

    def _batch(self, params: Params, answer: Params) -> float:
        units = 0.0
        for table, asked in params["RequestItems"].items():
            left = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            for key in asked["Keys"]:
                if key not in left:
                    item = self.item(table, key)
                    units += read_units([item] if item else [], consistent=bool(asked.get("ConsistentRead")))
        return units

    def _looked_at(self, operation: str, params: Params, answer: Params) -> list[Item]:
        """The items of a page: those that a filter left out count too, and all of their attributes do."""
        narrowing = {"FilterExpression", "ProjectionExpression", "Select"} & params.keys()
        if not narrowing:
            return answer["Items"]
        if not answer["ScannedCount"]:
            return []
        kept = {"TableName", "IndexName", "KeyConditionExpression", "ExclusiveStartKey", "ScanIndexForward"}
        kept |= {"ConsistentRead", "Segment", "TotalSegments"}
        again = {name: params[name] for name in params if name in kept}
        condition = params.get("KeyConditionExpression", "")
        for names in ("ExpressionAttributeNames", "ExpressionAttributeValues"):
            used = {name: value for name, value in params.get(names, {}).items() if name in condition}
            if used:
                again[names] = used
        ask = self._aside.query if operation == "Query" else self._aside.scan
        return ask(**again, Limit=answer["ScannedCount"])["Items"]

    def _key(self, table: str, item: Item) -> Item:
        return {name: item[name] for name in self.of(table).keys}


def name_of(key: Key) -> str:
    table, item = key
    return "/".join([table, *(str(*item[name].values()) for name in sorted(item))])


def _names(tables: Tables, answer: Params) -> frozenset[str]:
    return frozenset(map(name_of, tables.batched(answer["UnprocessedItems"])))


def _taken(lock: threading.Lock) -> bool:
    return lock.acquire(timeout=HELD_AT_MOST)


def _put(request: dict[str, Any]) -> Item:
    return request["PutRequest"]["Item"]


def _table(description: Params) -> Table:
    keys = tuple(key["AttributeName"] for key in description["KeySchema"])
    found = [*description.get("GlobalSecondaryIndexes", []), *description.get("LocalSecondaryIndexes", [])]
    return Table(keys, tuple(_index(index, keys) for index in found))


def _index(description: Params, table: tuple[str, ...]) -> Index:
    keys = tuple(key["AttributeName"] for key in description["KeySchema"])
    projection = description["Projection"]
    projected = None
    if projection["ProjectionType"] != "ALL":
        projected = frozenset((*table, *keys, *projection.get("NonKeyAttributes", [])))
    return Index(description["IndexName"], keys, projected)
