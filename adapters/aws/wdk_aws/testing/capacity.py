"""What DynamoDB charges for items of given contents: sizes and units by its documented rules, and nothing else.

Sizes: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html. Units:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/read-write-operations.html, and for indexes
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/GSI.html. The documentation gives the size of a number
approximately; the exact rule here is that of dynoxide, which was taken from the service.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Item = dict[str, dict[str, Any]]
"""As the low-level client gives and takes it: each value under the letter of its type."""

WRITE_UNIT = 1024
"""Bytes that a write unit covers."""

READ_UNIT = 4096
"""Bytes that a read unit covers, strongly consistent; eventually consistent it covers twice as many."""

_EXACT = Context(prec=38)  # the digits that a number of DynamoDB has at most; ten more than Python's default

NESTING = 3
"""Bytes that a list or a map takes beside its contents; each of its elements takes one more."""


@dataclass(frozen=True)
class Index:
    """A secondary index of a table, as far as it decides what a write costs."""

    name: str
    keys: tuple[str, ...]
    projected: frozenset[str] | None
    """Attributes that it holds, the keys of the table and its own included; None: all of them."""

    def entry(self, item: Item | None) -> Item | None:
        """What it holds of an item; None if the item has not all of its keys: the index is sparse."""
        if item is None or any(key not in item for key in self.keys):
            return None
        return item if self.projected is None else {name: item[name] for name in item if name in self.projected}


def write_units(old: Item | None, new: Item | None) -> int:
    """For a write that finds `old` and leaves `new`; None: no item. The larger of the two counts."""
    return max(_writes(old), _writes(new))


def index_units(old: Item | None, new: Item | None, index: Index) -> int:
    """What the same write costs in an index: nothing where what the index holds stays as it is, one write where it
    comes, goes or changes, and one for each of two entries where a key changes."""
    before, after = index.entry(old), index.entry(new)
    if before is None or after is None:
        return 0 if before is after else _writes(before or after)
    if any(_plain(before[key]) != _plain(after[key]) for key in index.keys):
        return _writes(before) + _writes(after)
    same = before.keys() == after.keys() and all(_plain(before[name]) == _plain(after[name]) for name in before)
    return 0 if same else max(_writes(before), _writes(after))


def read_units(items: Iterable[Item], *, consistent: bool) -> float:
    """For one read that looks at these items: a get of one (or of none), or a page of a query."""
    units = max(1, _up(sum(map(item_size, items)), READ_UNIT))
    return float(units) if consistent else units / 2


def _writes(item: Item | None) -> int:
    return max(1, _up(item_size(item), WRITE_UNIT)) if item else 1


def _plain(value: Mapping[str, Any]) -> Any:
    """To compare by: numbers have no trailing zeros, sets no order, binary values no class."""
    ((kind, content),) = value.items()
    match kind:
        case "N":
            return kind, Decimal(content)
        case "B":
            return kind, bytes(content)
        case "SS" | "BS":
            return kind, frozenset(content)
        case "NS":
            return kind, frozenset(map(Decimal, content))
        case "L":
            return kind, [_plain(part) for part in content]
        case "M":
            return kind, {name: _plain(part) for name, part in content.items()}
        case _:
            return kind, content


def _up(size: int, unit: int) -> int:
    return -(-size // unit)


def item_size(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes: the names in UTF-8 and the values."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


def value_size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return number_size(content)
        case "B":
            return len(content)
        case "SS":
            return sum(len(text.encode()) for text in content)
        case "NS":
            return sum(map(number_size, content))
        case "BS":
            return sum(map(len, content))
        case "L":
            return NESTING + _sum(content)
        case "M":
            return NESTING + sum(len(name.encode()) + 1 + value_size(part) for name, part in content.items())
        case _:
            return 1  # BOOL, NULL


def _sum(values: Sequence[Mapping[str, Any]]) -> int:
    return sum(1 + value_size(value) for value in values)


def number_size(text: str) -> int:
    """One byte, one for each two significant digits and one for a minus. The pairs of digits are those of the decimal
    places, as in a number with base 100: `1.5` has two, `15` has one."""
    sign, digits, exponent = Decimal(text).normalize(_EXACT).as_tuple()
    if digits == (0,):
        return 1
    lowest = int(exponent)  # a letter for infinities, which DynamoDB does not have
    highest = lowest + len(digits) - 1
    return 1 + (highest // 2 - lowest // 2 + 1) + sign
