"""What each value looks like in a record, what comes back, and what is refused, with its place."""

from __future__ import annotations

import math
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest

from wdk_cloud.codec import limits, values
from wdk_cloud.codec.extensions import EXTENSION_TAGS, EXTENSIONS, register_extension
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.limits import MAX_DEPTH
from wdk_cloud.codec.lowering import Lowering, is_plain
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.values import decode, decode_arguments, digest, encode, encode_arguments
from wdk_cloud.errors import SerializationError

KNOWN = KnownTypes()
BERLIN = ZoneInfo("Europe/Berlin")
NAMED = timezone(timedelta(hours=1), "CET")
NAMELESS = timezone(timedelta(hours=1), "")

EXACT: list[tuple[object, str]] = [
    (None, "null"),
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-(2**63), "-9223372036854775808"),
    (2**63 - 1, "9223372036854775807"),
    (2**63, '{"$int":"0x8000000000000000"}'),
    (-(2**63) - 1, '{"$int":"-0x8000000000000001"}'),
    (1.0, "1.0"),
    (-0.0, "-0.0"),
    (1e300, "1e300"),
    (0.1, "0.1"),
    (math.inf, '{"$float":"inf"}'),
    (-math.inf, '{"$float":"-inf"}'),
    ("é\n\x00😀", '"é\\n\\u0000😀"'),
    ("$", '"$"'),
    ('"$bytes"', '"\\"$bytes\\""'),
    ("a\ud800", '{"$str":"Ye2ggA=="}'),
    (b"", '{"$bytes":""}'),
    (b"\x00\xff", '{"$bytes":"AP8="}'),
    (bytearray(b"x"), '{"$bytearray":"eA=="}'),
    ([], "[]"),
    ([1, "a", None], '[1,"a",null]'),
    ({}, "{}"),
    ({"b": 1, "a": {"": 2}}, '{"b":1,"a":{"":2}}'),
    ({1: "a", "1": "b"}, '{"$dict":[[1,"a"],["1","b"]]}'),
    ({"$x": 1, "y": 2}, '{"$dict":[["$x",1],["y",2]]}'),
    ({"x": 1, "$": 2}, '{"$dict":[["x",1],["$",2]]}'),
    ({"\ud800": 1}, '{"$dict":[[{"$str":"7aCA"},1]]}'),
    ({(1, None): {True: 0.5}}, '{"$dict":[[{"$tuple":[1,null]},{"$dict":[[true,0.5]]}]]}'),
    ((), '{"$tuple":[]}'),
    ((1, ("a",)), '{"$tuple":[1,{"$tuple":["a"]}]}'),
    (set[object](), '{"$set":[]}'),
    ({"b", "a", 10, 9}, '{"$set":["a","b",10,9]}'),
    (frozenset({frozenset({2, 1}), b"b"}), '{"$frozenset":[{"$bytes":"Yg=="},{"$frozenset":[1,2]}]}'),
    (datetime(2024, 1, 2, 3, 4, 5, 6), '{"$datetime":"2024-01-02T03:04:05.000006"}'),
    (datetime(2024, 1, 2, tzinfo=UTC), '{"$datetime":"2024-01-02T00:00:00+00:00"}'),
    (
        datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=-5, seconds=1))),
        '{"$datetime":"2024-01-02T00:00:00-04:59:59"}',
    ),
    (datetime(2024, 1, 2, fold=1), '{"$datetime":["2024-01-02T00:00:00",null,1,null]}'),
    (datetime(2024, 1, 2, tzinfo=NAMED), '{"$datetime":["2024-01-02T00:00:00+01:00",null,0,"CET"]}'),
    (datetime(2024, 1, 2, tzinfo=NAMELESS), '{"$datetime":["2024-01-02T00:00:00+01:00",null,0,""]}'),
    (datetime(2024, 7, 1, tzinfo=BERLIN), '{"$datetime":["2024-07-01T00:00:00+02:00","Europe/Berlin",0,null]}'),
    (
        datetime(2024, 10, 27, 2, 30, tzinfo=BERLIN, fold=1),
        '{"$datetime":["2024-10-27T02:30:00+01:00","Europe/Berlin",1,null]}',
    ),
    (date(2024, 2, 29), '{"$date":"2024-02-29"}'),
    (time(1, 2, 3, 4), '{"$time":"01:02:03.000004"}'),
    (time(1, 2, tzinfo=UTC), '{"$time":"01:02:00+00:00"}'),
    (time(1, 2, tzinfo=NAMED), '{"$time":["01:02:00+01:00",null,0,"CET"]}'),
    (time(1, 2, fold=1, tzinfo=BERLIN), '{"$time":["01:02:00","Europe/Berlin",1,null]}'),
    (timedelta(-1, 2, 3), '{"$timedelta":[-1,2,3]}'),
    (Decimal("1.20"), '{"$decimal":"1.20"}'),
    (Decimal("-0E+5"), '{"$decimal":"-0E+5"}'),
    (Decimal("Infinity"), '{"$decimal":"Infinity"}'),
    (UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    (Path("/a/b c"), '{"$path":"/a/b c"}'),
    (PurePosixPath("a"), '{"$purepath":["posix","a"]}'),
    (PureWindowsPath("C:\\a"), '{"$purepath":["windows","C:\\\\a"]}'),
    (complex(-0.0, math.inf), '{"$complex":[-0.0,{"$float":"inf"}]}'),
    (range(1, 10, 2), '{"$range":[1,10,2]}'),
]


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, datetime | time):
        return one.isoformat() == other.isoformat() and one.fold == other.fold and one.tzname() == other.tzname()
    return one == other


