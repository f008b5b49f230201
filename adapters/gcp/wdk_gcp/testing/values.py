"""Firestore's values: their order, their sizes, field paths into them, and what may not be stored.

https://firebase.google.com/docs/firestore/manage-data/data-types has the order, …/firestore/storage-size the sizes,
…/firestore/quotas the limits.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.cloud.firestore_v1 import types

from wdk_gcp.testing.messages import Message, raw
from wdk_gcp.testing.serving import Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Value: Any = raw(types.Value)

Key = tuple[Any, ...]
"""Sorts as Firestore does: the rank of the type comes first."""

NAME_FIELD = "__name__"

LARGEST = 1 << 20
"""Bytes of a document at most, by the rules below."""

LARGEST_COMMIT = 10 << 20
"""Bytes of the documents of a commit at most, those that it deletes among them."""

LARGEST_VALUE = LARGEST - 89
"""Bytes of a text or of bytes in a field at most."""

DEEPEST = 20
"""Maps and lists within each other at most, the field's own value included."""

LONGEST_ID = 1500
"""Bytes of an id or of a field's name at most."""

NULL, NUMBER, LIST = 0, 2, 8
"""Ranks of types that filters treat in a way of their own."""

NAN: Key = (NUMBER, 0)

_RESERVED = re.compile(r"__.*__", re.DOTALL)
_NUMERIC = re.compile(r"__id(-?\d+)__")
_SEGMENT = re.compile(r"`((?:[^`\\]|\\.)*)`|([^.`]+)")


def key(value: Message) -> Key:
    kind = value.WhichOneof("value_type")
    if (made := _KEYS.get(kind)) is None:
        invalid(f"Cannot convert firestore.v1.Value with type {kind or 'unset'}.")
    return made(value)


def reference_key(name: str) -> Key:
    return (6, tuple(_segment_key(segment) for segment in name.split("/")))


def _segment_key(segment: str) -> tuple[int, int, str]:
    """Ids like `__id7__` are numbers, and come first."""
    numeric = _NUMERIC.fullmatch(segment)
    return (0, int(numeric[1]), "") if numeric else (1, 0, segment)


def _double_key(value: Message) -> Key:
    return NAN if math.isnan(value.double_value) else (NUMBER, 1, value.double_value)


def _map_key(value: Message) -> Key:
    return (9, tuple((name, key(inner)) for name, inner in sorted(value.map_value.fields.items())))


_KEYS: dict[str | None, Callable[[Message], Key]] = {
    "null_value": lambda value: (NULL,),
    "boolean_value": lambda value: (1, value.boolean_value),
    "integer_value": lambda value: (NUMBER, 1, value.integer_value),
    "double_value": _double_key,
    "timestamp_value": lambda value: (3, value.timestamp_value.seconds, value.timestamp_value.nanos),
    "string_value": lambda value: (4, value.string_value),  # by code points, which is by bytes of UTF-8
    "bytes_value": lambda value: (5, value.bytes_value),
    "reference_value": lambda value: reference_key(value.reference_value),
    "geo_point_value": lambda value: (7, value.geo_point_value.latitude, value.geo_point_value.longitude),
    "array_value": lambda value: (LIST, tuple(key(inner) for inner in value.array_value.values)),
    "map_value": _map_key,
}


# -- field paths ------------------------------------------------------------------------------------------------------


