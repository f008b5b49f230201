"""Classes that users make serializable for every app of the process: `@serializable` and `register_serializable`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

    from wdk_cloud.codec.known import KnownTypes

C = TypeVar("C", bound=type)

_registered: list[tuple[type, Callable[[Any], object] | None, Callable[[Any], Any] | None, str | None]] = []


def register_serializable(
    cls: type,
    serialize: Callable[[Any], object] | None = None,
    deserialize: Callable[[Any], Any] | None = None,
    *,
    class_id: str | None = None,
) -> None:
    """Let values of `cls` be recorded.

    `serialize` gives a value that can be recorded, `deserialize` makes the object from it. Without them the class must
    be a dataclass, an enum, a named tuple or a pydantic model, or define `__wdk_serialize__` and the class method
    `__wdk_deserialize__` (or, as in `vercel.workflow`, `_workflow_serialize` and `_workflow_deserialize`). `class_id`
    (default: module and qualified name) is what the record names; keep it when the class moves. Raises `TypeError` for
    a class that gives no way to and fro.
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializable takes a class, not {cls!r}")
    if (serialize is None) != (deserialize is None):
        raise TypeError(f"{cls.__qualname__}: give both serialize= and deserialize=, or neither")
    _registered.append((cls, serialize, deserialize, class_id))


@overload
def serializable(cls: C, /) -> C: ...
@overload
def serializable(*, class_id: str | None = None) -> Callable[[C], C]: ...
def serializable(cls: Any = None, /, *, class_id: str | None = None) -> Any:
    """A class decorator: `register_serializable` for this class, with this `class_id`, and raises alike."""

    def register(cls: C) -> C:
        register_serializable(cls, class_id=class_id)
        return cls

    return register if cls is None else register(cls)


def apply_to(known: KnownTypes, done: int) -> int:
    """Give `known` what was registered since; `done` and the result count registrations."""
    for cls, serialize, deserialize, class_id in _registered[done:]:
        known.register(cls, serialize=serialize, deserialize=deserialize, class_id=class_id)
    return len(_registered)
