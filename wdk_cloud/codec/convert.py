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

from wdk_cloud.codec.known import KnownTypes, field_annotations
from wdk_cloud.codec.refusal import Refusal, shown
from wdk_cloud.codec.shapes import is_named_tuple, is_pydantic

# `Converter(value)` returns the converted value; with `exact=True` it only tells, by a refusal, what does not fit.
Converter = Callable[..., object]


def converter_for(annotation: object, known: KnownTypes) -> Converter | None:
    """What checks and converts to an annotation; None when nothing is to be done. Remembered by the app's types."""
    if annotation is Any or annotation is object:
        return None
    try:
        return known.converters[annotation]
    except KeyError:
        made = known.converters[annotation] = _compile(annotation, known)
        return made
    except TypeError:  # an `Annotated` with something unhashable
        return _compile(annotation, known)


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
        if hasattr(annotation, name):
            return _later(annotation, name, known)
    cls = annotation if origin is None else origin
    if not isinstance(cls, type) or getattr(cls, "_is_protocol", False):
        return None
    return _compile_class(cls, args, known)


_WRAPPERS: set[object] = {typing.Annotated, typing.Required, typing.NotRequired, typing.Final, typing.ClassVar}
