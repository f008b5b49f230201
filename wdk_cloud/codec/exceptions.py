"""Exceptions taken apart into plain values and put together again, without ever calling an `__init__` of the app."""

from __future__ import annotations

import builtins
import types
from typing import TYPE_CHECKING, Any, cast

import msgspec

from wdk_cloud.codec.refusal import Refusal, readable
from wdk_cloud.errors import RemoteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from wdk_cloud.codec.known import KnownTypes

# A chain of causes longer than this is a loop that retried without end; its first links say what happened.
MAX_CAUSES = 32

# What builtin classes keep outside of `args` and `__dict__`, and do not set from `args`.
_MEMBERS: dict[type[BaseException], tuple[str, ...]] = {
    OSError: ("errno", "strerror", "filename", "filename2"),
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name", "obj"),
}


def message_of(error: BaseException) -> str:
    """The text of an exception, also of one whose `__str__` raises or returns what no file can hold."""
    return _text(error, f"<{type(error).__qualname__}: its message cannot be shown>")


def type_name_of(error_id: str) -> str:
    """The bare name of an exception class, as `type(error).__name__` has it."""
    return error_id.rpartition(".")[2]


def _text(value: object, otherwise: str) -> str:
    try:
        return readable(str(value))
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException:  # a `SystemExit` of a `__str__` ends nothing
        return otherwise


class Dismantler:
    """Takes an exception apart, with its causes, notes and group; a part that cannot be recorded is left out."""

    def __init__(self, lower: Callable[[object, int], object], known: KnownTypes) -> None:
        self._lower = lower
        self._known = known
        self._active: set[int] = set()

    def body(self, error: BaseException, depth: int, causes: int = MAX_CAUSES) -> dict[str, object]:
        """The content of the tag `$error`."""
        if id(error) in self._active or depth <= 0:
            raise Refusal("an exception contains itself, or is nested too deep, and cannot be recorded")
        self._active.add(id(error))
        try:
            parts = {"type": self._known.error_id(type(error)), **self._content(error, depth)}
            parts["notes"] = [readable(note) for note in _notes_of(error)]
            parts["errors"] = list(self._members(error, depth))
            cause = _cause_of(error)
            if cause is not None and causes > 0 and depth > 1 and id(cause) not in self._active:
                parts["cause"] = self.body(cause, depth - 1, causes - 1)
            return {name: part for name, part in parts.items() if name == "message" or part}
        finally:
            self._active.discard(id(error))

    def _content(self, error: BaseException, depth: int) -> dict[str, object]:
        text = message_of(error)
        shape = self._known.shape_of(type(error))
        if shape is not None:  # registered with a form of its own
            return {"message": text, "value": [self._lower(shape.parts_of(error), depth)]}
        args = list(_args_of(error))
        lowered: list[object] = []
        for index, item in enumerate(args):
            try:
                lowered.append(self._lower(item, depth - 1))
            except Refusal:
                args[index] = _text(item, f"<{type(item).__qualname__}>")
                lowered.append(args[index])
        # The text of a set is another in every process: what follows from the arguments is left to the reader.
        message = {} if _is_implied(text, args) else {"message": text}
        return {**message, "args": lowered, "state": dict(self._state(error, depth))}

    def _state(self, error: BaseException, depth: int) -> Iterator[tuple[str, object]]:
        for name, item in _attributes(error):
            if not name.startswith(("__", "$")):
                try:
                    yield name, self._lower(item, depth - 1)
                except Refusal:
                    continue

    def _members(self, error: BaseException, depth: int) -> Iterator[object]:
        for member in _members_of(error):
            try:
                yield self.body(member, depth - 1)
            except Refusal:
                yield {"type": self._known.error_id(type(member)), "args": [message_of(member)]}


# Everything is read past what a class may have made of the names: an exception is recorded whatever it does when asked.


def contents_of(error: BaseException) -> list[object]:
    """All that is recorded of an exception besides its type and texts."""
    held = [*_args_of(error), *(item for _, item in _attributes(error)), *_members_of(error)]
    return [*held, _cause_of(error)]


def _members_of(error: BaseException) -> tuple[BaseException, ...]:
    if not issubclass(type(error), BaseExceptionGroup):
        return ()
    return cast("tuple[BaseException, ...]", _part_of(error, BaseExceptionGroup, "exceptions"))


def _args_of(error: BaseException) -> tuple[object, ...]:
    """The arguments; of a group its message."""
    args = cast("tuple[object, ...]", _part_of(error, BaseException, "args"))
    return args[:1] if issubclass(type(error), BaseExceptionGroup) else args


def _cause_of(error: BaseException) -> BaseException | None:
    return cast("BaseException | None", _part_of(error, BaseException, "__cause__"))


