"""The words that JSON lacks: one tag for each builtin type, `{"$tag": …}`, as small as it can be and readable.

`to_json` and `from_json` of a tag deal in values of the codec: what they return is encoded, and was decoded, in turn.
Tuples, sets, mappings with other keys, exceptions and objects of classes are in `values`.
"""

from __future__ import annotations

import binascii
import math
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from wdk_cloud.codec.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable


class Tag(NamedTuple):
    name: str
    to_json: Callable[[Any], object]
    from_json: Callable[[Any], object]


def _base64(value: bytes | bytearray) -> str:
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _from_base64(text: str) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True)


def _float_name(value: float) -> str:
    return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _float_named(name: str) -> float:
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[name]


def _moment(value: datetime) -> object:
    """ISO text with the offset; beside it, when there is one, the zone, the fold and the name of the offset."""
    zone, offset = value.tzinfo, value.utcoffset()
    key, name = _zone_names(zone, value, offset)
    if zone is not None and type(zone) not in (timezone, ZoneInfo) and offset is not None:
        value = value.replace(tzinfo=timezone(offset))
    elif zone is not None and offset is None:
        raise Refusal("a datetime whose tzinfo knows no offset cannot be recorded")
    text = value.replace(fold=0, tzinfo=None if offset is None else timezone(offset)).isoformat()
    return text if key is None and name is None and not value.fold else [text, key, value.fold, name]


def _zone_names(zone: tzinfo | None, value: datetime | None, offset: timedelta | None) -> tuple[str | None, str | None]:
    if type(zone) is ZoneInfo:
        return zone.key, None
    if type(zone) is timezone and offset is not None:
        name = zone.tzname(value)
        return None, name if name != timezone(offset).tzname(None) else None
    return None, None


def _moment_from(body: Any) -> datetime:
    if isinstance(body, str):
        return datetime.fromisoformat(body)
    text, key, fold, name = body
    value = datetime.fromisoformat(text).replace(fold=fold)
    offset = value.utcoffset()
    if name is not None and offset is not None:
        return value.replace(tzinfo=timezone(offset, name))
    zone = _zone(key)
    if zone is not None and value.replace(tzinfo=zone).utcoffset() == offset:
        return value.replace(tzinfo=zone)
    return value  # this machine has other rules for the zone: the instant counts, and it is in the offset


def _zone(key: str | None) -> ZoneInfo | None:
    try:
        return None if key is None else ZoneInfo(key)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        return None


def _clock(value: time) -> object:
    zone, offset = value.tzinfo, value.utcoffset()
    key, name = _zone_names(zone, None, offset)
    if zone is not None and offset is None and key is None:
        raise Refusal("a time whose tzinfo knows no offset cannot be recorded")
    text = value.replace(fold=0, tzinfo=None if offset is None else timezone(offset)).isoformat()
    return text if key is None and name is None and not value.fold else [text, key, value.fold, name]


def _clock_from(body: Any) -> time:
    if isinstance(body, str):
        return time.fromisoformat(body)
    text, key, fold, name = body
    value = time.fromisoformat(text).replace(fold=fold)
    offset = value.utcoffset()
    if name is not None and offset is not None:
        return value.replace(tzinfo=timezone(offset, name))
    return value if key is None else value.replace(tzinfo=ZoneInfo(key))


_PURE = {"posix": PurePosixPath, "windows": PureWindowsPath}


def _pure_path(value: PurePath) -> list[str]:
    return ["windows" if isinstance(value, PureWindowsPath) else "posix", str(value)]


def _range(value: range) -> list[int]:
    return [value.start, value.stop, value.step]


def _span_from(body: list[int]) -> timedelta:
    days, seconds, microseconds = body
    return timedelta(days, seconds, microseconds)


def _surrogates(value: str) -> str:
    return _base64(value.encode("utf-8", "surrogatepass"))


def _surrogates_from(text: str) -> str:
    return _from_base64(text).decode("utf-8", "surrogatepass")


def _int_from(text: str) -> int:
    return int(text, 16)


def _bytearray_from(text: str) -> bytearray:
    return bytearray(_from_base64(text))


def _span(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _complex(value: complex) -> list[float]:
    return [value.real, value.imag]


def _complex_from(body: list[float]) -> complex:
    real, imaginary = body
    return complex(real, imaginary)


def _range_from(body: list[int]) -> range:
    start, stop, step = body
    return range(start, stop, step)


def _pure_path_from(body: list[str]) -> PurePath:
    kind, text = body
    return _PURE[kind](text)


# By exact type: a subclass is a class of its own and must be known.
TAGS: dict[type, Tag] = {
    int: Tag("$int", hex, _int_from),  # decimal text has a limit of digits, and takes quadratic time
    float: Tag("$float", _float_name, _float_named),
    str: Tag("$str", _surrogates, _surrogates_from),
    bytes: Tag("$bytes", _base64, _from_base64),
    bytearray: Tag("$bytearray", _base64, _bytearray_from),
    datetime: Tag("$datetime", _moment, _moment_from),
    date: Tag("$date", date.isoformat, date.fromisoformat),
    time: Tag("$time", _clock, _clock_from),
    timedelta: Tag("$timedelta", _span, _span_from),
    Decimal: Tag("$decimal", str, Decimal),
    UUID: Tag("$uuid", str, UUID),
    complex: Tag("$complex", _complex, _complex_from),
    range: Tag("$range", _range, _range_from),
    type(Path()): Tag("$path", str, Path),
    PurePosixPath: Tag("$purepath", _pure_path, _pure_path_from),
    PureWindowsPath: Tag("$purepath", _pure_path, _pure_path_from),
}

TAG_NAMES: dict[str, Tag] = {tag.name: tag for tag in TAGS.values()}


def tag_of_stand_in(kind: type) -> Tag | None:
    """Of a class that freezegun puts in the place of `datetime` or `date`: its values are recorded as the genuine ones,
    or no code whose clock a test freezes could pass a date on."""
    if kind.__module__ != "freezegun.api":
        return None
    return next((TAGS[base] for base in kind.__mro__ if base in TAGS), None)
