"""Values that nobody should pass, and that somebody will: each is recorded as it is, or refused with its place."""

from __future__ import annotations

import gc
import math
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import Workflows
from wdk_cloud.codec import values, weight
from wdk_cloud.codec.errors import decode_error, encode_error
from wdk_cloud.codec.known import KnownTypes
from wdk_cloud.codec.limits import HARD_LIMIT, MAX_DEPTH
from wdk_cloud.codec.lowering import Lowering
from wdk_cloud.codec.sealing import Sealer, pack, unpack
from wdk_cloud.codec.values import decode, encode, encode_arguments
from wdk_cloud.errors import SerializationError, WorkflowRunFailedError

KNOWN = KnownTypes()


@dataclass
class Line:
    sku: str
    lock: object


@dataclass
class Order:
    items: list[Line]


KNOWN.learn_annotation(Order)


def refusal(value: object) -> SerializationError:
    """Of the argument `order`."""
    with pytest.raises(SerializationError) as caught:
        encode_arguments({"id": 1, "order": value}, known=KNOWN)
    return caught.value


# what is refused ------------------------------------------------------------------------------------------------------


def test_a_lock_deep_within_an_argument_is_named_by_its_path() -> None:
    lock = threading.Lock()
    plain = {"items": [{}, {}, {}, {"lock": lock}]}
    objects = Order([Line("a", None), Line("b", None), Line("c", None), Line("d", lock)])
    for order in (plain, objects):
        error = refusal(order)
        assert error.path == "order.items[3].lock"
        assert str(error).startswith("order.items[3].lock: a value of type _thread.lock cannot be recorded; ")
        assert "register_serializable" in str(error)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        (object, "order[<class 'object'>]"),
        (len, "order[<built-in function len>]"),
        ((1, len), "order[(1, <built-in function len>)]"),
        (frozenset({len}), "order[frozenset({<built-in function len>})]"),
    ],
)
def test_a_key_that_cannot_be_recorded_is_named(key: object, path: str) -> None:
    assert refusal({"fine": 1, key: 2}).path.startswith(path)


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        open,
        sys,
        (number for number in ()),
        lambda: None,
        object(),
        iter([]),
        {}.keys(),
        {}.items(),
        memoryview(b""),
        Mapping,
        sys.stdout,
        NotImplemented,
        slice(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_data_is_refused(value: object) -> None:
    assert refusal([value]).path == "order[0]"


class Sneaky(dict[str, int]):
    """A mapping of an unknown class."""


class Posing:
    """Says that it is a list."""

    @property
    def __class__(self) -> type:  # type: ignore[override]
        return list

    def __iter__(self) -> Iterator[int]:
        return iter([1])


def test_what_only_looks_like_a_builtin_is_refused() -> None:
    for value in (Sneaky(a=1), Posing()):
        assert "cannot be recorded" in str(refusal(value))


def deep(wrap: Any, levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


WRAPPINGS = pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: [inner],
        lambda inner: (inner,),
        lambda inner: {"k": inner},
        lambda inner: {1: inner},
        lambda inner: {(inner,): 1} if isinstance(inner, int) else {"k": [inner]},
        lambda inner: frozenset((inner,)),
        lambda inner: Line("", inner),
        lambda inner: {"$k": Line("", (inner,))},
    ],
    ids=["list", "tuple", "dict", "pairs", "keys", "frozenset", "dataclass", "mixed"],
)


@WRAPPINGS
def test_a_structure_10_000_deep_is_refused_at_once(wrap: Any) -> None:
    value = deep(wrap, 10_000)
    gc.disable()  # one look at all that the other tests of this process have left takes as long
    try:
        begun = time.thread_time()
        error = refusal(value)
        assert time.thread_time() - begun < 2
    finally:
        gc.enable()
    assert f"is nested more than {MAX_DEPTH} levels deep, or contains itself; pass a flatter value" in str(error)
    assert error.path.startswith("order")
    assert len(str(error)) < 3000


