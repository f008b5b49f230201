"""Callers who may generate data keys and not unwrap them: what they put arrives, and is theirs and the run's alone."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import random
import string
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.unit.engine_bench import Bench, run
from wdk_cloud import (
    CorruptedEventLogError,
    ReadableStream,
    Request,
    Response,
    SerializationError,
    Workflows,
    WorldConfigurationError,
    continue_as_new,
    create_hook,
    create_webhook,
    get_run,
    github,
    resume_hook,
    resume_webhook,
    start,
)
from wdk_cloud.codec.keys import DataKey, LocalKeyService
from wdk_cloud.engine import events as ev
from wdk_cloud.engine import keyrings, letters, passing, runids
from wdk_cloud.engine.inbox import HookItem, encode_item
from wdk_cloud.world.memory import MemoryWorld
from wdk_cloud.world.opening import use_world
from wdk_cloud.world.ports import Head, InboxItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


KEY = bytes(range(32))
NOISE = "".join(random.Random(1).choices(string.ascii_letters, k=20_000))

app = Workflows()
answered: list[str] = []


@app.workflow(name="receives")
async def receives(count: int) -> list[str]:
    hook = create_hook("the-token", schema=str)
    return [await hook for _ in range(count)]


@app.workflow(name="goes_on")
async def goes_on(left: int, wanted: int) -> list[str]:
    if left:
        continue_as_new(left - 1, wanted)
    hook = create_hook("the-token", schema=str)
    return [await hook for _ in range(wanted)]


@app.workflow(name="takes_one_and_goes_on")
async def takes_one_and_goes_on(found: list[str], wanted: int) -> list[str]:
    hook = create_hook("the-token", schema=str)
    found = [*found, await hook]
    if len(found) < wanted:
        continue_as_new(found, wanted)
    return found


@app.step(name="answers")
async def answers(request: Request) -> None:
    answered.append(request.text())
    await request.respond_with(Response(200, f"you said {request.text()}"))


@app.workflow(name="replies")
async def replies() -> None:
    webhook = create_webhook("manual", verify=github("HOOK_SECRET"))
    tokens.append(webhook.token)
    await answers(await webhook)
    await webhook


@app.step(name="reads")
async def reads(stream: ReadableStream[str]) -> str:
    return "".join([chunk async for chunk in stream])


@app.workflow(name="uploads")
async def uploads(stream: ReadableStream[str]) -> str:
    return await reads(stream)


tokens: list[str] = []


class Sealing(LocalKeyService):
    """May generate keys. Like a key service elsewhere it cannot tell whether others open them."""

    def __init__(self, key: bytes = KEY) -> None:
        super().__init__(key)
        self.generated = 0

    async def generate(self, run_id: str, *, beside: str | None = None) -> DataKey:
        self.generated += 1
        return await super().generate(run_id)

    async def unwrap(self, run_id: str, wrapped: str) -> bytes:
        raise WorldConfigurationError("this process may not do that (Decrypt); set WDK_AWS_KMS_KEY_ID")


class World2(MemoryWorld):
    """A memory world with a key service of its own: that of callers."""

    keys = Sealing()

    def scoped(self, namespace: str) -> Any:
        return self

    def key_service(self) -> Sealing:
        return self.keys


class Place(Bench):
    """Callers of one world that seal, and a worker that also opens."""

    def __init__(self) -> None:
        super().__init__(app)
        self.world = self.seen = World2(self.clock)
        self.seen.keys = Sealing()
        self.engine = self.new_engine()
        self.engine.keys = LocalKeyService(KEY)

    async def value(self, run_id: str) -> Any:
        opening: Any = LocalKeyService(KEY)
        sealing, self.seen.keys = self.seen.keys, opening
        try:
            with use_world(self.world):
                return await get_run(run_id).return_value(timeout=5)
        finally:
            self.seen.keys = sealing

    async def hooks_items(self, head: Head) -> list[HookItem]:
        items = await self.world.runs.items(head.run_id, head.birth, ())
        return [msgspec.json.decode(item.data, type=HookItem) for item in items if item.kind == "hook"]


@pytest.mark.parametrize("text", ["small", NOISE], ids=["in the record", "in a blob"])
def test_a_caller_who_cannot_unwrap_keys_starts_a_run_and_sends_it_payloads(text: str) -> None:
    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(receives, 2)
            await place.work_all()
            await resume_hook("the-token", text)
            await resume_hook("the-token", text, key="again")
        assert place.seen.keys.generated == 3
        first, second = await place.hooks_items(await place.head(started))
        assert bytes(first.payload).startswith(letters.MARK)
        assert text.encode() not in bytes(first.payload)
        assert letters.is_letter(bytes(first.payload)) != letters.is_letter(bytes(second.payload))
        await place.work_all()
        assert await place.value(started.run_id) == [text, text]
        head = await place.head(started)
        for batch in await place.world.runs.read(head.run_id, head.birth, 0):  # admitted, under the run's own key
            for event in ev.decode_batch(batch.data, head.run_id, batch.at).events:
                assert b"$key" not in msgspec.json.encode(event)

    run(test)


def test_a_stream_among_the_arguments_is_uploaded_by_who_cannot_unwrap_the_runs_key() -> None:
    async def pieces() -> AsyncIterator[str]:
        yield "one "
        yield "two"

    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(uploads, ReadableStream.from_iterable(pieces()))
            await started.uploaded()
            await place.work_all()
        assert await place.value(started.run_id) == "one two"

    run(test)


def signed(text: str, event: str) -> Request:
    signature = "sha256=" + hmac.new(b"of github", text.encode(), hashlib.sha256).hexdigest()
    return Request("POST", "", {"X-Hub-Signature-256": signature, "X-GitHub-Delivery": event}, text)


def test_an_answer_is_sealed_for_its_caller_also_when_the_provider_asks_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOOK_SECRET", "of github")
    answered.clear()

    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(replies)
            await place.work_all()
            asked = asyncio.create_task(resume_webhook(tokens[-1], signed("hello", "1")))
            while not place.visible():
                await asyncio.sleep(0)
            await place.work_all()
            assert (await asked).text() == "you said hello"
            again = await resume_webhook(tokens[-1], signed("hello", "1"))
            assert again.text() == "you said hello"
        assert answered == ["hello"]
        head = await place.head(started)
        name = hashlib.sha256(b"github:1").hexdigest()[:32]
        item = await place.world.runs.step(head.run_id, head.birth, f"reply:{name}")
        assert item is not None
        assert item.end is not None
        assert b"$sealed" in item.end
        assert b"hello" not in item.end

    run(test)


async def nothing(*_: object) -> None:
    """In place of what a worker does after an end: it has died before."""


def test_a_caller_passes_on_closed_what_it_cannot_open_and_before_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "pass_on", nothing)

    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(takes_one_and_goes_on, [], 4)
            await place.work_all()
            for text in ("a", NOISE, "c"):
                await resume_hook("the-token", text)
            while (after := (await place.head(started)).continued_to) is None:
                await place.work(await place.receive())
            await resume_hook("the-token", "d")
            head = await place.world.runs.head(after)
            assert head is not None
            found = [letters.is_letter(bytes(item.payload)) for item in await place.hooks_items(head)]
            first = await place.head(started)
            through = ((first.run_id, first.birth),)
            assert [letter and letter.through for letter in found] == [through, through, ()]
            await place.work_all()
        assert await place.value(started.run_id) == ["a", NOISE, "c", "d"]

    run(test)


@pytest.mark.parametrize("text", ["small", NOISE], ids=["in the record", "in a blob"])
def test_a_letter_comes_closed_through_several_runs(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "pass_on", nothing)

    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(goes_on, 2, 1)
            first = await place.head(started)
            await put(place, first, await letter_to(place, first, text))
            while (second := await place.world.runs.head(runids.successor_id(await place.head(started)))) is None or (
                second.continued_to is None
            ):
                await place.work(await place.receive())
            await passing.pass_on_to_the_last(place.world, Sealing(), await place.head(started), closed=True)
            await place.work_all()
        assert await place.value(started.run_id) == [text]

    run(test)


DIGEST = hashlib.sha256(b"the-token").hexdigest()


async def letter_to(place: Place, head: Head, text: str) -> bytes:
    sender = await keyrings.sender_to(place.world, Sealing(), head)
    return await sender.seal("payload", DIGEST, msgspec.json.encode(text))


async def put(place: Place, head: Head, sealed: bytes) -> None:
    item = InboxItem(key="hook:x", kind="hook", data=encode_item(HookItem(DIGEST, msgspec.Raw(sealed))), time=0.0)
    await place.world.runs.put_item(head.run_id, head.birth, item)


def test_a_letter_to_another_run_is_not_opened() -> None:
    async def test() -> None:
        place = Place()
        with use_world(place.world):
            theirs = await place.head(await start(receives.with_options(run_id="theirs"), 1))
            mine = await place.head(await start(receives.with_options(run_id="mine"), 1))
        record = await letter_to(place, theirs, "not for you")
        payloads = await keyrings.payloads_of(place.world, LocalKeyService(KEY), mine)
        with pytest.raises(WorldConfigurationError, match="run mine: the key that came with a payload cannot"):
            await payloads.open_letter("payload", DIGEST, record)
        assert theirs.data_key is not None
        record = letters.passed_on(record, key=theirs.data_key, run=("theirs", theirs.birth), id=DIGEST)
        with pytest.raises(CorruptedEventLogError, match="it came from run theirs, for which mine does not go on"):
            await payloads.open_letter("payload", DIGEST, record)

    run(test)


def test_a_letter_opens_for_its_hook_alone_and_nothing_but_a_payload_is_one() -> None:
    async def test() -> None:
        place = Place()
        with use_world(place.world):
            head = await place.head(await start(receives, 1))
        record = await letter_to(place, head, "x")
        payloads = await keyrings.payloads_of(place.world, LocalKeyService(KEY), head)
        assert await payloads.open_letter("payload", DIGEST, record) == b'"x"'
        with pytest.raises(CorruptedEventLogError, match="WDK_ENCRYPTION_KEY is not the key"):
            await payloads.open_letter("payload", "0" * 64, record)
        with pytest.raises(CorruptedEventLogError, match="is not encrypted although the run is"):
            await payloads.open("payload", DIGEST, record)
        with pytest.raises(CorruptedEventLogError, match="what a caller has sealed cannot be read"):
            await payloads.open_letter("payload", DIGEST, record[:-9])

    run(test)


def test_a_worker_that_may_not_unwrap_hands_the_run_on_until_one_may() -> None:
    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(receives, 1)
            denied = place.new_engine()
            denied.keys = Sealing()
            assert await place.work(await place.receive(), denied)
            trouble = (await place.head(started)).trouble
            assert trouble is not None
            assert "WDK_AWS_KMS_KEY_ID" in trouble.reason
            assert (await place.head(started)).holder is None
            await place.work(await place.receive_when_due())
            await resume_hook("the-token", "x")
            await place.work_all()
        assert await place.value(started.run_id) == ["x"]

    run(test)


def test_what_a_stranger_has_sealed_blocks_and_fails_nothing_before_somebody_opens_it() -> None:
    """A receiver of another key service, which a service elsewhere cannot tell: the run waits for who can open it."""

    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(receives, 1)
            await place.work_all()
            place.seen.keys = Sealing(b"x" * 32)
            await resume_hook("the-token", "x")
            assert await place.work(await place.receive())
            head = await place.head(started)
            assert (head.status, head.holder) == ("running", None)
            assert head.trouble is not None
            assert "the key that came with a payload cannot be unwrapped here" in head.trouble.reason

    run(test)


def test_a_local_key_that_is_not_the_runs_is_refused_before_anything_is_put() -> None:
    async def test() -> None:
        place = Place()
        with use_world(place.world):
            started = await start(receives, 1)
            await place.work_all()
            other: Any = LocalKeyService(b"x" * 32)
            place.seen.keys = other
            with pytest.raises(SerializationError, match="WDK_ENCRYPTION_KEY is not the key"):
                await resume_hook("the-token", "x")
        assert await place.hooks_items(await place.head(started)) == []

    run(test)
