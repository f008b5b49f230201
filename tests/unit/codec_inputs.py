"""Values of every kind that the codec knows, as many as one likes, and what makes two of them the same."""

from __future__ import annotations

import math
import string
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, Flag, IntEnum
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import pydantic

from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.errors import RemoteError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

# what there is --------------------------------------------------------------------------------------------------------


class Color(Enum):
    RED = "r"
    BLUE = (1, 2)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Access(Flag):
    READ = 1
    WRITE = 2


class Point(NamedTuple):
    x: object
    y: object = None


@dataclass
class Item:
    a: object
    b: object = 0
    c: list[object] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Frozen:
    a: object


class Model(pydantic.BaseModel, extra="allow"):
    a: Any
    b: Any = None
    _private: Any = None


class Text(str):
    pass


class Whole(int):
    pass


class Sorted(OrderedDict[Any, Any]):
    pass


class AppError(Exception):
    def __init__(self, *args: object, code: object) -> None:
        super().__init__(*args)
        self.code = code


class Typed(TypedDict, total=False):
    a: int
    b: list[Decimal]


CLASSES = (Color, Level, Access, Point, Item, Frozen, Model, Text, Whole, Sorted, OrderedDict, AppError)
KNOWN = KnownTypes()
for cls in CLASSES:
    KNOWN.learn_annotation(cls)

ZONES = [ZoneInfo(name) for name in ("Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC", "Pacific/Apia")]
INTS = [0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64 - 1, 2**64, -(2**64), 10**30]
FLOATS = [0.0, -0.0, 1.0, 0.1, 1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 2.0**63]
STRINGS = ["", "$", "$type", "$value", "$dict", "a", "é", "\x00", "\x7f\u2028", "😀", "\ud800", "\udfff$", '"\\/', "1"]
DECIMALS = ["0", "-0", "1.10", "1E+5", "NaN", "-sNaN7", "Infinity", "-Infinity", "1E-400", "9" * 40]
PATHS = [Path("/a/b"), Path("."), Path("a b"), Path("\udcff"), PurePosixPath("//x"), PureWindowsPath("C:\\a"), Path()]


