"""Values to JSON text and back, with nothing changed silently.

A value is *lowered* to what JSON can say, with a tag `{"$name": …}` where JSON has no word, and *lifted* from it. A
mapping is a plain object when its keys are text and none begins with `$`; so the first key of an object tells whether
it is a tag. Values of nothing but plain types, the common case, skip both: `_is_plain` and the tests hold that the
short way and the long way give the same bytes.
"""

from __future__ import annotations

import binascii
import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from hashlib import blake2b
from typing import Any, cast

import msgspec

from wdk_cloud.codec.convert import Converter, converter_for
from wdk_cloud.codec.exceptions import Dismantler, rebuild
from wdk_cloud.codec.known import EXTENSION_TAGS, KnownTypes, extension_of
from wdk_cloud.codec.limits import HARD_LIMIT, MAX_DEPTH
from wdk_cloud.codec.refusal import Refusal, shown
from wdk_cloud.codec.shapes import default_id, is_named_tuple, is_pydantic
from wdk_cloud.codec.tags import TAG_NAMES, TAGS, Tag
from wdk_cloud.errors import SerializationError

_dump = msgspec.json.Encoder().encode
_dump_sorted = msgspec.json.Encoder(order="sorted").encode
_load = msgspec.json.Decoder().decode

_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_AS_IS = frozenset({str, bool, type(None)})


def encode(value: object, *, path: str = "value", known: KnownTypes) -> bytes:
    """The canonical JSON text of a value; `SerializationError` names the place of what cannot be recorded."""
    try:
        return _encode(value, known)
    except Refusal as refusal:
        raise refusal.to_error(path) from refusal.__cause__
    except RecursionError:
        raise SerializationError(f"{path}: nested too deep to record from this deep in the stack", path) from None


def encode_arguments(
    arguments: Mapping[str, object], *, known: KnownTypes, annotations: Mapping[str, object] | None = None
) -> tuple[bytes, str]:
    """The arguments of a call as one JSON object, and their digest; `annotations` may name further types."""
    try:
        encoded = _encode(dict(arguments), known)
    except Refusal as refusal:
        if refusal.unknown is None or not annotations:
            raise refusal.to_error("") from refusal.__cause__
        for annotation in annotations.values():
            known.learn_annotation(annotation)
        encoded = encode(dict(arguments), path="", known=known)
    except RecursionError:
        raise SerializationError("the arguments are nested too deep to record from this deep in the stack") from None
    return encoded, digest(encoded)


def digest(encoded: bytes) -> str:
    """96 bits, as 16 characters, of an encoded value with all mapping keys sorted."""
    tree = _load(encoded)
    if b'"$dict"' in encoded or b'et":[' in encoded:
        tree = _sorted_pairs(tree)
    return binascii.b2a_base64(blake2b(_dump_sorted(tree), digest_size=12).digest(), newline=False).decode("ascii")


def decode(data: bytes, annotation: object = Any, *, known: KnownTypes, path: str = "value") -> object:
    """The value of a JSON text, checked against and converted to the annotation when there is one."""
    try:
        value = _decode(data, known)
        converter = converter_for(annotation, known)
        return value if converter is None else converter(value)
    except Refusal as refusal:
        raise refusal.to_error(path) from refusal.__cause__


def decode_arguments(data: bytes, annotations: Mapping[str, object], *, known: KnownTypes) -> dict[str, object]:
    """The arguments of a call by parameter name, each converted to its annotation."""
    try:
        arguments = _decode(data, known)
        if type(arguments) is not dict:
            raise Refusal("recorded arguments are not a mapping of names")
        arguments = cast("dict[str, object]", arguments)
        for name, value in arguments.items():
            converter = converter_for(annotations.get(name, Any), known)
            if converter is not None:
                arguments[name] = _converted(name, value, converter)
        return arguments
    except Refusal as refusal:
        raise refusal.to_error("") from refusal.__cause__


def _converted(name: str, value: object, converter: Converter) -> object:
    try:
        return converter(value)
    except Refusal as refusal:
        refusal.inside(name)
        raise


# down -----------------------------------------------------------------------------------------------------------------


def _encode(value: object, known: KnownTypes) -> bytes:
    try:
        plain = _is_plain(value, MAX_DEPTH)
        data = _dump(value if plain else Lowering(known).lower(value, MAX_DEPTH))
    except UnicodeEncodeError:  # a lone surrogate somewhere: rare enough to look for it only now
        data = _dump_with_surrogates(value, known)
    if len(data) > HARD_LIMIT:
        raise Refusal(
            f"takes {len(data):,} bytes, more than the {HARD_LIMIT:,} that can be recorded; store it yourself and "
            "pass a reference"
        )
    return data