def field_path(text: str) -> tuple[str, ...]:
    """The names in a path like "a.`odd name`.b"."""
    names: list[str] = []
    at = 0
    while True:
        found = _SEGMENT.match(text, at)
        if found is None:
            invalid(f"Invalid property path {text!r}.")
        quoted = found[1]
        names.append(found[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
        if at == len(text):
            return tuple(names)
        if text[at] != ".":
            invalid(f"Invalid property path {text!r}.")
        at += 1


def found_at(fields: Message, path: Sequence[str]) -> Message | None:
    """The value at a path of a document's or a map's fields."""
    for name in path[:-1]:
        if name not in fields or fields[name].WhichOneof("value_type") != "map_value":
            return None
        fields = fields[name].map_value.fields
    return fields.get(path[-1])


def put_at(fields: Message, path: Sequence[str], value: Message) -> None:
    for name in path[:-1]:
        if name not in fields or fields[name].WhichOneof("value_type") != "map_value":
            fields[name].map_value.SetInParent()
        fields = fields[name].map_value.fields
    fields[path[-1]].CopyFrom(value)


def drop_at(fields: Message, path: Sequence[str]) -> None:
    for name in path[:-1]:
        if name not in fields or fields[name].WhichOneof("value_type") != "map_value":
            return
        fields = fields[name].map_value.fields
    if path[-1] in fields:
        del fields[path[-1]]


def masked(fields: Message, paths: Sequence[str]) -> Message:
    """A map of what lies at these paths."""
    chosen = raw(types.MapValue)()
    for text in paths:
        path = field_path(text)
        if path != (NAME_FIELD,) and (value := found_at(fields, path)) is not None:
            put_at(chosen.fields, path, value)
    return chosen.fields


# -- what may be stored -----------------------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Refuse the name of a document that cannot be one."""
    head, _, path = name.partition("/documents/")
    segments = path.split("/")
    if len(head.split("/")) != 4 or len(segments) % 2:
        invalid(f'Document name "{name}" is not one of a document.')
    for segment in segments:
        if not segment or segment in (".", ".."):
            invalid(f'Resource id "{segment}" is invalid.')
        if _RESERVED.fullmatch(segment) and not _NUMERIC.fullmatch(segment):
            invalid(f'Resource id "{segment}" is invalid because it is reserved.')
        if len(segment.encode()) > LONGEST_ID:
            invalid(f"The key path element name is longer than {LONGEST_ID} bytes.")


def check_document(document: Message) -> None:
    """Refuse a document that Firestore would not store."""
    for name, value in document.fields.items():
        _check_field(name)
        _check_value(name, value, 1)
    size = document_size(document)
    if size > LARGEST:
        invalid(
            f"Document cannot be written because its size ({size:,} bytes) exceeds the maximum of {LARGEST:,} bytes."
        )


def document_size(document: Message) -> int:
    return name_size(document.name) + fields_size(document.fields) + 32


def _check_field(name: str) -> None:
    if not name or _RESERVED.fullmatch(name):
        invalid(f"field name {name} is reserved")
    if len(name.encode()) > LONGEST_ID:
        invalid(f"The property name is longer than {LONGEST_ID} bytes.")


def _check_value(field: str, value: Message, depth: int) -> None:
    kind = value.WhichOneof("value_type")
    if kind == "map_value":
        if depth > DEEPEST:
            invalid(f"Property {field} contains an invalid nested entity.")
        for name, inner in value.map_value.fields.items():
            _check_field(name)
            _check_value(field, inner, depth + 1)
    elif kind == "array_value":
        for inner in value.array_value.values:
            if inner.WhichOneof("value_type") == "array_value":
                invalid("Cannot convert an array value in an array value.")
            _check_value(field, inner, depth + 1)
    elif kind in ("string_value", "bytes_value") and _size(value) > LARGEST_VALUE + (kind == "string_value"):
        invalid(f'The value of property "{field}" is longer than {LARGEST_VALUE} bytes.')
    else:
        key(value)  # refuses what is no value


def name_size(name: str) -> int:
    path = name.partition("/documents/")[2]
    return sum(len(segment.encode()) + 1 for segment in path.split("/")) + 16


def fields_size(fields: Message) -> int:
    return sum(len(name.encode()) + 1 + _size(value) for name, value in fields.items())


def _size(value: Message) -> int:
    match value.WhichOneof("value_type"):
        case "null_value" | "boolean_value":
            return 1
        case "string_value":
            return len(value.string_value.encode()) + 1
        case "bytes_value":
            return len(value.bytes_value)
        case "reference_value":
            return name_size(value.reference_value)
        case "geo_point_value":
            return 16
        case "array_value":
            return sum(_size(inner) for inner in value.array_value.values)
        case "map_value":
            return fields_size(value.map_value.fields) + 32
        case _:
            return 8


def refuse(code: grpc.StatusCode, message: str) -> NoReturn:
    raise Refused(code, message)


def invalid(message: str) -> NoReturn:
    refuse(grpc.StatusCode.INVALID_ARGUMENT, message)
