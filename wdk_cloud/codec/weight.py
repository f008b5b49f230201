"""How long a value will be, known before it is written: what lies in it at many places is looked at once.

A list that holds another one twice, which holds another one twice, and so on: forty small objects, and a terabyte of
JSON. Whoever goes through a value counts the containers that it meets, and when they are many the value is weighed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.codec.limits import HARD_LIMIT
from wdk_cloud.codec.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MANY = 100_000
"""Containers that are met before a value is weighed: a tenth of a second of going through it, and few have as many."""

# How a container is written, beside its members: `{"$tuple":[…]}`.
_MARKS: dict[type, int] = {list: 0, dict: 0, tuple: 11, set: 9, frozenset: 15}


class Visits:
    """How many more containers of one value may be met: whoever meets one counts `left` down and, below 0, says so."""

    __slots__ = ("_parts_of", "_root", "left")

    def __init__(self, root: object, parts_of: Callable[[Any], object] | None = None) -> None:
        self.left = MANY
        self._root = root
        self._parts_of = parts_of

    def are_many(self) -> None:
        """Raises `Refusal` when the value is too long to be recorded; else it is not asked again."""
        if weight_of(self._root, self._parts_of) > HARD_LIMIT:
            raise Refusal(
                f"takes more than the {HARD_LIMIT:,} bytes as JSON that can be recorded: what lies in it at several "
                "places is written at each of them. Pass such a part once and name it elsewhere, or put the value into "
                "a file or an object store and pass its name"
            )
        self.left = sys.maxsize


def weight_of(root: object, parts_of: Callable[[Any], object] | None = None) -> int:
    """At least how many bytes of JSON a value takes, in a time that goes by how many different objects lie in it.

    `parts_of` tells what an object of a class is made of, or None. Without recursion, for any depth; a container within
    itself counts nothing there, since how deep a value goes is found out where it is written.
    """
    weights: dict[int, int] = {}
    opened: dict[int, tuple[int, list[object]]] = {}
    kept: list[object] = []  # what `parts_of` made lives on, so that nobody else gets its id
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in weights:
            continue
        if id(value) not in opened:
            own, inner = _opened(value, parts_of)
            if inner:
                opened[id(value)] = own, inner
                waiting.append(value)
                waiting.extend(item for item in inner if id(item) not in opened)
                if type(value) not in _MARKS:
                    kept += inner
                continue
        else:
            own, inner = opened.pop(id(value))
        weights[id(value)] = own + sum(weights.get(id(item), 0) for item in inner)
    return weights[id(root)]


def _opened(value: object, parts_of: Callable[[Any], object] | None) -> tuple[int, list[object]]:
    """What a value weighs without the containers in it, and these."""
    kind = type(value)
    if kind in _MARKS:
        members = cast("Iterable[object]", value)
        if kind is dict:
            members = [part for pair in cast("dict[object, object]", value).items() for part in pair]
        own, inner = _MARKS[kind] + 1, list[object]()
        for member in members:
            own += 1  # a comma, a colon or the closing bracket
            if type(member) is str or type(member) is bytes:
                own += len(member) + 2
            elif type(member) in _SMALL:
                own += 1
            else:
                inner.append(member)
        return max(own, 2), inner
    parts = None if parts_of is None else parts_of(value)
    return 2, [] if parts is None else [parts]


_SMALL = frozenset({int, float, bool, type(None)})
