"""100,000 inputs that nobody has thought of: values that come back, and bytes that are no records.

Every run takes inputs of its own. A failure names its seed: `WDK_FUZZ_SEED=<seed>` begins with that input.
"""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import pytest

from tests.unit.codec_inputs import CLASSES, KNOWN, Item, Model, Point, Typed, anything, described, stirred
from wdk_cloud.codec.errors import ErrorSummary, decode_error, encode_error, error_summary
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import BlobRef, Sealer, blob_reference, is_blob, pack, unpack
from wdk_cloud.codec.values import decode, decode_arguments, digest, encode, encode_arguments
from wdk_cloud.engine import events as ev
from wdk_cloud.errors import CorruptedEventLogError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Spread over the processes that share the tests; ten of each kind make 50,000 values and 50,000 texts.
CHUNKS, SIZE = 10, 5_000


def inputs(chunk: int) -> Iterator[tuple[int, random.Random]]:
    """Numbers that say all about an input, each with a generator that follows from it."""
    first = int(os.environ.get("WDK_FUZZ_SEED") or int.from_bytes(os.urandom(5), "big")) + chunk * SIZE
    for seed in range(first, first + SIZE):
        yield seed, random.Random(seed)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_value_comes_back_with_one_text_and_one_digest(chunk: int) -> None:
    for seed, rng in inputs(chunk):
        value = anything(rng, rng.choice((1, 2, 3)))
        try:
            check_round_trip(value, rng)
        except Exception as error:
            error.add_note(f"WDK_FUZZ_SEED={seed} gives the value {value!r}")
            raise


def check_round_trip(value: Any, rng: random.Random) -> None:
    data = encode(value, known=KNOWN)
    again = decode(data, known=KNOWN)
    assert described(again) == described(value)
    assert is_blob(data) is None, "no value looks like a reference to a blob"
    encoded, quick = encode_arguments({"b": stirred(value, rng), "a": 0}, known=KNOWN)
    encoded_again, quick_again = encode_arguments({"a": 0, "b": again}, known=KNOWN)
    assert encoded == b'{"b":' + data + b',"a":0}'
    assert encoded_again == b'{"a":0,"b":' + data + b"}"
    assert quick == quick_again == digest(encoded)


# bytes that are no records --------------------------------------------------------------------------------------------

SEALER = Sealer("r", bytes(range(32)))
TAGS = [
    "$type",
    "$value",
    "$error",
    "$dict",
    "$set",
    "$frozenset",
    "$tuple",
    "$int",
    "$float",
    "$str",
    "$bytes",
    "$range",
]
TAGS += [
    "$bytearray",
    "$datetime",
    "$date",
    "$time",
    "$timedelta",
    "$decimal",
    "$uuid",
    "$complex",
    "$path",
    "$purepath",
]
TAGS += [
    "$blob",
    "$sealed",
    "$new",
    "$",
    "type",
    "args",
    "message",
    "notes",
    "errors",
    "cause",
    "state",
    "fields",
    "size",
]
TEXTS = [
    *TAGS,
    "ValueError",
    "ExceptionGroup",
    "KeyError",
    "posix",
    "windows",
    "Europe/Berlin",
    "../../etc/passwd",
    "0x1",
]
TEXTS += ["2024-01-01T00:00:00+01:00", "2024-01-01", "AA==", "nan", "1e9999", "99999999999999999999", "\x00", "é" * 300]
TEXTS += [f"{cls.__module__}.{cls.__qualname__}" for cls in CLASSES] + [
    "RED",
    "READ",
    "wdk_cloud.RemoteError",
    "eval",
    "a",
    "b",
]
ODD = [None, True, 0, -1, 1.5, 1e308, 2**63, 10**400, "", [], {}, [[]], [[[], []]], [1, 2, 3], ["a", "b"]]
ANNOTATIONS: list[Any] = [
    int,
    float,
    str,
    bytes,
    bool,
    None,
    list,
    set,
    dict,
    tuple,
    Decimal,
    datetime,
    date,
    timedelta,
]
ANNOTATIONS += [
    UUID,
    Path,
    list[int],
    set[str],
    dict[str, int],
    dict[Decimal, Any],
    tuple[int, ...],
    tuple[int, str],
    Any,
]
ANNOTATIONS += [
    *CLASSES,
    list[Item],
    Item | Point | None,
    set[Any] | list[Any],
    Sequence[int],
    Mapping[str, Item],
    Typed,
]
ANNOTATIONS += [frozenset[Any] | tuple[Any, ...], Typed | Model, complex, range, time]