@pytest.mark.parametrize(("value", "text"), EXACT, ids=[text for _, text in EXACT])
def test_a_value_has_one_text_and_comes_back_from_it(value: object, text: str) -> None:
    assert encode(value, known=KNOWN).decode() == text
    assert same(decode(text.encode(), known=KNOWN), value)


def test_the_whole_list_comes_back_through_every_kind_of_container() -> None:
    everything = [value for value, _ in EXACT]
    for nested in (everything, tuple(everything), {"k": everything}, {0: everything}, [{"x": (everything,)}]):
        assert same(decode(encode(nested, known=KNOWN), known=KNOWN), nested)


def test_nan_comes_back_as_nan() -> None:
    assert encode([math.nan], known=KNOWN) == b'[{"$float":"nan"}]'
    assert math.isnan(decode(b'{"$float":"nan"}', known=KNOWN))  # type: ignore[arg-type]
    assert decode(encode(Decimal("sNaN12"), known=KNOWN), known=KNOWN).is_snan()  # type: ignore[union-attr]


def test_integers_have_no_limit_of_digits() -> None:
    number = 7**20_000
    assert number > 10 ** sys.get_int_max_str_digits()
    assert decode(encode({"n": -number}, known=KNOWN), known=KNOWN) == {"n": -number}


def test_a_zone_that_has_other_rules_here_gives_the_recorded_instant() -> None:
    other_rules = b'{"$datetime":["2024-07-01T00:00:00+05:00","Europe/Berlin",0,null]}'
    assert same(decode(other_rules, known=KNOWN), datetime(2024, 7, 1, tzinfo=timezone(timedelta(hours=5))))
    no_such_zone = b'{"$datetime":["2024-07-01T00:00:00+05:00","Mars/Olympus",0,null]}'
    assert same(decode(no_such_zone, known=KNOWN), datetime(2024, 7, 1, tzinfo=timezone(timedelta(hours=5))))


class OddZone(tzinfo):
    def __init__(self, offset: timedelta | None) -> None:
        self.offset = offset

    def utcoffset(self, _: datetime | None, /) -> timedelta | None:
        return self.offset

    def dst(self, _: datetime | None, /) -> timedelta | None:
        return None

    def tzname(self, _: datetime | None, /) -> str:
        return "odd"