def _dict_of(error: BaseException) -> dict[str, object]:
    return cast("dict[str, object]", _part_of(error, BaseException, "__dict__"))


def _part_of(error: BaseException, cls: type, name: str) -> object:
    """What a slot, or a field in C, of a class holds; None when it is empty."""
    try:
        return cls.__dict__[name].__get__(error, cls)
    except AttributeError:
        return None


def _notes_of(error: BaseException) -> list[str]:
    notes = _dict_of(error).get("__notes__")
    return [note for note in cast("list[object]", notes) if isinstance(note, str)] if isinstance(notes, list) else []


def _implied_message(args: list[object]) -> str:
    """The message that need not be written: what an exception says that has nothing but arguments."""
    return message_of(BaseException(*args))


def _is_implied(text: str, args: list[object]) -> bool:
    """Whether a message follows from the arguments. A `KeyError` shows its only one as `repr` does."""
    if text == _implied_message(args):
        return True
    return len(args) == 1 and not isinstance(args[0], str) and text == message_of(KeyError(*args))


def _attributes(error: BaseException) -> Iterator[tuple[str, object]]:
    for cls in type(error).__mro__:
        own = () if cls.__module__ == "builtins" else vars(cls).items()
        slots = (name for name, item in own if isinstance(item, types.MemberDescriptorType))
        for name in _MEMBERS.get(cls, slots):
            item = _part_of(error, cls, name)
            if item is not None:
                yield name, item
    yield from _dict_of(error).items()


def rebuild(body: object, known: KnownTypes, lift: Callable[[object], object]) -> BaseException:
    """The exception of a body: as itself when its class is known here and may be raised, else a `RemoteError`."""
    if not isinstance(body, dict):
        raise Refusal("the record of an exception is no mapping")
    parts = cast("dict[str, Any]", body)
    raw: list[object] = parts.get("args", [])
    spare = "" if "message" in parts else ", ".join(_json_text(item) for item in raw)  # lifting changes them
    args = _lifted(raw, lift)
    message = parts.get("message", spare if args is None else _implied_message(args))
    name = parts["type"]
    if not isinstance(message, str) or not isinstance(name, str):
        raise Refusal("the record of an exception has no type and message")
    error = None if args is None else _own(name, args, parts, known, lift)
    error = error or RemoteError(type_name_of(name), message)
    for note in parts.get("notes", ()):
        error.add_note(note)
    if "cause" in parts:
        error.__cause__ = rebuild(parts["cause"], known, lift)
    return error


def _json_text(item: object) -> str:
    return item if isinstance(item, str) else msgspec.json.encode(item).decode()


def _lifted(items: Iterable[object], lift: Callable[[object], object]) -> list[object] | None:
    """What an exception carries; None when a class of it is not known here: that costs its class, not its record."""
    try:
        return [lift(item) for item in items]
    except Refusal as refusal:
        if refusal.newer:
            raise
        return None


def _own(
    name: str, args: list[object], parts: dict[str, Any], known: KnownTypes, lift: Callable[[object], object]
) -> BaseException | None:
    """The exception as itself; None when its class is not known, or only its constructor could make one."""
    cls = known.error_named(name)
    # Raised into a body the first would end the process, the second cannot be set on a future.
    if cls is None or not issubclass(cls, Exception) or issubclass(cls, StopIteration):
        return None
    members = [rebuild(member, known, lift) for member in parts.get("errors", ())]
    state: dict[str, object] = parts.get("state", {})
    attributes, value = _lifted(state.values(), lift), _lifted(parts.get("value", ()), lift)
    if attributes is None or value is None:
        return None
    shape = known.shape_of(cls)
    try:
        if shape is not None and value:
            return cast("BaseException", shape.put_together(value[0]))
        return _instance(cls, args, members, dict(zip(state, attributes, strict=True)))
    except Exception:
        return None


def _instance(
    cls: type[Any], args: list[object], members: list[BaseException], state: dict[str, object]
) -> BaseException:
    builtin: Any = next(base for base in cls.__mro__ if getattr(builtins, base.__name__, None) is base)
    if issubclass(cls, BaseExceptionGroup):
        error = builtin.__new__(cls, *args, members)
    else:
        error = builtin.__new__(cls, *args)
        builtin.__init__(error, *args)  # a builtin's own: it sets what lies in C, such as `UnicodeError.reason`
        BaseException.__init__(error, *args)
    for name, item in state.items():
        if not name.startswith("__"):
            _set(error, name, item)
    return error


def _set(error: BaseException, name: str, item: object) -> None:
    """An attribute, past any property or `__setattr__` of the app."""
    if isinstance(getattr(type(error), name, None), (types.MemberDescriptorType, types.GetSetDescriptorType)):
        object.__setattr__(error, name, item)
    else:
        vars(error)[name] = item
