"""What lies in the log and in blobs: packed, sealed under a run's key, and never read as something else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import random
import zlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from wdk_cloud.codec import sealing
from wdk_cloud.codec.keys import KEY_BYTES, DataKey, LocalKeyService, key_service
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import BlobRef, Sealer, blob_reference, is_blob, pack, unpack
from wdk_cloud.engine import events as ev
from wdk_cloud.errors import CorruptedEventLogError, SerializationError, WorldConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
DATA = b'{"order":"o-1","items":[1,2,3]}'
NOISE = random.Random(1).randbytes(4000)


def mutations(data: bytes) -> Iterator[bytes]:
    """Every byte changed in its lowest, its highest and all bits; cut off anywhere; with something behind or before."""
    for index, byte in enumerate(data):
        for change in (0x01, 0x80, 0xFF):
            yield data[:index] + bytes((byte ^ change,)) + data[index + 1 :]
    for index in range(len(data)):
        yield data[:index]
        yield data[index + 1 :]
    for extra in (b"\x00", b" ", b"}", data):
        yield data + extra
        yield extra + data


# packing --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"{}", b"a" * 1023, NOISE, NOISE[:1024]], ids=len)
def test_what_is_small_or_does_not_shrink_lies_there_as_it_is(data: bytes) -> None:
    packed = pack(data)
    assert packed[:1] == b"\x10"
    assert packed[1:5] == zlib.crc32(b"\x10" + data).to_bytes(4, "big")
    assert packed[5:] == data
    assert unpack(packed) == data


@pytest.mark.parametrize("data", [b"a" * 1024, DATA * 40, b"ab" * 100_000], ids=len)
def test_from_a_kilobyte_up_data_is_compressed(data: bytes) -> None:
    packed = pack(data)
    assert packed[:1] == b"\x11"
    assert len(packed) < len(data) / 10
    assert unpack(packed) == data


def test_a_saving_of_less_than_a_twentieth_is_none() -> None:
    shrinks_a_little = NOISE[:3900] + bytes(100)
    assert len(shrinks_a_little) * 0.95 < len(zlib.compress(shrinks_a_little)) < len(shrinks_a_little)
    assert pack(shrinks_a_little)[5:] == shrinks_a_little
    assert pack(NOISE[:3700] + bytes(300))[0] == 0x11


@pytest.mark.parametrize("data", [DATA, DATA * 40, b"", NOISE[:1100]], ids=["small", "compressed", "empty", "noise"])
def test_a_damaged_packing_is_always_a_serialization_error(data: bytes) -> None:
    refused = 0
    packed = pack(data)
    for damaged in mutations(packed):
        with pytest.raises(SerializationError):
            unpack(damaged)
        refused += 1
    assert refused == 3 * len(packed) + 2 * len(packed) + 8


def test_a_packing_that_ends_early_or_goes_on_is_refused_though_its_sum_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def with_its_sum(body: bytes) -> bytes:
        return b"\x11" + zlib.crc32(b"\x11" + body).to_bytes(4, "big") + body

    body = pack(DATA * 40)[5:]
    assert unpack(with_its_sum(body)) == DATA * 40
    for wrong in (body[:-1], body + b"\x00", b"", b"\xff" + body):
        with pytest.raises(SerializationError, match="damaged"):
            unpack(with_its_sum(wrong))
    monkeypatch.setattr(sealing, "_MAX_INFLATED", len(DATA) * 40 - 1)
    with pytest.raises(SerializationError, match="larger than any that is written"):
        unpack(with_its_sum(body))


@pytest.mark.parametrize("mark", [0x12, 0x1F, 0x20, 0xFF])
def test_a_packing_of_a_newer_version_is_told_from_damage(mark: int) -> None:
    with pytest.raises(NewerFormatError, match=rf"packing {mark:#x}, which this version of wdk-cloud does not know"):
        unpack(bytes((mark,)) + pack(DATA)[1:])


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x0f" + DATA, b"\n{}"])
def test_what_has_no_mark_is_damaged_and_not_newer(data: bytes) -> None:
    with pytest.raises(SerializationError, match="mark of its packing") as caught:
        unpack(data)
    assert not isinstance(caught.value, NewerFormatError)


# batches --------------------------------------------------------------------------------------------------------------

EVENTS: list[ev.AnyEvent] = [ev.RunCancelled(time=1.0)]


def test_a_batch_of_a_newer_format_hands_its_run_on_and_does_not_fail_it() -> None:
    newer = msgspec.json.encode({"v": ev.FORMAT + 1, "version": "9.9", "events": [{"type": "unheard of"}]})
    with pytest.raises(NewerFormatError, match=f"record at 7 has format {ev.FORMAT + 1}, this code reads up to"):
        ev.decode_batch(pack(newer), "r", 7)
    with pytest.raises(NewerFormatError):
        ev.decode_batch(b"\x30" + pack(newer)[1:], "r", 7)


def test_a_damaged_batch_is_a_corrupted_log() -> None:
    packed = ev.encode_batch(EVENTS, "1.test")
    assert ev.decode_batch(packed, "r", 1).events == EVENTS
    for damaged in mutations(packed):
        with pytest.raises((CorruptedEventLogError, NewerFormatError)) as caught:
            ev.decode_batch(damaged, "r", 1)
        assert isinstance(caught.value, NewerFormatError) == (damaged[:1] > b"\x11")
    for body in (b"[" * 100_000, b"null", b"{}", b'{"v":1,"version":"","events":' + b"[" * 9000, b"\xff"):
        with pytest.raises(CorruptedEventLogError, match="record at position 3 of its log cannot be read"):
            ev.decode_batch(pack(body), "r", 3)


# references to blobs --------------------------------------------------------------------------------------------------


def test_a_reference_to_a_blob_comes_back_and_nothing_else_looks_like_one() -> None:
    assert blob_reference("ab12", 5000) == b'{"$blob":"ab12","size":5000}'
    assert is_blob(b'{"$blob":"ab12","size":5000}') == BlobRef("ab12", 5000)
    for other in (b"", b"{}", b'"$blob"', b'{"$dict":[["$blob","x"]]}', b'{"$sealed":"x"}'):
        assert is_blob(other) is None


@pytest.mark.parametrize(
    "rest",
    [b"", b"1}", b'"a"}', b'"a","size":"1"}', b'1,"size":1}', b'"a","size":true}', b"[" * 100_000, b'"\xff","size":1}'],
    ids=range(8),
)
def test_a_damaged_reference_is_a_serialization_error(rest: bytes) -> None:
    with pytest.raises(SerializationError, match="a reference to a blob"):
        is_blob(b'{"$blob":' + rest)


# sealing --------------------------------------------------------------------------------------------------------------


def test_without_a_key_everything_passes_as_it_is() -> None:
    sealer = Sealer("r", None)
    assert not sealer.encrypts
    assert sealer.seal("result", "s#1", DATA) is DATA
    assert sealer.open("result", "s#1", DATA) is DATA
    assert sealer.blob_name("result", "s#1", DATA) == hashlib.sha256(DATA).hexdigest()


@pytest.mark.parametrize("data", [b"", b"null", DATA, DATA * 1000, NOISE], ids=len)
def test_a_sealed_value_is_json_that_the_key_opens(data: bytes) -> None:
    sealer = Sealer("r", KEY)
    assert sealer.encrypts
    sealed = sealer.seal("result", "s#1", data)
    assert list(msgspec.json.decode(sealed)) == ["$sealed"]
    assert len(data) < 8 or data[:8] not in base64.b64decode(msgspec.json.decode(sealed)["$sealed"])
    assert Sealer("r", KEY).open("result", "s#1", sealed) == data


def test_large_values_are_compressed_before_they_are_sealed() -> None:
    assert len(Sealer("r", KEY).seal("result", "s#1", DATA * 1000)) < len(DATA) * 100


def test_one_value_sealed_twice_gives_two_texts_even_where_random_bytes_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    sealer = Sealer("r", KEY)
    assert sealer.seal("result", "s#1", DATA) != sealer.seal("result", "s#1", DATA)
    monkeypatch.setattr(os, "urandom", lambda size: b"\x00" * size)
    texts = {
        (kind, id, data): base64.b64decode(msgspec.json.decode(sealer.seal(kind, id, data))["$sealed"])
        for kind in ("input", "result")
        for id in ("s#1", "s#2")
        for data in (DATA, DATA + b" ")
    }
    assert len({text[1:13] for text in texts.values()}) == len(texts) == 8, "no nonce is used for two texts"


@pytest.mark.parametrize(
    ("run", "kind", "id"),
    [
        ("r2", "result", "s#1"),
        ("r", "error", "s#1"),
        ("r", "result", "s#2"),
        ("r", "results#1", ""),
        ("rresult", "", "s#1"),
    ],
)
def test_a_sealed_value_moved_elsewhere_is_refused(run: str, kind: str, id: str) -> None:
    sealed = Sealer("r", KEY).seal("result", "s#1", DATA)
    with pytest.raises(SerializationError, match=rf"run {run}: the {kind} of {id} cannot be decrypted") as caught:
        Sealer(run, KEY).open(kind, id, sealed)
    assert caught.value.path == kind


def test_another_key_opens_nothing_and_says_which_setting_is_wrong() -> None:
    sealed = Sealer("r", KEY).seal("result", "s#1", DATA)
    with pytest.raises(SerializationError, match="WDK_ENCRYPTION_KEY is not the key it was written with"):
        Sealer("r", OTHER_KEY).open("result", "s#1", sealed)
    with pytest.raises(SerializationError, match="this process has no key; set WDK_ENCRYPTION_KEY"):
        Sealer("r", None).open("result", "s#1", sealed)


def test_an_open_value_in_an_encrypted_run_is_refused() -> None:
    for planted in (DATA, b"null", b"", b'{"$sealed":1}'):
        with pytest.raises(SerializationError, match="is not encrypted although the run is"):
            Sealer("r", KEY).open("result", "s#1", planted)


@pytest.mark.parametrize("size", [0, 1, 2, 30, 2000])
def test_a_damaged_seal_is_always_a_serialization_error(size: int) -> None:
    sealer = Sealer("r", KEY)
    sealed = sealer.seal("result", "s#1", DATA * 100 if size == 2000 else b"1" * size)
    for damaged in mutations(sealed):
        with pytest.raises(SerializationError):
            sealer.open("result", "s#1", damaged)


def test_a_seal_of_a_newer_version_is_told_from_damage() -> None:
    sealer = Sealer("r", KEY)
    content = base64.b64decode(msgspec.json.decode(sealer.seal("result", "s#1", DATA))["$sealed"])

    def of_version(version: int) -> bytes:
        return b'{"$sealed":"' + base64.b64encode(bytes((version,)) + content[1:]) + b'"}'

    assert sealer.open("result", "s#1", of_version(1)) == DATA
    for version in (2, 255):
        with pytest.raises(NewerFormatError, match="run r: the result of s#1 is sealed in a newer format"):
            sealer.open("result", "s#1", of_version(version))
    with pytest.raises(SerializationError, match="damaged") as caught:
        sealer.open("result", "s#1", of_version(0))
    assert not isinstance(caught.value, NewerFormatError)


def test_an_encrypted_blob_is_named_by_the_hmac_of_its_place_and_content_under_the_key() -> None:
    name = Sealer("r", KEY).blob_name("result", "s#1", DATA)
    subkey = hmac.digest(KEY, b"wdk blob name", "sha256")
    place = b'["wdk",1,"r","result","s#1"]'
    assert name == hmac.digest(subkey, len(place).to_bytes(4, "big") + place + DATA, "sha256").hex()
    assert name == Sealer("r", KEY).blob_name("result", "s#1", DATA)
    others = {
        Sealer("r", OTHER_KEY).blob_name("result", "s#1", DATA),
        Sealer("r", KEY).blob_name("result", "s#1", DATA + b" "),
        Sealer("r", KEY).blob_name("result", "s#2", DATA),
        Sealer("r", KEY).blob_name("input", "s#1", DATA),
        hashlib.sha256(DATA).hexdigest(),
    }
    assert len({name, *others}) == 6


# keys -----------------------------------------------------------------------------------------------------------------


class Keys:
    """A key service, asked and waited for."""

    def __init__(self, service: LocalKeyService) -> None:
        self._service = service

    def generate(self, run: str) -> DataKey:
        return asyncio.run(self._service.generate(run))

    def unwrap(self, run: str, wrapped: str) -> bytes:
        return asyncio.run(self._service.unwrap(run, wrapped))


KEYS = Keys(LocalKeyService(KEY))


def test_every_run_has_a_key_of_its_own_that_its_wrapping_gives_back() -> None:
    keys = [KEYS.generate(run) for run in "aba"]
    assert len({key.plain for key in keys}) == 3
    assert {len(key.plain) for key in keys} == {KEY_BYTES}
    again = Keys(LocalKeyService(KEY))
    assert [again.unwrap(run, key.wrapped) for run, key in zip("aba", keys, strict=True)] == [key.plain for key in keys]
    assert all(base64.b64encode(key.plain).decode() not in key.wrapped for key in keys)


def test_a_wrapped_key_opens_for_its_run_and_under_its_key_alone() -> None:
    wrapped = KEYS.generate("a").wrapped
    with pytest.raises(SerializationError, match="run b: the data key of b cannot be decrypted"):
        KEYS.unwrap("b", wrapped)
    with pytest.raises(SerializationError, match="WDK_ENCRYPTION_KEY is not the key it was written with"):
        Keys(LocalKeyService(OTHER_KEY)).unwrap("a", wrapped)


def test_a_damaged_wrapping_is_always_a_serialization_error() -> None:
    async def refused(wrapped: str) -> int:
        count = 0
        for damaged in (*(text.decode("latin-1") for text in mutations(wrapped.encode())), "\ud800" + wrapped):
            with pytest.raises(SerializationError):
                await LocalKeyService(KEY).unwrap("a", damaged)
            count += 1
        return count

    wrapped = KEYS.generate("a").wrapped
    assert asyncio.run(refused(wrapped)) == 5 * len(wrapped) + 9


def test_the_key_of_the_environment_is_base64_with_or_without_space_around() -> None:
    key = KEYS.generate("a")
    text = base64.b64encode(KEY).decode()
    for spelled in (text, f" {text}\n"):
        assert Keys(key_service({"WDK_ENCRYPTION_KEY": spelled})).unwrap("a", key.wrapped) == key.plain


ADVICE = "make one with: python -c 'import os, base64;"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "WDK_ENCRYPTION_KEY is not set"),
        ("", "WDK_ENCRYPTION_KEY is not set"),
        (" \n", "WDK_ENCRYPTION_KEY is not set"),
        (base64.b64encode(KEY[:31]).decode(), "WDK_ENCRYPTION_KEY holds 31 bytes, not 32"),
        (base64.b64encode(KEY + b"x").decode(), "WDK_ENCRYPTION_KEY holds 33 bytes, not 32"),
        (base64.b64encode(KEY).decode()[:-1], "WDK_ENCRYPTION_KEY is no base64 text of 32 bytes"),
        (KEY.hex(), "WDK_ENCRYPTION_KEY holds 48 bytes, not 32"),
        ("correct horse battery staple", "WDK_ENCRYPTION_KEY is no base64 text of 32 bytes"),
        ("schlüssel", "WDK_ENCRYPTION_KEY is no base64 text of 32 bytes"),
        ("\udcff", "WDK_ENCRYPTION_KEY is no base64 text of 32 bytes"),
    ],
)
def test_a_malformed_key_is_refused_with_the_way_to_make_one(text: str | None, complaint: str) -> None:
    with pytest.raises(WorldConfigurationError) as caught:
        key_service({} if text is None else {"WDK_ENCRYPTION_KEY": text})
    assert str(caught.value).startswith(complaint)
    assert ADVICE in str(caught.value)
    assert text is None or not text.strip() or text not in str(caught.value), "a key is never shown, not even a bad one"
