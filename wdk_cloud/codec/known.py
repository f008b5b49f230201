"""What may be made from a record: the classes that an app knows. Nothing is ever imported by a name from data."""

from __future__ import annotations

import builtins
import dataclasses
import inspect
import sys
import types
import typing
from enum import Enum
from typing import Any, cast

import wdk_cloud.errors
from wdk_cloud.codec.shapes import Shape, default_id, is_named_tuple, is_pydantic, shape_of

if typing.TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OURS = wdk_cloud.errors.__name__
_OURS_PREFIX = "wdk_cloud."


def error_id(cls: type[BaseException]) -> str:
    """The name of an exception class in records; ours do not depend on the module they lie in."""
    if cls.__module__ == "builtins":
        return cls.__qualname__
    if cls.__module__ == _OURS:
        return _OURS_PREFIX + cls.__qualname__
    return default_id(cls)


class KnownTypes:
    """The classes of one app: registered, named by annotations, or exceptions of its modules."""

    def __init__(self) -> None:
        self._by_class: dict[type, Shape] = {}
        self._by_id: dict[str, Shape] = {}
        self._explicit: set[str] = set()
        self._errors: dict[str, type[BaseException]] = {}
        self._error_ids: dict[type[BaseException], str] = {}
        self._modules: list[tuple[Mapping[str, object], int]] = []
        self._learned: set[object] = set()
        self._unresolved: list[type] = []
        self._fields: dict[type, dict[str, object]] = {}
        self.converters: dict[object, list[tuple[object, Callable[..., object] | None]]] = {}
        """By annotation. Equal ones that name the arms of a union in another order lie beside each other."""

    # learning ---------------------------------------------------------------------------------------------------------

    def register(
        self,
        cls: type[Any],
        *,
        serialize: Callable[[Any], object] | None = None,
        deserialize: Callable[[Any], Any] | None = None,
        class_id: str | None = None,
    ) -> None:
        """Make a class one whose objects can be recorded, under `class_id` (default: module and qualified name)."""
        if (serialize is None) != (deserialize is None):
            raise TypeError(f"register {cls.__qualname__} with both serialize= and deserialize=, or with neither")
        name = class_id or default_id(cls)
        there = self._by_id.get(name)
        if there is not None and name in self._explicit and default_id(there.cls) != default_id(cls):
            raise ValueError(f"the class id {name!r} is {default_id(there.cls)}'s; give {default_id(cls)} another")
        if serialize is not None and deserialize is not None:
            shape = Shape(name, cls, serialize, deserialize)
        else:
            shape = shape_of(cls, name)
            self._learn_fields(cls)
        if issubclass(cls, BaseException):
            self._errors[name] = cls
            self._error_ids[cls] = name
        elif shape is None:
            raise TypeError(
                f"{default_id(cls)} is no dataclass, enum, named tuple or pydantic model: register it with serialize= "
                "and deserialize=, or give it __wdk_serialize__ and a class method __wdk_deserialize__"
            )
        self._explicit.add(name)
        if shape is not None:
            self._add(shape)

    def learn_module(self, module_globals: Mapping[str, object]) -> None:
        """Know the exception classes defined in, or imported into, a module; also those it gets later."""
        self._modules = [(seen, size) for seen, size in self._modules if seen is not module_globals]
        self._modules.append((module_globals, len(module_globals)))
        for value in list(module_globals.values()):
            if isinstance(value, type) and issubclass(value, BaseException):
                self._errors[error_id(value)] = value

    def learn_annotation(self, annotation: object) -> None:
        """Know the classes that an annotation names, those of their fields too."""
        try:
            if annotation in self._learned:
                return
            self._learned.add(annotation)
        except TypeError:  # `Annotated` with something unhashable
            pass
        if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
            self._learn_class(annotation)
            return
        if isinstance(annotation, Enum):  # in a `Literal`
            self._learn_class(type(annotation))
        for part in (typing.get_origin(annotation), *typing.get_args(annotation)):
            if part is not None and not isinstance(part, str):
                self.learn_annotation(cast("object", part))
        for name in ("__supertype__", "__value__", "__bound__"):  # NewType, `type X = …`, TypeVar
            try:
                inner: object = getattr(annotation, name, None)
            except NameError:  # an alias of something that is not there yet
                continue
            if inner is not None:
                self.learn_annotation(inner)

    def _learn_class(self, cls: type[Any]) -> None:
        if cls.__module__ == "builtins":
            return
        if issubclass(cls, BaseException):
            self._errors.setdefault(error_id(cls), cls)
        shape = None if cls in self._by_class else shape_of(cls)
        if shape is not None:
            self._add(shape)
        self._learn_fields(cls)

    def _learn_fields(self, cls: type[Any]) -> None:
        if not (dataclasses.is_dataclass(cls) or is_named_tuple(cls) or is_pydantic(cls) or typing.is_typeddict(cls)):
            return
        for annotation in self.fields_of(cls).values():
            if not isinstance(annotation, str):
                self.learn_annotation(annotation)
            if _is_unresolved(annotation) and cls not in self._unresolved:
                self._unresolved.append(cls)

    def fields_of(self, cls: type[Any]) -> dict[str, object]:
        """The annotations of a class with fields; remembered once every name in them is there."""
        fields = self._fields.get(cls)
        if fields is None:
            fields = _field_annotations(cls)
            if not any(map(_is_unresolved, fields.values())):
                self._fields[cls] = fields
        return fields

    def _add(self, shape: Shape) -> None:
        self._by_class[shape.cls] = shape
        self._by_id[shape.class_id] = shape

    def _look_again(self) -> bool:
        """Learn what has been defined since: forward references, classes below a decorator. Rare: on a miss only."""
        unresolved, self._unresolved = self._unresolved, []
        for cls in unresolved:
            self._learn_fields(cls)
        grown = [seen for seen, size in self._modules if len(seen) != size]
        for module_globals in grown:
            self.learn_module(module_globals)
        return bool(unresolved or grown)

    # asking -----------------------------------------------------------------------------------------------------------

    def shape_of(self, cls: type) -> Shape | None:
        """The shape of a class that is known."""
        shape = self._by_class.get(cls)
        if shape is None and self._unresolved and self._look_again():
            shape = self._by_class.get(cls)
        return shape

    def shape_named(self, class_id: str) -> Shape | None:
        """The shape under a name in a record."""
        shape = self._by_id.get(class_id)
        if shape is None and self._unresolved and self._look_again():
            shape = self._by_id.get(class_id)
        return shape

    def error_id(self, cls: type[BaseException]) -> str:
        return self._error_ids.get(cls) or error_id(cls)

    def error_named(self, name: str) -> type[BaseException] | None:
        """The exception class under a name in a record: built in, ours, or known."""
        found = self._errors.get(name)
        if found is None and "." not in name:
            found = getattr(builtins, name, None)
        elif found is None and name.startswith(_OURS_PREFIX):
            found = getattr(wdk_cloud.errors, name.removeprefix(_OURS_PREFIX), None)
        if found is None and self._look_again():
            found = self._errors.get(name)
        return found if isinstance(found, type) and issubclass(found, BaseException) else None

    # for apps that share ----------------------------------------------------------------------------------------------

    def merge(self, other: KnownTypes) -> None:
        """Know also what another app knows."""
        self._by_class.update(other._by_class)
        self._by_id.update(other._by_id)
        self._explicit |= other._explicit
        self._errors.update(other._errors)
        self._error_ids.update(other._error_ids)
        self._modules += other._modules
        self._learned |= other._learned
        self._unresolved += other._unresolved

    def copy(self) -> KnownTypes:
        twin = KnownTypes()
        twin.merge(self)
        return twin


