"""Values to JSON text and back, with nothing changed silently.

A value is *lowered* to what JSON can say (`lowering`) and *lifted* from it (`lifting`); then it is converted to the
annotation, if there is one (`convert`). Values of nothing but plain types, the common case, skip the first two: the
tests hold that the short way and the long way give the same bytes.
"""

from __future__ import annotations

import binascii
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

import msgspec

from wdk_cloud.codec.convert import converter_for
from wdk_cloud.codec.lifting import lift
from wdk_cloud.codec.limits import HARD_LIMIT, MAX_DEPTH
from wdk_cloud.codec.lowering import Lowering, is_plain
from wdk_cloud.codec.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wdk_cloud.codec.known import KnownTypes

_dump = msgspec.json.Encoder().encode
_dump_sorted = msgspec.json.Encoder(order="sorted").encode
_load = msgspec.json.Decoder().decode


def encode(value: object, *, path: str = "value", known: KnownTypes) -> bytes:
    """The canonical JSON text of a value; `SerializationError` names the place of what cannot be recorded."""
    try:
        return _encode(value, known)
    except Refusal as refusal:
        raise refusal.to_error(path) from refusal.__cause__


def encode_arguments(
    arguments: Mapping[str, object], *, known: KnownTypes, annotations: Mapping[str, object] | None = None
) -> tuple[bytes, str]:
    """The arguments of a call as one JSON object, and their digest; `annotations` may name further types."""
    try:
        if is_plain(arguments):
            return _checked(_dump(arguments)), _hash(_dump_sorted(arguments))
    except (UnicodeEncodeError, RecursionError, Refusal):
        pass  # the long way tells the place
    members = dict(arguments)
    try:
        encoded = _encode(members, known)
    except Refusal as refusal:
        if refusal.unknown is None or not annotations:
            raise refusal.to_error("") from refusal.__cause__
        for annotation in annotations.values():
            known.learn_annotation(annotation)
        encoded = encode(members, path="", known=known)
    return encoded, digest(encoded)


def digest(encoded: bytes) -> str:
    """96 bits, as 16 characters, of an encoded value with all mapping keys sorted."""
    tree: Any = _load(encoded)
    if b'"$dict":[' in encoded or b'set":[' in encoded:
        _sort_bodies(tree)
    return _hash(_dump_sorted(tree))


def decode(data: bytes, annotation: Any = Any, *, known: KnownTypes, path: str = "value") -> object:
    """The value of a JSON text, checked against and converted to the annotation when there is one.

    Raises `SerializationError` only, whatever the bytes are.
    """
    try:
        value = _decode(data, known)
        return value if type(value) is annotation else _converted(value, annotation, known)
    except Refusal as refusal:
        raise refusal.to_error(path) from refusal.__cause__


def decode_arguments(data: bytes, annotations: Mapping[str, Any], *, known: KnownTypes) -> dict[str, object]:
    """The arguments of a call by parameter name, each converted to its annotation."""
    try:
        decoded = _decode(data, known)
        if type(decoded) is not dict:
            raise Refusal("the recorded arguments are not a mapping of names")
        arguments = cast("dict[str, object]", decoded)
        for name, annotation in annotations.items():
            if name in arguments and type(arguments[name]) is not annotation:
                arguments[name] = _argument(name, arguments[name], annotation, known)
        return arguments
    except Refusal as refusal:
        raise refusal.to_error("") from refusal.__cause__


def _argument(name: str, value: object, annotation: Any, known: KnownTypes) -> object:
    try:
        return _converted(value, annotation, known)
    except Refusal as refusal:
        refusal.inside(name)
        raise


def _converted(value: object, annotation: Any, known: KnownTypes) -> object:
    converter = converter_for(annotation, known)
    try:
        return value if converter is None else converter(value)
    except RecursionError:
        raise Refusal("is nested too deep to be converted to its annotation") from None


def _encode(value: object, known: KnownTypes) -> bytes:
    try:
        try:
            return _checked(_dump(value if is_plain(value) else Lowering(known).lower(value, MAX_DEPTH)))
        except UnicodeEncodeError:  # a lone surrogate somewhere: rare enough to look for it only now
            return _checked(_dump(Lowering(known, check_text=True).lower(value, MAX_DEPTH)))
    except UnicodeEncodeError as error:
        raise Refusal(f"an attribute or class has a name that is no text ({error})") from None
    except RecursionError:
        raise Refusal("is nested deeper than there is room for on the call stack; pass a flatter value") from None


def _checked(data: bytes) -> bytes:
    if len(data) > HARD_LIMIT:
        raise Refusal(
            f"takes {len(data):,} bytes as JSON, more than the {HARD_LIMIT:,} that can be recorded; put it into a file "
            "or an object store and pass its name"
        )
    return data


def _decode(data: bytes, known: KnownTypes) -> object:
    try:
        value: object = _load(data)
        return lift(value, known) if b'"$' in data else value
    except (Refusal, MemoryError):
        raise
    except RecursionError:
        raise Refusal("the record is nested deeper than any that is written") from None
    except Exception as error:  # whatever a damaged record, or a `deserialize` of the app, makes of it
        raise Refusal(f"the record cannot be read ({type(error).__name__}: {error})") from error


def _hash(canonical: bytes) -> str:
    return binascii.b2a_base64(blake2b(canonical, digest_size=12).digest(), newline=False).decode("ascii")


def _sort_bodies(tree: dict[str, object] | list[object]) -> None:
    """Bring sets and mappings with other keys into an order that no mapping's order has a part in, the inner first.

    Without recursion: arguments are digested on whatever stack a body has made, and a level may be three of JSON.
    """
    nodes: list[object] = [tree]
    for node in nodes:  # grows while it is read: every node comes after the one it lies in
        inner = cast("dict[str, object]", node).values() if isinstance(node, dict) else cast("list[object]", node)
        nodes.extend(item for item in inner if type(item) in (dict, list))
    for node in reversed(nodes):
        if isinstance(node, dict):
            for tag in ("$dict", "$set", "$frozenset"):
                body = cast("dict[str, object]", node).get(tag)
                if isinstance(body, list):
                    cast("list[object]", body).sort(key=_dump_sorted)
