"""How the objects of a known class are taken apart into plainer values and put together again.

Nothing here calls a constructor of the app: an object is restored as it was recorded, as `copy` does it. Fields that
the recorded object did not have yet get their defaults, and recorded fields that the class has lost are left out, so
that a class may grow while runs are alive.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from enum import Enum, Flag
from functools import cached_property
from types import MemberDescriptorType
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from wdk_cloud.codec.refusal import Refusal, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

TakeApart = Callable[[Any], object]
PutTogether = Callable[[Any], object]

# A subclass of one of these is its content plus its class: what reads the content past anything it overrides.
_CONTENT: dict[type[Any], tuple[type[Any], Callable[[Any], object]]] = {
    str: (str, str.__str__),
    int: (int, int.__int__),
    float: (float, float.__float__),
    bytes: (bytes, bytes.__bytes__),
    OrderedDict: (dict, dict),
    dict: (dict, dict),
    list: (list, list),
    tuple: (tuple, tuple),
    set: (set, set),
    frozenset: (frozenset, frozenset),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """A class that may be made from a record, under the name it has there."""

    class_id: str
    cls: type[Any]
    take_apart: TakeApart
    put_together: PutTogether

    def parts_of(self, value: object) -> object:
        """What `take_apart` gives; what a `serialize` of the app raises is a reason like any other."""
        try:
            return self.take_apart(value)
        except (Refusal, MemoryError, RecursionError):
            raise
        except Exception as error:
            raise Refusal(
                f"a {self.cls.__qualname__} cannot be recorded: {shown(error, 200)} in its serialize"
            ) from error


METHODS = (("__wdk_serialize__", "__wdk_deserialize__"), ("_workflow_serialize", "_workflow_deserialize"))
"""The methods by which a class says itself how it is recorded; the second pair is that of `vercel.workflow`."""


def default_id(cls: type) -> str:
    """The name of a class in records, unless it was given one."""
    return f"{cls.__module__}.{cls.__qualname__}"


def shape_of(cls: type[Any], class_id: str | None = None) -> Shape | None:
    """The shape of a dataclass, enum, named tuple, pydantic model or subclass of a builtin; else None."""
    class_id = class_id or default_id(cls)
    for there, back in METHODS:
        take_apart, put_together = getattr(cls, there, None), getattr(cls, back, None)
        if callable(take_apart) and callable(put_together):
            return Shape(class_id, cls, take_apart, put_together)
    if issubclass(cls, BaseException):
        return None
    if issubclass(cls, Enum):
        return Shape(class_id, cls, _name_of_member, lambda name: _member_named(cls, name))
    if is_pydantic(cls):
        return Shape(class_id, cls, _take_model_apart, lambda state: _put_model_together(cls, state))
    if dataclasses.is_dataclass(cls) and not issubclass(cls, tuple(_CONTENT)):
        return Shape(class_id, cls, _take_dataclass_apart, lambda state: _put_dataclass_together(cls, state))
    if is_named_tuple(cls):
        return Shape(class_id, cls, _take_named_tuple_apart, lambda state: _put_named_tuple_together(cls, state))
    if issubclass(cls, defaultdict) or cls is bool or (cls in _CONTENT and cls is not OrderedDict):
        return None  # a defaultdict carries a function
    base = next((base for base in _CONTENT if issubclass(cls, base)), None)
    return base and _shape_of_subclass(cls, base, class_id)


def is_pydantic(cls: type) -> TypeGuard[type[BaseModel]]:
    """Whether a class is a pydantic model; pydantic itself is imported by nobody but its users."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(cls, pydantic.BaseModel)


def is_named_tuple(cls: type) -> bool:
    fields: object = getattr(cls, "_fields", None)
    return isinstance(fields, tuple) and issubclass(cls, tuple)


