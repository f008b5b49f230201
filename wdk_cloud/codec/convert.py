"""A decoded value, checked against its annotation and converted to it.

What Python code recorded comes back as it was, and passes. What came as JSON from outside (a command line, an HTTP
client, a hook) becomes what the annotation names: text a date, a mapping a dataclass. What fits in neither way is
refused with its place. An annotation that says nothing about data (a protocol, a callable) refuses nothing.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from typing import Any, TypeVar, cast
from uuid import UUID

from wdk_cloud.codec.refusal import Refusal, shown
from wdk_cloud.codec.shapes import is_named_tuple, is_pydantic

if typing.TYPE_CHECKING:
    from wdk_cloud.codec.known import KnownTypes

# `Converter(value)` returns the converted value; with `exact=True` it only tells, by a refusal, what does not fit.
Converter = Callable[..., object]


def converter_for(annotation: object, known: KnownTypes) -> Converter | None:
    """What checks and converts to an annotation; None when nothing is to be done. Remembered by the app's types."""
    if annotation is Any or annotation is object:
        return None
    try:
        variants = known.converters[annotation]
    except KeyError:
        variants = known.converters[annotation] = []
    except TypeError:  # an `Annotated` with something unhashable
        return _compile(annotation, known)
    for there, converter in variants:
        if there is annotation or _same_order(there, annotation):
            return converter
    made = _compile(annotation, known)
    variants.append((annotation, made))
    return made


def _same_order(one: object, other: object) -> bool:
    """Whether two equal annotations name the arms of their unions in one order: to Python, `A | B` equals `B | A`."""
    pairs = zip(typing.get_args(one), typing.get_args(other), strict=True)
    return all(type(a) is type(b) and a == b and _same_order(a, b) for a, b in pairs)


def _compile(annotation: object, known: KnownTypes) -> Converter | None:
    if annotation is None or annotation is types.NoneType:
        return _scalar(types.NoneType, (), None)
    if isinstance(annotation, (str, TypeVar)):
        return None
    origin = cast("object", typing.get_origin(annotation))
    args: tuple[Any, ...] = typing.get_args(annotation)
    if origin is typing.Union or origin is types.UnionType:
        return _union(annotation, [converter_for(arm, known) for arm in args])
    if origin is typing.Literal:
        return _literal(args)
    if origin in _WRAPPERS:
        return converter_for(args[0], known)
    for name in ("__supertype__", "__value__"):  # NewType; `type X = …`, which may name itself
        if _has(annotation, name):
            return _later(annotation, name, known)
    cls = annotation if origin is None else origin
    if not isinstance(cls, type) or getattr(cls, "_is_protocol", False):
        return None
    return _compile_class(cls, args, known)


def _has(annotation: object, name: str) -> bool:
    try:
        return hasattr(annotation, name)
    except NameError:  # `type X = …` of something that only type checkers import, or that comes later
        return True


_WRAPPERS: set[object] = {typing.Annotated, typing.Required, typing.NotRequired, typing.Final, typing.ClassVar}


def _compile_class(cls: type[Any], args: tuple[Any, ...], known: KnownTypes) -> Converter | None:
    if cls in _SCALARS:
        return _scalar(cls, *_SCALARS[cls])
    if cls is tuple:
        return _tuple(args, known)
    items = [converter_for(arg, known) for arg in args]
    if cls in _COLLECTIONS:
        return _collection(cls, items[0] if items else None)
    if cls in _MAPPINGS:
        return _mapping(cls, *(items if len(items) == 2 else (None, None)))
    if issubclass(cls, Enum):
        return _made_from(cls, lambda value: cast("object", cls(value)))
    if is_pydantic(cls):
        return _made_from(cls, cls.model_validate)
    if dataclasses.is_dataclass(cls) or is_named_tuple(cls):
        return _made_from(cls, lambda value: _fill(cls, value, known))
    if hasattr(cls, "__required_keys__"):
        return _typed_dict(cls, known)
    return _instance_of(cls)


def _instance_of(cls: type[Any]) -> Converter | None:
    if cls.__module__ in ("collections.abc", "typing") or issubclass(cls, type):
        return None
    # An exception may have come back as a RemoteError.
    return _made_from(BaseException if issubclass(cls, BaseException) else cls, None)


def _unfit(value: object, expected: object) -> Refusal:
    name = expected.__qualname__ if isinstance(expected, type) else str(expected).replace("typing.", "")
    return Refusal(f"{shown(value)} ({type(value).__qualname__}) does not fit its annotation {name}")


# scalars --------------------------------------------------------------------------------------------------------------