def _dump_with_surrogates(value: object, known: KnownTypes) -> bytes:
    try:
        return _dump(Lowering(known, check_text=True).lower(value, MAX_DEPTH))
    except UnicodeEncodeError as error:
        raise Refusal(f"has a name that is no text ({error})") from None


def _is_plain(value: object, depth: int) -> bool:
    """Whether msgspec writes the value as we want it: exact builtin types, finite, 64 bits, text keys without `$`."""
    kind = type(value)
    if kind in _AS_IS:
        return True
    if kind is dict and depth > 0:
        for key, item in cast("dict[object, object]", value).items():
            if type(key) is not str or key[:1] == "$":
                return False
            if type(item) not in _AS_IS and not _is_plain(item, depth - 1):
                return False
        return True
    if kind is list and depth > 0:
        for item in cast("list[object]", value):
            if type(item) not in _AS_IS and not _is_plain(item, depth - 1):
                return False
        return True
    if kind is int:
        return _MIN_INT <= cast("int", value) <= _MAX_INT
    if kind is float:
        return cast("float", value) - cast("float", value) == 0.0
    return False


class Lowering:
    """Says one value in JSON; holds what goes along on the way down."""

    def __init__(self, known: KnownTypes, *, check_text: bool = False) -> None:
        self._known = known
        self._check_text = check_text
        self._dismantler = Dismantler(self.lower, known)

    def lower(self, value: object, depth: int) -> object:
        kind = type(value)
        if kind is str:
            return value if not self._check_text or _is_text(cast("str", value)) else self._tagged(value, TAGS[str])
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if _MIN_INT <= cast("int", value) <= _MAX_INT else self._tagged(value, TAGS[int])
        if kind is float:
            return value if cast("float", value) - cast("float", value) == 0.0 else self._tagged(value, TAGS[float])
        tag = TAGS.get(kind)
        if tag is not None:
            return self._tagged(value, tag)
        if depth <= 0:
            raise Refusal(f"is nested more than {MAX_DEPTH} levels deep, or contains itself; pass a flatter value")
        lower_container = _CONTAINERS.get(kind, Lowering._object)
        return lower_container(self, value, depth - 1)

    def _tagged(self, value: object, tag: Tag) -> object:
        return {tag.name: self.lower(tag.to_json(value), 1)}

    def _object(self, value: object, depth: int) -> object:
        """An object of a class: known, an exception, or of the engine."""
        shape = self._known.shape_of(type(value))
        if shape is not None:
            if self._known.shape_named(shape.class_id) is not shape:
                raise Refusal(f"two classes are called {shape.class_id} in records; give one of them a class_id")
            return {"$type": shape.class_id, "$value": self.lower(shape.take_apart(value), depth + 1)}
        if isinstance(value, BaseException):
            return {"$error": self._dismantler.body(value, depth)}
        extension = extension_of(type(value))
        if extension is not None:
            return {extension.tag: self.lower(extension.to_json(value), depth)}
        raise Refusal(_advice(type(value)), unknown=type(value))

    def _list(self, value: Iterable[object], depth: int) -> list[object]:
        lowered: list[object] = []
        try:
            lowered.extend(self.lower(item, depth) for item in value)
        except Refusal as refusal:
            refusal.inside(len(lowered))
            raise
        return lowered

    def _tuple(self, value: tuple[object, ...], depth: int) -> object:
        return {"$tuple": self._list(value, depth)}

    def _set(self, value: set[object] | frozenset[object], depth: int) -> object:
        try:
            items = [self.lower(item, depth) for item in value]
        except Refusal as refusal:
            refusal.inside(Ellipsis)
            raise
        items.sort(key=_dump)
        return {"$set" if type(value) is set else "$frozenset": items}

    def _dict(self, value: dict[object, object], depth: int) -> object:
        plain = all(type(key) is str and key[:1] != "$" for key in value)
        if not plain or (self._check_text and not all(map(_is_text, cast("dict[str, object]", value)))):
            return {"$dict": [self._pair(key, item, depth) for key, item in value.items()]}
        key: object = None
        lowered: dict[object, object] = {}
        try:
            for key, item in value.items():
                lowered[key] = self.lower(item, depth)
        except Refusal as refusal:
            refusal.inside(key)
            raise
        return lowered

    def _pair(self, key: object, item: object, depth: int) -> object:
        try:
            return [self.lower(key, depth), self.lower(item, depth)]
        except Refusal as refusal:
            refusal.inside(key)
            raise


