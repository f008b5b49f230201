"""The engine's own types that have a tag of their own. Public modules declare theirs here while they are imported, so
this one loads nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Extension(NamedTuple):
    """A type of the engine itself, with a tag of its own: runs, streams, references to steps and workflows."""

    tag: str
    cls: type[Any]
    to_json: Callable[[Any], object]
    from_json: Callable[[Any], object]


EXTENSIONS: dict[type[Any], Extension] = {}
EXTENSION_TAGS: dict[str, Extension] = {}


def register_extension(cls: type[T], tag: str, to_json: Callable[[T], object], from_json: Callable[[Any], T]) -> None:
    """Give a type of the engine, with its subclasses, a tag; what `to_json` returns may hold any value of the codec."""
    extension = Extension("$" + tag.removeprefix("$"), cls, to_json, from_json)
    EXTENSIONS[cls] = extension
    EXTENSION_TAGS[extension.tag] = extension


def extension_of(cls: type) -> Extension | None:
    for base in cls.__mro__:
        if base in EXTENSIONS:
            return EXTENSIONS[base]
    return None