@WRAPPINGS
def test_a_structure_within_the_limit_comes_back(wrap: Any) -> None:
    value = deep(wrap, 45)
    data = encode(value, known=KNOWN)
    assert decode(data, known=KNOWN) == value


def test_a_cycle_is_refused_wherever_it_closes() -> None:
    line = Line("a", None)
    line.lock = {"of": (line,)}
    looped: list[object] = [1, 2]
    looped.append({"again": looped})
    mapping: dict[object, object] = {}
    mapping[0] = [mapping]
    wide: list[object] = []
    wide.extend([wide] * 1000)
    for value in (line, looped, mapping, wide):
        begun = time.process_time()
        assert "contains itself" in str(refusal(value))
        assert time.process_time() - begun < 2


def test_one_object_in_two_places_is_no_cycle() -> None:
    shared = [1]
    assert decode(encode({"a": shared, "b": [shared, shared]}, known=KNOWN), known=KNOWN) == {"a": [1], "b": [[1], [1]]}


def doubled(wrap: Any, times: int) -> Any:
    value: Any = []
    for _ in range(times):
        value = wrap(value)
    return value


class Bag:
    def __init__(self, *content: Any) -> None:
        self.content = content


KNOWN.register(Bag, serialize=lambda bag: list(bag.content), deserialize=lambda content: Bag(*content))

SHARINGS = pytest.mark.parametrize(
    "wrap",
    [
        lambda part: [part, part],
        lambda part: (part, part),
        lambda part: {"a": part, "b": part},
        lambda part: {1: part, 2: [part]},
        lambda part: Line("", (part, part)),
        lambda part: Bag(part, part),
        lambda part: [part] * 1000,
        lambda part: [1, [Bag(), part], {"k": (part, "\ud800")}],
    ],
    ids=["list", "tuple", "dict", "pairs", "dataclass", "registered", "thousandfold", "mixed"],
)


@SHARINGS
def test_parts_that_lie_in_their_wholes_again_and_again_are_refused_at_once(wrap: Any) -> None:
    """What they come to doubles with each level: written out, they would fill any disk."""
    value = doubled(wrap, 60)
    begun = time.process_time()
    with pytest.raises(SerializationError) as caught:
        encode(value, known=KNOWN)
    error = refusal(value)
    assert time.process_time() - begun < 20  # two refusals of well under a second each, on any machine
    for text in (str(caught.value), str(error)):
        assert (
            f"takes more than the {HARD_LIMIT:,} bytes as JSON that can be recorded: what lies in it at several places is "
            "written at each of them. Pass such a part once and name it elsewhere, or put the value into a file or an "
            "object store and pass its name"
        ) in text
    assert caught.value.path.startswith("value")


def test_an_exception_that_carries_such_parts_is_recorded_without_them() -> None:
    error = ValueError("seen")
    error.payload, error.code = doubled(lambda part: (part, part), 60), 7  # type: ignore[attr-defined]
    again = decode_error(encode_error(error, known=KNOWN), known=KNOWN)
    assert (type(again), again.args, vars(again)) == (ValueError, ("seen",), {"code": 7})


@SHARINGS
def test_shared_parts_that_come_to_little_are_written_at_each_place(wrap: Any) -> None:
    value = doubled(wrap, 1)
    data = encode([value, value], known=KNOWN)
    one = encode(value, known=KNOWN)
    assert data == b"[" + one + b"," + one + b"]"