def test_another_tzinfo_comes_back_as_its_offset() -> None:
    recorded = encode(datetime(2024, 1, 1, tzinfo=OddZone(timedelta(hours=3))), known=KNOWN)
    assert recorded == b'{"$datetime":"2024-01-01T00:00:00+03:00"}'
    for unfit in (datetime(2024, 1, 1, tzinfo=OddZone(None)), time(1, tzinfo=OddZone(None))):
        with pytest.raises(SerializationError, match="knows no offset"):
            encode(unfit, known=KNOWN)


class Text(str):
    __slots__ = ()


class Number(int):
    pass


class Unhelpful:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Unhelpful(),
        Text("a"),
        Number(1),
        OrderedDict(a=1),
        Counter("aa"),
        defaultdict(list),
        deque([1]),
        memoryview(b"a"),
        len,
        int,
        ...,
        iter([]),
        (x for x in ()),
        BERLIN,
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_object_of_an_unknown_class_is_refused_and_never_becomes_something_else(value: object) -> None:
    for nested, place in (
        (value, "value"),
        ([value], "value[0]"),
        ((0, value), "value[1]"),
        ({"key": value}, "value.key"),
        ({"a b": [value]}, "value['a b'][0]"),
        ({7: value}, "value[7]"),
    ):
        with pytest.raises(SerializationError, match="cannot be recorded") as caught:
            encode(nested, known=KNOWN)
        assert caught.value.path == place
        assert str(caught.value).startswith(place + ": ")


def test_a_refusal_names_the_place_from_the_parameter_on() -> None:
    with pytest.raises(SerializationError) as caught:
        encode_arguments({"order": {"items": [1, 2, 3, {"lock": object()}]}}, known=KNOWN)
    assert caught.value.path == "order.items[3].lock"
    assert "register_serializable" in str(caught.value)
    with pytest.raises(SerializationError) as caught:
        encode({"tags": {("a", int)}}, path="result", known=KNOWN)
    assert caught.value.path == "result.tags[…][1]"
    with pytest.raises(SerializationError) as caught:
        encode({"\ud800": [len]}, known=KNOWN)
    assert caught.value.path == "value['\\ud800'][0]"


def test_a_defaultdict_is_told_what_to_do() -> None:
    with pytest.raises(SerializationError, match=r"a defaultdict carries a function .* pass dict\(…\) of it"):
        encode(defaultdict(int), known=KNOWN)


def unwrapped(value: Any) -> Any:
    """What lies in a container of one element."""
    return next(iter(value.values() if isinstance(value, dict) else value))


def test_a_value_that_the_stack_has_no_room_for_is_refused() -> None:
    def at_depth(frames: int, call: Any) -> Any:
        return call() if frames == 0 else at_depth(frames - 1, call)

    value: Any = "leaf"
    for _ in range(MAX_DEPTH - 1):
        value = {1: value}
    assert encode(value, known=KNOWN) == at_depth(100, lambda: encode(value, known=KNOWN))
    little_room = sys.getrecursionlimit() - 150
    for call in (lambda: encode(value, known=KNOWN), lambda: encode_arguments({"a": value}, known=KNOWN)):
        with pytest.raises(SerializationError, match="nested deeper than there is room for on the call stack"):
            at_depth(little_room, call)
    assert at_depth(little_room, lambda: encode([[["x"]]], known=KNOWN)) == b'[[["x"]]]'


@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"k": x}, lambda x: {0: x}, lambda x: (x,)])
def test_a_value_may_be_200_levels_deep_and_no_deeper(wrap: Any) -> None:
    value: object = "leaf"
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    encoded = encode(value, known=KNOWN)
    assert encode(decode(encoded, known=KNOWN), known=KNOWN) == encoded
    arguments, quick = encode_arguments({"x": unwrapped(value)}, known=KNOWN)
    assert quick == digest(arguments)
    for _ in range(2):
        value = wrap(value)
        with pytest.raises(SerializationError, match="200 levels"):
            encode(value, known=KNOWN)
    for _ in range(10_000):
        value = wrap(value)
    with pytest.raises(SerializationError, match="200 levels") as caught:
        encode(value, known=KNOWN)
    assert len(str(caught.value)) < 300