def _text(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(STRINGS)
    return "".join(rng.choices(string.ascii_letters + "$é😀\n", k=rng.randrange(9)))


def _moment(rng: random.Random) -> datetime:
    zone = rng.choice([None, UTC, *ZONES, timezone(timedelta(seconds=rng.randrange(-86399, 86400)), *_maybe_name(rng))])
    naive = datetime(1, 1, 2) + timedelta(days=rng.randrange(3_652_000), microseconds=rng.randrange(86_400_000_000))
    return naive.replace(tzinfo=zone, fold=rng.randrange(2))


def _maybe_name(rng: random.Random) -> list[str]:
    return [_text(rng)] if rng.random() < 0.3 else []


def _clock(rng: random.Random) -> time:
    zone = rng.choice([None, UTC, *ZONES])
    return time(rng.randrange(24), rng.randrange(60), 1, rng.choice((0, 5)), tzinfo=zone, fold=rng.randrange(2))


LEAVES: list[Callable[[random.Random], Any]] = [
    lambda _: None,
    lambda rng: rng.random() < 0.5,
    lambda rng: rng.choice(INTS),
    lambda rng: rng.getrandbits(rng.randrange(1, 200)) * rng.choice((1, -1)),
    lambda rng: rng.choice(FLOATS),
    lambda rng: rng.uniform(-1e6, 1e6),
    _text,
    _text,
    _text,
    lambda rng: rng.randbytes(rng.randrange(8)),
    lambda rng: timedelta(rng.randrange(-9999, 9999), rng.randrange(86400), rng.randrange(10**6)),
    lambda rng: date.fromordinal(rng.randrange(1, 3_652_060)),
    _moment,
    _clock,
    lambda rng: Decimal(rng.choice(DECIMALS)),
    lambda rng: UUID(int=rng.getrandbits(128)),
    lambda rng: rng.choice(PATHS),
    lambda rng: complex(rng.choice(FLOATS), rng.choice(FLOATS)),
    lambda rng: range(rng.randrange(-9, 9), rng.choice(INTS), rng.choice((1, -3))),
    lambda rng: rng.choice(list(Color)),
    lambda rng: rng.choice(list(Level)),
    lambda rng: Access(rng.randrange(4)),
    lambda rng: Text(_text(rng)),
    lambda rng: Whole(rng.choice(INTS)),
]


def hashable(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(8)
    if depth <= 0 or kind < 5:
        value = rng.choice(LEAVES)(rng)
        return 0 if isinstance(value, Decimal) and value.is_snan() else value
    if kind == 5:
        return tuple(hashable(rng, depth - 1) for _ in range(rng.randrange(4)))
    if kind == 6:
        return frozenset(hashable(rng, depth - 1) for _ in range(rng.randrange(4)))
    return Point(hashable(rng, depth - 1))


def _mapping(rng: random.Random, depth: int) -> Any:
    key = _text if rng.random() < 0.6 else (lambda rng: hashable(rng, depth - 1))
    content = {key(rng): anything(rng, depth - 1) for _ in range(rng.randrange(5))}
    return rng.choice((dict, dict, dict, OrderedDict, Sorted))(content)


def _error(rng: random.Random, depth: int) -> BaseException:
    args = [anything(rng, depth - 1) for _ in range(rng.randrange(3))]
    kind = rng.choice((ValueError, KeyError, AppError, RemoteError, RuntimeError, ExceptionGroup))
    if kind is AppError:
        error: BaseException = AppError(*args, code=anything(rng, depth - 1))
    elif kind is RemoteError:
        error = RemoteError("Some", "text")
    elif kind is ExceptionGroup:
        error = ExceptionGroup("g", [ValueError(*args)])
    else:
        error = kind(*args)
    if rng.random() < 0.3:
        error.__cause__ = ZeroDivisionError("cause")
    if rng.random() < 0.3:
        error.add_note("note")
    return error


BRANCHES: list[Callable[[random.Random, int], Any]] = [
    _mapping,
    _mapping,
    lambda rng, depth: [anything(rng, depth - 1) for _ in range(rng.randrange(5))],
    lambda rng, depth: [anything(rng, depth - 1) for _ in range(rng.randrange(5))],
    lambda rng, depth: tuple(anything(rng, depth - 1) for _ in range(rng.randrange(4))),
    lambda rng, depth: {hashable(rng, depth - 1) for _ in range(rng.randrange(6))},
    lambda rng, depth: frozenset(hashable(rng, depth - 1) for _ in range(rng.randrange(4))),
    lambda rng, depth: Item(anything(rng, depth - 1), c=[anything(rng, depth - 1)]),
    lambda rng, depth: Frozen(anything(rng, depth - 1)),
    lambda rng, depth: Point(anything(rng, depth - 1), anything(rng, depth - 1)),
    lambda rng, depth: Model(a=anything(rng, depth - 1), **{rng.choice("bcd"): 1}),
    lambda rng, depth: bytearray(rng.randbytes(depth)),
    _error,
]


def anything(rng: random.Random, depth: int) -> Any:
    if depth <= 0 or rng.random() < 0.4:
        return rng.choice(LEAVES)(rng)
    return rng.choice(BRANCHES)(rng, depth)


# what is the same -----------------------------------------------------------------------------------------------------


def described(value: Any) -> Any:
    """All that can be told of a value, in a form in which equal means the same type, content and order."""
    return type(value).__name__, _content(value)


def _content(value: Any) -> Any:
    if isinstance(value, (set, frozenset)):
        return sorted(repr(described(item)) for item in value)
    if isinstance(value, dict):
        return [(described(key), described(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [described(item) for item in value]
    if isinstance(value, (Item, Frozen)):
        return [described(getattr(value, name)) for name in value.__dataclass_fields__]
    if isinstance(value, Model):
        private = value.__pydantic_private__
        return [described(part) for part in (value.__dict__, value.model_extra, value.model_fields_set, private)]
    if isinstance(value, BaseException):
        group = value.exceptions if isinstance(value, BaseExceptionGroup) else ()
        args = value.args[:1] if group else value.args
        return [described(part) for part in (args, vars(value), value.__cause__, group)]
    if isinstance(value, (datetime, time)):
        return value.isoformat(), value.fold, value.tzname(), repr(value.tzinfo)
    return repr(value)


def stirred(value: Any, rng: random.Random) -> Any:
    """The same value, its sets filled in another order."""
    kind = type(value)
    if kind in (set, frozenset):
        items = [stirred(item, rng) for item in value]
        rng.shuffle(items)
        return kind(items)
    if kind in (list, tuple):
        return kind(stirred(item, rng) for item in value)
    if kind in (dict, OrderedDict):
        return kind((stirred(key, rng), stirred(item, rng)) for key, item in value.items())
    return value
