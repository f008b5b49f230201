"""Up: a decoded JSON tree becomes the value it was lowered from, in place where it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.codec.exceptions import rebuild
from wdk_cloud.codec.extensions import EXTENSION_TAGS
from wdk_cloud.codec.refusal import Refusal, shown
from wdk_cloud.codec.tags import TAG_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.codec.known import KnownTypes

_JSON_CONTAINERS = frozenset({dict, list})


def lift(node: object, known: KnownTypes) -> object:
    """Raises `Refusal` for a tag or class that is not known; what a damaged body raises is the caller's to turn."""
    kind = type(node)
    if kind is dict:
        members = cast("dict[str, object]", node)
        tag = next(iter(members), "")
        if tag[:1] == "$":
            return _lift_tag(tag, members, known)
        for key, item in members.items():
            if type(item) in _JSON_CONTAINERS:
                members[key] = lift(item, known)
    elif kind is list:
        items = cast("list[object]", node)
        for index, item in enumerate(items):
            if type(item) in _JSON_CONTAINERS:
                items[index] = lift(item, known)
    return node


def _lift_tag(tag: str, node: dict[str, object], known: KnownTypes) -> object:
    if tag == "$type":
        return _lift_object(node, known)
    if len(node) != 1:
        raise Refusal(f"the record has members beside the tag {shown(tag)}")
    body = node[tag]
    if tag == "$error":
        return rebuild(body, known, lambda item: lift(item, known))
    make = _COLLECTIONS.get(tag)
    if make is not None:
        lifted = lift(body, known)
        if type(lifted) is not list:
            raise Refusal(f"the record has no list under the tag {tag}")
        return make(cast("list[Any]", lifted))
    builtin = TAG_NAMES.get(tag) or EXTENSION_TAGS.get(tag)
    if builtin is None:
        raise Refusal(f"the record has a tag {shown(tag)} that this version of wdk-cloud does not know", newer=True)
    return builtin.from_json(lift(body, known))


def _mapping(pairs: list[Any]) -> dict[object, object]:
    mapping: dict[object, object] = {}
    for pair in pairs:
        if type(pair) is not list:  # a text of two characters would do as well
            raise Refusal("the record of a mapping holds something else than pairs")
        key, item = cast("list[object]", pair)
        mapping[key] = item
    return mapping


_COLLECTIONS: dict[str, Callable[[list[Any]], object]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
    "$dict": _mapping,
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
    return shape.put_together(lift(node["$value"], known))