def test_a_value_of_many_containers_is_weighed_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among them one object at many places, whose copies in the record are objects of their own."""
    monkeypatch.setattr(weight, "MANY", 100)
    shared = doubled(lambda part: [part, part], 5)
    for value in ([[n] for n in range(1000)], [shared] * 50, [(n, {"k": shared}) for n in range(30)]):
        assert decode(encode(value, known=KNOWN), known=KNOWN) == value
    monkeypatch.setattr(weight, "HARD_LIMIT", 10_000)
    assert "takes more than the 10,000 bytes" in str(refusal([shared] * 80))
    assert decode(encode([shared] * 50, known=KNOWN), known=KNOWN) == [shared] * 50


WEIGHED = [
    *([], {}, (), set(), frozenset(), [[]], "", [""], [None, True, 1.5, 10**30], {"a": {"b": {}}}),
    *({1: 2}, {(1, 2): [3]}, [{1}, {(2,)}, frozenset({3})], ["é", b"12345", bytearray(b"1")], Line("sku", [1, (2,)])),
    *(Bag([Bag()], Bag(1)), ValueError("a", [1], {"k": Bag()}), [1, 2, 3], {"k": ["ab", "cd"]}),
    doubled(lambda part: [part, (part, part)], 6),
]


@pytest.mark.parametrize("value", WEIGHED, ids=lambda value: type(value).__name__)
def test_the_weight_of_a_value_is_never_more_than_its_text(value: Any) -> None:
    text = encode([value, value], known=KNOWN)
    assert 0 < weight.weight_of([value, value], Lowering(KNOWN)._parts_of) <= len(text)


def test_the_weight_of_plain_containers_and_text_is_that_of_their_record() -> None:
    for value in (
        [],
        {},
        [[]],
        [[1, 2], {"a": "b"}],
        {"k": ["ab", {"c": []}]},
        [doubled(lambda part: [part, part], 9)],
    ):
        assert weight.weight_of(value) == len(encode(value, known=KNOWN))


def test_a_value_that_changes_or_raises_while_it_is_read_is_no_crash() -> None:
    class Moody:
        pass

    known = KnownTypes()
    for raising in (ValueError("x"), RuntimeError(), AttributeError("y"), KeyError(1), StopIteration()):

        def serialize(_: object, raising: Exception = raising) -> object:
            raise raising

        known = KnownTypes()
        known.register(Moody, serialize=serialize, deserialize=lambda _: Moody())
        with pytest.raises(SerializationError, match=r"value\.a: a .*Moody cannot be recorded: ") as caught:
            encode({"a": Moody()}, known=known)
        assert caught.value.__cause__ is raising


# what is recorded as it is --------------------------------------------------------------------------------------------


def test_nan_is_recorded_and_has_one_digest() -> None:
    _, digest = encode_arguments({"x": [math.nan, float("-nan"), -math.inf]}, known=KNOWN)
    encoded, again = encode_arguments({"x": [float("nan"), math.inf - math.inf, -math.inf]}, known=KNOWN)
    assert digest == again
    assert encoded == b'{"x":[{"$float":"nan"},{"$float":"nan"},{"$float":"-inf"}]}'
    one, other, least = decode(encoded, known=KNOWN)["x"]  # type: ignore[index]
    assert math.isnan(one)
    assert math.isnan(other)
    assert least == -math.inf


SURROGATES = ["\ud800", "a\udfffb", "\udc80\udc81", "\ud83d", "\ude00\ud83d", "$\ud800", "😀\ud800"]


@pytest.mark.parametrize("text", SURROGATES)
def test_lone_surrogates_come_back_wherever_text_may_be(text: str) -> None:
    value = {"v": text, text: [text, {text}, (text, b"")], "plain": "é"}
    encoded, digest = encode_arguments(value, known=KNOWN)
    assert decode(encoded, known=KNOWN) == value
    assert encode_arguments(dict(reversed(value.items())), known=KNOWN)[1] == digest
    assert b"\\ud" not in encoded, "every reader of JSON can read it"


@pytest.mark.parametrize("power", [52, 53, 62, 63, 64, 65, 127, 128, 4096, 100_000])
def test_integers_of_any_size_come_back(power: int) -> None:
    for number in (2**power, 2**power - 1, 2**power + 1, -(2**power), -(2**power) - 1):
        for value in (number, [number], {"n": number}, {number: number}):
            again = decode(encode(value, known=KNOWN), known=KNOWN)
            assert again == value
            assert type(again) is type(value)


def test_nothing_at_all_comes_back() -> None:
    for empty in ("", b"", [], {}, (), set(), frozenset(), None, bytearray(), range(0), {"": ""}, [[]], [b""]):
        again = decode(encode(empty, known=KNOWN), known=KNOWN)
        assert again == empty
        assert type(again) is type(empty)
        assert unpack(pack(encode(empty, known=KNOWN))) == encode(empty, known=KNOWN)


@pytest.mark.parametrize("kind", ["bytes", "text"])
def test_a_hundred_megabytes_come_back(kind: str) -> None:
    value: object = bytes(100_000_000) if kind == "bytes" else "é" * 50_000_000
    encoded = encode(value, known=KNOWN)
    assert len(encoded) < HARD_LIMIT
    sealer = Sealer("r", bytes(32))
    sealed = sealer.seal("result", "s#1", encoded)
    assert len(sealed) < 2_000_000
    assert decode(sealer.open("result", "s#1", unpack(pack(sealed))), known=KNOWN) == value


def test_more_than_the_hard_limit_is_refused_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "HARD_LIMIT", 10_000)
    for value in ("x" * 10_000, b"x" * 7500, {1: "x" * 9990}, ["x"] * 2500):
        assert "more than the 10,000 that can be recorded; put it into a file or an object store" in str(refusal(value))


# in a run -------------------------------------------------------------------------------------------------------------

app = Workflows()
made: list[str] = []
ODD: dict[str, Any] = {
    "nan": math.nan,
    "surrogate": "\ud800",
    "large int": 2**64 + 1,
    "nothing": b"",
    "megabytes": b"x" * 5_000_000,
    "lock": [threading.Lock],
    "deep": deep(lambda inner: [inner], 10_000),
    "key": {threading.Lock: 1},
}


@app.step
def result_of(name: str) -> Any:
    made.append(name)
    return ODD[name]


@app.step
def taking(value: object) -> None:
    made.append("taken")


@app.workflow
async def returning(name: str) -> Any:
    return await result_of(name)


@app.workflow
async def passing(name: str) -> Any:
    try:
        await taking(ODD[name])
    except SerializationError as error:
        return error.path
    return "taken"


@app.workflow
async def ending(name: str) -> Any:
    return {"deep": ODD[name]}


def outcome(workflow: Any, name: str) -> Any:
    """The result of a run, or the exception it failed with."""
    found: list[Any] = []

    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(workflow, name)
        await bench.work_all()
        try:
            found.append(await bench.result(started))
        except WorkflowRunFailedError as failed:
            found.append(failed.__cause__)

    made.clear()
    run(test)
    return found[0]


@pytest.mark.parametrize("name", ["nan", "surrogate", "large int", "nothing", "megabytes"])
def test_an_odd_value_passes_through_a_run(name: str) -> None:
    again = outcome(returning, name)
    assert repr(again) == repr(ODD[name])
    assert made == [name]
    assert outcome(passing, name) == "taken"


@pytest.mark.parametrize(("name", "path"), [("lock", "[0]"), ("deep", "[0]" * 7), ("key", "[<class '_thread.lock'>]")])
def test_a_value_that_cannot_be_recorded_fails_where_it_was_made_and_is_not_tried_again(name: str, path: str) -> None:
    if not isinstance(threading.Lock, type):
        path = path.replace("<class '_thread.lock'>", "<built-in function allocate_lock>")
    error = outcome(returning, name)
    assert type(error) is SerializationError
    assert error.path.startswith("result" + path)
    assert made == [name]
    assert outcome(passing, name).startswith("value" + path)
    assert made == []
    error = outcome(ending, name)
    assert type(error) is SerializationError
    assert error.path.startswith("result.deep[")