def odd_tree(rng: random.Random, depth: int) -> Any:
    """JSON that may have meant something."""
    kind = rng.randrange(5)
    if depth <= 0 or kind == 0:
        return rng.choice(ODD) if rng.random() < 0.5 else rng.choice(TEXTS)
    if kind == 1:
        return [odd_tree(rng, depth - 1) for _ in range(rng.randrange(5))]
    if kind == 2:
        return {rng.choice(TEXTS): odd_tree(rng, depth - 1) for _ in range(rng.randrange(4))}
    if kind == 3:
        return {"$type": rng.choice(TEXTS[-17:]), "$value": odd_tree(rng, depth - 1)}
    return {rng.choice(TAGS[2:22]): odd_tree(rng, depth - 1)}


def grafted(tree: Any, rng: random.Random) -> Any:
    """A tree with something odd in a random place."""
    if rng.random() < 0.2 or not isinstance(tree, (dict, list)) or not tree:
        return odd_tree(rng, 2)
    if isinstance(tree, list):
        at = rng.randrange(len(tree))
        return [*tree[:at], grafted(tree[at], rng), *tree[at + 1 :]]
    key = rng.choice(list(tree))
    if rng.random() < 0.1:
        return {**tree, rng.choice(TEXTS): odd_tree(rng, 1)}
    return {**tree, key: grafted(tree[key], rng)}


def mutated(data: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:at] + rng.randbytes(1) + data[at + 1 :]
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data = data[:at] + data[at + rng.randrange(1, 9) :]
        elif kind == 3:
            data = data[:at] + rng.choice(TEXTS).encode() + data[at:]
        elif kind == 4:
            data = (
                data[:at] + rng.choice((b"[", b'{"a":', b'{"$tuple":[', b'{"$error":')) * rng.randrange(600) + data[at:]
            )
        elif data:
            bit = 1 << rng.randrange(8)
            data = data[: at - 1] + bytes((data[at - 1] ^ bit,)) + data[at:]
    return data


def no_record(rng: random.Random) -> bytes:
    kind = rng.randrange(10)
    if kind == 0:
        return rng.randbytes(rng.randrange(60))
    if kind < 4:
        return msgspec.json.encode(odd_tree(rng, 4))
    value = anything(rng, rng.randrange(3))
    data = encode_error(value, known=KNOWN) if isinstance(value, BaseException) else encode(value, known=KNOWN)
    if kind < 7:
        return msgspec.json.encode(grafted(msgspec.json.decode(data), rng))
    if kind == 7:
        data = rng.choice((pack(data), SEALER.seal("k", "i", data), blob_reference("a" * 64, 5000)))
    if kind == 8:
        data = ev.encode_batch([ev.RunFailed(time=1.0, code="C", error=msgspec.Raw(data))], "1")
    return mutated(data, rng)


def read_in_every_way(data: bytes, annotation: Any) -> None:
    decoders: list[tuple[Callable[[], object], Any]] = [
        (lambda: decode(data, known=KNOWN), object),
        (lambda: decode(data, annotation, known=KNOWN), object),
        (lambda: decode_arguments(data, {"a": annotation}, known=KNOWN), dict),
        (lambda: decode_arguments(b'{"a":' + data + b"}", {"a": annotation}, known=KNOWN), dict),
        (lambda: decode_error(data, known=KNOWN), BaseException),
        (lambda: decode(b'{"$error":' + data + b"}", known=KNOWN), BaseException),
        (lambda: is_blob(data), BlobRef | None),
        (lambda: unpack(data), bytes),
        (lambda: SEALER.open("k", "i", data), bytes),
    ]
    for read, expected in decoders:
        try:
            assert isinstance(read(), expected)
        except SerializationError as error:
            str(error).encode()
    assert isinstance(error_summary(data), ErrorSummary)
    for batch in (data, pack(data)):
        try:
            assert isinstance(ev.decode_batch(batch, "r", 1), ev.DecodedBatch)
        except (CorruptedEventLogError, NewerFormatError) as error:
            str(error).encode()


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_any_bytes_are_a_value_or_a_serialization_error(chunk: int) -> None:
    for seed, rng in inputs(chunk):
        data = no_record(rng)
        annotation = rng.choice(ANNOTATIONS)
        try:
            read_in_every_way(data, annotation)
        except BaseException as error:
            error.add_note(f"WDK_FUZZ_SEED={seed} gives the bytes {data!r} for {annotation}")
            raise