def _decimal(value: object) -> Decimal:
    if type(value) not in (str, int, float):
        raise TypeError
    return Decimal(str(value))


def _of_text(make: Callable[[str], object]) -> Callable[[object], object]:
    def from_json(value: object) -> object:
        if not isinstance(value, str):
            raise TypeError
        return make(value)

    return from_json


def _seconds(value: object) -> timedelta:
    if type(value) not in (int, float):
        raise TypeError
    return timedelta(seconds=cast("float", value))


# What else passes as it is (PEP 484: an int is a float), and what makes the type from a JSON value.
_SCALARS: dict[type, tuple[tuple[type, ...], Callable[[object], object] | None]] = {
    **dict.fromkeys((str, bool, int, bytes, bytearray, range), ((), None)),
    float: ((int,), None),
    complex: ((int, float), None),
    Decimal: ((), _decimal),
    datetime: ((), _of_text(datetime.fromisoformat)),
    date: ((), _of_text(date.fromisoformat)),
    time: ((), _of_text(time.fromisoformat)),
    timedelta: ((), _seconds),
    UUID: ((), _of_text(UUID)),
    Path: ((), _of_text(Path)),
    PurePath: ((), _of_text(PurePath)),
}


def _scalar(cls: type[Any], accepted: tuple[type, ...], from_json: Callable[[object], object] | None) -> Converter:
    return _made_from(cls, from_json, accepted)


def _made_from(cls: type[Any], from_json: Callable[[Any], object] | None, accepted: tuple[type, ...] = ()) -> Converter:
    fitting = (cls, *accepted)

    def convert(value: object, exact: bool = False) -> object:
        if type(value) is cls or isinstance(value, fitting):
            return value
        if exact or from_json is None:
            raise _unfit(value, cls)
        try:
            return from_json(value)
        except Refusal:
            raise
        except Exception as error:
            refusal = _unfit(value, cls)
            refusal.reason += f": {error}" if str(error) else ""
            raise refusal from error

    return convert


def _literal(choices: tuple[object, ...]) -> Converter:
    def convert(value: object, exact: bool = False) -> object:
        for choice in choices:
            if value == choice and (type(value) is type(choice) or (isinstance(choice, Enum) and not exact)):
                return choice
        raise _unfit(value, "Literal" + str(list(choices)))

    return convert


def _union(annotation: object, arms: list[Converter | None]) -> Converter | None:
    checks = [arm for arm in arms if arm is not None]
    if len(checks) < len(arms):
        return None  # `X | Any`

    def convert(value: object, exact: bool = False) -> object:
        for mode in (True,) if exact else (True, False):
            for check in checks:
                try:
                    return check(value, mode)
                except Refusal:
                    continue
        raise _unfit(value, annotation)

    return convert


def _later(annotation: object, name: str, known: KnownTypes) -> Converter:
    def convert(value: object, exact: bool = False) -> object:
        try:
            converter = converter_for(getattr(annotation, name), known)
        except NameError:
            return value
        return value if converter is None else converter(value, exact)

    return convert


# containers -----------------------------------------------------------------------------------------------------------

# What is made, and of what else than itself.
_COLLECTIONS: dict[type, tuple[type[Any], tuple[type, ...]]] = {
    list: (list, (tuple,)),
    set: (set, (list, tuple, frozenset)),
    frozenset: (frozenset, (list, tuple, set)),
    collections.abc.Sequence: (list, ()),
    collections.abc.MutableSequence: (list, (tuple,)),
    collections.abc.Set: (frozenset, (list, tuple)),
    collections.abc.MutableSet: (set, (list, tuple, frozenset)),
}
_MAPPINGS: dict[type, type[Any]] = {
    dict: dict,
    collections.OrderedDict: collections.OrderedDict,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
}


def _converted(items: list[object], converter: Converter, exact: bool) -> list[object]:
    converted: list[object] = []
    for item in items:
        try:
            converted.append(converter(item, exact))
        except Refusal as refusal:
            refusal.inside(len(converted))
            raise
    return converted


def _collection(cls: type[Any], item: Converter | None) -> Converter:
    made, others = _COLLECTIONS[cls]

    def convert(value: Any, exact: bool = False) -> object:
        fits = isinstance(value, cls)
        if not fits and (exact or not isinstance(value, others)):
            raise _unfit(value, cls)
        # Sequences by name, whose elements need no look: one of the last may have more of them than memory has room.
        if isinstance(value, (str, bytes, bytearray, range)) or (fits and item is None):
            return value
        items: list[object] = list(value)
        converted = items if item is None else _converted(items, item, exact)
        if fits and (exact or all(map(_is, items, converted))):
            return value
        kind = cast("type[Any]", type(value))
        try:
            return cast("object", (kind if fits and kind in (list, tuple, set, frozenset) else made)(converted))
        except TypeError:  # a list in a set
            raise _unfit(value, cls) from None

    return convert


