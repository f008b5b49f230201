"""Exceptions taken apart into plain values and put together again, without ever calling an `__init__` of the app."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from wdk_cloud.codec.refusal import Refusal
from wdk_cloud.errors import RemoteError

if TYPE_CHECKING:
    from wdk_cloud.codec.known import KnownTypes

Lower = Callable[[object, int], object]
Lift = Callable[[object], object]

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
    return readable(_attempt(lambda: str(error), f"<the message of this {type(error).__qualname__} cannot be shown>"))


def readable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _attempt(make: Callable[[], str], otherwise: str) -> str:
    try:
        return make()
    except Exception:
        return otherwise


class Dismantler:
    """Takes one exception apart, with its causes, notes and group; a part that cannot be recorded is left out."""

    def __init__(self, lower: Lower, known: KnownTypes) -> None:
        self._lower = lower
        self._known = known
        self._active: set[int] = set()

    def body(self, error: BaseException, depth: int, causes: int = MAX_CAUSES) -> dict[str, object]:
        """The content of the tag `$error`."""
        if id(error) in self._active or depth <= 0:
            raise Refusal("an exception that contains itself cannot be recorded")
        self._active.add(id(error))
        try:
            body: dict[str, object] = {"type": self._known.error_id(type(error))}
            args = self._args(error, depth)
            text = message_of(error)
            if text != _implied_message(args):
                body["message"] = text
            if args:
                body["args"] = args
            self._add(body, "state", {name: item for name, item in self._state(error, depth)})
            self._add(body, "notes", [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)], depth)
            if isinstance(error, BaseExceptionGroup):
                group = cast("BaseExceptionGroup[BaseException]", error)
                self._add(body, "errors", list(self._members(group, depth)))
            if error.__cause__ is not None and causes > 0 and id(error.__cause__) not in self._active:
                body["cause"] = self.body(error.__cause__, depth - 1, causes - 1)
            return body
        finally:
            self._active.discard(id(error))

    def _add(self, body: dict[str, object], name: str, value: object, depth: int = 0) -> None:
        if value:
            body[name] = self._lower(value, depth) if depth else value

    def _args(self, error: BaseException, depth: int) -> list[object]:
        args: tuple[object, ...] = BaseException.args.__get__(error)
        if isinstance(error, BaseExceptionGroup):
            args = args[:1]  # the second is its exceptions
        return [self._argument(item, depth) for item in args]

    def _argument(self, item: object, depth: int) -> object:
        try:
            return self._lower(item, depth - 1)
        except Refusal:
            return readable(_attempt(lambda: str(item), f"<{type(item).__qualname__}>"))

    def _state(self, error: BaseException, depth: int) -> Iterator[tuple[str, object]]:
        for name, item in _attributes(error):
            if name == "__notes__" or name.startswith("$"):
                continue
            try:
                yield name, self._lower(item, depth - 1)
            except Refusal:
                continue

    def _members(self, group: BaseExceptionGroup[BaseException], depth: int) -> Iterator[object]:
        for member in group.exceptions:
            try:
                yield self.body(member, depth - 1)
            except Refusal:
                yield {"type": self._known.error_id(type(member)), "message": message_of(member)}


def _implied_message(args: list[object]) -> object:
    """The message that need not be written: the only argument."""
    return args[0] if len(args) == 1 and isinstance(args[0], str) else ""


def _attributes(error: BaseException) -> Iterator[tuple[str, object]]:
    for cls in type(error).__mro__:
        slots: str | tuple[str, ...] = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(error, name):
                yield name, getattr(error, name)
        for name in _MEMBERS.get(cls, ()):
            item = getattr(error, name, None)
            if item is not None:
                yield name, item
    yield from vars(error).items()


def rebuild(body: object, known: KnownTypes, lift: Lift) -> BaseException:
    """The exception of a body: as itself when its class is known here and an `Exception`, else a `RemoteError`."""
    if not isinstance(body, dict):
        raise Refusal("the record of an exception is not a mapping")
    body = cast("dict[str, Any]", body)
    args: list[object] = [lift(item) for item in body.get("args", ())]
    message = body.get("message", _implied_message(args))
    if not isinstance(message, str):
        raise Refusal("the record of an exception has a message that is no text")
    members = [rebuild(member, known, lift) for member in body.get("errors", ())]
    state = {name: lift(item) for name, item in body.get("state", {}).items()}
    cls = known.error_named(body["type"])
    error: BaseException = RemoteError(type_name_of(body["type"]), message)
    if cls is not None and issubclass(cls, Exception):
        try:
            error = _instance(cls, args, members, state)
        except Exception:  # a class that has changed since, or one that cannot exist without its constructor
            error.__cause__ = None
    for note in cast("list[str]", lift(body.get("notes", []))):
        error.add_note(note)
    if "cause" in body:
        error.__cause__ = rebuild(body["cause"], known, lift)
    return error


def type_name_of(error_id: str) -> str:
    """The bare name of an exception class, as `type(error).__name__` has it."""
    return error_id.rpartition(".")[2]


def _instance(
    cls: type[Exception], args: list[object], members: list[BaseException], state: dict[str, object]
) -> Exception:
    builtin: type[Any] = next(base for base in cls.__mro__ if getattr(builtins, base.__name__, None) is base)
    if issubclass(cls, BaseExceptionGroup):
        args = [*args[:1], members]
    error: Exception = builtin.__new__(cls, *args)
    builtin.__init__(error, *args)  # a builtin's own: it sets what lies in C, such as `UnicodeDecodeError.reason`
    if not issubclass(cls, BaseExceptionGroup):
        BaseException.args.__set__(error, tuple(args))
    for name, item in state.items():
        if isinstance(getattr(cls, name, None), _DESCRIPTORS):
            object.__setattr__(error, name, item)
        else:
            error.__dict__[name] = item
    return error


# How slots of classes and members of builtin exceptions look from their class.
_DESCRIPTORS = (type(OSError.errno), type(OSError.characters_written))
