"""Firestore's structured queries, asked of documents in memory: filters, orders, cursors, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cmp_to_key
from typing import TYPE_CHECKING, Any

import grpc
from google.cloud.firestore_v1 import types

from wdk_gcp.testing.values import LIST, NAME_FIELD, NAN, NULL, Key, field_path, found_at, invalid, key, refuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from wdk_gcp.testing.documents import Documents, Stored
    from wdk_gcp.testing.indexes import Indexes
    from wdk_gcp.testing.messages import Message

MOST_VALUES = {"IN": 30, "ARRAY_CONTAINS_ANY": 30, "NOT_IN": 10}
"""Values of a filter at most."""

_Q = types.StructuredQuery
_UNEQUAL = frozenset(
    ("LESS_THAN", "LESS_THAN_OR_EQUAL", "GREATER_THAN", "GREATER_THAN_OR_EQUAL", "NOT_EQUAL", "NOT_IN")
)
_UNARY_UNEQUAL = frozenset(("IS_NOT_NAN", "IS_NOT_NULL"))


@dataclass(frozen=True, slots=True)
class Order:
    field: str
    sign: int
    """1, or -1 for descending."""


def answered(documents: Documents, parent: str, query: Message, indexes: Indexes | None = None) -> list[Stored]:
    """The documents that a query finds, in its order. Raises Refused."""
    if query.HasField("find_nearest"):
        refuse(grpc.StatusCode.UNIMPLEMENTED, "Queries of vectors are not here")
    if query.limit.value < 0 or query.offset < 0:
        invalid("limit is negative" if query.limit.value < 0 else "offset is negative")
    _check(query.where)
    orders = _orders(query)
    _check_orders(query, orders, indexes)
    found: list[tuple[tuple[Key, ...], Stored]] = []
    for stored in _selected(documents, parent, query):
        keys = [_key_at(stored, order.field) for order in orders]
        at = tuple(each for each in keys if each is not None)
        if len(at) == len(orders) and _matches(stored, query.where):
            found.append((at, stored))
    found.sort(key=cmp_to_key(lambda one, other: _compare(one[0], other[0], orders)))
    for cursor, start in ((query.start_at, True), (query.end_at, False)):
        if cursor.values:
            if len(cursor.values) > len(query.order_by):
                invalid("Cursor has too many values.")
            found = _cut(found, cursor, orders, start=start)
    chosen = [stored for _, stored in found][query.offset :]
    return chosen[: query.limit.value] if query.HasField("limit") else chosen


def _selected(documents: Documents, parent: str, query: Message) -> Iterator[Stored]:
    """The documents of the collections below `parent` that the query is about."""
    selectors = query.from_
    if len(selectors) > 1:
        invalid("A query may be about one kind of collection only")
    wanted = selectors[0].collection_id if selectors else ""
    below = selectors[0].all_descendants if selectors else True
    prefix = f"{parent}/"
    for path in documents.collections():
        if not path.startswith(prefix) or (wanted and path.rpartition("/")[2] != wanted):
            continue
        if below or "/" not in path[len(prefix) :]:
            yield from documents.collection(path)


# -- orders -----------------------------------------------------------------------------------------------------------


def _orders(query: Message) -> list[Order]:
    """Those of the query, those of fields with an inequality, and the name."""
    orders = [
        Order(each.field.field_path, -1 if each.direction == _Q.Direction.DESCENDING else 1) for each in query.order_by
    ]
    sign = orders[-1].sign if orders else 1
    named = {order.field for order in orders}
    orders += [Order(field, sign) for field in sorted(_unequal(query.where)) if field not in named | {NAME_FIELD}]
    return orders if NAME_FIELD in named else [*orders, Order(NAME_FIELD, sign)]


def _check_orders(query: Message, orders: Sequence[Order], indexes: Indexes | None) -> None:
    """Names descending need an index, unless a field is asked for as well; all else if the indexes are given."""
    if [(order.field, order.sign) for order in orders] == [(NAME_FIELD, -1)] and not _fields(query.where) - {
        NAME_FIELD
    }:
        refuse(grpc.StatusCode.FAILED_PRECONDITION, "The query requires an index: __name__ descending.")
    if indexes is not None and query.from_ and query.from_[0].collection_id:
        equal = _fields(query.where) - _unequal(query.where)
        ordered = tuple((order.field, order.sign) for order in orders)
        indexes.check(query.from_[0].collection_id, equal, ordered, group=query.from_[0].all_descendants)


def _key_at(stored: Stored, field: str) -> Key | None:
    if field == NAME_FIELD:
        return stored.key
    value = found_at(stored.document.fields, field_path(field))
    return None if value is None else key(value)


def _compare(one: Sequence[Key], other: Sequence[Key], orders: Sequence[Order]) -> int:
    """As far as the shorter one goes."""
    for a, b, order in zip(one, other, orders, strict=False):
        if a != b:
            return order.sign if a > b else -order.sign
    return 0


def _cut(
    found: list[tuple[tuple[Key, ...], Stored]], cursor: Message, orders: Sequence[Order], *, start: bool
) -> list[tuple[tuple[Key, ...], Stored]]:
    """`before`: the cursor lies before what equals it, so that a start has it and an end has not."""
    where = [key(value) for value in cursor.values]
    if start:
        return [each for each in found if _compare(each[0], where, orders) >= (0 if cursor.before else 1)]
    return [each for each in found if _compare(each[0], where, orders) <= (-1 if cursor.before else 0)]


# -- filters ----------------------------------------------------------------------------------------------------------


def _leaves(where: Message) -> Iterator[Message]:
    """The field filters and unary filters of a filter."""
    kind = where.WhichOneof("filter_type")
    if kind == "composite_filter":
        for inner in where.composite_filter.filters:
            yield from _leaves(inner)
    elif kind is not None:
        yield getattr(where, kind)


def _fields(where: Message) -> set[str]:
    return {leaf.field.field_path for leaf in _leaves(where)}


def _unequal(where: Message) -> set[str]:
    return {leaf.field.field_path for leaf in _leaves(where) if _operator(leaf) in _UNEQUAL | _UNARY_UNEQUAL}


def _operator(leaf: Message) -> str:
    enum: Any = _Q.FieldFilter.Operator if hasattr(leaf, "value") else _Q.UnaryFilter.Operator
    return enum(leaf.op).name


def _check(where: Message) -> None:
    _check_together(where)
    for leaf in _leaves(where):
        field_path(leaf.field.field_path)
        if hasattr(leaf, "value"):
            _check_value(_operator(leaf), leaf)


def _check_together(where: Message) -> None:
    """Refuse filters that one query cannot have."""
    ops = [_operator(leaf) for leaf in _leaves(where)]
    beside = ("NOT_EQUAL", "IN", "ARRAY_CONTAINS_ANY", "IS_NOT_NULL", "IS_NOT_NAN")
    if ops.count("NOT_IN") > 1 or ("NOT_IN" in ops and any(op in ops for op in beside)):
        invalid("NOT_IN cannot be combined with NOT_EQUAL, IN, ARRAY_CONTAINS_ANY or another NOT_IN.")
    of_lists = (leaf for leaf in _leaves(where) if _operator(leaf).startswith("ARRAY_CONTAINS"))
    if len({leaf.SerializeToString(deterministic=True) for leaf in of_lists}) > 1:  # twice the same counts as one
        invalid("A maximum of 1 ARRAY_CONTAINS filter is allowed.")
    if ops.count("NOT_EQUAL") > 1:
        invalid("Only a single NOT_EQUAL filter allowed per query.")


def _check_value(op: str, leaf: Message) -> None:
    if key(leaf.value)[0] != LIST and op in MOST_VALUES:
        invalid(f"'{op}' requires an ArrayValue.")
    values = leaf.value.array_value.values if op in MOST_VALUES else [leaf.value]
    if not 0 < len(values) <= MOST_VALUES.get(op, 1):
        invalid(f"'{op}' supports 1 to {MOST_VALUES[op]} comparison values.")
    if leaf.field.field_path == NAME_FIELD and any(
        value.WhichOneof("value_type") != "reference_value" for value in values
    ):
        invalid("__key__ filter value must be a Key")


def _matches(stored: Stored, where: Message) -> bool:
    match where.WhichOneof("filter_type"):
        case "composite_filter":
            any_of = where.composite_filter.op == _Q.CompositeFilter.Operator.OR
            each = (_matches(stored, inner) for inner in where.composite_filter.filters)
            return any(each) if any_of else all(each)
        case "field_filter":
            there = _key_at(stored, where.field_filter.field.field_path)
            return there is not None and _holds(_operator(where.field_filter), there, where.field_filter.value)
        case "unary_filter":
            there = _key_at(stored, where.unary_filter.field.field_path)
            return there is not None and _is(_operator(where.unary_filter), there)
        case _:
            return True


def _is(op: str, there: Key) -> bool:
    match op:
        case "IS_NULL":
            return there == (NULL,)
        case "IS_NAN":
            return there == NAN
        case "IS_NOT_NULL":
            return there != (NULL,)
        case "IS_NOT_NAN":
            return there not in ((NULL,), NAN)
        case _:
            invalid("A unary filter needs an operator")


def _holds(op: str, there: Key, value: Message) -> bool:
    wanted = key(value)
    match op:
        case "EQUAL":
            return there == wanted
        case "NOT_EQUAL":
            return there != (NULL,) and there != wanted
        case "IN":
            return there in _not_null(wanted[1])
        case "NOT_IN":
            return (NULL,) not in wanted[1] and there != (NULL,) and there not in wanted[1]
        case "ARRAY_CONTAINS":
            return there[0] == LIST and wanted in there[1]
        case "ARRAY_CONTAINS_ANY":
            return there[0] == LIST and any(item in there[1] for item in _not_null(wanted[1]))
        case _:
            return there[0] == wanted[0] and NAN not in (there, wanted) and _ordered(op, there, wanted)


def _not_null(keys: Iterable[Key]) -> list[Key]:
    return [each for each in keys if each != (NULL,)]


def _ordered(op: str, there: Key, wanted: Key) -> bool:
    match op:
        case "LESS_THAN":
            return there < wanted
        case "LESS_THAN_OR_EQUAL":
            return there <= wanted
        case "GREATER_THAN":
            return there > wanted
        case "GREATER_THAN_OR_EQUAL":
            return there >= wanted
        case _:
            invalid("A field filter needs an operator")