def _state(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise Refusal(f"the record holds {shown(value)} where an object's fields are expected")
    return cast("dict[str, object]", value)


# enums ----------------------------------------------------------------------------------------------------------------
# By name: `auto()` and a new member in front shift values without a word, a name that is gone is noticed.


def _name_of_member(member: Enum) -> object:
    if not isinstance(member, Flag):
        return member.name
    names = [cast("str", part.name) for part in member]
    if type(member)(0) | _union(type(member), names) != member:
        raise Refusal(f"{member!r} has bits without a name and cannot be recorded")
    return names


def _union(cls: type[Flag], names: list[str]) -> Flag:
    union = cls(0)
    for name in names:
        union |= cls[name]
    return union


def _member_named(cls: type[Enum], name: object) -> Enum:
    try:
        if issubclass(cls, Flag):
            return _union(cls, cast("list[str]", name))
        return cls[cast("str", name)]
    except (KeyError, TypeError):
        raise Refusal(f"{cls.__qualname__} has no member {shown(name)}; keep the members that runs recorded") from None


# dataclasses ----------------------------------------------------------------------------------------------------------


def _take_dataclass_apart(value: Any) -> object:
    state: dict[str, object] = {}
    for field in dataclasses.fields(value):
        try:
            state[field.name] = getattr(value, field.name)
        except AttributeError:
            continue
    cls = cast("type[object]", type(value))
    for name, item in getattr(value, "__dict__", {}).items():
        if name not in state and not isinstance(getattr(cls, name, None), cached_property):
            state[name] = item
    return state


def _put_dataclass_together(cls: type[Any], recorded: object) -> object:
    state = dict(_state(recorded))
    value = object.__new__(cls)
    for field in dataclasses.fields(cls):
        if field.name in state:
            object.__setattr__(value, field.name, state.pop(field.name))
        elif field.default is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            object.__setattr__(value, field.name, field.default_factory())
        elif field.init:
            raise Refusal(f"the record of a {cls.__qualname__} has no {field.name!r}; give the field a default")
    if hasattr(value, "__dict__"):
        value.__dict__.update(state)
    return value


# named tuples ---------------------------------------------------------------------------------------------------------


def _names(cls: type[Any]) -> tuple[str, ...]:
    return cls._fields


def _take_named_tuple_apart(value: Any) -> object:
    if getattr(value, "__dict__", None):
        raise Refusal(f"a {type(value).__qualname__} with attributes beside its fields cannot be recorded")
    names = _names(cast("type[Any]", type(value)))
    return dict(zip(names, cast("tuple[object, ...]", value), strict=True))


def _put_named_tuple_together(cls: type[Any], recorded: object) -> object:
    state = {**getattr(cls, "_field_defaults", {}), **_state(recorded)}
    names = _names(cls)
    missing = [name for name in names if name not in state]
    if missing:
        raise Refusal(f"the record of a {cls.__qualname__} has no {missing[0]!r}; give the field a default")
    return _new_of(tuple)(cls, [state[name] for name in names])


# pydantic models ------------------------------------------------------------------------------------------------------
# Through the protocol of `copy` and `pickle` that every model has: no validator runs twice over what it made.


def _take_model_apart(value: BaseModel) -> object:
    fields = {**value.__dict__, **(value.__pydantic_extra__ or {})}
    computed = [name for name in fields if isinstance(getattr(type(value), name, None), cached_property)]
    for name in computed:
        del fields[name]
    unset = [name for name in fields if name not in value.__pydantic_fields_set__]
    private = value.__pydantic_private__
    state: dict[str, object] = {"fields": fields}
    if unset:
        state["unset"] = unset
    if private:
        state["private"] = dict(private)
    return state


def _put_model_together(cls: type[BaseModel], recorded: object) -> object:
    state = _state(recorded)
    fields = dict(_state(state["fields"]))
    unset = set(cast("list[str]", state.get("unset", ())))
    known = {name: fields.pop(name) for name in cls.model_fields if name in fields}
    extra = fields if cls.model_config.get("extra") == "allow" else None
    fields_set = {name for name in (*known, *(extra or ())) if name not in unset}
    for name, field in cls.model_fields.items():
        if name not in known:
            if field.is_required():
                raise Refusal(f"the record of a {cls.__qualname__} has no {name!r}; give the field a default")
            known[name] = _default_of(field, known)
    private: dict[str, object] | None = None
    if cls.__private_attributes__:
        defaults = {name: item.get_default() for name, item in cls.__private_attributes__.items()}
        private = {name: item for name, item in defaults.items() if type(item).__name__ != "PydanticUndefinedType"}
        private.update(_state(state.get("private", {})))
    value = cls.__new__(cls)
    value.__setstate__(
        {
            "__dict__": {name: known[name] for name in cls.model_fields},
            "__pydantic_extra__": extra,
            "__pydantic_fields_set__": fields_set,
            "__pydantic_private__": private,
        }
    )
    return value


def _default_of(field: FieldInfo, known: dict[str, object]) -> object:
    if getattr(field, "default_factory_takes_validated_data", False):  # from pydantic 2.10 on
        return field.get_default(call_default_factory=True, validated_data=known)
    return field.get_default(call_default_factory=True)


# subclasses of builtins -----------------------------------------------------------------------------------------------


def _shape_of_subclass(cls: type[Any], base: type[Any], class_id: str) -> Shape:
    plain, content_of = _CONTENT[base]
    mutable = base in (OrderedDict, dict, list, set)
    new, fill = _new_of(base), _init_of(base)
    own = cls.__mro__[: cls.__mro__.index(base)]
    slots = [name for part in own for name, item in vars(part).items() if isinstance(item, MemberDescriptorType)]

    def take_apart(value: Any) -> object:
        if getattr(value, "__dict__", None) or any(hasattr(value, name) for name in slots):
            raise Refusal(
                f"a {cls.__qualname__} with attributes of its own cannot be recorded as its content alone; "
                "register it with serialize= and deserialize="
            )
        return content_of(value)

    def put_together(content: object) -> object:
        if type(content) is not plain:
            raise Refusal(f"the record of a {cls.__qualname__} holds {shown(content)}")
        if not mutable:
            return new(cls, content)
        value = new(cls)
        fill(value, content)
        return value

    return Shape(class_id, cls, take_apart, put_together)


def _new_of(base: type[Any]) -> Callable[..., object]:
    source: Any = base
    return source.__new__


def _init_of(base: type[Any]) -> Callable[..., None]:
    source: Any = base
    return source.__init__