def test_a_value_that_contains_itself_is_refused() -> None:
    mapping: dict[str, object] = {}
    mapping["self"] = mapping
    endless: list[object] = []
    endless += [endless, endless]
    for value in (mapping, endless, (endless,), {1: mapping}):
        with pytest.raises(SerializationError, match="contains itself"):
            encode_arguments({"x": value}, known=KNOWN)


def test_a_value_over_the_hard_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "HARD_LIMIT", 1000)
    assert decode(encode("x" * 998, known=KNOWN), known=KNOWN) == "x" * 998
    for too_large in ("x" * 999, [b"x" * 800]):
        with pytest.raises(SerializationError, match=r"value: takes 1,\d\d\d bytes as JSON, more than the 1,000"):
            encode(too_large, known=KNOWN)
    with pytest.raises(SerializationError, match="takes 1,008 bytes"):
        encode_arguments({"a": "x" * 1000}, known=KNOWN)
    assert limits.HARD_LIMIT > 100_000_000 * 4 / 3, "100 MB of bytes must be possible"


# arguments and digests ------------------------------------------------------------------------------------------------


def test_arguments_are_one_object_in_the_order_given() -> None:
    encoded, _ = encode_arguments({"b": 1, "a": (2,)}, known=KNOWN)
    assert encoded == b'{"b":1,"a":{"$tuple":[2]}}'
    assert decode_arguments(encoded, {}, known=KNOWN) == {"b": 1, "a": (2,)}


def test_a_digest_is_pinned_for_live_runs_depend_on_it() -> None:
    assert encode_arguments({}, known=KNOWN) == (b"{}", "v3jkqVO0Du4jjKLp")
    _, plain = encode_arguments({"order_id": "o-1", "amount": 990, "é": [1.5, None]}, known=KNOWN)
    _, tagged = encode_arguments({"x": {1: {"b": 1, "a": 2}}, "y": {3, 1}}, known=KNOWN)
    assert (plain, tagged) == PINNED


PINNED = ("bPgmnLbwra53Szuv", "oMPL5SlpksMSBuqh")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": {"c": [2], "d": 3}}, {"b": {"d": 3, "c": [2]}, "a": 1}),
        ({"a": {1: "x", 2: "y"}}, {"a": {2: "y", 1: "x"}}),
        ({"a": {"$x": 1, "y": {"p": 0, "q": 0}}}, {"a": {"y": {"q": 0, "p": 0}, "$x": 1}}),
        ({"a": {"p": b"", "q": 0}}, {"a": {"q": 0, "p": b""}}),
        ({"a": [{("k", 1): {1: 2, 3: 4}}]}, {"a": [{("k", 1): {3: 4, 1: 2}}]}),
    ],
)
def test_mappings_in_another_order_have_another_text_and_the_same_digest(one: Any, other: Any) -> None:
    (first, digest_of_first), (second, digest_of_second) = (encode_arguments(x, known=KNOWN) for x in (one, other))
    assert first != second
    assert digest_of_first == digest_of_second == digest(first) == digest(second)
    assert same(decode(first, known=KNOWN), one)
    assert same(decode(second, known=KNOWN), other)


def test_different_values_have_different_digests() -> None:
    different: list[Any] = [1, 1.0, True, "1", None, [1], (1,), {1}, frozenset({1}), {"1": 1}, {1: 1}, {1: "1"}, b"1"]
    different += [0.0, -0.0, [1, 2], [2, 1], [[1], 2], {"a": [1, 2]}, {"a": [2, 1]}, {"a": {}}, {"a": []}]
    digests = {encode_arguments({"a": value}, known=KNOWN)[1] for value in different}
    assert len(digests) == len(different)
    assert all(len(text) == 16 for text in digests)


@pytest.mark.parametrize("value", [value for value, _ in EXACT], ids=[text for _, text in EXACT])
def test_the_digest_of_arguments_is_that_of_their_text(value: object) -> None:
    encoded, quick = encode_arguments({"z": value, "a": 1}, known=KNOWN)
    assert quick == digest(encoded)


