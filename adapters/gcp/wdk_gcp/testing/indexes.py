"""Which queries Firestore serves with given indexes, so that a test fails where a deployment would.

The rules are those of https://firebase.google.com/docs/firestore/query-data/index-overview: each field has an index of
its own in its collection unless it is exempt; equalities may use several indexes together; an order beside them, and a
query of a collection group, need an index that is declared. Alternatives (OR) are taken as if all of them held.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from wdk_gcp.testing.values import NAME_FIELD, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Ordered = tuple[tuple[str, int], ...]
"""Fields, each with 1 or -1 for descending."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index that is declared: of several `fields`, or of one for a `collection` group."""

    collection: str
    fields: tuple[str, ...]
    """`-created` is `created` in descending order."""
    group: bool = False
    """For queries of all collections of this id."""

    def ordered(self) -> Ordered:
        """Its fields with their directions."""
        return tuple((name.removeprefix("-"), -1 if name.startswith("-") else 1) for name in self.fields)


@dataclass(frozen=True)
class Indexes:
    """All that a database has: what is declared, and which fields of which collection have none of their own."""

    declared: Collection[Index] = ()
    exempt: Mapping[str, Collection[str]] = field(default_factory=dict[str, "Collection[str]"])
    """By the ids of collections, the fields that are exempt from indexing."""

    def check(self, collection: str, equal: Collection[str], orders: Ordered, *, group: bool) -> None:
        """Refuse a query of the `collection` (with `group`, of all of this id) that asks the fields `equal` for
        equality and goes by `orders`, if it would need another index."""
        asked = frozenset(equal) - {NAME_FIELD}
        orders = _without_name(orders)
        if not orders:
            missing = [name for name in asked if not self._alone(collection, name, group=group)]
            served = not missing or asked <= self._served(collection, asked, (), group=group)
        elif not asked and len(orders) == 1:
            served = self._alone(collection, orders[0][0], group=group)
        else:
            served = asked == self._served(collection, asked, orders, group=group) and (
                bool(asked) or self._has(collection, orders, group=group)
            )
        if not served:
            scope = "collection group" if group else "collection"
            wanted = [*sorted(asked), *(f"{'-' if sign < 0 else ''}{name}" for name, sign in orders)]
            refuse(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"The query requires an index of the {scope} {collection}: {', '.join(wanted)}.",
            )

    def _alone(self, collection: str, name: str, *, group: bool) -> bool:
        """Whether a field has an index of its own."""
        if not group and name not in self.exempt.get(collection, ()):
            return True
        return self._has(collection, ((name, 1),), group=group)

    def _has(self, collection: str, orders: Ordered, *, group: bool) -> bool:
        declared = (index for index in self.declared if (index.collection, index.group) == (collection, group))
        return any(_same_or_reversed(index.ordered(), orders) for index in declared)

    def _served(self, collection: str, asked: frozenset[str], orders: Ordered, *, group: bool) -> frozenset[str]:
        """Those of the fields that indexes of several fields in this order serve, one beside the other."""
        served: set[str] = set()
        for index in self.declared:
            ordered = index.ordered()
            first, rest = ordered[: len(ordered) - len(orders)], ordered[len(ordered) - len(orders) :]
            names = {name for name, _ in first}
            if (
                (index.collection, index.group) == (collection, group)
                and names <= asked
                and _same_or_reversed(rest, orders)
            ):
                served |= names
        return frozenset(served)


def _same_or_reversed(one: Sequence[tuple[str, int]], other: Sequence[tuple[str, int]]) -> bool:
    """An index can be read from either end."""
    return tuple(one) == tuple(other) or tuple((name, -sign) for name, sign in one) == tuple(other)


def _without_name(orders: Ordered) -> Ordered:
    """Every index ends with the name, in the direction of the field before."""
    if orders and orders[-1][0] == NAME_FIELD and orders[-1][1] == (orders[-2][1] if len(orders) > 1 else 1):
        return orders[:-1]
    return orders
