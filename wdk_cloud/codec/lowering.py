"""Down: a value said in JSON, with a tag `{"$name": …}` where JSON has no word.

A mapping is a plain object when its keys are text and none begins with `$`; so the first key of an object tells
whether it is a tag. Sets are sorted by their encoded elements, everything else keeps its order.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Awaitable
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

import msgspec

from wdk_cloud.codec.exceptions import Dismantler, contents_of
from wdk_cloud.codec.extensions import extension_of
from wdk_cloud.codec.limits import MAX_DEPTH
from wdk_cloud.codec.refusal import Refusal
from wdk_cloud.codec.shapes import default_id, is_named_tuple, is_pydantic
from wdk_cloud.codec.tags import TAGS, Tag, tag_of_stand_in
from wdk_cloud.codec.weight import Visits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wdk_cloud.codec.known import KnownTypes

_dump = msgspec.json.Encoder().encode

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_AS_IS = frozenset({str, bool, type(None)})


def is_plain(value: object, depth: int = MAX_DEPTH, visits: Visits | None = None) -> bool:
    """Whether msgspec itself writes a value as we want it, so that it need not be lowered.

    Exact builtin types, finite numbers of 64 bits, text keys without `$`. Lone surrogates it notices itself. Raises
    `Refusal` for what is too long.
    """
    kind = type(value)
    if kind in _AS_IS:
        return True
    if kind is int:
        return _MIN_INT <= cast("int", value) <= _MAX_INT
    if kind is dict:
        members = cast("dict[object, object]", value)
        for key in members:
            if type(key) is not str or key[:1] == "$":
                return False
        return depth > 0 and _are_plain(members.values(), depth - 1, visits or Visits(value))
    if kind is list:
        return depth > 0 and _are_plain(cast("list[object]", value), depth - 1, visits or Visits(value))
    return kind is float and _is_finite(cast("float", value))


def _are_plain(values: Iterable[object], depth: int, visits: Visits) -> bool:
    visits.left -= 1
    if visits.left < 0:
        visits.are_many()
    for value in values:  # noqa: SIM110 -- half the time of all(…), on the way of every call
        if type(value) not in _AS_IS and not is_plain(value, depth, visits):
            return False
    return True


def _is_finite(value: float) -> bool:
    return value - value == 0.0


class Lowering:
    """Says one value in JSON; holds what goes along on the way down."""

    def __init__(self, known: KnownTypes, *, check_text: bool = False) -> None:
        self._known = known
        self._check_text = check_text
        self._dismantler = Dismantler(self.lower, known)
        self._visits: Visits | None = None
        self._containers: dict[type, Callable[[Any, int], object]] = {
            dict: self._dict,
            list: self._list,
            tuple: self._tuple,
            set: self._set,
            frozenset: self._set,
        }

    def lower(self, value: object, depth: int) -> object:
        """The value in terms of dict, list, str, int, float, bool and None. Raises `Refusal`."""
        kind = type(value)
        if kind in _AS_IS and (kind is not str or not self._check_text or _is_text(cast("str", value))):
            return value
        if kind is int and _MIN_INT <= cast("int", value) <= _MAX_INT:
            return value
        if kind is float and _is_finite(cast("float", value)):
            return value
        tag = TAGS.get(kind)
        if tag is not None:
            return self._tagged(value, tag)
        if depth <= 0:
            raise Refusal(f"is nested more than {MAX_DEPTH} levels deep, or contains itself; pass a flatter value")
        if self._visits is None:
            self._visits = Visits(value, self._parts_of)
        self._visits.left -= 1
        if self._visits.left < 0:
            self._visits.are_many()
        return self._containers.get(kind, self._object)(value, depth - 1)

    def _tagged(self, value: object, tag: Tag) -> object:
        return {tag.name: self.lower(tag.to_json(value), 1)}

    def _object(self, value: object, depth: int) -> object:
        """An object of a class: an exception, known, or of the engine."""
        if isinstance(value, BaseException):
            return {"$error": self._dismantler.body(value, depth)}
        shape = self._known.shape_of(type(value))
        if shape is not None:
            if self._known.shape_named(shape.class_id) is not shape:
                raise Refusal(f"two classes are called {shape.class_id} in records; give one of them a class_id")
            return {"$type": shape.class_id, "$value": self.lower(shape.parts_of(value), depth)}
        extension = extension_of(type(value))
        if extension is not None:
            return {extension.tag: self.lower(extension.to_json(value), depth)}
        tag = tag_of_stand_in(type(value))
        if tag is not None:
            return self._tagged(value, tag)
        raise Refusal(_advice(type(value)), unknown=type(value))

    def _parts_of(self, value: object) -> object:
        """What an object is made of, for its weight; None where that is not known or cannot be told."""
        if isinstance(value, BaseException):
            return contents_of(value)
        shape = self._known.shape_of(type(value))
        try:
            return None if shape is None else shape.parts_of(value)
        except Refusal:  # it will be told with its place
            return None

    def _list(self, value: Iterable[object], depth: int) -> list[object]:
        lowered: list[object] = []
        try:
            for item in value:
                lowered.append(self.lower(item, depth))  # noqa: PERF401 -- its length is the place of a refusal
        except Refusal as refusal:
            refusal.inside(len(lowered))
            raise
        return lowered

    def _tuple(self, value: tuple[object, ...], depth: int) -> object:
        return {"$tuple": self._list(value, depth)}

    def _set(self, value: set[object] | frozenset[object], depth: int) -> object:
        items: list[object] = []
        try:
            for item in value:
                items.append(self.lower(item, depth))  # noqa: PERF401 -- a comprehension is a frame more on 3.11
        except Refusal as refusal:
            refusal.inside(...)
            raise
        items.sort(key=_dump)
        return {"$set" if type(value) is set else "$frozenset": items}

    def _dict(self, value: dict[object, object], depth: int) -> object:
        plain = all(type(key) is str and key[:1] != "$" for key in value)
        if plain and self._check_text:
            plain = all(map(_is_text, cast("dict[str, object]", value)))
        lowered: dict[object, object] = {}
        pairs: list[object] = []
        key: object = None
        try:
            for key, item in value.items():
                if plain:
                    lowered[key] = self.lower(item, depth)
                else:
                    pairs.append([self.lower(key, depth), self.lower(item, depth)])
        except Refusal as refusal:
            refusal.inside(key)
            raise
        return lowered if plain else {"$dict": pairs}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _advice(cls: type[Any]) -> str:
    """Why an object cannot be recorded, and what to do."""
    name = default_id(cls).removeprefix("builtins.")
    if issubclass(cls, defaultdict):
        return f"a {name.rpartition('.')[2]} carries a function and cannot be recorded; pass dict(…) of it"
    if dataclasses.is_dataclass(cls) or issubclass(cls, Enum) or is_named_tuple(cls) or is_pydantic(cls):
        return (
            f"the class {name} is not known to this app; name it in the annotation of a step or workflow, or decorate "
            "it with @serializable"
        )
    if issubclass(cls, Awaitable):
        return f"a value of type {name} cannot be recorded; await it and pass its result"
    return (
        f"a value of type {name} cannot be recorded; pass what it is made of, or register the class with "
        "register_serializable(cls, serialize=…, deserialize=…)"
    )