@pytest.mark.parametrize("value", [value for value, _ in EXACT], ids=[text for _, text in EXACT])
def test_the_short_way_and_the_long_way_give_the_same_text(value: object) -> None:
    for wrapped in (value, [value], {"a": value}):
        if is_plain(wrapped):
            try:
                short = msgspec.json.encode(wrapped)
            except UnicodeEncodeError:
                continue
            assert short == msgspec.json.encode(Lowering(KNOWN).lower(wrapped, MAX_DEPTH))


# reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nan",
        b"1e400",
        b'"\xff"',
        b"[" * 100_000,
        b'{"$bytes":"***"}',
        b'{"$bytes":1}',
        b'{"$bytes":"","x":1}',
        b'{"$int":"ten"}',
        b'{"$float":"big"}',
        b'{"$str":"/w=="}',
        b'{"$date":"2024-13-01"}',
        b'{"$datetime":[1]}',
        b'{"$datetime":["2024-01-01",null,7,null]}',
        b'{"$time":{}}',
        b'{"$timedelta":[1e99,0,0]}',
        b'{"$decimal":"x"}',
        b'{"$uuid":3}',
        b'{"$path":"a\\u0000"}x',
        b'{"$purepath":["mac","a"]}',
        b'{"$complex":[1]}',
        b'{"$range":[1,2,0]}',
        b'{"$tuple":"ab"}',
        b'{"$set":[[]]}',
        b'{"$set":{"a":1}}',
        b'{"$dict":[[1]]}',
        b'{"$dict":["ab",1]}',
        b'{"$dict":[[[],1]]}',
        b'{"$type":"os.system","$value":"true"}',
        b'{"$type":1,"$value":1}',
        b'{"$type":"a"}',
        b'{"$error":1}',
        b'{"$error":{}}',
        b'{"$error":{"type":1}}',
        b'{"$error":{"type":"ValueError","args":1}}',
        b'{"$error":{"type":"ValueError","notes":[1]}}',
    ],
)
def test_a_damaged_record_is_a_serialization_error(data: bytes) -> None:
    with pytest.raises(SerializationError) as caught:
        decode(data, known=KNOWN, path="result")
    assert caught.value.path == "result"
    with pytest.raises(SerializationError):
        decode_arguments(b'{"a":' + data + b"}", {}, known=KNOWN)


def test_a_pair_that_is_a_text_is_no_pair() -> None:
    with pytest.raises(SerializationError):
        decode(b'{"$dict":["ab"]}', known=KNOWN)


def test_a_tag_of_a_newer_version_is_told_from_damage() -> None:
    with pytest.raises(NewerFormatError, match=r"'\$fraction'"):
        decode(b'[{"$fraction":[1,2]}]', known=KNOWN)


def test_arguments_that_are_no_mapping_are_refused() -> None:
    for data in (b"[]", b"1", b'{"$tuple":[]}'):
        with pytest.raises(SerializationError, match="not a mapping of names"):
            decode_arguments(data, {}, known=KNOWN)


# extensions -----------------------------------------------------------------------------------------------------------


class Handle:
    def __init__(self, name: str) -> None:
        self.name = name


class SpecialHandle(Handle):
    pass


@pytest.fixture
def handles() -> Any:
    register_extension(Handle, "handle", lambda handle: {"name": handle.name, "at": (1,)}, lambda body: Handle(**body))
    yield
    del EXTENSIONS[Handle], EXTENSION_TAGS["$handle"]


@pytest.mark.usefixtures("handles")
def test_types_of_the_engine_have_tags_of_their_own() -> None:
    encoded = encode([SpecialHandle("a")], known=KNOWN)
    assert encoded == b'[{"$handle":{"name":"a","at":{"$tuple":[1]}}}]'
    with pytest.raises(SerializationError, match="unexpected keyword"):
        decode(encoded, known=KNOWN)
    (handle,) = decode(b'[{"$handle":{"name":"a"}}]', list[Handle], known=KNOWN)  # type: ignore[misc]
    assert type(handle) is Handle
    assert handle.name == "a"