def _is_unresolved(annotation: object) -> bool:
    """Whether a name in an annotation is not there yet, at any place of it: `list["Later"]`."""
    if isinstance(annotation, (str, typing.ForwardRef)):
        return True
    origin, args = cast("object", typing.get_origin(annotation)), typing.get_args(annotation)
    if origin is typing.Literal:
        return False
    return any(map(_is_unresolved, args[:1] if origin is typing.Annotated else args))


def _field_annotations(cls: type[Any]) -> dict[str, object]:
    """The annotations of a class and its bases, each resolved as far as names exist; what is not stays a text."""
    try:
        annotations = dict[str, object](typing.get_type_hints(cls, include_extras=True))
    except Exception:  # a name that only type checkers import, say: take the fields one by one
        annotations = {}
        for base in reversed(cls.__mro__):
            names = vars(sys.modules.get(base.__module__, builtins))
            for name, annotation in _written(base).items():
                annotations[name] = _resolved(annotation, names, dict(vars(base)))
    if is_pydantic(cls):  # which has put types for the variables of a generic model
        fields = {name: cast("object", field.annotation) for name, field in cls.model_fields.items()}
        annotations |= {name: annotation for name, annotation in fields.items() if not _is_unresolved(annotation)}
    return annotations


def _written(cls: type[Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14):  # where annotations are not texts, and are evaluated when asked for
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _resolved(annotation: object, names: dict[str, Any], own: dict[str, Any]) -> object:
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(holder, names, own, include_extras=True)["it"]
    except Exception:
        return annotation