_CONTAINERS: dict[type, Callable[[Lowering, Any, int], object]] = {
    dict: Lowering._dict,
    list: Lowering._list,
    tuple: Lowering._tuple,
    set: Lowering._set,
    frozenset: Lowering._set,
}


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _advice(cls: type) -> str:
    """Why an object cannot be recorded, and what to do."""
    if issubclass(cls, defaultdict):
        return "a defaultdict carries a function and cannot be recorded; pass dict(…) of it"
    if dataclasses.is_dataclass(cls) or issubclass(cls, Enum) or is_named_tuple(cls) or is_pydantic(cls):
        return (
            f"the class {default_id(cls)} is not known to this app; name it in the annotation of a step or workflow, "
            "or decorate it with @serializable"
        )
    return (
        f"a value of type {default_id(cls).removeprefix('builtins.')} cannot be recorded; pass what it is made of, or "
        "register the class with register_serializable(cls, serialize=…, deserialize=…)"
    )


def _sorted_pairs(tree: Any) -> Any:
    """A decoded tree whose mappings with other keys, and sets, are in an order that no mapping key's place decides."""
    if isinstance(tree, list):
        return [_sorted_pairs(item) for item in cast("list[object]", tree)]
    if not isinstance(tree, dict):
        return tree
    done = {key: _sorted_pairs(item) for key, item in cast("dict[str, object]", tree).items()}
    for tag in ("$dict", "$set", "$frozenset"):
        body = done.get(tag)
        if isinstance(body, list):
            body.sort(key=_dump_sorted)
    return done


# up -------------------------------------------------------------------------------------------------------------------


def _decode(data: bytes, known: KnownTypes) -> object:
    try:
        value = _load(data)
        return _lift(value, known) if b'"$' in data else value
    except (Refusal, MemoryError):
        raise
    except RecursionError:
        raise Refusal("the record is nested too deep to read") from None
    except Exception as error:  # whatever a damaged record, or a `deserialize` of the app, makes of it
        raise Refusal(f"the record cannot be read ({type(error).__name__}: {error})") from error


def _lift(node: object, known: KnownTypes) -> object:
    """The value of a decoded JSON tree, in place where it can be."""
    if type(node) is dict:
        members = cast("dict[str, object]", node)
        tag = next(iter(members), "")
        if tag[:1] == "$":
            return _lift_tag(tag, members, known)
        for key, item in members.items():
            if type(item) in _JSON_CONTAINERS:
                members[key] = _lift(item, known)
    elif type(node) is list:
        items = cast("list[object]", node)
        for index, item in enumerate(items):
            if type(item) in _JSON_CONTAINERS:
                items[index] = _lift(item, known)
    return node


_JSON_CONTAINERS = frozenset({dict, list})


def _lift_tag(tag: str, node: dict[str, object], known: KnownTypes) -> object:
    body: Any = node[tag]
    if tag == "$type":
        return _lift_object(node, known)
    if len(node) != 1:
        raise Refusal(f"the record has members beside the tag {shown(tag)}")
    if tag == "$error":
        return rebuild(body, known, lambda item: _lift(item, known))
    builtin = TAG_NAMES.get(tag) or EXTENSION_TAGS.get(tag)
    if builtin is not None:
        return builtin.from_json(_lift(body, known))
    make = _COLLECTIONS.get(tag)
    if make is None:
        raise Refusal(f"the record has a tag {shown(tag)} that this version of wdk-cloud does not know", newer=True)
    if type(body) is not list:
        raise Refusal(f"the record has no list under the tag {tag}")
    return make(cast("list[Any]", _lift(body, known)))


_COLLECTIONS: dict[str, Callable[[list[Any]], object]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": lambda pairs: {key: item for key, item in pairs},  # noqa: C416  (a pair that is none must not pass)
}


def _lift_object(node: dict[str, object], known: KnownTypes) -> object:
    class_id = node["$type"]
    if not isinstance(class_id, str) or len(node) != 2 or "$value" not in node:
        raise Refusal("the record of an object has no class and value")
    shape = known.shape_named(class_id)
    if shape is None:
        raise Refusal(
            f"the record holds a {class_id}, a class that is not known here; name it in the annotation of a step or "
            "workflow, or decorate it with @serializable"
        )
    return shape.put_together(_lift(node["$value"], known))
