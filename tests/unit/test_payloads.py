"""Payloads between the codec and the log: inline while they are small, in blobs beyond, sealed when the run has a key."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import msgspec
import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import Workflows
from wdk_cloud.codec.keyring import Keyring
from wdk_cloud.codec.keys import LocalKeyService
from wdk_cloud.codec.limits import HARD_LIMIT, INLINE_LIMIT
from wdk_cloud.codec.refusal import NewerFormatError
from wdk_cloud.codec.sealing import Sealer, blob_reference, pack
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import payloads as payloads_module
from wdk_cloud.engine.payloads import Payloads, check_size
from wdk_cloud.engine.service import Engine
from wdk_cloud.errors import CorruptedEventLogError, SerializationError, WorkflowRunFailedError
from wdk_cloud.world.clock import VirtualClock
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world

RUN, BIRTH = "r", "b"
KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
KEYS = pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])


def text_of(size: int) -> bytes:
    """JSON text of so many bytes, which does not compress to nothing."""
    numbers = hashlib.shake_128(b"").hexdigest(size // 2 + 1)
    return b'"' + numbers[: size - 2].encode() + b'"'


class Store:
    """The blobs of a world, and the payloads of its run."""

    def __init__(self, key: bytes | None) -> None:
        self.blobs = MemoryWorld(VirtualClock()).blobs
        self.payloads = Payloads(self.blobs, BIRTH, Keyring(RUN, key))

    async def blob(self, reference: bytes) -> bytes | None:
        return await self.blobs.get_blob(RUN, BIRTH, msgspec.json.decode(reference)["$blob"])

    async def overwrite(self, reference: bytes, data: bytes) -> None:
        await self.blobs.put_blob(RUN, BIRTH, msgspec.json.decode(reference)["$blob"], data)


# inline and blobs -----------------------------------------------------------------------------------------------------


def test_a_payload_lies_inline_up_to_four_kilobytes() -> None:
    async def test() -> None:
        store = Store(None)
        assert INLINE_LIMIT == 4096
        for size in (2, 100, 4096):
            data = text_of(size)
            assert await store.payloads.seal("result", "s#1", data) is data
            assert await store.payloads.open("result", "s#1", data) is data
            assert await store.blobs.get_blob(RUN, BIRTH, hashlib.sha256(data).hexdigest()) is None

    run(test)


@KEYS
@pytest.mark.parametrize("size", [4097, 100_000])
def test_a_larger_payload_lies_in_a_blob_under_the_name_of_its_content(key: bytes | None, size: int) -> None:
    async def test() -> None:
        store = Store(key)
        data = text_of(size)
        reference = await store.payloads.seal("result", "s#1", data)
        assert reference == blob_reference(Sealer(RUN, key).blob_name("result", "s#1", data), size)
        assert len(reference) < 110
        blob = await store.blob(reference)
        assert blob is not None
        assert (data[10:50] in blob) == (blob[:1] == b"\x10" and key is None)
        assert len(blob) < size + 200, "neither compression nor base64 makes it larger than it is"
        assert await store.payloads.open("result", "s#1", reference) == data
        assert await store.payloads.seal("result", "s#1", data) == reference
        assert await store.payloads.open("result", "s#1", reference) == data

    run(test)


@KEYS
def test_the_same_large_value_in_two_places_can_be_read_in_both(key: bytes | None) -> None:
    async def test() -> None:
        store = Store(key)
        data = text_of(5000)
        places = [("input", ""), ("input", "s#1"), ("result", "s#1")]
        references = [await store.payloads.seal(kind, id, data) for kind, id in places]
        for (kind, id), reference in zip(places, references, strict=True):
            assert await store.payloads.open(kind, id, reference) == data
        assert len(set(references)) == (1 if key is None else 3)

    run(test)


def test_an_encrypted_payload_shows_neither_itself_nor_its_digest() -> None:
    async def test() -> None:
        store = Store(KEY)
        for size in (20, 4096):
            sealed = await store.payloads.seal("result", "s#1", text_of(size))
            assert sealed.startswith(b'{"$sealed":"')
            assert len(sealed) < 6000, "an append of two of them and a head stays within a unit or two"
            assert await store.payloads.open("result", "s#1", sealed) == text_of(size)
        reference = await store.payloads.seal("result", "s#1", text_of(5000))
        assert hashlib.sha256(text_of(5000)).hexdigest().encode() not in reference

    run(test)


def test_secrets_are_sealed_with_the_payloads() -> None:
    async def test() -> None:
        for key in (None, KEY):
            store = Store(key)
            sealed = await store.payloads.seal_secret("seed", b"\x00seed")
            assert (sealed == b"\x00seed") == (key is None)
            assert await store.payloads.open_secret("seed", sealed) == b"\x00seed"

    run(test)


@KEYS
@pytest.mark.parametrize("size", [30, 5000])
def test_an_event_is_sealed_in_its_payload_alone(key: bytes | None, size: int) -> None:
    async def test() -> None:
        store = Store(key)
        event = ev.StepCompleted(time=1.0, id="s#1", attempt=1, result=ev.Raw(text_of(size)))
        sealed = await store.payloads.seal_event(event)
        assert store.payloads.needs_sealing(event) == (sealed is not event) == (key is not None or size > INLINE_LIMIT)
        assert msgspec.structs.replace(sealed, result=event.result) == event
        assert bytes((await store.payloads.open_event(sealed)).result) == text_of(size)
        with_no_payload: Any = ev.WaitCompleted(time=1.0, id="w#1")
        assert await store.payloads.seal_event(with_no_payload) is with_no_payload

    run(test)


# damage ---------------------------------------------------------------------------------------------------------------


@KEYS
def test_a_blob_that_is_gone_damaged_or_another_is_a_corrupted_log(key: bytes | None) -> None:
    async def test() -> None:
        store = Store(key)
        reference = await store.payloads.seal("result", "s#1", text_of(5000))
        blob, other = await store.blob(reference), await store.payloads.seal("result", "s#1", text_of(5001))
        assert blob is not None
        another = await store.blob(other)
        assert another is not None
        for damaged in (b"", blob[:-1], blob + b"x", blob[:40] + b"\x00" + blob[41:], pack(b"null"), another):
            await store.overwrite(reference, damaged)
            with pytest.raises(CorruptedEventLogError, match="run r: the result of s#1 cannot be read"):
                await store.payloads.open("result", "s#1", reference)
        await store.overwrite(reference, b"\x40" + blob)
        with pytest.raises(NewerFormatError):
            await store.payloads.open("result", "s#1", reference)
        await store.overwrite(reference, blob)
        assert await store.payloads.open("result", "s#1", reference) == text_of(5000)
        with pytest.raises(CorruptedEventLogError, match=f"run r: the blob {'0' * 64} that its log names is gone"):
            await store.payloads.open("result", "s#1", blob_reference("0" * 64, 5000))
        with pytest.raises(CorruptedEventLogError, match="cannot be read"):
            await store.payloads.open("result", "s#1", b'{"$blob":1}')

    run(test)


def test_a_sealed_payload_in_another_place_is_a_corrupted_log() -> None:
    async def test() -> None:
        store = Store(KEY)
        for size in (30, 5000):
            sealed = await store.payloads.seal("result", "s#1", text_of(size))
            for kind, id in (("result", "s#2"), ("error", "s#1"), ("input", "")):
                place = f"the {kind} of {id or 'the run'} cannot be read .*cannot be decrypted"
                with pytest.raises(CorruptedEventLogError, match=place):
                    await store.payloads.open(kind, id, sealed)

    run(test)


# the hard limit -------------------------------------------------------------------------------------------------------


def test_a_payload_over_the_hard_limit_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert HARD_LIMIT == 256 * 1024 * 1024
    monkeypatch.setattr(payloads_module, "HARD_LIMIT", 1000)
    assert check_size(b"x" * 1000, "it") == b"x" * 1000
    with pytest.raises(SerializationError, match="the result is 1,001 bytes, more than the 1,000 that one value may"):
        check_size(b"x" * 1001, "the result")


# whole runs -----------------------------------------------------------------------------------------------------------

app = Workflows()
LARGE = "x" * 100_000
NOISE = text_of(20_000).decode()


@app.step
def repeated(text: str) -> list[str]:
    return [text, text]


@app.workflow
async def doubling(text: str) -> str:
    return (await repeated(text))[1]


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@app.workflow
async def mute() -> None:
    raise MuteError(1)


@pytest.fixture
def encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDK_ENCRYPTION_KEY", base64.b64encode(KEY).decode())


def engine_with(bench: Bench, key: bytes) -> Engine:
    return Engine(bench.world, [app], bench.settings, LocalKeyService(key))


@pytest.mark.usefixtures("encrypted")
@pytest.mark.parametrize("text", ["small", LARGE, NOISE], ids=len)
def test_an_encrypted_run_leaves_nothing_readable_in_the_log(text: str) -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(doubling, text)
        await bench.work_all(engine_with(bench, KEY))
        assert await bench.result(started) == text
        head = await bench.head(started)
        for batch in await bench.world.runs.read(head.run_id, head.birth, 0):
            assert text[:40].encode() not in batch.data
            for event in ev.decode_batch(batch.data, head.run_id, batch.at).events:
                assert event.PAYLOAD is None or bytes(getattr(event, event.PAYLOAD)).startswith(
                    (b'{"$sealed', b'{"$blob')
                )

    run(test)


@pytest.mark.usefixtures("encrypted")
def test_a_worker_with_another_key_hands_a_run_on_and_does_not_fail_it() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(doubling, "a")
        for strange in (engine_with(bench, OTHER_KEY), bench.engine) * 8:
            assert await bench.work(await bench.receive_when_due(), strange)
            trouble = (await bench.head(started)).trouble
            assert trouble is not None
            assert "WDK_ENCRYPTION_KEY" in trouble.reason
        bench.clock.advance_to(bench.clock.now() + 1000)
        await bench.work_all(engine_with(bench, KEY))
        assert await bench.result(started) == "a"

    run(test)


def test_a_run_whose_blob_was_damaged_ends_as_corrupted() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(doubling, NOISE)
        head = await bench.head(started)
        assert head.input is not None
        name = msgspec.json.decode(head.input)["$blob"]
        await bench.world.blobs.put_blob(head.run_id, head.birth, name, pack(b'{"text":"other"}'))
        await bench.work_all()
        with use_world(bench.world), pytest.raises(WorkflowRunFailedError) as failed:
            await bench.result(started)
        assert failed.value.error_code == "CORRUPTED_EVENT_LOG"

    run(test)


def test_a_run_that_fails_without_a_text_says_so() -> None:
    async def test() -> None:
        bench = Bench(app)
        started = await bench.start(mute)
        await bench.work_all()
        with pytest.raises(WorkflowRunFailedError, match="<MuteError: its message cannot be shown>") as failed:
            await bench.result(started)
        assert type(failed.value.__cause__) is MuteError
        assert failed.value.__cause__.args == (1,)

    run(test)