def _is(one: object, other: object) -> bool:
    return one is other


def _tuple(args: tuple[Any, ...], known: KnownTypes) -> Converter:
    endless = len(args) == 2 and args[1] is Ellipsis
    items = [converter_for(arg, known) for arg in (args[:1] if endless else args)]

    def convert(value: Any, exact: bool = False) -> object:
        if not isinstance(value, tuple) and (exact or not isinstance(value, list)):
            raise _unfit(value, tuple)
        recorded = cast("tuple[object, ...]", value)
        members = list(recorded)
        if endless:
            converted = members if items[0] is None else _converted(members, items[0], exact)
        elif args and len(members) != len(items):
            raise Refusal(f"{shown(recorded)} has {len(members)} members, its annotation {len(items)}")
        else:
            converted = [_each(item, index, items, exact) for index, item in enumerate(members)] if args else members
        if isinstance(value, tuple) and all(map(_is, members, converted)):
            return cast("object", value)
        return tuple(converted)

    return convert


def _each(item: object, index: int, converters: list[Converter | None], exact: bool) -> object:
    converter = converters[index]
    return item if converter is None else _at(index, item, converter, exact)


def _at(place: object, item: object, converter: Converter, exact: bool) -> object:
    try:
        return converter(item, exact)
    except Refusal as refusal:
        refusal.inside(place)
        raise


def _mapping(cls: type[Any], key: Converter | None, item: Converter | None) -> Converter:
    made = _MAPPINGS[cls]

    def convert(value: Any, exact: bool = False) -> object:
        fits = isinstance(value, cls)
        if not fits and (exact or not isinstance(value, dict)):
            raise _unfit(value, cls)
        members = cast("dict[object, object]", value)
        if key is None and item is None:
            return cast("object", value) if fits else made(members)
        try:
            converted = {
                (name if key is None else _at(name, name, key, exact)): (
                    member if item is None else _at(name, member, item, exact)
                )
                for name, member in members.items()
            }
        except TypeError:  # a key that became something without a hash
            raise _unfit(members, cls) from None
        if len(converted) != len(members):
            raise Refusal(f"{shown(members)} has two keys that are the same when converted to its annotation")
        unchanged = all(map(_is, members, converted)) and all(map(_is, members.values(), converted.values()))
        return cast("object", value) if fits and (exact or unchanged) else made(converted)

    return convert


# classes with fields --------------------------------------------------------------------------------------------------


def _fill(cls: type[Any], value: object, known: KnownTypes) -> object:
    """An object of a dataclass or named tuple from a mapping of its fields (or a list, for a named tuple)."""
    if is_named_tuple(cls) and isinstance(value, (list, tuple)):
        value = dict(zip(cls._fields, cast("list[object]", value), strict=True))
    if not isinstance(value, dict):
        raise TypeError
    return cls(**_fields(cls, cast("dict[str, object]", value), known))


def _fields(cls: type[Any], value: dict[str, object], known: KnownTypes, exact: bool = False) -> dict[str, object]:
    annotations = known.fields_of(cls)
    converted: dict[str, object] = {}
    for name, item in value.items():
        converter = converter_for(annotations.get(name, Any), known)
        converted[name] = item if converter is None else _at(name, item, converter, exact)
    return converted


def _required(cls: type[Any], known: KnownTypes) -> set[str]:
    """The keys that a typed dictionary must have. It does not know itself where its annotations are texts."""
    required = set(cast("frozenset[str]", cls.__required_keys__))
    for name, annotation in known.fields_of(cls).items():
        origin = cast("object", typing.get_origin(annotation))
        if origin is typing.NotRequired:
            required.discard(name)
        elif origin is typing.Required:
            required.add(name)
    return required


def _typed_dict(cls: type[Any], known: KnownTypes) -> Converter:
    def convert(value: object, exact: bool = False) -> object:
        if not isinstance(value, dict):
            raise _unfit(value, cls)
        members = cast("dict[str, object]", value)
        missing = sorted(_required(cls, known) - members.keys())
        if missing:
            raise Refusal(f"{shown(members)} has no {missing[0]!r}, which its annotation {cls.__qualname__} requires")
        fitted = _fields(cls, members, known, exact)
        return members if exact or all(map(_is, members.values(), fitted.values())) else fitted

    return convert
